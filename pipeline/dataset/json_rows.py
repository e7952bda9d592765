"""JSON texts into rows: JSONL, a list of objects, or one object; streamed where the format allows it."""

import io
import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from pipeline.dataset.rows import Broken, Rows, short
from pipeline.dataset.text_lines import MAX_LINE, Joined, LongLine, rest_of_line
from pipeline.errors import DatasetError

MAX_OBJECT = 64_000_000  # characters of a text that is one object, which cannot be read row by row
MAX_LEVELS = 50  # of lists and objects in one another; a chat has three
BLANK = "\ufeff \t\r\n"
ROW_BY_ROW = ("Save the data as JSONL with one row per line, as a list [ … ] of rows, or as Parquet: those are read "
              "row by row.")
_BETWEEN = re.compile(r"[ \t\r\n,]*")


def json_rows(start: str, rest: io.TextIOBase, name: str) -> Rows:
    """The rows of a text that begins with `start`, a bracket or a brace, and goes on in `rest`."""
    if start.lstrip(BLANK)[0] == "[":
        return Rows(_json_array(Joined(start, rest), name), "JSON")
    start = _with_first_line(start, rest, name)
    text = Joined(start, rest)
    line, _, more = start.lstrip(BLANK).partition("\n")
    alone = not more.strip() and not text.has_more()
    if (not alone and _is_object(line.strip())) or not _is_whole_object(start, text):
        return Rows(_jsonl(text), "JSONL")
    return Rows(_json_object(text, name), "JSON")


# ------------------------------------------------------------------------------------------------------------------


def _with_first_line(start: str, text: io.TextIOBase, name: str) -> str:
    """What was read, with the rest of a first line that is longer."""
    parts, size = [start], len(start)
    while "\n" not in parts[-1].lstrip(BLANK) and (chunk := text.read(1 << 20)):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_OBJECT:
            size += 0 if "\n" in chunk else rest_of_line(text)
            raise DatasetError(f"The first line of {name!r} has {size / 1e6:,.0f} million characters; at most "
                               f"{MAX_OBJECT / 1e6:.0f} million are read at once. {ROW_BY_ROW}")
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
        if isinstance(line, LongLine):
            yield Broken(number, f"line {number} {line.why}")
            continue
        stripped = line.strip().lstrip("\ufeff")
        if not stripped:
            continue
        try:
            value = json.loads(stripped)
        except (ValueError, RecursionError) as error:
            whole = line.endswith("\n") or isinstance(error, RecursionError)
            cut = "" if whole else "; the file may have been cut off here"
            yield Broken(number, f"line {number} is not valid JSON ({_why(error)}){cut}")
            continue
        yield _row(number, value, f"line {number}")


def _json_array(text: Joined, name: str) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    """The objects of `[ … ]`, one after another without holding the whole file."""
    decoder, number, step = json.JSONDecoder(), 0, 1 << 20
    buffer = text.read(step).lstrip(BLANK)
    at = 1
    while True:
        at = _end_of(_BETWEEN, buffer, at)
        try:
            if buffer.startswith("]", at):
                return
            value, end = decoder.raw_decode(buffer, at)
            if not isinstance(value, dict) and end == len(buffer):
                raise ValueError("a number may go on")
        except (ValueError, RecursionError) as error:
            buffer, at = buffer[at:], 0
            long = len(buffer) > MAX_LINE
            more = "" if long or isinstance(error, RecursionError) else text.read(step)
            if more:
                buffer, step = buffer + more, min(step * 2, MAX_LINE)
                continue
            yield Broken(number + 1, _break_in_list(number, long, error))
            return
        number, at, step = number + 1, end, 1 << 20
        yield _row(number, value, f"item {number}")


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _break_in_list(number: int, long: bool, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"item {number + 1} cannot be read ({_why(error)}), nor what follows it"
    if long:
        return (f"item {number + 1} is not valid JSON, or longer than the {MAX_LINE / 1e6:.0f} million characters that "
                f"are read ({_why(error)}); what follows it was not read")
    return f"the JSON list breaks after item {number} ({_why(error)}); the file may have been cut off"


def _json_object(text: Joined, name: str) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    """One object: a list of rows under some key, columns as lists, or a single row."""
    parts, size = [], 0
    while chunk := text.read(1 << 20):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_OBJECT:
            raise DatasetError(f"{name!r} is one JSON object of more than {MAX_OBJECT / 1e6:.0f} million characters, "
                               f"too much to be read at once. {ROW_BY_ROW}")
    try:
        value = json.loads("".join(parts).lstrip(BLANK))
    except RecursionError as error:
        raise DatasetError(f"{name!r} is not valid JSON for a table ({_why(error)}). {ROW_BY_ROW}") from error
    except ValueError as error:
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
        yield _row(number, row, f"item {number}")


def _row(number: int, value: Any, name: str) -> tuple[int, dict[str, Any]] | Broken:
    """A value as a row, unless it is no object, or one that what follows could not handle."""
    if not isinstance(value, dict):
        return Broken(number, f"{name} is not an object {{…}}")
    if _deeper(value, MAX_LEVELS):
        return Broken(number, f"{name} holds lists or objects in one another, more than {MAX_LEVELS} levels deep; a "
                              "row needs two or three")
    for key, cell in value.items():
        if isinstance(cell, str) and len(cell) > MAX_LINE:
            return Broken(number, f"{name} holds a text of {len(cell) / 1e6:,.0f} million characters under "
                                  f"{key[:50]!r}; at most {MAX_LINE / 1e6:.0f} million are read")
    return number, value


def _deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(part, levels - 1) for part in inner if isinstance(part, dict | list))


def _why(error: Exception) -> str:
    """What is wrong with a text, in words of our own where Python's are about Python."""
    if isinstance(error, RecursionError):
        return "lists or objects in one another, too many levels deep; a row needs two or three"
    return short(error)
