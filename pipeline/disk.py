"""Disk space: when a run has to pause for it, and what a folder takes."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

MIB, GIB = 2**20, 2**30


@dataclass(frozen=True)
class LowDisk:
    """Says whether the disk under a folder has too little space to go on."""

    folder: Path

    def problem(self) -> str | None:
        """A sentence, or None when there is room. `REASONING_STUDIO_MIN_FREE_MB` sets the limit (default 300)."""
        needed = float(os.environ.get("REASONING_STUDIO_MIN_FREE_MB", "300")) * MIB
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError:
            return None
        if free >= needed:
            return None
        return (f"Paused: the disk is full ({free / MIB:.0f} MB free in {self.folder.parent}). "
                f"It goes on by itself when {needed / MIB:.0f} MB are free: the Runs tab deletes old runs and "
                "checkpoints.")


def room_problem(folder: Path, needed: float, what: str) -> str | None:
    """A sentence when `folder`, which is made, lacks the bytes that something to be written needs; otherwise None."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free >= needed:
        return None
    return (f"{what} needs {in_words(needed)} and {in_words(free)} are free in {str(folder)!r}: make room first "
            "(the Runs tab deletes old runs and checkpoints), then go on.")


def folder_bytes(folder: Path) -> int:
    """What the files below a folder take on disk; hard links count once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for directory, _, files in os.walk(folder):
        for name in files:
            try:
                stat = os.lstat(os.path.join(directory, name))
            except OSError:
                continue
            if (stat.st_dev, stat.st_ino) not in seen:
                seen.add((stat.st_dev, stat.st_ino))
                total += stat.st_blocks * 512
    return total


def in_words(size: float) -> str:
    """A size for people: 12 MB, 3.4 GB."""
    for unit, factor in (("GB", GIB), ("MB", MIB), ("kB", 1024)):
        if size >= factor:
            value = size / factor
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{size:.0f} bytes"
