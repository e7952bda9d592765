"""Models that answered the same questions in several ways: like is compared with like, and a way can be chosen."""

import json

import pytest

from pipeline import comparison, report
from pipeline.run_folder import RunWriter
from pipeline.studio_home import StudioHome
from reasoning_ui import compare_calls


def asked(**more):
    return json.dumps({"data": "d", "max_completion_tokens": 64, "model": "m", "precision": "16bit", "samples": 1,
                       "temperature": 0.0, **more})


GREEDY, SAMPLED, GREEDY_4BIT = asked(), asked(samples=2, temperature=0.5), asked(precision="4bit")


@pytest.fixture
def store(tmp_path, make_run, answer):
    """A run's answers: base greedy, and after it what is given as (model, settings), each right once in two."""
    def make(*rounds):
        folder = make_run({})
        writer = RunWriter(folder)
        for model, settings in [("base", GREEDY), *rounds]:
            writer.add_answers(answer(model, i, i % 2 == 0, sample=s, settings=settings)
                               for i in range(20) for s in range(json.loads(settings)["samples"]))
        writer.close()
        return folder
    return make


def of(rows):
    return {c.key: c.samples for c in comparison.contestants(rows)}


def test_all_count_as_asked_the_way_of_the_newest_answers(store):
    """Greedy, then sampled, then 4-bit greedy: the 16-bit models count as greedy too, so nobody is told to mind."""
    folder = store(("sft", GREEDY), ("grpo", GREEDY), ("sft", SAMPLED), ("grpo", SAMPLED), ("grpo", GREEDY_4BIT))
    rows, _ = comparison.load(folder)
    assert of(rows) == {"base": 1, "sft": 1, "grpo": 1, "grpo@4bit": 1}
    assert not any("different settings" in test.sentence for test in comparison.tests(rows))
    assert report.recommendation(rows, comparison.tests(rows))


def test_who_was_never_asked_that_way_counts_by_its_own_newest_and_it_is_said(store):
    rows, _ = comparison.load(store(("sft", GREEDY), ("grpo", GREEDY), ("sft", SAMPLED), ("grpo", SAMPLED)))
    assert of(rows) == {"base": 1, "sft": 2, "grpo": 2}
    told = {(t.a, t.b): "different settings" in t.sentence for t in comparison.tests(rows, ["exact"])}
    assert told == {("base", "sft"): True, ("base", "grpo"): True, ("sft", "grpo"): False}


def test_no_precision_is_recommended_over_one_that_was_asked_otherwise(store):
    rows, _ = comparison.load(store(("grpo", GREEDY_4BIT), ("grpo", SAMPLED)))
    assert "evaluate all precisions in one go" in report.recommendation(rows, comparison.tests(rows))


def test_a_way_can_be_chosen_on_the_page(tmp_path, store):
    store(("sft", GREEDY), ("grpo", GREEDY), ("sft", SAMPLED), ("grpo", SAMPLED))
    home = StudioHome(tmp_path)
    look = {f.__name__: f for f in compare_calls.server_functions(home)}["compare_look"]
    newest = look({"run": "run-1", "benchmark": "test"})
    assert [words for _, words in newest["ways"]] == [
        "as last asked", "2 answers each, temperature 0.5", "1 answer each, temperature 0"]
    greedy = look({"run": "run-1", "benchmark": "test", "way": newest["ways"][2][0], "seen": newest["seen"]})
    assert greedy["way"] == newest["ways"][2][0]
    sampled = look({"run": "run-1", "benchmark": "test", "way": newest["ways"][1][0]})
    assert "Base" in greedy["summary"] and "Base" not in sampled["summary"]
    assert look({"run": "run-1", "benchmark": "test", "way": "rubbish"})["way"] == ""


def test_a_run_that_was_asked_in_one_way_offers_no_choice(tmp_path, store):
    store(("sft", GREEDY))
    look = {f.__name__: f for f in compare_calls.server_functions(StudioHome(tmp_path))}["compare_look"]
    assert look({"run": "run-1", "benchmark": "test"})["ways"] == []


def test_ways_that_differ_in_something_else_say_in_what():
    ways = [json.dumps(json.loads(asked(**more))) for more in (
        {}, {"max_completion_tokens": 128}, {"data": "e"}, {"data": "f"})]
    ways = [comparison.way_of(json.loads(way)) for way in ways]
    assert comparison.way_words(ways) == [
        "1 answer each, temperature 0, at most 64 tokens", "1 answer each, temperature 0, at most 128 tokens",
        "1 answer each, temperature 0, at most 64 tokens, other questions",
        "1 answer each, temperature 0, at most 64 tokens, other questions (4)"]
