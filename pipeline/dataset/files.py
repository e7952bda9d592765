"""Files into rows: JSONL, JSON, CSV, TSV and Parquet, plain, .gz or .zip; the contents decide, not the extension.

Rows are streamed, so the first ones of a large file show at once. What cannot be read becomes a `Broken` row with its
line number, or a DatasetError that says what to do; nothing is skipped without a word.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.dataset.unpack import open_unpacked, text_encoding
from pipeline.errors import DatasetError

csv.field_size_limit(2**31 - 1)
MAX_PARQUET_BYTES = 8 * 2**30  # unpacked
EXTENSIONS = {"jsonl": "JSONL", "ndjson": "JSONL", "json": "JSON", "csv": "CSV", "tsv": "TSV", "parquet": "Parquet"}


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


def read_rows(path: str | Path) -> Rows:
    """The rows of a file. Raises DatasetError when it is not a table of a known kind."""
    path = Path(path)
    if not path.is_file():
        raise DatasetError(f"There is no file {str(path)!r}. Check the path, or upload the file again.")
    if path.stat().st_size == 0:
        raise DatasetError(f"The file {path.name!r} is empty. Choose one with at least a heading and a row.")
    notes: list[str] = []
    stream, name = open_unpacked(path, notes)
    head = stream.peek(65536)[:65536]
    if not head:
        raise DatasetError(f"The file {name!r} is empty. Choose one with at least a heading and a row.")
    if head[:4] == b"PAR1":
        rows = _parquet(stream if name != path.name else path, name)
    else:
        _refuse_other_kinds(head, name)
        rows = _text_rows(stream, name, notes)
    rows.notes[:0] = notes
    expected = EXTENSIONS.get(name.rsplit(".", 1)[-1].lower())
    if expected and expected != rows.kind and {expected, rows.kind} not in ({"CSV", "TSV"}, {"JSON", "JSONL"}):
        rows.notes.append(f"The file {name!r} is named like {expected} but holds {rows.kind}: read as {rows.kind}.")
    return rows


def read_text(text: str) -> Rows:
    """Pasted rows: CSV, TSV, JSON or JSONL."""
    if not text.strip():
        raise DatasetError("Nothing was pasted. Paste rows with a heading, or JSON objects one per line.")
    notes: list[str] = []
    stream = io.BufferedReader(io.BytesIO(text.encode("utf-8", "surrogatepass")))  # type: ignore[arg-type]
    rows = _text_rows(stream, "pasted rows", notes)
    rows.notes[:0] = notes
    return rows


# ------------------------------------------------------------------------------------------------------------------


def _refuse_other_kinds(head: bytes, name: str) -> None:
    kinds = {b"%PDF": "a PDF", b"\x89PNG": "an image", b"\xff\xd8\xff": "an image", b"SQLite f": "a SQLite database",
             b"ARROW1": "an Arrow file", b"\xd0\xcf\x11\xe0": "an old Excel file", b"\x93NUMPY": "a NumPy file",
             b"\x80\x04\x95": "a Python pickle, which can run code and is never opened", b"7z\xbc\xaf": "a 7z archive"}
    for magic, kind in kinds.items():
        if head.startswith(magic):
            raise DatasetError(f"The file {name!r} is {kind}, not a table. Save the data as CSV, JSONL or Parquet.")
    if re.match(rb"\s*<(?:!doctype|html|\?xml)", head[:200], re.IGNORECASE):
        raise DatasetError(f"The file {name!r} is a web page, not a table. Download the data itself.")


def _text_rows(stream: BinaryIO, name: str, notes: list[str]) -> Rows:
    encoding = text_encoding(stream, name, notes)
    text = io.TextIOWrapper(stream, encoding=encoding, errors="replace", newline="")
    start = ""
    while not start.strip():
        chunk = text.read(65536)
        if not chunk:
            raise DatasetError(f"The file {name!r} holds only white space. Choose one with at least one row.")
        start += chunk
    joined = _Joined(start, text)
    first = start.lstrip("\ufeff \t\r\n")[:1]
    if first == "[":
        return Rows(_json_array(joined, name), "JSON")
    if first == "{":
        line = start.lstrip("\ufeff \t\r\n").split("\n", 1)[0].strip()
        if _is_object(line) or not _is_whole_object(start, joined):
            return Rows(_jsonl(joined), "JSONL")
        return Rows(_json_object(joined, name), "JSON")
    return _delimited(joined, start, name)


class _Joined(io.TextIOBase):
    """Text that was already read, followed by the rest of its stream; `readline` and `read` as usual."""

    def __init__(self, start: str, rest: io.TextIOBase) -> None:
        self._start, self._rest = io.StringIO(start, newline=""), rest

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        line = self._start.readline()
        return line if line.endswith("\n") else line + self._rest.readline()

    def read(self, size: int = -1) -> str:  # type: ignore[override]
        return self._start.read(size) or self._rest.read(size)

    def __next__(self) -> str:  # type: ignore[override]
        if line := self.readline():
            return line
        raise StopIteration


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _is_whole_object(start: str, joined: _Joined) -> bool:
    """Whether `{` opens one big object over many lines, rather than JSONL with a broken first line."""
    return not any(_is_object(line.strip()) for line in islice(start.split("\n"), 1, 50))


def _jsonl(text: _Joined) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    for number, line in enumerate(text, 1):
        stripped = line.strip().lstrip("\ufeff")
        if not stripped:
            continue
        try:
            value = json.loads(stripped)
        except (ValueError, RecursionError) as error:
            cut = "" if line.endswith("\n") else "; the file may have been cut off here"
            yield Broken(number, f"line {number} is not valid JSON ({_short(error)}){cut}")
            continue
        yield (number, value) if isinstance(value, dict) else Broken(number, f"line {number} is not an object {{…}}")


def _json_array(text: _Joined, name: str) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    """The objects of `[ … ]`, one after another without holding the whole file."""
    decoder, buffer, number = json.JSONDecoder(), text.read(1 << 20).lstrip("\ufeff \t\r\n")[1:], 0
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
            yield Broken(number + 1, f"the JSON list breaks after item {number} ({_short(error)}); "
                                     "the file may have been cut off")
            return
        number, buffer, step = number + 1, buffer[end:], 1 << 20
        yield (number, value) if isinstance(value, dict) else Broken(number, f"item {number} is not an object {{…}}")


def _json_object(text: _Joined, name: str) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    """One object: a list of rows under some key, columns as lists, or a single row."""
    parts = []
    while chunk := text.read(1 << 20):
        parts.append(chunk)
    try:
        value = json.loads("".join(parts).lstrip("\ufeff \t\r\n"))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{name!r} is not valid JSON ({_short(error)}). It may have been cut off: upload it again, "
                           "or save it as JSONL with one object per line.") from error
    lists = {k: v for k, v in value.items() if isinstance(v, list)}
    for rows in lists.values():
        if rows and all(isinstance(r, dict) for r in rows[:100]) and len(lists) < 3:
            return _numbered(rows)
    columns = {k: list(v.values()) if isinstance(v, dict) else v for k, v in value.items()}
    if columns and all(isinstance(v, list) for v in columns.values()):
        count = max(len(v) for v in columns.values())
        return _numbered([{k: v[i] if i < len(v) else None for k, v in columns.items()} for i in range(count)])
    return _numbered([value])


def _numbered(rows: list[Any]) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    for number, row in enumerate(rows, 1):
        yield (number, row) if isinstance(row, dict) else Broken(number, f"item {number} is not an object {{…}}")


def _delimited(text: _Joined, start: str, name: str) -> Rows:
    """CSV or TSV with a heading. Ragged rows: missing cells are empty, cells too many are a broken row."""
    if "\x00" in start[:4096]:
        raise DatasetError(f"The file {name!r} is not text and not a known table. Save it as CSV, JSONL or Parquet.")
    header_line = start.lstrip("\ufeff\r\n").split("\n", 1)[0]
    delimiter = max("\t,;|", key=header_line.count)
    reader = csv.reader((line.replace("\x00", "") for line in text), delimiter=delimiter)
    header: list[str] = []
    while not any(header):
        header = [c.strip().lstrip("\ufeff") for c in next(reader, [])]
    names = [c or f"column {i}" for i, c in enumerate(header, 1)]
    notes = []
    if len(set(names)) < len(names):
        names = [n if n not in names[:i] else f"{n} ({i + 1})" for i, n in enumerate(names)]
        notes.append("Some columns have the same name; the later ones got their number added.")
    return Rows(_csv_rows(reader, names), "TSV" if delimiter == "\t" else "CSV", notes)


def _csv_rows(reader: Any, names: list[str]) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    number = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Broken(number + 1, f"row {number + 1} (line {reader.line_num}) is not valid CSV ({error})")
            number += 1
            continue
        if not any(cells):
            continue
        number += 1
        if len(cells) > len(names) and any(cells[len(names):]):
            yield Broken(number, f"row {number} (line {reader.line_num}) has {len(cells)} cells, not {len(names)}; "
                                 "put quotes around texts that hold the separator")
            continue
        cells += [""] * (len(names) - len(cells))
        yield number, {n: c or None for n, c in zip(names, cells, strict=False)}


def _parquet(source: Any, name: str) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if not isinstance(source, Path):
            source = io.BytesIO(source.read())
        file = pq.ParquetFile(source)
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"The Parquet file {name!r} is damaged or was cut off ({_short(error)}). "
                           "Upload or download it again.") from error
    if size > MAX_PARQUET_BYTES:
        raise DatasetError(f"The Parquet file {name!r} unpacks to {size / 2**30:.0f} GiB, more than the "
                           f"{MAX_PARQUET_BYTES // 2**30} GiB that are read. Use a part of it.")
    return Rows(_parquet_rows(file, name), "Parquet", total=file.metadata.num_rows)


def _parquet_rows(file: Any, name: str) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    import pyarrow as pa

    number = 0
    try:
        for batch in file.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        yield Broken(number + 1, f"the Parquet file {name!r} is damaged after row {number} ({_short(error)})")


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
