"""Evaluate more: the form's values become a checked request."""

import pytest

from pipeline.errors import RecipeError
from pipeline.evaluation import EvaluationRequest
from pipeline.run_folder import RunWriter
from pipeline.studio_home import StudioHome
from reasoning_ui.compare_more import NUMBERS, job_words, progress_words, request_of

NOTHING = ("",) * len(NUMBERS)


def test_the_form_is_as_complete_as_the_request():
    left_out = {"enabled", "batch_size", "precision", "measure"}  # not for people, or asked for in another way
    asked_elsewhere = {"models", "benchmarks", "precisions", "tags", "system_prompt"}
    assert set(EvaluationRequest.model_fields) == set(NUMBERS) | left_out | asked_elsewhere


def test_empty_fields_take_the_recipes_values(make_run):
    request = request_of(make_run({}), ["grpo"], ["test"], ["16bit"], *NOTHING, "", " ")
    assert request == {"models": ["grpo"], "benchmarks": ["test"], "precisions": ["16bit"], "system_prompt": None,
                       "tags": None}


def test_every_setting_arrives(make_run):
    values = (30, 4, 32_768, 0.05, 0.8, 0.95, 40, 0)
    request = request_of(make_run({}), ["base"], ["aime2025"], ["16bit", "4bit"], *map(str, values), "think", "Think.")
    found = EvaluationRequest.of(make_run({}).recipe(), request)
    assert [getattr(found, name) for name in NUMBERS] == list(values)
    assert found.tags.scheme == "think" and found.system_prompt == "Think." and found.precisions == ["16bit", "4bit"]


def test_what_cannot_be_is_said_before_it_is_queued(make_run):
    with pytest.raises(RecipeError, match="set the temperature"):
        request_of(make_run({}), ["grpo"], ["test"], ["16bit"], "", "8", *NOTHING[2:], "", "")
    with pytest.raises(RecipeError, match="top_p"):
        request_of(make_run({}), ["grpo"], ["test"], ["16bit"], *NOTHING[:5], "2.0", "", "", "", "")
    with pytest.raises(RecipeError, match=r"limit.*whole number"):
        request_of(make_run({}), ["grpo"], ["test"], ["16bit"], "many", *NOTHING[1:], "", "")


def test_progress_is_told_with_the_time_left_where_it_is_known():
    row = {"message": "grpo (8bit) answers test", "done": 120.0, "total": 900.0, "seconds_left": 39.2}
    assert progress_words(row) == "grpo (8bit) answers test: 120 of 900 answers, about 40 s left."
    assert progress_words({"message": "Loading", "done": 0.0, "total": None, "seconds_left": None}) == (
        "Loading: 0 answers.")
    assert progress_words({"message": "All answers are in.", "done": 9.0, "total": 9.0, "seconds_left": 0.0}) == (
        "All answers are in: 9 of 9 answers.")


def test_a_stopped_evaluation_says_how_it_goes_on(make_run, tmp_path):
    writer, home = RunWriter(make_run({})), StudioHome(tmp_path)
    home.add_run("run-1", "one", "train")
    for state, words in (("stopped", "press Evaluate again with the same settings"), ("failed", "No room. Make some.")):
        writer.set_status(state="finished",
                          job={"kind": "evaluate", "state": state, "reason": "No room.", "remedy": "Make some."})
        assert words in job_words(home, "run-1")
    writer.close()
