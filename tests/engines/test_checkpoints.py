"""A checkpoint without its marker is a leftover and must never be resumed from."""

from pathlib import Path

from pipeline.engines.checkpoints import complete_checkpoints, last_complete, mark_complete, prune


def _checkpoint(folder: Path, step: int, complete: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "adapter.bin").write_bytes(b"weights")
    if complete:
        mark_complete(path)
    return path


def test_the_newest_complete_checkpoint_is_found_by_number_not_by_name(tmp_path):
    """checkpoint-9 sorts after checkpoint-10 as text; 10 is the newer one."""
    _checkpoint(tmp_path, 9)
    newest = _checkpoint(tmp_path, 10)
    assert last_complete(tmp_path) == newest


def test_a_half_written_checkpoint_is_ignored_and_removed(tmp_path):
    whole = _checkpoint(tmp_path, 2)
    half = _checkpoint(tmp_path, 4, complete=False)
    assert last_complete(tmp_path) == whole
    assert not half.exists()


def test_no_checkpoint_gives_none(tmp_path):
    assert last_complete(tmp_path / "missing") is None


def test_pruning_keeps_the_newest(tmp_path):
    """Of the steps 1 to 5 the newest two are 4 and 5."""
    for step in range(1, 6):
        _checkpoint(tmp_path, step)
    prune(tmp_path, keep=2)
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["checkpoint-4", "checkpoint-5"]
