"""An evaluation over several benchmarks with the real engine and the bundled model: how often a model is loaded."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.dataset.chat import ChatTokenizer, prompt_ids
from pipeline.dataset.models import model_folder
from pipeline.engines import sampling
from pipeline.engines.trl import TrlEngine
from pipeline.evaluation import EvaluationRequest
from pipeline.recipe import Recipe
from pipeline.run import Run, Stopped
from pipeline.run_folder import RunFolder, RunReader, RunWriter
from pipeline.stages.evaluate import evaluate_request

LIMIT = 8  # tokens of an answer
LONG = "Ann has one apple and Ben gives Ann two more apples. How many apples has Ann now?"


class Lengths(TrlEngine):
    """The TRL engine, which notes for how many tokens, and for how many answers in a call, it was asked to load."""

    def __init__(self):
        self.lengths, self.answers = [], []

    def generator(self, run, model, adapter=None, precision="16bit", length=0, answers=0):
        self.lengths.append(length)
        self.answers.append(answers)
        return super().generator(run, model, adapter, precision, length, answers)


@pytest.fixture
def loads(monkeypatch):
    """The folders of the models whose weights were loaded."""
    found = []

    def load_model(source, *rest, real=sampling.load_model):
        found.append(Path(source))
        return real(source, *rest)

    monkeypatch.setattr(sampling, "load_model", load_model)
    return found


@pytest.fixture
def benchmarks(tmp_path):
    """Two files: three short questions, and one longer than these."""
    files = [tmp_path / "short.csv", tmp_path / "long.csv"]
    files[0].write_text("question,answer\nWhat is 1 + 1?,2\nWhat is 2 + 1?,3\nWhat is 3 + 1?,4\n")
    files[1].write_text(f'question,answer\n"{LONG}",3\n')
    return [str(file) for file in files]


def evaluate(home, benchmarks, models=("base",), engine=None, stop=lambda folder: False, **changes):
    """Evaluate models on benchmarks in the one run of a home; gives its records."""
    recipe = Recipe.parse({"model": {"source": "tiny"}, "data": {"system_prompt": "Short."}, "evaluate": {
        "models": ["base"], "max_completion_tokens": LIMIT, "batch_size": 2}})
    folder = RunFolder(home / "runs" / "one")
    run = Run(folder, recipe, RunWriter(folder), lambda: stop(RunReader(folder)))
    run.begin("evaluate", 1)
    request = {"models": list(models), "benchmarks": benchmarks, **changes}
    try:
        evaluate_request(run, EvaluationRequest.of(recipe, request), engine or Lengths())
    finally:
        run.writer.close()
    return RunReader(folder)


def given(records):
    """What was answered, without how long it took."""
    return [{key: value for key, value in row.items() if key not in ("id", "seconds")} for row in records.answers()]


def tokens(question):
    """Of a question in the prompt that the evaluation makes of it, with its answer."""
    return len(prompt_ids(ChatTokenizer.load("tiny"), {"system": "Short.", "question": question})) + LIMIT


def test_each_model_is_loaded_once_for_its_benchmarks_and_answers_as_if_asked_one_by_one(tmp_path, benchmarks, loads):
    """Two models and two benchmarks: two loads, for the longer benchmark; one request for each pair: four loads."""
    other = shutil.copytree(model_folder("tiny"), tmp_path / "other")
    (other / "note.json").write_text("{}")  # another model, so that the first one's answers are not taken over
    engine = Lengths()
    together = evaluate(tmp_path / "together", benchmarks, ("base", str(other)), engine, measure=True)
    assert loads == [model_folder("tiny"), other]
    assert engine.lengths == [tokens(LONG)] * 2 and tokens(LONG) > tokens("What is 3 + 1?")
    assert engine.answers == [3, 3]
    for model in ("base", str(other)):
        for benchmark in benchmarks:
            apart = evaluate(tmp_path / "apart", [benchmark], (model,), measure=True)
    assert len(loads) == 2 + 4
    assert len(given(together)) == 2 * (3 + 1) and given(together) == given(apart)
    facts, expected = together.status()["evaluations"], apart.status()["evaluations"]
    assert [fact.keys() for fact in facts] == [fact.keys() for fact in expected]
    same = ("model", "benchmark", "settings", "questions", "samples", "method", "bytes", "generated", "tokenizer")
    assert [[fact[key] for key in same] for fact in facts] == [[fact[key] for key in same] for fact in expected]
    assert all(fact["peak_bytes"] > fact["bytes"] and fact["level_seconds"] > 0 for fact in facts)


def test_a_model_whose_answers_are_all_there_is_not_loaded(tmp_path, benchmarks, loads):
    """The short benchmark is answered already: with it alone nothing is loaded, with the long one that alone is asked.
    """
    evaluate(tmp_path, benchmarks[:1])
    loads.clear()
    assert len(evaluate(tmp_path, benchmarks[:1]).answers()) == 3 and loads == []
    engine = Lengths()
    records = evaluate(tmp_path, benchmarks, engine=engine)
    assert loads == [model_folder("tiny")] and engine.lengths == [tokens(LONG)] and engine.answers == [1]
    evaluate(tmp_path / "twice", benchmarks, engine=(twice := Lengths()), samples=2, temperature=1.0)
    assert twice.answers == [6]
    assert {fact["benchmark"]: fact["generated"] for fact in records.status()["evaluations"]} == dict(
        zip(benchmarks, (3, 1), strict=True))
    row = records.stages()[0]
    assert (row["done"], row["total"], row["message"]) == (4, 4, "All answers are in.")


def test_a_stop_between_two_benchmarks_keeps_the_answers_and_the_next_attempt_asks_the_rest(
        tmp_path, benchmarks, loads):
    with pytest.raises(Stopped):
        evaluate(tmp_path, benchmarks, stop=lambda records: len(records.answers()) == 3)
    records = RunReader(RunFolder(tmp_path / "runs" / "one"))
    assert [row["benchmark"] for row in records.answers()] == benchmarks[:1] * 3
    assert (records.stages()[0]["done"], records.stages()[0]["total"]) == (3, 4)
    assert len(loads) == 1
    engine = Lengths()
    assert len(evaluate(tmp_path, benchmarks, engine=engine).answers()) == 4
    assert len(loads) == 2 and engine.lengths == [tokens(LONG)]
    short = next(f for f in records.status()["evaluations"] if f["benchmark"] == benchmarks[0])
    assert short["generated"] == 3 and json.loads(short["settings"])["max_completion_tokens"] == LIMIT
