"""Checkpoints count only with their `complete` marker, written last; anything else is a leftover of a crash."""

import os
import re
import shutil
from pathlib import Path

MARKER = "complete"


def checkpoint_step(folder: Path) -> int:
    """The step in a folder name such as `checkpoint-50`; -1 for any other name."""
    match = re.fullmatch(r"checkpoint-(\d+)", folder.name)
    return int(match.group(1)) if match else -1


def complete_checkpoints(folder: Path) -> list[Path]:
    """The usable checkpoints in `folder`, oldest first."""
    found = [f for f in folder.glob("checkpoint-*") if checkpoint_step(f) >= 0 and (f / MARKER).is_file()]
    return sorted(found, key=checkpoint_step)


def last_complete(folder: Path) -> Path | None:
    """The newest usable checkpoint; half-written ones are deleted on the way, since nothing can use them."""
    for leftover in folder.glob("checkpoint-*"):
        if not (leftover / MARKER).is_file():
            shutil.rmtree(leftover, ignore_errors=True)
    usable = complete_checkpoints(folder)
    return usable[-1] if usable else None


def mark_complete(checkpoint: Path) -> None:
    """Write the marker after flushing every file of the checkpoint to disk."""
    for file in checkpoint.iterdir():
        if file.is_file():
            _flush(file)
    marker = checkpoint / MARKER
    marker.write_text("complete\n", encoding="utf-8")
    _flush(marker)


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` usable checkpoints."""
    for old in complete_checkpoints(folder)[:-keep]:
        (old / MARKER).unlink(missing_ok=True)
        shutil.rmtree(old, ignore_errors=True)


def _flush(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
