"""Properties that hold for any text."""

import csv
import io
import json

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.dataset.answers import FINDERS, last_number
from pipeline.dataset.duplicates import near_groups
from pipeline.dataset.examples import make_example
from pipeline.dataset.files import Broken, read_text
from pipeline.dataset.mapping import Mapping, guess_mapping
from pipeline.dataset.report import PreparedReport
from pipeline.dataset.split import share_out
from pipeline.tags import SCHEMES, extract, is_well_formed, parse, wrap
from reasoning_ui.highlight import completion_html

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
FILLED = TEXT.filter(str.strip)
SCHEME = st.sampled_from([s for s in SCHEMES.values() if not s.is_boxed])
CELL = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.lists(TEXT, max_size=3),
                 st.dictionaries(TEXT, TEXT, max_size=2))


@given(SCHEME, FILLED, FILLED)
def test_wrap_then_extract_gives_back_what_went_in(scheme, reasoning, answer):
    text = wrap(scheme, reasoning, answer)
    if not any(tag in reasoning or tag in answer for tag in scheme.tags):
        assert extract(scheme, text) == answer.strip()
        assert parse(scheme, text).reasoning == reasoning.strip()
        assert is_well_formed(scheme, text)


@given(SCHEME, FILLED, FILLED, st.integers(0, 3))
def test_text_that_holds_a_tag_is_reported_by_name(scheme, reasoning, answer, which):
    tag = scheme.tags[which]
    row = {"q": "Why?", "r": f"{reasoning} {tag} {reasoning}", "a": answer}
    example = make_example(1, row, Mapping("q", "r", "a"), scheme, "")
    if example.completion is None and example.problem == "tags":
        assert tag in example.detail
    else:  # a known trace: its tags were taken off
        assert example.completion is None or is_well_formed(scheme, example.completion)


COLUMNS = ["question", "answer", "messages", "solution", "x"]


@given(st.lists(st.dictionaries(st.sampled_from(COLUMNS), CELL), max_size=6))
def test_any_rows_map_to_examples_or_a_sentence(rows):
    mapping = Mapping("question", "solution", "answer")
    for i, row in enumerate(rows):
        example = make_example(i, row, mapping, SCHEMES["reasoning"], "")
        assert example is None or example.question.strip()
        if example and example.completion:
            assert is_well_formed(SCHEMES["reasoning"], example.completion)
    if rows and any("question" in r for r in rows):
        guess_mapping(COLUMNS, rows)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5))
def test_csv_that_python_writes_is_read_back(cells):
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["q", "a"])
    writer.writerows(cells)
    if "\x00" in out.getvalue() or "\r" in "".join(a + b for a, b in cells):
        return
    good = [r[1] for r in read_text(out.getvalue()) if not isinstance(r, Broken)]
    assert good == [{"q": a or None, "a": b or None} for a, b in cells if a or b]


@given(TEXT)
@example(",")  # a table of empty cells has no heading, however far one reads
@example("\ufeff,\n ; ")
def test_any_pasted_text_gives_rows_or_a_sentence(text):
    from pipeline.errors import DatasetError

    try:
        list(read_text(text))
    except DatasetError as error:
        assert str(error)


@given(TEXT)
def test_any_text_can_be_searched_for_answers(text):
    for find in FINDERS.values():
        assert find(text) is None or isinstance(find(text), str)


@given(st.integers(-10**9, 10**9))
def test_the_last_number_is_found_with_and_without_commas(number):
    assert last_number(f"We had 7, so it is {number:,}.") == str(number)
    assert last_number(f"The answer is {number}") == str(number)


@given(TEXT, SCHEME)
def test_nothing_in_a_text_becomes_markup(text, scheme):
    html = completion_html(text + "<img onerror=x><script>", scheme)
    for tag in ("<div", "</div", "<span", "</span"):
        html = html.replace(tag, "")
    assert "<" not in html


@given(st.lists(st.sampled_from("abcdefgh"), min_size=4, max_size=40), st.integers(0, 99))
def test_no_question_is_in_two_parts(questions, seed):
    groups = near_groups([f"question {q}" for q in questions], PreparedReport(""), lambda *a: None, lambda: None)
    assert sorted(i for g in groups for i in g) == list(range(len(questions)))
    yes = [True] * len(questions)
    parts = share_out(groups, yes, yes, {"sft": 2, "grpo": 1, "validation": 1, "test": 0}, seed)
    seen = [{questions[i] for i in rows} for rows in parts.values()]
    assert sum(map(len, seen)) == len(set().union(*seen))


@given(st.dictionaries(TEXT, CELL, max_size=4))
def test_json_lines_are_read_back(row):
    line = json.dumps(row)
    if row and "NaN" not in line:
        assert [r for _, r in read_text(line + "\n" + line)] == [row, row]
