"""The home: ids that stay inside it, schema versions, what people say, and folders that appear by hand."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import recipe

from pipeline import locks, studio_home
from pipeline.errors import RunError
from pipeline.studio_home import StudioHome, default_home


@pytest.mark.parametrize("run_id", ["..", "../x", "/etc", "a/b", "", "A", "a b", ".hidden", "x" * 200, "ab\x00c", None,
                                    3, "-rf", "a%2f..", "abc\n"])
def test_only_ids_of_runs_reach_the_disk(home: StudioHome, run_id: object) -> None:
    for call in (home.run, home.trashed, home.about, home.ask_stop):
        with pytest.raises(RunError):
            call(run_id)  # type: ignore[arg-type]


def test_a_link_out_of_the_home_is_not_a_run(home: StudioHome, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (home.runs_dir / "a-link").symlink_to(tmp_path / "secret")
    with pytest.raises(RunError, match="no run"):
        home.run("a-link")


def test_the_home_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REASONING_STUDIO_HOME", str(tmp_path / "here"))
    assert default_home() == tmp_path / "here"
    monkeypatch.delenv("REASONING_STUDIO_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert default_home() == tmp_path / ".reasoning-studio"


def test_an_older_home_is_migrated_and_keeps_its_runs(home: StudioHome, monkeypatch: pytest.MonkeyPatch) -> None:
    home.add_run("run-one", "One", "train")
    monkeypatch.setattr(studio_home, "MIGRATIONS", (*studio_home.MIGRATIONS, "ALTER TABLE runs ADD COLUMN colour TEXT"))
    again = StudioHome(home.path)
    assert again.about("run-one")["colour"] is None and again.about("run-one")["name"] == "One"


def test_a_newer_home_is_refused_in_words(home: StudioHome) -> None:
    with sqlite3.connect(home.database) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(RunError, match="newer version"):
        StudioHome(home.path)


def test_a_home_that_cannot_be_written_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="--home"):
        StudioHome(tmp_path / "file")


def test_a_run_folder_put_there_by_hand_is_taken_in(home: StudioHome) -> None:
    folder = home.runs_dir / "20260101-0000-copied-abcd"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(recipe(2, name="Copied").to_yaml())
    assert [row["name"] for row in home.known_runs()] == ["Copied"]
    shutil.rmtree(home.database.parent / "nothing", ignore_errors=True)


def test_what_people_say_is_kept(home: StudioHome) -> None:
    home.add_mark("run-one", "grpo", 12, "it learnt")
    home.set_vote("run-one", "q3", {"better": "grpo"})
    home.set_vote("run-one", "q3", {"better": "sft"})
    home.set_setting("theme", "dark")
    assert [(m["step"], m["text"]) for m in home.marks("run-one")] == [(12, "it learnt")]
    assert home.votes("run-one") == {"q3": {"better": "sft"}} and home.setting("theme") == "dark"
    home.remove_mark("run-one", home.marks("run-one")[0]["id"])
    assert home.marks("run-one") == [] and home.setting("absent", 5) == 5


def test_a_lock_ends_with_its_process_and_not_with_its_forked_child(tmp_path: Path) -> None:
    """The child of the lock's holder lives on for a minute; the lock is free as soon as the holder is killed."""
    code = ("import os, sys, time; from pathlib import Path; from pipeline import locks; "
            "taken = locks.take(Path(sys.argv[1])); os.fork() and print(taken, flush=True); time.sleep(60)")
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True,
                              cwd=Path(locks.__file__).parent.parent, start_new_session=True)
    assert holder.stdout is not None and holder.stdout.readline().strip() == "True"
    assert locks.holder(tmp_path / "lock") == holder.pid and not locks.take(tmp_path / "lock")
    holder.kill()
    holder.wait()
    assert locks.holder(tmp_path / "lock") is None and locks.take(tmp_path / "lock")
    assert locks.holder(tmp_path / "lock") == os.getpid() and not locks.take(tmp_path / "lock")
    locks.release(tmp_path / "lock")
    os.killpg(holder.pid, 9)


def test_a_run_that_a_reader_took_in_before_it_was_noted_is_noted_all_the_same(home: StudioHome) -> None:
    """The folder appears before its row: whoever lists the runs in between adopts it, and starting must not fail."""
    folder = home.runs_dir / "20260101-0000-a-run-0000"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(recipe().to_yaml(), encoding="utf-8")
    assert [row["kind"] for row in home.known_runs()] == ["train"]
    home.add_run(folder.name, "Mine", "dry_run")
    assert [(row["name"], row["kind"]) for row in home.known_runs()] == [("Mine", "dry_run")]
