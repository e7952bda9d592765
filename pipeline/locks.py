"""Locks that the operating system gives back when their holder dies, however it dies.

POSIX record locks (`fcntl`), because a forked child does not inherit them: a data worker that outlives the
training process cannot keep a run looking alive. Two traps of theirs are handled here. Closing *any* descriptor
of a locked file drops the lock of the whole process, so a process never opens a file again that it holds; and two
threads of one process do not exclude each other, so a table of the held paths does. Probing asks (`F_GETLK`) and
never takes, and names the holder's pid: a pid noted in a file may long belong to somebody else.
"""

import fcntl
import os
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import RunError

_table = threading.Lock()
_held: dict[str, int] = {}  # real path -> descriptor
os.register_at_fork(after_in_child=_held.clear)


def take(path: Path) -> bool:
    """Lock a file for the life of this process, or until `release`; False when it is held already."""
    key = os.path.realpath(path)
    with _table:
        if key in _held:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(key, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except PermissionError:  # some systems answer EACCES for "held"
            os.close(descriptor)
            return False
        _held[key] = descriptor
        return True


def release(path: Path) -> None:
    """Give a lock back; nothing happens when we do not hold it."""
    with _table:
        descriptor = _held.pop(os.path.realpath(path), None)
        if descriptor is not None:
            os.close(descriptor)


def holder(path: Path) -> int | None:
    """The pid that holds the lock, None when it is free; 0 is a holder whose pid cannot be seen from here."""
    key = os.path.realpath(path)
    with _table:
        if key in _held:
            return os.getpid()
        try:
            descriptor = os.open(key, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return _ask(descriptor)
        finally:
            os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether anybody holds the lock."""
    return holder(path) is not None


@contextmanager
def holding(path: Path, timeout_seconds: float = 30.0, what: str = "the home folder") -> Iterator[None]:
    """Wait for a lock and hold it for a block. Raises RunError when it is still taken after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while not take(path):
        if time.monotonic() > deadline:
            raise RunError(f"{what} has been locked by process {holder(path)} for {timeout_seconds:.0f} s: "
                           "end that process, or try again.")
        time.sleep(0.02)
    try:
        yield
    finally:
        release(path)


# ----------------------------------------------------------------------------------------------------

# struct flock: macOS puts the type last.
_FORMAT, _TYPE, _PID = ("qqihh", 3, 2) if sys.platform == "darwin" else ("hhqqi", 0, 4)


def _ask(descriptor: int) -> int | None:
    values = [0] * 5
    values[_TYPE] = fcntl.F_WRLCK
    answer = struct.unpack(_FORMAT, fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(_FORMAT, *values)))
    return None if answer[_TYPE] == fcntl.F_UNLCK else max(answer[_PID], 0)
