"""Every kind of file that people have, and every way in which it can be broken."""

import gzip
import io
import json
import os
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dataset import files as reading
from pipeline.dataset.files import Broken, read_rows, read_text
from pipeline.errors import DatasetError

ROWS = [{"question": "Wie groß?", "answer": "5"}, {"question": "שלום 🙂", "answer": "6"}]
CSV = "question,answer\nWie groß?,5\nשלום 🙂,6\n"  # noqa: RUF001 - right-to-left text is the point
JSONL = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in ROWS)


@pytest.fixture
def rows_of(tmp_path):
    """Write bytes under a name and read them: (good rows, broken rows, Rows)."""
    def read(content: bytes | str, name: str):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        source = read_rows(path)
        items = list(source)
        return ([i[1] for i in items if not isinstance(i, Broken)], [i for i in items if isinstance(i, Broken)], source)
    return read


def parquet(rows=ROWS) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(("name", "content"), [
    ("a.csv", CSV), ("a.tsv", CSV.replace(",", "\t")), ("semicolons.csv", CSV.replace(",", ";")),
    ("a.jsonl", JSONL), ("a.json", json.dumps(ROWS, indent=2)), ("rows.json", json.dumps({"data": ROWS}, indent=1)),
    ("minified.json", json.dumps({"data": ROWS})), ("minified.jsonl", json.dumps({"rows": ROWS}) + "\n"),
    ("columns.json", json.dumps({k: [r[k] for r in ROWS] for k in ROWS[0]}, indent=1)), ("a.parquet", parquet()),
    ("bom.csv", b"\xef\xbb\xbf" + CSV.encode()), ("bom.jsonl", b"\xef\xbb\xbf" + JSONL.encode()),
    ("utf16.csv", CSV.encode("utf-16")), ("utf16le.jsonl", JSONL.encode("utf-16-le")),
    ("a.csv.gz", gzip.compress(CSV.encode())), ("a.jsonl.gz", gzip.compress(JSONL.encode())),
    ("a.parquet.gz", gzip.compress(parquet())), ("crlf.csv", CSV.replace("\n", "\r\n")),
])
def test_all_kinds_give_the_same_rows(rows_of, name, content):
    good, broken, _ = rows_of(content, name)
    assert good == ROWS
    assert broken == []


def test_a_zip_with_one_file_is_read_and_one_with_two_is_not(rows_of, tmp_path):
    one, two = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(one, "w") as archive:
        archive.writestr("folder/data.jsonl", JSONL)
        archive.writestr("__MACOSX/folder/._data.jsonl", "x")
    with zipfile.ZipFile(two, "w") as archive:
        archive.writestr("a.csv", CSV)
        archive.writestr("b.csv", CSV)
    assert rows_of(one.getvalue(), "one.zip")[0] == ROWS
    with pytest.raises(DatasetError, match=r"2 files \(a.csv, b.csv\)"):
        rows_of(two.getvalue(), "two.zip")


def test_bombs_are_stopped_while_they_unpack(tmp_path):
    """64 MiB and a factor of 200 are the bounds; zeros pack about 1,000 to 1."""
    path = tmp_path / "bomb.csv.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(80):
            file.write(b"a,b\n" + b"0" * 2**20)
    with pytest.raises(DatasetError, match="unpacks to far more"):
        list(read_rows(path))


def test_a_broken_line_is_named_and_the_others_are_kept(rows_of):
    lines = [json.dumps({"question": str(i)}) for i in range(600)]
    lines[516] = '{"question": "oops'
    good, broken, _ = rows_of("\n".join(lines) + "\n", "a.jsonl")
    assert len(good) == 599
    assert [b.row for b in broken] == [517]
    assert broken[0].why.startswith("line 517 is not valid JSON")


def test_a_file_that_was_cut_off_says_so(rows_of, tmp_path):
    assert "cut off" in rows_of(JSONL[:-8], "a.jsonl")[1][0].why
    assert "cut off" in rows_of(json.dumps(ROWS)[:-8], "a.json")[1][0].why
    for name, content in (("a.parquet", parquet()[:-20]), ("a.csv.gz", gzip.compress(os.urandom(100000))[:-2000]),
                          ("a.zip", b"PK\x03\x04" + b"0" * 50)):
        with pytest.raises(DatasetError, match="cut off"):
            rows_of(content, name)


def test_ragged_rows_are_filled_or_named(rows_of):
    good, broken, _ = rows_of("q,a\none\n1,2,3,4\nx,y\n", "a.csv")
    assert good == [{"q": "one", "a": None}, {"q": "x", "a": "y"}]
    assert broken[0].why.startswith("row 2 (line 3) has 4 cells")


@pytest.mark.parametrize(("name", "content", "words"), [
    ("empty.csv", b"", "is empty"), ("blank.csv", b" \n\n ", "only white space"), ("a.pdf", b"%PDF-1.4", "a PDF"),
    ("page.csv", b"<!DOCTYPE html><html>", "web page"), ("a.csv", b"\x80\x04\x95abc", "pickle"),
    ("a.xlsx.csv", b"PAR1" + b"x" * 40, "damaged or was cut off"), ("noise.csv", b"ab\x00\x01\x02" * 9, "not text"),
    ("gone.json", b'{\n "a": [1,\n', "not valid JSON"),
])
def test_what_is_no_table_is_a_sentence(rows_of, name, content, words):
    with pytest.raises(DatasetError, match=words):
        rows_of(content, name)


def test_excel_files_say_how_to_save_them(rows_of):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("[Content_Types].xml", "x")
        archive.writestr("xl/workbook.xml", "x")
    with pytest.raises(DatasetError, match="Save as"):
        rows_of(buffer.getvalue(), "a.xlsx")


def test_a_lying_extension_is_read_by_its_content_and_said(rows_of):
    good, _, source = rows_of(JSONL, "a.csv")
    assert good == ROWS
    assert "named like CSV but holds JSONL" in source.notes[0]
    assert rows_of(parquet(), "a.jsonl")[0] == ROWS


def test_latin_text_is_read_and_said(rows_of):
    good, _, source = rows_of("question,answer\nWie groß?,5\n".encode("latin-1"), "a.csv")
    assert good[0]["question"] == "Wie groß?"
    assert "Windows-1252" in source.notes[0]


def test_many_columns_huge_cells_and_nested_values_pass(rows_of):
    wide, _, _ = rows_of(",".join(f"c{i}" for i in range(5000)) + "\n" + ",".join("1" * 5000) + "\n", "wide.csv")
    assert len(wide[0]) == 5000
    assert len(rows_of(f'q,a\n"{"x" * 10_000_000}",1\n', "huge.csv")[0][0]["q"]) == 10_000_000
    nested = [{"q": {"deep": [1, {"x": None}]}, "a": True}]
    assert rows_of(json.dumps(nested), "a.json")[0] == nested
    with pytest.raises(DatasetError, match="not valid JSON"):
        rows_of('{"a": ' * 100_000, "deep.jsonl")


def test_a_first_row_longer_than_what_is_read_at_first_is_one_row_of_many(rows_of):
    """The first 64 KiB hold no line break, so they alone cannot tell JSONL from one large object."""
    rows = [{"q": "x" * 3_000_000, "a": 1}, {"q": "short", "a": 2}]
    good, broken, source = rows_of("".join(json.dumps(r) + "\n" for r in rows), "a.jsonl")
    assert (good, broken, source.kind) == (rows, [], "JSONL")


def test_a_single_row_that_is_a_chat_is_one_row(rows_of):
    for turns in ([{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}],
                  [{"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}]):
        assert rows_of(json.dumps({"messages": turns}), "a.jsonl")[0] == [{"messages": turns}]


def test_columns_with_the_same_or_no_name_stay_apart(rows_of):
    good, _, source = rows_of("q,q,\n1,2,3\n", "a.csv")
    assert good == [{"q": "1", "q (2)": "2", "column 3": "3"}]
    assert "same name" in source.notes[0]


def test_formulas_are_text(rows_of):
    assert rows_of("q,a\n=cmd()|' /C calc'!A0,@SUM(1)\n", "a.csv")[0][0]["q"].startswith("=cmd()")


def test_pasted_rows_are_read_like_files():
    for text in (CSV, JSONL, json.dumps(ROWS)):
        assert [r for _, r in read_text(text)] == ROWS
    with pytest.raises(DatasetError, match="Nothing was pasted"):
        read_text("  ")


def test_the_first_rows_of_a_large_list_come_without_reading_it_all(tmp_path, monkeypatch):
    path = tmp_path / "large.json"
    path.write_text("[" + ",".join(json.dumps({"q": "x" * 1000}) for _ in range(20_000)) + "]")
    good, _ = read_rows(path).first(3)
    assert len(good) == 3
    assert sum(1 for _ in read_rows(path)) == 20_000
    monkeypatch.setattr(reading, "MAX_PARQUET_BYTES", 10)
    (tmp_path / "a.parquet").write_bytes(parquet())
    with pytest.raises(DatasetError, match="unpacks to"):
        read_rows(tmp_path / "a.parquet")
