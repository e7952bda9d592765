"""The columns of the seven shapes that people have, guessed from small samples."""

import json

import pytest

from pipeline.dataset.examples import make_example
from pipeline.dataset.mapping import guess_mapping
from pipeline.dataset.prepare import columns_of
from pipeline.errors import DatasetError
from pipeline.recipe import DataStep
from pipeline.tags import SCHEMES

SHAPES = {
    "gsm8k": {"question": "How many are {i} and 1?", "answer": "{i}+1=<<{i}+1=7>>7 apples in all.\n#### {i}"},
    "limo": {"question": "Find the value {i}.", "solution": "We look at it. It is clear.\nSo **{i}**", "answer": "{i}"},
    "math": {"problem": "Compute {i}.", "solution": r"It is clearly $\boxed{{i}}$.", "level": "Level 5"},
    "alpaca": {"instruction": "Add the numbers.", "input": "{i} and 0", "output": "They are {i} and 0. The sum is {i}"},
    "sharegpt": {"conversations": [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "What is {i}?"},
                                   {"from": "gpt", "value": "Let us see. It is {i}"}]},
    "messages": {"messages": [{"role": "user", "content": "What is {i}?"},
                              {"role": "assistant", "content": "Let us see.\n#### {i}"}]},
    "completion": {"prompt": "What is {i}?", "completion": "One step, two steps. The answer is {i}"},
    "r1": {"prompt": "What is {i}?", "response": "<think>\nHm, {i}.\n</think>\nIt is \\boxed{{i}}."},
    "trl": {"prompt": [{"role": "user", "content": "What is {i}?"}], "solution": "Well. \\boxed{{i}}", "answer": "{i}"},
}


def fill(value, i):
    return json.loads(json.dumps(value).replace("{i}", str(i)))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_questions_reasoning_and_answers(shape):
    """Row i asks for i, so every reference must be i and every completion must end with it in its tags."""
    rows = [fill(SHAPES[shape], i) for i in range(10, 40)]
    mapping = guess_mapping(columns_of(rows), rows)
    scheme = SCHEMES["reasoning"]
    for i, row in enumerate(rows, 10):
        example = make_example(i, row, mapping, scheme, "sys")
        assert example.reference == str(i), (mapping, example)
        assert str(i) in example.question or shape == "limo"
        assert example.completion.endswith(f"<answer>{i}</answer>")
        assert "<think>" not in example.completion
        assert example.system == ("Be kind." if shape == "sharegpt" else "sys")


def test_each_choice_comes_with_a_reason():
    rows = [fill(SHAPES["gsm8k"], i) for i in range(5)]
    reasons = guess_mapping(["question", "answer"], rows).reasons
    assert "called 'question'" in reasons["question"]
    assert "long" in reasons["reasoning"]
    assert "after ####" in reasons["rule"]


def test_columns_without_telling_names_are_found_by_their_contents():
    rows = [{"c1": f"What is {i}?", "c2": "We take it step by step and then we are done with it.", "c3": str(i)}
            for i in range(9)]
    mapping = guess_mapping(["c1", "c2", "c3"], rows)
    assert (mapping.question, mapping.reasoning, mapping.answer) == ("c1", "c2", "c3")


def test_a_column_that_counts_rows_repeats_itself_or_is_mostly_empty_is_not_guessed_and_a_weak_guess_is_said():
    """Nr. counts, Lehrer is one name, Notiz is empty but for one row in seven: of the rest the shortest texts are the
    answers and the longest the solutions, which names that nobody knows cannot confirm."""
    rows = [{"Nr.": i + 1, "Aufgabe": f"Wie viel ist {i} + {i}?", "Rechenweg": f"{i}+{i}={2 * i}.", "Ergebnis": 2 * i,
             "Lehrer": "Frau Huber", "Notiz": "" if i % 7 else "noch einmal ansehen"} for i in range(30)]
    mapping = guess_mapping(list(rows[0]), rows)
    assert (mapping.question, mapping.reasoning, mapping.answer) == ("Aufgabe", "Rechenweg", "Ergebnis")
    assert "'Ergebnis' was guessed from the length of its texts alone" in mapping.warnings[0]
    assert guess_mapping(list(rows[0]), rows, DataStep(answer="Ergebnis")).warnings == ()


def test_swapped_columns_are_noticed_and_said():
    rows = [{"question": str(i), "answer": f"How many apples are there when {i} are taken?"} for i in range(9)]
    guessed = guess_mapping(["question", "answer"], rows)
    assert (guessed.question, guessed.answer) == ("answer", "question")
    assert "swapped" in guessed.reasons["question"]
    chosen = guess_mapping(["question", "answer"], rows, DataStep(question="question", answer="answer"))
    assert "look swapped" in chosen.warnings[0]


def test_an_answer_column_that_is_the_reasoning_is_said():
    rows = [{"q": f"What is {i}?", "work": "x", "a": "First we add.\nThen we take away.\nThen we have it."}
            for i in range(9)]
    mapping = guess_mapping(["q", "work", "a"], rows, DataStep(question="q", reasoning="work", answer="a"))
    assert "look like the reasoning" in mapping.warnings[0]


@pytest.mark.parametrize("value", [None, float("nan"), "", "  ", [], {}, "nan", "NaN", "#N/A", "#DIV/0!",
                                   "#### nan"])
def test_missing_answers_are_missing(value):
    rows = [{"question": "q?", "reasoning": "a b c", "answer": v} for v in ("1", value)]
    mapping = guess_mapping(["question", "reasoning", "answer"], rows)
    assert make_example(2, rows[1], mapping, SCHEMES["reasoning"], "").reference is None


@pytest.mark.parametrize(("value", "reference"), [
    (True, "True"), (False, "False"), (0, "0"), (72.0, "72"), (0.5, "0.5"), (["7"], "7"), (["a", "b"], "a, b"),
    ("inf", "inf"), (float("inf"), "inf"), ("Na", "Na"), ("None", "None"), ("1,234", "1234"),
    ("$1,234.50", "1234.50"), ("12.", "12"), (r"$\boxed{\frac{1}{2}}$", r"\frac{1}{2}"),
    ("x" * 401, None),
])
def test_answers_of_all_types_become_text(value, reference):
    row = {"question": "q?", "answer": value}
    mapping = guess_mapping(["question", "answer"], [{"question": "q?", "answer": "3"}])
    assert make_example(1, row, mapping, SCHEMES["reasoning"], "").reference == reference


def test_one_column_and_unknown_columns_say_what_to_do():
    with pytest.raises(DatasetError, match="No column looks like a question"):
        guess_mapping(["x"], [{"x": 1}])


def test_line_ends_of_windows_are_not_taught():
    """As a CSV file of Windows holds them in a cell of two lines, and JSON in a string and in a chat."""
    chat = [{"role": "user", "content": "1\r\n+ 1?"}, {"role": "assistant", "content": "One\r\nand one: 2"}]
    for row in ({"question": "1\r\n+ 1?", "reasoning": "One\r\nand one: 2", "answer": "2\r\n"}, {"messages": chat}):
        mapping = guess_mapping(list(row), [row])
        found = make_example(1, row, mapping, SCHEMES["reasoning"], "")
        assert found.question == "1\n+ 1?" and "\r" not in (found.completion or "") + (found.reasoning or "")
