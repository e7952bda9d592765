"""The command line on what is damaged, unreadable or asked for wrongly: one sentence that says what to do, no run."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_cli import call
from waiting import recipe

from pipeline import cli, jobs
from pipeline.run_folder import AnswerRecord, RunFolder, RunWriter
from pipeline.studio_home import StudioHome


@pytest.fixture
def folder(home: StudioHome) -> RunFolder:
    """A run that has answers to its test questions and no worker."""
    folder = RunFolder(home.runs_dir / "20260101-0000-a-run-0001")
    folder.path.mkdir(parents=True)
    folder.recipe_file.write_text(recipe(3).to_yaml())
    home.add_run(folder.id, "A run", "train")
    writer = RunWriter(folder)
    writer.add_answers([AnswerRecord("base", "test", "{}", 0, 0, "1+1?", "2", "2", "2", True, True, True, True, 1,
                                     False, 0.1)])
    writer.close()
    return folder


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def as_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


@pytest.mark.parametrize(("damage", "arguments", "says"), [
    (lambda run: half(run.database), ["show"], "run.db again from where the run came, or delete the run; its models"),
    (lambda run: run.database.write_bytes(b"rubbish" * 900), ["compare"], "are damaged: file is not a database. Copy"),
    (lambda run: as_folder(run.database), ["show"], "run.db is a file that may be read"),
    (lambda run: as_folder(run.log), ["log"], "The file system refused: Is a directory ("),
    (lambda run: run.recipe_file.unlink(), ["show"], "Cannot read the recipe"),
    (lambda run: None, ["compare", "--benchmark", "nope"], "has no answers to 'nope', only to test: choose one of"),
    (lambda run: None, ["evaluate", "--model", "tiny"], "a run or --model, not both"),
    (lambda run: None, ["evaluate", "--precisions", "3bit"], "precisions.0: must be '16bit'"),
    (lambda run: None, ["evaluate", "--samples", "0"], "samples: must be a whole number from 1")])
def test_a_run_that_is_damaged_or_asked_wrongly_says_what_to_do(
        home: StudioHome, folder: RunFolder, capsys: pytest.CaptureFixture[str], damage: Callable[[RunFolder], Any],
        arguments: list[str], says: str) -> None:
    damage(folder)
    code, document = call(capsys, arguments[0], folder.id, *arguments[1:])
    assert code in (1, 2) and list(document) == ["error"] and says in document["error"], document
    assert home.read("SELECT * FROM queue") == []


@pytest.mark.parametrize(("arguments", "says"), [
    (["demo", "--seed", "-1"], "seed: must be a whole number from 0 to 2,147,483,647 (it is -1)"),
    (["dry-run", "--prompts", "0"], "prompts: must be a whole number from 1 to 256 (it is 0)"),
    (["dry-run", "--prompts", "300"], "prompts: must be a whole number from 1 to 256 (it is 300)"),
    (["evaluate", "--model", "tiny", "--data", "demo", "--models", "sft"], "--models names models of a run"),
    (["score", "/nonexistent.jsonl"], "with one JSON object a line")])
def test_what_cannot_be_done_is_told_before_a_run_is_made(
        home: StudioHome, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    code, document = call(capsys, *arguments)
    assert code == 2 and says in document["error"]
    assert jobs.list_runs(home, kinds=None) == []


@pytest.mark.parametrize("unknown", [False, True])
def test_a_run_of_somebody_else_that_may_not_be_read_hides_no_other(
        home: StudioHome, folder: RunFolder, capsys: pytest.CaptureFixture[str], unknown: bool) -> None:
    """As after a start with sudo; known to this home, or copied into it. The administrator of a machine may read it
    all the same (then there is nothing to see here)."""
    other = RunFolder(home.runs_dir / "20260101-0000-another-0002")
    other.path.mkdir()
    other.recipe_file.write_text(recipe(3).to_yaml())
    if not unknown:
        home.add_run(other.id, "Another", "train")
    os.chmod(other.path, 0)
    try:
        code, document = call(capsys, "list")
        shown, told = call(capsys, "show", other.id)
        readable = os.access(other.recipe_file, os.R_OK)
    finally:
        os.chmod(other.path, 0o700)
    assert code == 0 and folder.id in [run["id"] for run in document["runs"]]
    if not readable:
        assert shown == 2 and "may be read" in told["error"]
        assert {run["state"]["state"] for run in document["runs"] if run["id"] == other.id} == (
            set() if unknown else {"failed"})


def test_a_run_in_a_folder_that_may_not_be_written_is_read(folder: RunFolder,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    os.chmod(folder.path, 0o500)
    try:
        code, document = call(capsys, "compare", folder.id)
    finally:
        os.chmod(folder.path, 0o700)
    assert code == 0 and document["base"]["questions"] == 1


def test_an_error_of_the_system_without_a_file_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be a fault of this project, whose place only the traceback names."""
    def fail(options: object) -> None:
        raise OSError("no file")

    monkeypatch.setattr(cli.cli_runs, "list_all", fail)
    with pytest.raises(OSError, match="no file"):
        cli.main(["list"])
