"""What the time until the first step goes into."""

import json
from collections.abc import Callable

import pytest

from pipeline.engines.start import Start
from pipeline.run import Run
from pipeline.run_folder import RunReader
from pipeline.run_state import RunState


def test_each_part_is_told_while_it_lasts_and_all_of_them_when_training_begins(
        make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage begins at 100; libraries until 120, the model until 123, vLLM until 163, the rest until 164."""
    now = [100.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    run = make_run()
    run.begin("grpo", 1)
    now[0] = 120.0
    begun = Start(run, is_main=True)
    told = []
    for name, words, ends in (("model", "Loading the model", 123.0), ("vllm", "Starting vLLM", 163.0),
                              ("model", "Loading the rest", 164.0)):
        begun.loading(name, words)
        told.append(RunReader(run.folder).stages()[-1]["message"])
        now[0] = ends
    begun.ready()
    assert told == ["Loading the model", "Starting vLLM", "Loading the rest"]
    event = RunReader(run.folder).events()[-1]
    assert event["text"] == "Ready to train after 64 s (libraries 20 s, model 4 s, vllm 40 s)."
    assert json.loads(event["data"]) == {"libraries_seconds": 20.0, "model_seconds": 4.0, "vllm_seconds": 40.0}


def test_ranks_above_the_first_tell_nothing(make_run: Callable[..., Run]) -> None:
    run = make_run()
    run.begin("sft", 1)
    other = Start(run, is_main=False)
    other.loading("model", "Loading the model")
    other.ready()
    assert not RunReader(run.folder).events()


@pytest.mark.parametrize(("done", "message", "words"), [
    (0, "The first step, which also compiles", "GRPO, the first step, which also compiles"),
    (1, "", "GRPO, 1 of 40 steps"), (0, "", "GRPO, 0 of 40 steps")])
def test_before_the_first_step_the_page_says_what_is_done_meanwhile(done: int, message: str, words: str) -> None:
    state = RunState("running", stage="grpo", done=done, total=40, unit="steps", message=message)
    assert state.words == words
