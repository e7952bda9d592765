"""Runs from start to end, through stops, kills, failures and a full disk, with fake stages in real processes."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from waiting import at_step, recipe, until, until_state, worker_of

from benchmarks.runs import wait_until_finished
from pipeline import jobs, locks
from pipeline.run_folder import RunReader
from pipeline.studio_home import StudioHome


def grpo_steps(home: StudioHome, run_id: str) -> list[int]:
    rows = RunReader(home.run(run_id)).metric("reward/total")
    return [row["step"] for row in rows if row["stage"] == "grpo"]


def test_a_run_goes_through_all_stages_and_says_so(home: StudioHome) -> None:
    """10 GRPO steps give the metrics 1..10 exactly once; every stage is finished on its first attempt."""
    run_id = jobs.start(home, recipe(10))
    assert jobs.state(home, run_id).state in ("running", "finished")
    assert until_state(home, run_id, "finished").reason == ""
    stages = RunReader(home.run(run_id)).stages()
    assert [(s["name"], s["state"], s["attempt"]) for s in stages] == [
        (name, "finished", 1) for name in ("prepare", "sft", "merge_sft", "grpo", "merge_grpo", "evaluate")]
    assert grpo_steps(home, run_id) == list(range(1, 11))
    assert jobs.list_runs(home)[0].last_reward == 1.0


def test_switched_off_stages_are_skipped(home: StudioHome) -> None:
    run_id = jobs.start(home, recipe(2, sft={"enabled": False}, evaluate={"enabled": False}))
    until_state(home, run_id, "finished")
    states = {s["name"]: s["state"] for s in RunReader(home.run(run_id)).stages()}
    assert states["sft"] == states["merge_sft"] == states["evaluate"] == "skipped"
    assert states["grpo"] == "finished"


def test_stop_saves_and_resume_goes_on_without_gap_or_double(home: StudioHome) -> None:
    run_id = jobs.start(home, recipe(40))
    until(at_step(home, run_id, 7))
    assert "stops after step" in jobs.stop(home, run_id)
    stopped = until_state(home, run_id, "stopped")
    assert stopped.done < 40 and not stopped.alive and "Resume" in stopped.reason
    jobs.resume(home, run_id)
    until_state(home, run_id, "finished")
    assert grpo_steps(home, run_id) == list(range(1, 41))
    stages = {s["name"]: s for s in RunReader(home.run(run_id)).stages()}
    assert stages["sft"]["attempt"] == 1 and stages["grpo"]["attempt"] == 2


def test_a_second_stop_explains(home: StudioHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_STEP_SECONDS", "1.5")
    run_id = jobs.start(home, recipe(5))
    until(lambda: jobs.state(home, run_id).stage == "sft")
    jobs.stop(home, run_id)
    assert jobs.state(home, run_id).state == "stopping"
    assert "already" in jobs.stop(home, run_id)
    until_state(home, run_id, "stopped")


def test_a_killed_worker_shows_as_interrupted_within_three_seconds_and_resumes(home: StudioHome) -> None:
    run_id = jobs.start(home, recipe(30))
    until(at_step(home, run_id, 8))
    os.kill(worker_of(home, run_id), signal.SIGKILL)
    killed = time.monotonic()
    now = until_state(home, run_id, "interrupted", seconds=3)
    assert time.monotonic() - killed < 3
    assert "killed" in now.reason and "Resume" in now.remedy
    jobs.resume(home, run_id)
    until_state(home, run_id, "finished")
    assert grpo_steps(home, run_id) == list(range(1, 31))


def test_children_of_a_killed_worker_are_gone_within_five_seconds(home: StudioHome) -> None:
    """Also one that made a process session of its own."""
    run_id = jobs.start(home, recipe(3000))
    folder = home.run(run_id).path
    (folder / "misbehave").write_text("child")
    child = int(until(lambda: (folder / "child").exists() and (folder / "child").read_text()))
    os.kill(worker_of(home, run_id), signal.SIGKILL)
    until(lambda: not psutil.pid_exists(child), seconds=5)


def test_a_stale_pid_and_lock_file_do_not_keep_a_run_alive(home: StudioHome) -> None:
    """All processes gone at once as after a power cut; the noted pid now belongs to this very test."""
    run_id = jobs.start(home, recipe(3000))
    until(at_step(home, run_id, 3))
    from waiting import end_everything
    end_everything(home)
    folder = home.run(run_id)
    folder.lock.write_text(str(os.getpid()))
    import sqlite3
    with sqlite3.connect(folder.database) as db:
        db.execute("UPDATE status SET value = ? WHERE key = 'pid'", (str(os.getpid()),))
    assert until_state(home, run_id, "interrupted", seconds=3).alive is False
    assert locks.holder(folder.lock) is None


def test_a_deaf_stage_is_ended_after_the_grace_and_says_so(home: StudioHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASONING_STUDIO_GRACE_SECONDS", "1")
    run_id = jobs.start(home, recipe(3000))
    (home.run(run_id).path / "misbehave").write_text("deaf")
    until(at_step(home, run_id, 2, "sft"))
    jobs.stop(home, run_id)
    now = until_state(home, run_id, "stopped", seconds=10)
    assert "did not stop in time" in now.reason


@pytest.mark.parametrize(("what", "reason", "remedy"), [
    ("fail", "No usable row is left", ""),
    ("oom", "ran out of GPU memory (it asked for 2.50 GiB more)", "batch size from 8 to 4 with accumulation 2"),
    ("nan", "no longer finite", "learning rate (0.0002 → 5e-05)"),
    ("exit", "SystemExit", "log"),
])
def test_a_failure_becomes_a_sentence_and_a_remedy(home: StudioHome, what: str, reason: str, remedy: str) -> None:
    run_id = jobs.start(home, recipe(3000))
    (home.run(run_id).path / "misbehave").write_text(what)
    now = until_state(home, run_id, "failed")
    assert reason in now.reason and remedy in now.remedy
    (home.run(run_id).path / "misbehave").unlink()
    jobs.resume(home, run_id)
    until_state(home, run_id, "running")


def test_a_full_disk_pauses_and_the_run_goes_on_by_itself(home: StudioHome) -> None:
    """The stage meets "no space left" once; the disk has room by then, so the worker starts it again."""
    run_id = jobs.start(home, recipe(10))
    (home.run(run_id).path / "misbehave").write_text("disk")
    until_state(home, run_id, "finished")
    assert grpo_steps(home, run_id) == list(range(1, 11))
    texts = [event["text"] for event in RunReader(home.run(run_id)).events()]
    assert any("space on the disk again" in text for text in texts)


def test_a_disk_that_is_too_small_for_one_file_is_not_tried_for_ever(home: StudioHome) -> None:
    """There is space for everything but what the stage writes: the second failure at the same place ends the run,
    and it goes on where it stopped once somebody made room."""
    run_id = jobs.start(home, recipe(10))
    (home.run(run_id).path / "misbehave").write_text("full")
    now = until_state(home, run_id, "failed")
    assert now.reason == "The disk is full." and "press Resume" in now.remedy
    (home.run(run_id).path / "misbehave").unlink()
    jobs.resume(home, run_id)
    until_state(home, run_id, "finished")
    assert grpo_steps(home, run_id) == list(range(1, 11))


def test_the_token_never_reaches_the_run_folder_or_the_home(home: StudioHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even when an error message holds it... in the store; the traceback in the log is redacted too."""
    token = "hf_" + "s3cretS3cretS3cret" * 2
    monkeypatch.setenv("HF_TOKEN", token)
    run_id = jobs.start(home, recipe(10))
    (home.run(run_id).path / "misbehave").write_text("token")
    now = until_state(home, run_id, "failed")
    assert "[HF_TOKEN]" in now.reason
    for file in Path(home.path).rglob("*"):
        if file.is_file():
            assert token.encode() not in file.read_bytes(), file


def test_files_in_the_run_folder_do_not_shadow_modules(home: StudioHome) -> None:
    run_id = jobs.start(home, recipe(3))
    for name in ("json.py", "pipeline.py", "fake_stages.py", "sitecustomize.py", "psutil.py"):
        (home.run(run_id).path / name).write_text("raise SystemExit('shadowed')")
    until_state(home, run_id, "finished")
    jobs_again = jobs.submit(home, "evaluate", run_id, request={"questions": 2})
    until(lambda: (home.run(jobs_again).path / "evaluated").exists())
    until(lambda: "'questions': 2" in (home.run(run_id).path / "evaluated").read_text())


def test_an_evaluation_beside_the_run_that_is_stopped_says_to_press_evaluate(home: StudioHome) -> None:
    """Not Resume, which a finished run has not; a run that is stopped in its own work is told which step it goes on
    from, or that it begins again (the fake stages leave no checkpoint that counts)."""
    run_id = jobs.start(home, recipe(2))
    until_state(home, run_id, "finished")
    jobs.submit(home, "evaluate", run_id, request={"questions": 3000})
    until(lambda: jobs.state(home, run_id).alive and jobs.state(home, run_id).done)
    jobs.stop(home, run_id)
    job = until(lambda: (now := jobs.state(home, run_id).job) and now["state"] == "stopped" and now)
    assert job["reason"].startswith("Stopped on request. The answers so far are kept: press Evaluate")
    long = jobs.start(home, recipe(3000))
    until(at_step(home, long, 2))
    jobs.stop(home, long)
    assert until_state(home, long, "stopped").reason == (
        "Stopped on request. Resume begins GRPO again: it had no checkpoint yet.")


def test_a_benchmark_waits_for_the_end_of_a_run_and_says_why_there_is_none(home: StudioHome) -> None:
    long = jobs.start(home, recipe(3000))
    with pytest.raises(SystemExit, match=f"Run {long} is not over after 0 s .*log.txt"):
        wait_until_finished(home, long, seconds=0)
    short, failing = jobs.start(home, recipe(2)), jobs.start(home, recipe(9))
    (home.run(failing).path / "misbehave").write_text("fail")
    jobs.stop(home, long)
    with pytest.raises(SystemExit, match=f"Run {long} is stopped. Stopped on request"):
        wait_until_finished(home, long)
    assert wait_until_finished(home, short).state == "finished"
    with pytest.raises(SystemExit, match=f"Run {failing} is failed. No usable row is left"):
        wait_until_finished(home, failing)
