"""What is told of a run that was cut off or waits for the disk, from records written by hand, without processes."""

import errno
import io
import time
from collections.abc import Iterator

import pytest
from rich.console import Console
from waiting import recipe

from pipeline import follow, jobs, locks, run_queue
from pipeline.failures import explain
from pipeline.resuming import way_on
from pipeline.run_folder import AnswerRecord, RunFolder, RunWriter
from pipeline.run_state import RunState
from pipeline.studio_home import StudioHome
from reasoning_ui.live_show import show
from reasoning_ui.runs_cards import list_html


@pytest.fixture
def written(home: StudioHome, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunFolder]:
    """A run in which nothing works."""
    monkeypatch.setattr(run_queue, "advance", lambda home: [])
    folder = home.run(jobs.start(home, recipe(20)))
    home.write("DELETE FROM queue")
    yield folder
    locks.release(folder.lock)


def cut_off(folder: RunFolder, stage: str, **status: object) -> None:
    writer = RunWriter(folder)
    writer.set_status(**{"state": "running", "stage": stage, **status})
    writer.set_stage(stage, state="running", done=0, total=None, attempt=1)
    writer.close()


def answers(folder: RunFolder, count: int) -> None:
    writer = RunWriter(folder)
    writer.add_answers(AnswerRecord("grpo", "test", "{}", i, 0, "1 + 1?", "2", "It is 2.", "2", True, True,
                                    True, True, 3, False, 0.1) for i in range(count))
    writer.close()


def test_a_run_killed_in_its_evaluation_says_which_answers_are_kept(home: StudioHome, written: RunFolder) -> None:
    """Not "from the last checkpoint": an evaluation has none, and it asks again only what has no stored answer."""
    cut_off(written, "evaluate")
    now = jobs.state(home, written.id)
    assert now.state == "interrupted"
    assert now.remedy == ("The models are kept; no answer was stored yet. Resume asks only the questions that are "
                          "still open.")
    answers(written, 7)
    assert jobs.state(home, written.id).remedy.startswith(
        "The models are kept, and so are the 7 answers that were stored. Resume asks only")


@pytest.mark.parametrize(("stage", "step", "remedy"), [
    ("prepare", None, "Resume begins this part again."), ("sft", None, "Resume begins SFT again: it had no checkpoint"),
    ("grpo", 15, "Resume goes on from the last checkpoint (step 15)."), ("merge_grpo", None, "Resume merges again;")])
def test_a_run_killed_in_another_stage_says_what_is_done_again(home: StudioHome, written: RunFolder, stage: str,
                                                              step: int | None, remedy: str) -> None:
    cut_off(written, stage)
    if step is not None:
        for number, whole in ((step, True), (step + 5, False)):  # the half-written one does not count
            folder = written.checkpoints(stage) / f"checkpoint-{number}"
            folder.mkdir(parents=True)
            if whole:
                (folder / "complete").touch()
    assert jobs.state(home, written.id).remedy.startswith(remedy)


def test_a_run_that_ended_between_two_parts_goes_on_with_the_next(home: StudioHome, written: RunFolder) -> None:
    """A stop that is heard before GRPO begins: the merge before it is finished, and is not done again."""
    cut_off(written, "merge_sft")
    writer = RunWriter(written)
    writer.set_stage("merge_sft", state="finished", done=1, total=1)
    writer.close()
    assert jobs.state(home, written.id).remedy == "Resume goes on with the next part."


def test_a_process_that_is_held_up_promises_no_time(home: StudioHome, written: RunFolder) -> None:
    """Its last sign of life is two minutes old: what was left then is not what is left now."""
    for age, left in ((1, 120.0), (120, None)):
        cut_off(written, "grpo", heartbeat=time.time() - age)
        writer = RunWriter(written)
        writer.set_stage("grpo", done=3, total=20, unit="steps", seconds_left=120.0)
        writer.close()
        assert locks.is_held(written.lock) or locks.take(written.lock)
        now = jobs.state(home, written.id)
        assert now.seconds_left == left and ("no sign of life" in now.reason) == (left is None)
        assert ("about 2 min left" in now.words) == (left is not None)


def test_an_evaluation_asked_for_later_that_was_killed_says_how_it_goes_on(home: StudioHome,
                                                                           written: RunFolder) -> None:
    """Resume is for the run's own work, which is finished: the same evaluation is asked for again."""
    cut_off(written, "evaluate", state="finished", job={"kind": "evaluate", "state": "running"})
    now = jobs.state(home, written.id)
    assert now.state == "finished" and "press Evaluate on the Compare tab again" in now.remedy
    full = explain(OSError(errno.ENOSPC, "No space left on device"), recipe(20), "evaluate", way_on(written))
    assert full.remedy.endswith("then press Evaluate again.")
    for error in (MemoryError(), RuntimeError("CUDA out of memory"), KeyError("odd")):
        assert "Resume" not in (told := explain(error, recipe(20), "evaluate", way_on(written)).remedy), told
        assert "Try again with less memory" not in told and "press Evaluate" in told


@pytest.mark.parametrize("stage", ["prepare", "sft", "merge_sft", "grpo", "merge_grpo", "evaluate"])
def test_a_failure_tells_the_same_way_on_as_a_run_that_was_cut_off_there(home: StudioHome, written: RunFolder,
                                                                        stage: str) -> None:
    """Also that GRPO begins again where it had no checkpoint yet, and from which step where it had one."""
    for checkpoint in (None, 10):
        if checkpoint is not None:
            folder = written.checkpoints("grpo") / f"checkpoint-{checkpoint}"
            folder.mkdir(parents=True)
            (folder / "complete").touch()
        cut_off(written, stage)
        words = jobs.state(home, written.id).remedy
        assert words and ("(step 10)" in words) == (stage == "grpo" and checkpoint == 10)
        for error in (KeyError("odd"), RuntimeError("CUDA error: an illegal memory access was encountered")):
            assert words in explain(error, recipe(20), stage, way_on(written)).remedy


@pytest.mark.parametrize("kind", ["dry_run", "sample", "ask"])
def test_what_is_just_asked_anew_names_no_resume(home: StudioHome, written: RunFolder, kind: str) -> None:
    """The Rewards and Compare tabs have none. Neither when the work failed, nor when it was cut off."""
    cut_off(written, "prepare", kind=kind)
    assert jobs.state(home, written.id).remedy == ""
    for error in (KeyError("odd"), RuntimeError("CUDA out of memory"), OSError(errno.ENOSPC, "No space left")):
        assert "Resume" not in explain(error, recipe(20), "prepare", way_on(written)).remedy


@pytest.fixture
def paused(home: StudioHome, written: RunFolder, monkeypatch: pytest.MonkeyPatch) -> RunState:
    """A run at 3 of 20 steps that lives, with two minutes left, as the disk fills up."""
    cut_off(written, "grpo")
    writer = RunWriter(written)
    writer.set_stage("grpo", done=3, total=20, unit="steps", seconds_left=120.0)
    writer.close()
    assert locks.take(written.lock)
    assert "about 2 min left" in jobs.state(home, written.id).words
    monkeypatch.setenv("REASONING_STUDIO_MIN_FREE_MB", "1e12")
    return jobs.state(home, written.id)


def test_a_paused_run_says_what_it_waits_for_and_what_to_do_and_no_time(paused: RunState) -> None:
    assert paused.paused and paused.state == "running" and paused.seconds_left is None
    assert paused.words == "GRPO, 3 of 20 steps, paused"
    assert paused.reason.startswith("Paused: the disk is full (")
    assert "goes on by itself when" in paused.reason and "Runs tab deletes old runs" in paused.reason


def test_a_paused_run_is_paused_on_live_runs_and_in_the_terminal(home: StudioHome, paused: RunState) -> None:
    card = jobs.list_runs(home)[0]
    head = show(home, {"run": card.id})["head"]
    assert head["paused"] and head["left"] is None and head["reason"] == paused.reason
    cards = list_html([card], "")
    assert "‖ paused" in cards and "● running" not in cards and "left" not in cards and "disk is full" in cards
    told = io.StringIO()
    assert follow._figures(paused) == paused.reason
    Console(file=told).print(paused.words)
    assert "left" not in told.getvalue()


def test_a_run_that_waits_behind_a_paused_one_is_told_so(home: StudioHome, paused: RunState,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REASONING_STUDIO_MIN_FREE_MB")
    second = jobs.start(home, recipe(2))
    monkeypatch.setenv("REASONING_STUDIO_MIN_FREE_MB", "1e12")
    assert "(GRPO, 3 of 20 steps, paused)" in jobs.state(home, second).reason
