"""Filtering, searching, sorting and paging the questions."""

import time

import pytest

from pipeline.comparison import load
from pipeline.errors import RunError
from pipeline.question_table import QuestionTable
from pipeline.run_folder import RunWriter

# base, sft, grpo on six questions: fixed by SFT: 1; fixed by GRPO: 2, 3; broken by GRPO: 4; all wrong: 5
BASE = [True, False, False, False, False, False]
SFT = [True, True, False, False, True, False]
GRPO = [True, True, True, True, False, False]


@pytest.fixture
def table(make_run):
    return QuestionTable(load(make_run({"base": BASE, "sft": SFT, "grpo": GRPO}))[0])


def test_the_filters_find_what_their_names_say(table):
    assert {f.name: f.count for f in table.filters()} == {
        "all": 6, "fixed_sft": 2, "broken_sft": 0, "fixed_grpo": 2, "broken_grpo": 1, "all_wrong": 1, "all_right": 1,
        "format_lost": 0}
    assert table.select("fixed_grpo") == [2, 3]
    assert table.select("broken_grpo") == [4]


def test_a_cell_of_the_matrix_is_a_filter(table):
    assert table.matrix("base", "grpo") == {
        (True, True): 1, (True, False): 0, (False, True): 3, (False, False): 2}
    assert table.select("base>grpo:wrong>right") == [1, 2, 3]
    with pytest.raises(RunError, match="no filter"):
        table.select("base>nobody:wrong>right")


def test_search_finds_text_of_questions_and_answers_and_numbers(table):
    assert table.select(search="WHAT IS 3") == [3]
    assert table.select(search="#4") == [3]
    assert table.select(search="#99") == []
    assert table.select("fixed_grpo", search="<answer>3") == [2]


def test_sorting_by_length_uses_the_longest_answer(make_run, answer):
    folder = make_run({})
    writer = RunWriter(folder)
    writer.add_answers(answer("sft", i, True, tokens=t) for i, t in enumerate([5, 9, 7]))
    writer.add_answers(answer("grpo", i, True, tokens=t) for i, t in enumerate([8, 9, 1]))
    writer.close()
    table = QuestionTable(load(folder)[0])
    assert table.select(sort="longest") == [1, 0, 2]
    assert table.select(sort="shortest") == [2, 0, 1]
    assert table.select(sort="widest") == [2, 0, 1]


def test_lost_format_is_found(make_run, answer):
    folder = make_run({"sft": [True, True]})
    writer = RunWriter(folder)
    writer.add_answers([answer("grpo", 0, True), answer("grpo", 1, True, text="2")])
    writer.close()
    assert QuestionTable(load(folder)[0]).select("format_lost") == [1]


def test_a_question_that_one_model_has_not_answered_is_neither_fixed_nor_broken(make_run):
    table = QuestionTable(load(make_run({"sft": [False] * 4, "grpo": [True] * 2}))[0])
    assert table.select("fixed_grpo") == [0, 1]
    assert table.right("grpo", 3) is None


def test_an_empty_run_has_no_questions(make_run):
    table = QuestionTable([])
    assert table.questions == [] and table.select() == []


def test_1319_questions_with_three_answers_are_ready_and_filtered_quickly(make_run):
    """The bars are 1 s and 200 ms for the whole page; this part has half, in processor time."""
    folder = make_run({m: [i % k == 0 for i in range(1319)] for m, k in (("base", 5), ("sft", 3), ("grpo", 2))})
    rows, expected = load(folder)
    start = time.process_time()
    table = QuestionTable(rows, expected)
    built = time.process_time()
    table.select("fixed_grpo", search="what", sort="longest")
    assert built - start < 0.5 and time.process_time() - built < 0.1
