"""A run folder with stored answers, made by hand."""

import json
from pathlib import Path

import pytest

from pipeline.recipe import Recipe
from pipeline.run_folder import AnswerRecord, RunFolder, RunWriter

SETTINGS = json.dumps({"data": "d", "max_completion_tokens": 64, "model": "m", "precision": "16bit", "samples": 1})


def answer(model, index, right, *, sample=0, text=None, settings=SETTINGS, question=None, subject=None, lenient=None,
           tokens=10):
    """One stored answer to `index + 1 = ?`; wrong ones say 0 in the tags."""
    given = str(index + 1) if right else "0"
    return AnswerRecord(
        model=model, benchmark="test", settings=settings, question_index=index, sample=sample,
        question=question or f"What is {index} + 1?", reference=str(index + 1),
        completion=text or f"<reasoning>\n{index} + 1\n</reasoning>\n<answer>{given}</answer>", extracted=given,
        exact=right, lenient=right if lenient is None else lenient, plausible=right, format=text is None,
        tokens=tokens, truncated=False, seconds=0.01, subject=subject)


@pytest.fixture
def make_run(tmp_path: Path):
    """make_run({"sft": [True, False, …], …}) -> RunFolder with these answers, and the expected number if given."""
    def make(patterns, expected=None, name="run-1", recipe=None):
        folder = RunFolder(tmp_path / "runs" / name)
        writer = RunWriter(folder)
        folder.recipe_file.write_text((recipe or Recipe()).to_yaml())
        for model, pattern in patterns.items():
            writer.add_answers(answer(model, i, right) for i, right in enumerate(pattern))
        if expected:
            writer.set_status(evaluations=[
                {"model": m, "benchmark": "test", "settings": SETTINGS, "questions": expected, "samples": 1}
                for m in patterns])
        writer.close()
        return folder
    return make


@pytest.fixture(name="answer")
def answer_fixture():
    """The function `answer`."""
    return answer
