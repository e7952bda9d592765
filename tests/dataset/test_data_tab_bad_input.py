"""Bad input through the tab's own handlers: each ends in a sentence on the page or in rows, and nothing is markup."""

import gzip
import io
import json
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DatasetError
from pipeline.recipe import DataStep, ModelStep
from reasoning_ui.data_check import CheckSection
from reasoning_ui.data_preview import PreviewSection
from reasoning_ui.data_source import _uploaded
from reasoning_ui.data_tab import _refresh

MODEL = ModelStep().model_dump_json()
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(r) + "\n" for r in rows).encode()


def rows_with(answer: object) -> bytes:
    """Nine good rows and one with the answer in question."""
    return lines([{"question": f"What is {i} + 1?", "answer": i + 1} for i in range(9)]
                 + [{"question": "And this?", "answer": answer}])


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{"question": "1+1?", "answer": "2"}] * 9), buffer)
    return buffer.getvalue()


def bomb() -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        for _ in range(80):
            file.write(b"a,b\n" + b"0" * 2**20)
    return packed.getvalue()


CSV = "question,answer\n" + "".join(f"Wie groß ist {i}?,{i}\n" for i in range(9))
BROKEN = b"".join(b'{"question": "oops\n' if i == 517 else lines([{"question": f"Is it {i}?", "answer": i}])
                  for i in range(1, 600))
FILES = {  # name: content, what the page says about it
    "broken.parquet": (b"PAR1" + b"x" * 99, "damaged or was cut off"),
    "cut.parquet": (parquet()[:-30], "damaged or was cut off"),
    "utf16.csv": (CSV.encode("utf-16"), "is UTF-16 text"),
    "latin.csv": (CSV.encode("latin-1"), "Windows-1252"),
    "mark.csv": (b"\xef\xbb\xbf" + CSV.encode(), "9 rows"),
    "ragged.csv": (b"question,answer\n" + b"Is it 1?,1\n" * 3 + b"Is it,a,list?,4\n", "has 4 cells, not 2"),
    "one-column.csv": (b"text\nhello\nworld\n", "answer"),
    "wide.csv": ((",".join(["question", "answer", *(f"c{i}" for i in range(4998))]) + "\n"
                  + ",".join(["Is it 1?", "1", *["x"] * 4998]) + "\n").encode(), "5,000 columns"),
    "nested.json": (json.dumps([{"question": {"deep": [1]}, "answer": {"x": 1}}] * 3).encode(), "no question"),
    "line-517.jsonl": (BROKEN, "line 517 is not valid JSON"),
    "empty.csv": (b"", "is empty"),
    "large-cell.jsonl": (lines([{"question": "x" * 10**7, "answer": 1}, {"question": "1+1?", "answer": 2}]), "2 rows"),
    "bomb.csv.gz": (bomb(), "unpacks to far more"),
    "formulas.csv": (b"question,answer\n" + b"=cmd()|'/c calc'!A1,=1+1\n" * 3, "=cmd()"),
    "null.jsonl": (rows_with(None), "10 rows"), "nan.jsonl": (rows_with(float("nan")), "10 rows"),
    "boolean.jsonl": (rows_with(True), "10 rows"), "list.jsonl": (rows_with([1, 2]), "10 rows"),
    "markup.jsonl": (lines([{EVIL: EVIL, "question": f"{EVIL} {i}?", "answer": EVIL} for i in range(9)]),
                     "&lt;script&gt;"),
    "rtl.csv": ("question,answer\nכמה זה 1 ועוד 1? \N{SLIGHTLY SMILING FACE},2\n".encode(), "כמה"),
    "renamed.csv": (rows_with(4), "named like CSV but holds JSONL"),
    "cut.jsonl": (rows_with(4)[:-9], "may have been cut off here"),
    "picture.csv": (b"\x89PNG\r\n\x1a\n" + b"0" * 50, "an image, not a table"),
}


@pytest.mark.parametrize("name", FILES)
def test_each_bad_file_ends_in_a_sentence_and_the_tab_goes_on(name, tmp_path):
    content, words = FILES[name]
    (tmp_path / name).write_bytes(content)
    home = SimpleNamespace(path=tmp_path / "home", private=tmp_path / "home")
    shared = SimpleNamespace(home=home, on_space=False)
    view, check = PreviewSection.__new__(PreviewSection), CheckSection.__new__(CheckSection)
    view.shared = check.shared = shared
    try:
        data = _uploaded(shared, str(tmp_path / name), DataStep().model_dump_json())
    except DatasetError as error:
        assert words in str(error)
        return
    outputs = _refresh(shared, view, "data", data, MODEL, "", 1, "Colours")
    report = list(check.check(data, MODEL, "", ""))[-1]
    page = " ".join(o for o in (*outputs, *report[:2]) if isinstance(o, str))
    assert words in page
    assert "<script" not in page
    assert "<img" not in page
    good = DataStep(source="demo").model_dump_json()
    assert "Demo problems" in _refresh(shared, view, "data", good, MODEL, "", 1, "Colours")[0]
