"""JSON texts into rows: JSONL, a list of objects, or one object; streamed where the format allows it."""

import io
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from pipeline.dataset.rows import Broken, Rows, short
from pipeline.errors import DatasetError

MAX_LINE = 256 << 20  # characters of the first line
BLANK = "\ufeff \t\r\n"


class Joined(io.TextIOBase):
    """Text that was already read, followed by the rest of its stream; `readline` and `read` as usual."""

    def __init__(self, start: str, rest: io.TextIOBase) -> None:
        self._start, self._rest = io.StringIO(start, newline=""), rest

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        line = self._start.readline()
        return line if line.endswith("\n") else line + self._rest.readline()

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
        if line := self.readline():
            return line
        raise StopIteration


def json_rows(start: str, rest: io.TextIOBase, name: str) -> Rows:
    """The rows of a text that begins with `start`, a bracket or a brace, and goes on in `rest`."""
    if start.lstrip(BLANK)[0] == "[":
        return Rows(_json_array(Joined(start, rest), name), "JSON")
    start = _with_first_line(start, rest, name)
    text = Joined(start, rest)
    line, _, more = start.lstrip(BLANK).partition("\n")
    alone = not more.strip() and not text.has_more()
    if (_is_object(line.strip()) and not alone) or not _is_whole_object(start, text):
        return Rows(_jsonl(text), "JSONL")
    return Rows(_json_object(text, name), "JSON")


# ------------------------------------------------------------------------------------------------------------------


def _with_first_line(start: str, text: io.TextIOBase, name: str) -> str:
    """What was read, with the rest of a first line that is longer."""
    parts, size = [start], 0
    while "\n" not in parts[-1].lstrip(BLANK) and (chunk := text.read(1 << 20)):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_LINE:
            raise DatasetError(f"The first line of {name!r} is longer than {MAX_LINE >> 20} million characters. Save "
                               "the data as JSONL with one row per line, or as Parquet.")
    return "".join(parts)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _is_whole_object(start: str, joined: Joined) -> bool:
    """Whether `{` opens one big object over many lines, rather than JSONL with a broken first line."""
    return not any(_is_object(line.strip()) for line in islice(start.split("\n"), 1, 50))


def _jsonl(text: Joined) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    for number, line in enumerate(text, 1):
        stripped = line.strip().lstrip("\ufeff")
        if not stripped:
            continue
        try:
            value = json.loads(stripped)
        except (ValueError, RecursionError) as error:
            cut = "" if line.endswith("\n") else "; the file may have been cut off here"
            yield Broken(number, f"line {number} is not valid JSON ({short(error)}){cut}")
            continue
        yield (number, value) if isinstance(value, dict) else Broken(number, f"line {number} is not an object {{…}}")


def _json_array(text: Joined, name: str) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    """The objects of `[ … ]`, one after another without holding the whole file."""
    decoder, buffer, number = json.JSONDecoder(), text.read(1 << 20).lstrip(BLANK)[1:], 0
    step = 1 << 20
    while True:
        buffer = buffer.lstrip(" \t\r\n,")
        try:
            if buffer.startswith("]"):
                return
            value, end = decoder.raw_decode(buffer)
            if not isinstance(value, dict) and end == len(buffer):
                raise ValueError("a number may go on")
        except (ValueError, RecursionError) as error:
            more = text.read(step)
            if more:
                buffer, step = buffer + more, min(step * 2, 1 << 28)
                continue
            yield Broken(number + 1, f"the JSON list breaks after item {number} ({short(error)}); "
                                     "the file may have been cut off")
            return
        number, buffer, step = number + 1, buffer[end:], 1 << 20
        yield (number, value) if isinstance(value, dict) else Broken(number, f"item {number} is not an object {{…}}")


def _json_object(text: Joined, name: str) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    """One object: a list of rows under some key, columns as lists, or a single row."""
    parts = []
    while chunk := text.read(1 << 20):
        parts.append(chunk)
    try:
        value = json.loads("".join(parts).lstrip(BLANK))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{name!r} is not valid JSON ({short(error)}). It may have been cut off: upload it again, "
                           "or save it as JSONL with one object per line.") from error
    lists = {k: v for k, v in value.items() if isinstance(v, list)}
    if any(_is_chat(turns) for turns in lists.values()):
        return _numbered([value])
    for rows in lists.values():
        if rows and all(isinstance(r, dict) for r in rows[:100]) and len(lists) < 3:
            return _numbered(rows)
    columns = {k: list(v.values()) if isinstance(v, dict) else v for k, v in value.items()}
    if columns and all(isinstance(v, list) for v in columns.values()):
        count = max(len(v) for v in columns.values())
        return _numbered([{k: v[i] if i < len(v) else None for k, v in columns.items()} for i in range(count)])
    return _numbered([value])


def _is_chat(turns: list[Any]) -> bool:
    """Whether a list holds the turns of one chat, which is one row."""
    keys = [set(t) if isinstance(t, dict) else set() for t in turns]
    return bool(keys) and all({"role", "content"} <= k or {"from", "value"} <= k for k in keys)


def _numbered(rows: list[Any]) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    for number, row in enumerate(rows, 1):
        yield (number, row) if isinstance(row, dict) else Broken(number, f"item {number} is not an object {{…}}")
