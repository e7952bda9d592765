"""The demo's problem generator: right answers, honest difficulty, parts that never meet."""

import re

import pytest

from pipeline import tags
from pipeline.dataset.demo import HASTY_NOTES, HASTY_SHARE, demo_rows, make_problems, part_of
from pipeline.dataset.demo_text import TAG_NAMES, pretrain_chats
from pipeline.demo import demo_recipe
from pipeline.errors import DatasetError

PARTS = ("pretrain", "sft", "grpo", "validation", "test")
SIGNS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a // b}


def test_every_equation_is_true_and_leads_to_the_next() -> None:
    for problem in make_problems("sft", 300, 5):
        last = None
        for equation in problem.equations:
            a, sign, b, result = re.fullmatch(r"(\d+)([-+*/])(\d+)=(\d+)", equation).groups()
            assert SIGNS[sign](int(a), int(b)) == int(result)
            assert sign != "/" or int(a) % int(b) == 0
            assert last is None or a == last
            last = result
        assert last == str(problem.answer) and problem.steps == len(problem.equations)


def test_every_number_of_the_equations_is_in_the_question() -> None:
    """All operands but the running value are given: the first equation's two numbers, then one a step."""
    for problem in make_problems("test", 200, 3):
        given = re.findall(r"\d+", problem.question)
        first, *rest = problem.equations
        wanted = [*re.findall(r"\d+", first)[:2], *(re.findall(r"\d+", e)[1] for e in rest)]
        assert sorted(given) == sorted(wanted)


def test_parts_share_no_question_even_with_equal_seeds() -> None:
    questions = {part: {p.question for s in (1, 2) for p in make_problems(part, 400, s)} for part in PARTS}
    for part, own in questions.items():
        assert all(part_of(q) == part for q in own)
    assert sum(map(len, questions.values())) == len(set().union(*questions.values()))


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    assert demo_rows("grpo", 50, 7) == demo_rows("grpo", 50, 7)
    assert {r["question"] for r in demo_rows("grpo", 50, 7)}.isdisjoint(r["question"] for r in demo_rows("grpo", 50, 8))


def test_rows_are_unique_and_difficulty_runs_from_one_to_four_steps() -> None:
    rows = demo_rows("test", 300, 1)
    assert len({r["question"] for r in rows}) == 300
    assert {r["steps"] for r in rows} == {1, 2, 3, 4}
    assert {r["subject"] for r in rows} == {"1 step", "2 steps", "3 steps", "4 steps"}


def test_only_sft_rows_are_hasty_and_about_as_many_as_said() -> None:
    """1,000 rows at 60 %: the standard error is 1.5 points, so within 8 points is more than five of them."""
    hasty = [row["reasoning"] in HASTY_NOTES for row in demo_rows("sft", 1000, 1)]
    assert abs(sum(hasty) / 1000 - HASTY_SHARE) < 0.08
    assert not any(row["reasoning"] in HASTY_NOTES for row in demo_rows("test", 200, 1))


def test_an_unknown_part_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DatasetError, match="pretrain, sft, grpo, validation, test"):
        make_problems("train", 1, 1)


def test_the_pretraining_text_never_shows_a_tag_that_sft_can_teach() -> None:
    text = "\n".join(m["content"] for chat in pretrain_chats(3000, 0) for m in chat)
    for scheme in tags.SCHEMES.values():
        assert tags.tags_in(scheme, text) == []
    assert all(f"<{name}>" in text and f"</{name}>" in text for name in TAG_NAMES)


def test_the_demo_recipe_asks_for_300_test_questions_and_is_valid_for_every_seed() -> None:
    for seed in (1, 2, 3, 11):
        recipe = demo_recipe(seed)
        assert recipe.seed == seed and recipe.data.split.test == 300
        assert recipe.model.source == "tiny" and recipe.data.source == "demo"
        assert recipe.from_yaml(recipe.to_yaml()) == recipe
