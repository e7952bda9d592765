"""A run's log cannot fill the disk: a library that says something for every token writes gigabytes in a night."""

import os
from pathlib import Path

MIB = 1024**2
MOST, HEAD, TAIL = 64 * MIB, 1 * MIB, 16 * MIB


def shorten(path: Path, most: int = MOST, head: int = HEAD, tail: int = TAIL) -> bool:
    """Cut a log of more than `most` bytes to whole lines of its first `head` and last `tail`; gives whether it did.

    Other processes may go on writing if they have it open for appending; what they write during the cut may be lost.
    Raises OSError.
    """
    size = path.stat().st_size
    if size <= most:
        return False
    with path.open("r+b") as file:
        first = file.read(head)
        first = first[:first.rfind(b"\n") + 1]
        file.seek(-tail, os.SEEK_END)
        last = file.read(tail)
        last = last[last.find(b"\n") + 1:]
        file.seek(len(first))
        file.truncate()
    left_out = (size - len(first) - len(last)) / MIB
    with path.open("ab") as file:
        file.write(f"[… {left_out:,.1f} MiB of this log were left out …]\n".encode() + last)
    return True
