"""A home on storage without locks or WAL: the run lives locally, its copy is whole, and a new machine finds it."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from waiting import recipe, until, until_state

from pipeline import jobs, locks, mirror
from pipeline.errors import RunError
from pipeline.run_folder import RunFolder, RunReader


def test_an_ordinary_folder_is_a_home(tmp_path: Path) -> None:
    assert mirror.probe(tmp_path / "home") == ""
    home, notice = mirror.open_home(tmp_path / "home")
    assert home.path == tmp_path / "home" and notice == "" and mirror.target_of(home) is None


def test_a_folder_that_cannot_be_written_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="--home"):
        mirror.probe(tmp_path / "file" / "home")


def test_a_run_on_a_bucket_is_copied_whole_and_found_by_the_next_machine(
        home: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe is told that locks fail. The copy holds recipe, checkpoints and a readable run.db in one file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("pipeline.mirror._locks_work", lambda file: False)
    bucket = tmp_path / "bucket"
    local, notice = mirror.open_home(bucket)
    assert "does not support file locks" in notice and str(local.path) in notice
    run_id = jobs.start(local, recipe(10))
    until_state(local, run_id, "finished")
    until(lambda: not locks.is_held(local.device_lock("cpu")))
    copy = RunFolder(bucket / "runs" / run_id)
    assert len(RunReader(copy).metric("reward/total")) == 15 and not copy.database.with_name("run.db-wal").exists()
    assert {file.name for file in copy.checkpoints("grpo").iterdir()} == {"5", "10"}
    shutil.rmtree(local.path)
    again, _ = mirror.open_home(bucket)
    assert jobs.state(again, run_id).state == "finished" and jobs.list_runs(again)[0].name == "A run"


def test_what_is_pruned_here_is_pruned_there_and_databases_are_whole(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "checkpoint-1").mkdir(parents=True)
    (source / "checkpoint-1" / "complete").write_text("")
    with sqlite3.connect(source / "run.db") as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE t (x)")
        db.execute("INSERT INTO t VALUES (7)")
    mirror.copy_tree(source, target)
    assert (target / "checkpoint-1" / "complete").exists()
    assert sqlite3.connect(target / "run.db").execute("SELECT x FROM t").fetchall() == [(7,)]
    shutil.rmtree(source / "checkpoint-1")
    mirror.copy_tree(source, target)
    assert not (target / "checkpoint-1" / "complete").exists()
