"""What the report says of rows: left out or kept, and when a reasoning ends in another number than the answer."""

import json
from pathlib import Path

import pytest

from pipeline.dataset.chat import ChatTokenizer
from pipeline.dataset.prepare import prepare_parts
from pipeline.dataset.quality import disagrees
from pipeline.recipe import DataStep


@pytest.mark.parametrize(("reasoning", "reference", "expected"), [
    ("So it is 5.", "6", True), ("So it is 5.", "9 apples", True), ("So it is 5.", "5.0", False),
    ("So it is 5.", "$5", False), ("So 1,000.", "1000", False), ("It is 0.333333333.", "1/3", False),
    ("So it is 50%.", "50", False), ("So it is 5.", "nan", False), ("So it is 5.", "inf", False),
    ("So it is 5.", "1_0", False)])
def test_they_disagree_only_where_both_are_numbers_for_the_answer_check(reasoning: str, reference: str,
                                                                        expected: bool) -> None:
    """`nan`, `inf` and `1_0` are numbers for Python's float() alone."""
    assert disagrees(reasoning, reference) is expected


def test_a_row_that_was_left_out_is_not_told_as_kept_too(tmp_path: Path) -> None:
    """Of 42 rows, one has neither answer nor a sentence that could be one: it is left out, and told once."""
    rows = [{"question": f"What is {i} + 1?", "reasoning": f"We add one to {i}.", "answer": str(i + 1)}
            for i in range(41)]
    rows.append({"question": "Who knows?", "reasoning": "Nobody", "answer": "nan"})
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = prepare_parts(DataStep(source=str(file)), ChatTokenizer.load("tiny"), seed=1, max_length=512,
                           max_completion_tokens=64, out=tmp_path / "out")
    assert (report.kept, report.references_missing, report.dropped["no_answer"].count) == (41, 1, 1)
    assert "no_reference" not in report.noticed
