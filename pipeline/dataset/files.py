"""Files into rows: JSONL, JSON, CSV, TSV and Parquet, plain, .gz or .zip; the contents decide, not the extension.

Rows are streamed, so the first ones of a large file show at once. What cannot be read becomes a `Broken` row with its
line number, or a DatasetError that says what to do; nothing is skipped without a word.
"""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.dataset.answers import plain_ends
from pipeline.dataset.json_rows import BLANK, json_rows
from pipeline.dataset.rows import Broken, Rows, short
from pipeline.dataset.text_lines import MAX_LINE, Joined, LongLine
from pipeline.dataset.unpack import open_unpacked, text_encoding
from pipeline.errors import DatasetError

csv.field_size_limit(MAX_LINE)
MAX_PARQUET_BYTES = 8 * 2**30  # unpacked
EXTENSIONS = {"jsonl": "JSONL", "ndjson": "JSONL", "json": "JSON", "csv": "CSV", "tsv": "TSV", "parquet": "Parquet"}


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
    first = start.lstrip(BLANK)[:1]
    if first in ("[", "{"):
        return json_rows(start, text, name)
    return _delimited(Joined(start, text), start, name)


def _delimited(text: Joined, start: str, name: str) -> Rows:
    """CSV or TSV with a heading. Ragged rows: missing cells are empty, cells too many are a broken row."""
    if "\x00" in start[:4096]:
        raise DatasetError(f"The file {name!r} is not text and not a known table. Save it as CSV, JSONL or Parquet.")
    header_line = start.lstrip("\ufeff\r\n").split("\n", 1)[0]
    delimiter = max("\t,;|", key=header_line.count)
    lines = _Lines(text)
    reader = csv.reader(lines, delimiter=delimiter)
    headers = ([c.strip().lstrip("\ufeff") for c in cells] for cells in reader)
    header = next(filter(any, headers), None)
    if lines.long:
        raise DatasetError(f"The file {name!r} {lines.long[0].why}. Save the rows on lines of their own.")
    if header is None:
        raise DatasetError(f"The file {name!r} holds no text between its separators. Choose one with a heading and at "
                           "least one row.")
    names = [c or f"column {i}" for i, c in enumerate(header, 1)]
    notes = []
    if len(set(names)) < len(names):
        names = [n if n not in names[:i] else f"{n} ({i + 1})" for i, n in enumerate(names)]
        notes.append("Some columns have the same name; the later ones got their number added.")
    return Rows(_csv_rows(reader, lines, names), "TSV" if delimiter == "\t" else "CSV", notes)


class _Lines:
    """The lines of a CSV text for its reader, and what the reader does not tell of them."""

    def __init__(self, text: Joined) -> None:
        self._text, self.ended = text, False
        self.long: list[LongLine] = []
        self.quotes = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self._text, None)
        if line is None:
            self.ended = True
            raise StopIteration
        if isinstance(line, LongLine):
            self.long.append(line)
        self.quotes += line.count('"')
        return plain_ends(line.replace("\x00", ""))


def _csv_rows(reader: Any, lines: _Lines, names: list[str]) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    number = 0
    while True:
        line, lines.quotes, lines.long = reader.line_num + 1, 0, []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Broken(number + 1, f"row {number + 1} (line {line}) is not valid CSV ({_csv_words(error)})")
            number += 1
            continue
        if not any(cells) and not lines.long:
            continue
        number += 1
        problem = _csv_problem(cells, names, lines, reader.line_num - line)
        if problem:
            yield Broken(number, f"row {number} (line {line}) {problem}")
            continue
        cells += [""] * (len(names) - len(cells))
        yield number, {n: c or None for n, c in zip(names, cells, strict=False)}


def _csv_problem(cells: list[str], names: list[str], lines: _Lines, more: int) -> str:
    """What is wrong with a row that goes on over `more` lines, or nothing."""
    if lines.long:
        return lines.long[0].why
    if more and lines.ended and lines.quotes % 2:
        return (f"opens a quotation mark that is never closed, and takes in the {more:,} lines after it: close it, or "
                'write a mark inside a text twice ("")')
    if len(cells) > len(names) and any(cells[len(names):]):
        return f"has {len(cells)} cells, not {len(names)}; put quotes around texts that hold the separator"
    return ""


def _csv_words(error: csv.Error) -> str:
    if "field larger" in str(error):
        return (f"a cell of more than {MAX_LINE / 1e6:.0f} million characters: perhaps a quotation mark that is never "
                "closed")
    return str(error)


def _parquet(source: Any, name: str) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if not isinstance(source, Path):
            source = io.BytesIO(source.read())
        file = pq.ParquetFile(source)
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"The Parquet file {name!r} is damaged or was cut off ({short(error)}). "
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
        yield Broken(number + 1, f"the Parquet file {name!r} is damaged after row {number} ({short(error)})")
