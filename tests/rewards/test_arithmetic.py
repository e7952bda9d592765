"""The reward for arithmetic: which equations are read, which hold, and hostile texts."""

import time

import pytest

from pipeline.recipe import RewardSpec, RewardsStep
from pipeline.rewards import RewardSet
from pipeline.rewards.arithmetic import equations
from pipeline.tags import SCHEMES, wrap

SCHEME = SCHEMES["reasoning"]


def score(reasoning: str, **parameters: float) -> float | None:
    with RewardSet(RewardsStep(functions=[RewardSpec(kind="arithmetic", parameters=parameters)]), SCHEME) as rewards:
        return rewards.score([wrap(SCHEME, reasoning, "1")], ["1"], [""]).raw["arithmetic"][0]


@pytest.mark.parametrize("text", [
    "6 x 7 = 42", "6×7=42", "60/3 = 20 meters.", "20/100*20 = 4 cars", "$16 + $2 = $18.", "5 x $4 = $20", "12÷4 = 3",
    "1,000 + 500 = 1,500 apples", "(2+3)*4=20", "3 - 5 = -2", "10/3 = 3.33", "2/3 = 0.667", "12*2 = 24/day",
    "007 + 1 = 8", "2 * 3 = 6 + 4 = 10", "2 + 3 = 1 + 4", "2 + 3 = (1 + 4)",
    "He has .25 / .05 = 5", "= .5 * 3 = 1.5", "5 - 2 + -1 = 2 of 3", "Then 7 * 0.30 = $2.1 is due", "3 − 1 = 2"])
def test_true_equations_hold(text: str) -> None:
    assert len(list(equations(text))) >= 1
    assert score(text) == 0.5


@pytest.mark.parametrize("text", [
    "12 / 4 = 6", "60 / 30 = 3", "16/2 = 14 blue", "5 - 3 = -2", "3 - 5 = 2", "10/3 = 3", "10/3 = 3.4",
    "2 * 3 = 6 + 4 = 11", "1 + 1 = 2, then 2 + 2 = 5", "$5 x 4 = $21", "9" * 29 + " * " + "9" * 29 + " = 1"])
def test_a_false_one_costs(text: str) -> None:
    assert score(text) == -0.5


@pytest.mark.parametrize("text", [
    "", "It is 42.", "x = 3 + 4", "a - 4 = 3", "20% of 50 = 10", "half of 20 + 4 = 14", "100 - 20% = 80", "2 + 2 = 5%",
    "3 boxes x 4 apples = 12", "7 boxes + 4 + 2 = 13", "3 / 4 = 75 percent", "$1 / 2 = 50 cents",
    "9 apples - 4 + 2 = 7", "1/0 = 3", "2**9999 = 1", "2//3 = 0", "5 >= 3 + 2", "7 == 7", "n = 5", "1.5.2 + 1 = 3",
    "9" * 40 + " + 1 = 2", "12 = 12", "(((((((((( = 1", "-" * 100 + "1 = 1", "3 + = 4", "= = ="])
def test_what_cannot_be_read_with_certainty_is_left_alone(text: str) -> None:
    assert score(text) == 0.0


def test_a_tolerance_and_all_scores_can_be_set() -> None:
    assert score("10/3 = 3", tolerance=0.11) == 0.5
    assert score("10/3 = 3", wrong=-2) == -2
    assert score("2 + 2 = 4", right=3) == 3
    assert score("no sum", none=-1) == -1


def test_equations_of_a_wrong_answer_do_not_count_unless_asked_for() -> None:
    """The reference is 1. Seen with a small model: one true equation, whatever the question."""
    def marked(answer: str, reference: str | None = "1", **parameters: bool) -> float | None:
        spec = RewardSpec(kind="arithmetic", parameters=parameters)
        with RewardSet(RewardsStep(functions=[spec]), SCHEME) as rewards:
            text = wrap(SCHEME, "2 * 2 = 4", answer)
            return rewards.score([text], [reference], [""]).raw["arithmetic"][0]

    assert (marked("1"), marked("1.0"), marked("4"), marked("")) == (0.5, 0.5, 0.0, 0.0)
    assert marked("1", None) is None
    assert (marked("4", only_right=False), marked("4", None, only_right=False)) == (0.5, 0.5)


def test_hostile_texts_are_read_in_a_moment() -> None:
    """A million characters each; the long product has thousands of digits and is told without them."""
    started = time.process_time()
    for text in ("=" * 10**6, "1+" * 500_000 + "1=1", "1 = 1 + " * 125_000, "(" * 10**6 + "=",
                 " " * 10**6 + "1+1=2", "9x" * 10**6):
        list(equations(text))
    assert time.process_time() - started < 10
    words = "*".join(["9" * 29] * 3)
    assert score(f"{words}*{words} = 1") in (0.0, -0.5)
