"""What several seeds of a recipe show together, by hand."""

import json

import pytest

from benchmarks.gpu_pipeline import _answers
from benchmarks.seeds import as_text, compared, ways_of
from pipeline.run_folder import RunReader, RunWriter


def seed(sft: list[int], grpo: list[int], samples: int = 1) -> dict:
    rows = [{"model": name, "benchmark": "test", "precision": "16bit", "samples": samples, "temperature": 0.0,
             "right": right} for name, right in (("sft", sft), ("grpo", grpo))]
    return ways_of([*rows, {"model": "base", "benchmark": "test", "exact": 1}])  # an older file without `right`


def test_seeds_share_their_questions_so_the_question_is_the_unit() -> None:
    """Six questions; both seeds gain the same three: by question 2, 2, 2, 0, 0, 0 of 2 x 6 answers, that is half. Only
    all signs alike are as far from nothing: p = 2 / 2^3. As six answers of their own it would be 2 / 2^6."""
    one = seed([0, 0, 0, 1, 0, 0], [1, 1, 1, 1, 0, 0])
    told = compared([one, one])["test", "16bit", 1, 0.0]
    assert told["together"]["gain"] == pytest.approx(0.5)
    assert told["together"]["p"] == pytest.approx(0.25)
    assert told["together"]["low"] < 0.5 < told["together"]["high"]
    assert [(s["sft"]["count"], s["grpo"]["count"], s["p"]) for s in told["seeds"]] == [(1, 4, 0.25)] * 2
    assert "together: +50.00%" in as_text({("test", "16bit", 1, 0.0): told})


def test_several_answers_to_a_question_are_a_share_of_it_and_other_ways_are_not_mixed_in() -> None:
    """Four answers to each of two questions: 1 of 4 more right for one of them is an eighth."""
    found = compared([seed([1, 0], [2, 0], 4), seed([1, 0], [2, 0], 4) | seed([0, 0], [1, 1])])
    assert list(found) == [("test", "16bit", 4, 0.0)]
    assert found["test", "16bit", 4, 0.0]["together"]["gain"] == pytest.approx(1 / 8)
    assert "No way to ask" in as_text(compared([seed([1], [1]), seed([1], [1], 4)]))


def test_seeds_that_answered_other_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="different numbers of questions"):
        compared([seed([0, 1], [1, 1]), seed([0, 1, 0], [1, 1, 0])])


def test_the_pipeline_benchmark_keeps_the_right_answers_to_each_question(make_run, answer) -> None:
    """SFT answered two questions once, out of order; GRPO both of them twice."""
    folder = make_run({})
    writer = RunWriter(folder)
    once, twice = (json.dumps({"precision": "16bit", "samples": n, "temperature": 0.5}) for n in (1, 2))
    writer.add_answers([answer("sft", 1, True, settings=once), answer("sft", 0, False, settings=once)])
    writer.add_answers(answer("grpo", question, right, sample=sample, settings=twice)
                       for question, sample, right in ((0, 0, True), (0, 1, True), (1, 0, False), (1, 1, True)))
    writer.close()
    found = {row["model"]: row for row in _answers(RunReader(folder))}
    assert (found["sft"]["right"], found["sft"]["samples"], found["sft"]["exact"]) == ([0, 1], 1, 1)
    assert (found["grpo"]["right"], found["grpo"]["samples"], found["grpo"]["n"]) == ([2, 1], 2, 4)
