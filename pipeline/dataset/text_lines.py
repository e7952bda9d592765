"""A text as lines of bounded length: one endless line must not take the machine's memory."""

import io

MAX_LINE = 16_000_000  # characters of a line, a cell, or an item of a JSON list


class LongLine(str):
    """Stands, empty, for a line that was too long to be read; `characters` tells how long."""

    characters = 0

    @classmethod
    def of(cls, characters: int) -> "LongLine":
        """The empty line with the length of what it stands for."""
        line = cls()
        line.characters = characters
        return line

    @property
    def why(self) -> str:
        """What is wrong with it."""
        return (f"has {self.characters / 1e6:,.0f} million characters in one line; at most {MAX_LINE / 1e6:.0f} "
                "million are read")


class Joined(io.TextIOBase):
    """Text that was already read, followed by the rest of its stream; lines longer than MAX_LINE are `LongLine`."""

    def __init__(self, start: str, rest: io.TextIOBase) -> None:
        self._start, self._rest = io.StringIO(start, newline=""), rest

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        line = self._start.readline()
        if not line.endswith("\n"):
            line += self._rest.readline(MAX_LINE)
        if len(line) <= MAX_LINE:
            return line
        return LongLine.of(len(line) + (0 if line.endswith("\n") else rest_of_line(self._rest)))

    def has_more(self) -> bool:
        """Whether there is anything but white space after what was read at first."""
        while chunk := self._rest.read(1 << 16):
            if chunk.strip():
                at = self._start.tell()
                self._start = io.StringIO(self._start.getvalue() + chunk, newline="")
                self._start.seek(at)
                return True
        return False

    def read(self, size: int = -1) -> str:  # type: ignore[override]
        return self._start.read(size) or self._rest.read(size)

    def __next__(self) -> str:  # type: ignore[override]
        line = self.readline()
        if line or isinstance(line, LongLine):
            return line
        raise StopIteration


def rest_of_line(text: io.TextIOBase) -> int:
    """Reads on to the end of a line, keeping nothing; gives how many characters that were."""
    count = 0
    while chunk := text.readline(1 << 20):
        count += len(chunk)
        if chunk.endswith("\n"):
            break
    return count
