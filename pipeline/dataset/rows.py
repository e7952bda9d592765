"""Numbered rows of any source: good ones as dicts, and those that cannot be read with the reason."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Broken:
    """A row that cannot be read, and why."""

    row: int
    why: str


@dataclass
class Rows:
    """Numbered rows of one source: an iterator of (number from 1, dict) pairs and Broken rows. Read once."""

    rows: Iterator[tuple[int, dict[str, Any]] | Broken]
    kind: str = ""  # JSONL, CSV, …
    notes: list[str] = field(default_factory=list)  # what was noticed while reading, in words
    total: int | None = None  # number of rows, where the source knows it

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
        return self.rows

    def first(self, count: int) -> tuple[list[tuple[int, dict[str, Any]]], list[Broken]]:
        """The first `count` good rows, and the broken ones before them."""
        good: list[tuple[int, dict[str, Any]]] = []
        broken: list[Broken] = []
        for row in self.rows:
            if isinstance(row, Broken):
                broken.append(row)
            else:
                good.append(row)
            if len(good) >= count or len(broken) >= 1000:
                break
        return good, broken


def short(error: BaseException) -> str:
    """The first line of an error."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
