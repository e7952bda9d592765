"""The queue: one run per device, the order, the next run with the app closed, and jobs that are not training."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from waiting import at_step, recipe, until, until_state, worker_of

from pipeline import jobs, locks, run_queue
from pipeline.demo import demo_recipe
from pipeline.errors import RecipeError, RunError
from pipeline.recipe import Recipe
from pipeline.run_folder import RunFolder, RunReader, RunWriter
from pipeline.studio_home import StudioHome
from pipeline.whole_paths import whole_path, whole_request
from reasoning_ui.start_tab import demo_in


def test_the_second_run_waits_says_for_whom_and_starts_by_itself(home: StudioHome) -> None:
    """Nothing calls into the queue after the two starts but reading: the first worker's keeper starts the second."""
    first = jobs.start(home, recipe(60, name="First & <b>best</b>"))
    second = jobs.start(home, recipe(2, name="Second"))
    waiting = jobs.state(home, second)
    assert waiting.state == "waiting" and waiting.position == 1 and "«First & <b>best</b>»" in waiting.reason
    until_state(home, first, "finished")
    until_state(home, second, "finished")


def test_a_killed_worker_makes_room_for_the_next(home: StudioHome) -> None:
    first = jobs.start(home, recipe(3000))
    second = jobs.start(home, recipe(2))
    os.kill(worker_of(home, first), signal.SIGKILL)
    until_state(home, second, "finished")
    assert jobs.state(home, first).state == "interrupted"


def test_the_order_of_the_queue_can_be_changed(home: StudioHome) -> None:
    running = jobs.start(home, recipe(3000))
    a, b, c = (jobs.start(home, recipe(2, name=name)) for name in "abc")
    jobs.move(home, c, -2)
    assert [row["run"] for row in run_queue.waiting(home)] == [c, a, b]
    jobs.move(home, c, 100)
    assert [row["run"] for row in run_queue.waiting(home)] == [a, b, c]
    with pytest.raises(RunError, match="not waiting"):
        jobs.move(home, running, 1)


def test_stop_takes_a_waiting_run_out_and_resume_puts_it_back(home: StudioHome) -> None:
    first = jobs.start(home, recipe(3000))
    second = jobs.start(home, recipe(2))
    assert "out of the queue" in jobs.stop(home, second)
    assert jobs.state(home, second).state == "stopped"
    jobs.resume(home, second)
    assert jobs.state(home, second).state == "waiting"
    jobs.stop(home, first)
    until_state(home, second, "finished")


def test_many_starters_at_once_never_run_two_on_one_device(home: StudioHome) -> None:
    """Three processes start a run each at the same moment: at any time at most one of the three is alive."""
    code = ("import sys; from pipeline import jobs; from pipeline.studio_home import StudioHome; "
            "from pipeline.recipe import Recipe; print(jobs.start(StudioHome(sys.argv[1]), "
            "Recipe.parse({'name': 'r', 'grpo': {'steps': 5}})))")
    starters = [subprocess.Popen([sys.executable, "-c", code, str(home.path)], stdout=subprocess.PIPE, text=True,
                                 cwd=Path(jobs.__file__).parent.parent) for _ in range(3)]
    runs = [starter.communicate(timeout=60)[0].strip() for starter in starters]

    def all_finished() -> bool:
        alive = [run for run in runs if locks.is_held(home.run(run).lock)]
        assert len(alive) <= 1, alive
        return all(jobs.state(home, run).state == "finished" for run in runs)

    until(all_finished, seconds=60)


def test_an_evaluation_is_a_job_that_waits_and_leaves_the_run_as_it_was(home: StudioHome) -> None:
    done = jobs.start(home, recipe(2))
    until_state(home, done, "finished")
    busy = jobs.start(home, recipe(40, name="Busy"))
    jobs.submit(home, "evaluate", done, request={"questions": 2})
    waiting = jobs.state(home, done)
    assert waiting.state == "waiting" and waiting.kind == "evaluate" and "«Busy»" in waiting.reason
    with pytest.raises(RunError, match="busy or waiting"):
        jobs.submit(home, "evaluate", done)
    until_state(home, busy, "finished")
    now = until_state(home, done, "finished")
    until(lambda: (jobs.state(home, done).job or {}).get("state") == "finished")
    assert now.kind == "train"
    assert (home.run(done).path / "evaluated").read_text() == "{'questions': 2}"


def test_a_missing_stage_fails_in_words(home: StudioHome) -> None:
    run_id = jobs.submit(home, "dry_run", recipe=recipe(2))
    assert jobs.list_runs(home) == [] and len(jobs.list_runs(home, kinds=None)) == 1
    assert until_state(home, run_id, "failed").reason


def test_rename_note_duplicate_delete_and_undo(home: StudioHome) -> None:
    run_id = jobs.start(home, recipe(2))
    until_state(home, run_id, "finished")
    jobs.rename(home, run_id, "  New\nname ")
    jobs.set_note(home, run_id, "a note")
    card = jobs.list_runs(home)[0]
    assert (card.name, card.note) == ("New name", "a note")
    copy = jobs.duplicate(home, run_id)
    assert copy.name == "New name (copy)" and copy.provenance is None and copy.grpo.steps == 2
    jobs.delete(home, run_id)
    assert jobs.list_runs(home) == []
    with pytest.raises(RunError):
        jobs.state(home, run_id)
    jobs.restore(home, run_id)
    assert jobs.state(home, run_id).state == "finished" and jobs.list_runs(home)[0].note == "a note"
    jobs.delete(home, run_id)
    assert jobs.empty_trash(home) == 1 and not home.trashed(run_id).exists()


def test_a_running_run_cannot_be_deleted_or_resumed(home: StudioHome) -> None:
    run_id = jobs.start(home, recipe(3000))
    until(at_step(home, run_id, 1))
    with pytest.raises(RunError, match="stop it first"):
        jobs.delete(home, run_id)
    with pytest.raises(RunError, match="running already"):
        jobs.resume(home, run_id)


def test_a_worker_reports_use_to_nobody_unless_a_person_wants_it(
        home: StudioHome, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in run_queue.DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VLLM_USE_FLASHINFER_SAMPLER", "1")
    run_id = jobs.start(home, recipe(3000))
    seen = psutil.Process(worker_of(home, run_id)).environ()
    assert {name: seen[name] for name in run_queue.DEFAULTS} == {
        "DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1", "UNSLOTH_DISABLE_STATISTICS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "VLLM_USE_FLASHINFER_SAMPLER": "1"}


def test_a_finished_run_cannot_be_resumed(home: StudioHome) -> None:
    run_id = jobs.start(home, recipe(1))
    until_state(home, run_id, "finished")
    with pytest.raises(RunError, match="duplicate it"):
        jobs.resume(home, run_id)


def test_a_full_disk_refuses_a_start_and_pauses_a_run(home: StudioHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that no disk meets stands in for a full one: the worker of another process reads the same limit."""
    monkeypatch.setenv("REASONING_STUDIO_MIN_FREE_MB", "1e12")
    with pytest.raises(RunError, match="disk is full"):
        jobs.start(home, recipe(2))
    monkeypatch.setattr("pipeline.jobs.LowDisk.problem", lambda self: None)
    run_id = jobs.start(home, recipe(3000))
    monkeypatch.undo()
    reader = RunReader(home.run(run_id))
    until(lambda: "disk is full" in reader.status().get("paused", ""))
    jobs.stop(home, run_id)
    until_state(home, run_id, "stopped")


def test_a_broken_recipe_in_the_queue_does_not_block_the_others(home: StudioHome) -> None:
    first = jobs.start(home, recipe(3000))
    broken, good = jobs.start(home, recipe(2)), jobs.start(home, recipe(2))
    home.run(broken).recipe_file.write_text("grpo: {steps: many}")
    jobs.stop(home, first)
    until_state(home, good, "finished")
    with pytest.raises(RecipeError):
        jobs.resume(home, broken)


def test_a_run_database_from_nowhere_is_told_in_words(home: StudioHome) -> None:
    run_id = jobs.start(home, recipe(1))
    until_state(home, run_id, "finished")
    until(lambda: not locks.is_held(home.device_lock("cpu")))
    home.run(run_id).database.write_bytes(b"not a database" * 1000)
    with pytest.raises(RunError, match="damaged"):
        jobs.state(home, run_id)
    card = jobs.list_runs(home)[0]
    assert card.state.state == "failed" and "damaged" in card.state.reason


def test_an_ended_runs_records_are_in_run_db_alone_though_a_reader_leaves_after_the_writer(tmp_path: Path) -> None:
    """A page reads at any moment, also while the worker closes its store: nothing may stay in the log beside it."""
    folder = RunFolder(tmp_path / "a-run")
    writer = RunWriter(folder)
    writer.set_status(state="finished")
    with contextlib.closing(sqlite3.connect(f"{folder.database.as_uri()}?mode=ro", uri=True)) as page:
        assert page.execute("SELECT key FROM status").fetchall() == [("state",)]
        writer.close()
    copy = RunFolder(tmp_path / "copy")
    copy.path.mkdir()
    shutil.copyfile(folder.database, copy.database)
    assert RunReader(copy).status() == {"state": "finished"}
    folder.database.write_bytes(b"not a database" * 1000)
    with pytest.raises(RunError, match="damaged"):
        RunReader(folder).status()


def test_a_run_says_that_it_lives_whatever_the_clock_says(home: StudioHome) -> None:
    """The clock set back by a day: the heartbeat lies in the future, the run is alive and the times do not matter."""
    run_id = jobs.start(home, recipe(3000))
    until(at_step(home, run_id, 2))
    with sqlite3.connect(home.run(run_id).database, timeout=5) as db:
        db.execute("UPDATE stages SET started = started + 86400")
    assert jobs.state(home, run_id).state == "running"
    os.kill(worker_of(home, run_id), signal.SIGKILL)
    until_state(home, run_id, "interrupted", seconds=3)


def test_files_and_folders_beside_the_caller_are_found_by_the_worker(
        home: StudioHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker has another working folder: the recipe as run holds whole paths; Hub ids and names stay."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "rows.jsonl").write_text("{}")
    monkeypatch.chdir(tmp_path)
    rows = str(tmp_path / "rows.jsonl")
    run_id = jobs.start(home, recipe(1, model={"source": "mine"}, data={"source": "./rows.jsonl"},
                                     evaluate={"benchmarks": ["test", "rows.jsonl"]}))
    made = home.run(run_id).recipe()
    assert (made.model.source, made.data.source) == (str(tmp_path / "mine"), rows)
    assert made.evaluate.benchmarks == ["test", rows]
    assert made.provenance is not None and set(made.provenance.data) == {rows}
    run_id = jobs.start(home, recipe(1, model={"source": "owner/name"}, data={"source": "gsm8k"}))
    made = home.run(run_id).recipe()
    assert (made.model.source, made.data.source) == ("owner/name", "gsm8k")


def test_a_built_in_name_stays_where_a_folder_or_file_of_that_name_lies_beside(
        home: StudioHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `./gsm8k` is the file; a run's own models and `test` are never taken for folders."""
    for name in ("tiny", "demo", "test", "sft"):
        (tmp_path / name).mkdir()
    for name in ("gsm8k", "math500"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "math500.jsonl").write_text("{}")  # so that the start need not ask the Hub for it
    monkeypatch.setenv("REASONING_STUDIO_DATA", str(tmp_path / "benchmarks"))
    monkeypatch.chdir(tmp_path)
    run_id = jobs.start(home, recipe(1, data={"source": "demo", "test_source": "gsm8k"},
                                     evaluate={"benchmarks": ["test", "math500", "./math500"]}))
    made = home.run(run_id).recipe()
    assert (made.model.source, made.data.source, made.data.test_source) == ("tiny", "demo", "gsm8k")
    assert made.evaluate.benchmarks == ["test", "math500", str(tmp_path / "math500")]
    assert made.provenance is not None and set(made.provenance.data) == {str(tmp_path / "math500")}
    asked = whole_request({"models": ["base", "sft", "grpo/checkpoint-2", "./sft", "tiny"], "benchmarks": ["demo"]})
    assert asked == {"models": ["base", "sft", "grpo/checkpoint-2", str(tmp_path / "sft"), "tiny"],
                     "benchmarks": ["demo"]}


def test_what_cannot_be_a_path_stays_as_it_is() -> None:
    for text in ("", "a" * 300, "null\0byte", "~nobody-of-that-name/model"):
        assert whole_path(text) == text


def test_the_demo_button_goes_to_the_demo_alone_and_not_to_another_run_of_its_model_and_data(home: StudioHome) -> None:
    """One with other steps runs first; the demo behind it counts while it waits; a duplicate of it does not."""
    other = demo_recipe(1).model_dump()
    jobs.start(home, Recipe.parse(other | {"grpo": other["grpo"] | {"steps": 3000}}))
    assert demo_in(home) is None
    demo = jobs.start(home, demo_recipe(1))
    jobs.start(home, jobs.duplicate(home, demo))
    assert jobs.state(home, demo).state == "waiting"
    assert demo_in(home) == demo
    jobs.stop(home, demo)
    assert demo_in(home) is None
