"""What a run folder that was copied half says when something of it is taken away: no file that is not whole leaves."""

import errno
import os
from pathlib import Path

import pytest

from pipeline import export
from pipeline.errors import StudioError
from pipeline.export_hub import plan
from pipeline.studio_home import StudioHome
from reasoning_ui.export_tab import _refresh
from tests.export.test_cli_export import run

WEIGHTS = "models/grpo/model.safetensors"
ADAPTER = "adapters/grpo/adapter_model.safetensors"


@pytest.mark.parametrize(("file", "size", "what", "says"), [
    (WEIGHTS, 1_500_000, "model", "model.safetensors is truncated: 1,500,000 of "),
    (WEIGHTS, 1_500_000, "f16", "is truncated"),
    (WEIGHTS, 6, "model", "is not a safetensors file"),
    (WEIGHTS, 100, "model", "its header claims"),
    (WEIGHTS, None, "model", "no *.safetensors is missing"),
    ("models/grpo/tokenizer.json", None, "model", "has no tokenizer.json"),
    ("models/grpo/config.json", None, "model", "The merged GRPO model is not whole"),
    (ADAPTER, 20, "adapter", "adapter_model.safetensors is not a safetensors file: its header claims"),
    (ADAPTER, None, "adapter", "adapter_model.safetensors cannot be read"),
    ("adapters/grpo/adapter_config.json", None, "adapter", "has no GRPO adapter")])
def test_a_half_file_is_told_and_not_packed(finished, capsys, file, size, what, says):
    """Also by the command line with the default stage, which does not fall back to another model in silence."""
    if size is None:
        (finished.path / file).unlink()
    else:
        os.truncate(finished.path / file, size)
    code, document = run(finished, capsys, what)
    assert code == 2 and says in document["error"], document
    assert list(export.exports(finished).iterdir()) == []


@pytest.mark.parametrize("file", [WEIGHTS, ADAPTER])
def test_the_check_of_a_merge_and_an_upload_need_whole_files(home, finished, file):
    os.truncate(finished.path / file, 100)
    with pytest.raises(StudioError, match="safetensors"):
        export.merge_check(finished, "grpo")
    if file == WEIGHTS:
        with pytest.raises(StudioError, match="safetensors"):
            plan(home, finished, "grpo", "me/model")


def test_the_export_tab_opens_with_half_a_model(finished):
    (finished.path / WEIGHTS).unlink()
    (_, _, choices, *_) = _refresh(StudioHome(finished.path.parent.parent), finished.id)
    assert [name for name, _ in choices["choices"]] == ["GRPO (not whole)", "SFT (4.0 MB)"]


def test_a_text_that_does_not_fit_on_the_disk_leaves_nothing_behind(finished, monkeypatch):
    """Half a recipe would be offered as one. A writer that fails in the middle stands for the disk."""
    def full(path, text, **kwargs):
        path.write_bytes(text[:10].encode())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        export.text_file(finished, "recipe.yaml", "name: a recipe that is long")
    assert list(export.exports(finished).iterdir()) == []


def test_a_gguf_file_is_offered_only_when_it_was_checked(finished, monkeypatch):
    """An export that is killed in the middle of the check leaves no file that looks ready."""
    seen = []

    def check(kind, folder, file):
        seen.extend([Path(file).is_file(), export.existing(finished)])
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "run_check", check)
    with pytest.raises(KeyboardInterrupt):
        export.gguf_file(finished, "grpo", "f16")
    assert seen == [True, []] and list(export.exports(finished).iterdir()) == []


def test_a_file_where_the_folder_of_exports_belongs_is_told(finished, capsys):
    (finished.path.parent.parent / "exports").write_text("")
    code, document = run(finished, capsys, "recipe")
    assert code == 1 and "The file system refused: Not a directory (" in document["error"]
