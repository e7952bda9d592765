"""What is too long or too deep in a file of rows is told, in words, before it takes the machine's memory."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.dataset import files, json_rows, text_lines
from pipeline.dataset.rows import Broken
from pipeline.errors import DatasetError

ROW = {"question": "1 + 1?", "answer": "2"}
LINE = json.dumps(ROW) + "\n"
Read = Callable[[str, str], tuple[list[dict[str, Any]], list[str]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write a text under a name and read it: good rows, and what is said of the others."""
    def of(text: str, name: str) -> tuple[list[dict[str, Any]], list[str]]:
        (tmp_path / name).write_text(text, encoding="utf-8")
        items = list(files.read_rows(tmp_path / name))
        return [i[1] for i in items if not isinstance(i, Broken)], [i.why for i in items if isinstance(i, Broken)]
    return of


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Bounds of 100,000 and 300,000 characters in place of 16 and 64 million, so that the files can be small."""
    for module in (text_lines, json_rows, files):
        monkeypatch.setattr(module, "MAX_LINE", 100_000)
    monkeypatch.setattr(json_rows, "MAX_OBJECT", 300_000)
    before = csv.field_size_limit(100_000)
    yield
    csv.field_size_limit(before)


@pytest.mark.usefixtures("small")
def test_a_line_that_is_too_long_is_named_with_its_length_and_the_others_are_read(read: Read) -> None:
    """Lines 1, 2 and 4 of JSONL; the second has 2.6 million characters."""
    long = json.dumps({"question": "x" * 2_600_000, "answer": "2"}) + "\n"
    good, broken = read(LINE + long + "\n" + LINE, "a.jsonl")
    assert good == [ROW, ROW]
    assert broken == ["line 2 has 3 million characters in one line; at most 0 million are read"]
    good, broken = read(f"question,answer\n1 + 1?,2\n{'x' * 2_600_000},2\n1 + 1?,2\n", "a.csv")
    assert good == [ROW, ROW] and broken[0].startswith("row 2 (line 3) has 3 million characters in one line")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("name", "text", "words"), [
    ("one.jsonl", json.dumps({"question": "x" * 2_600_000}), "first line of 'one.jsonl' has 3 million characters"),
    ("one.json", json.dumps({"data": [ROW] * 9000}), "Save the data as JSONL with one row per line"),
    ("many.json", json.dumps({"data": [ROW] * 9000}, indent=1), "is one JSON object of more than 0 million"),
    ("one.csv", "x" * 2_600_000, "has 3 million characters in one line.* on lines of their own"),
])
def test_a_file_of_one_endless_line_is_refused_before_it_is_parsed(read: Read, name: str, text: str,
                                                                   words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        read(text, name)


@pytest.mark.usefixtures("small")
def test_a_list_is_read_row_by_row_however_long_but_not_one_endless_item(read: Read) -> None:
    assert len(read(json.dumps([ROW] * 9000), "a.json")[0]) == 9000
    good, broken = read(json.dumps([ROW, {"question": "x" * 2_600_000}, ROW]), "a.json")
    assert good == [ROW] and "item 2 is not valid JSON, or longer than" in broken[0]


@pytest.mark.parametrize("levels", [60, 900, 5000, 100_000])
def test_what_is_nested_too_deeply_is_told_in_words_about_data(read: Read, levels: int) -> None:
    """60 and 900 levels can be read, 5,000 and 100,000 not by Python; nobody is told of a recursion."""
    deep = '{"question": ' + "[" * levels + "]" * levels + "}"
    for text, name in ((LINE + deep + "\n" + LINE, "a.jsonl"), (f"[{LINE}, {deep}, {LINE}]", "a.json")):
        good, broken = read(text, name)
        assert good[0] == ROW and len(broken) == 1
        assert "levels deep; a row needs two or three" in broken[0] and "recursion" not in broken[0]
    if levels > 1000:
        with pytest.raises(DatasetError, match="levels deep") as told:
            read(deep, "whole.json")
        assert "cut off" not in str(told.value)


def test_a_mark_that_is_never_closed_is_told_with_the_rows_that_it_takes_in(read: Read) -> None:
    """Without this, the file would seem to have one row. A mark within a text, as of inches, opens nothing."""
    good, broken = read('question,answer\n1 + 1?,2\n"2 + 2?,4\n3 + 3?,6\n4 + 4?,8\n', "a.csv")
    assert good == [ROW]
    assert broken == ['row 2 (line 3) opens a quotation mark that is never closed, and takes in the 2 lines after it: '
                      'close it, or write a mark inside a text twice ("")']
    good, broken = read('question,answer\n"two\nlines",5" pipe\n1 + 1?,2\n', "a.csv")
    assert good == [{"question": "two\nlines", "answer": '5" pipe'}, ROW] and not broken


def test_a_cell_of_two_lines_from_windows_has_a_plain_line_end(read: Read) -> None:
    assert read('question,answer\r\n"two\r\nlines",2\r\n', "a.csv")[0] == [{"question": "two\nlines", "answer": "2"}]
