"""Rewards for answers that are more, or less, than a number: mathematical equivalence and multiple choice."""

import re

from pydantic import Field

from pipeline.rewards import answers
from pipeline.rewards.base import Example, Item, Mark, Parameters, RewardKind
from pipeline.rewards.correct import SEVERAL, UNSETTLED, Several, chosen_answer, score_bounds, short, with_answer
from pipeline.rewards.formats import GOOD


class RightOrWrong(Parameters):
    """Scores of a right, wrong and missing answer."""

    right: float = Field(1.0, title="Right", ge=-100, le=100, description="Score of a right answer.")
    wrong: float = Field(0.0, title="Wrong", ge=-100, le=100, description="Score of any other answer.")
    missing: float = Field(0.0, title="No answer", ge=-100, le=100, description="No closed answer tag, or it is empty.")


class MathEqual(RightOrWrong):
    """Scores of the mathematical comparison."""

    several: Several = SEVERAL


def math_equal(item: Item, p: MathEqual) -> Mark:
    """Right when the answer equals the reference in any spelling, by value or by mathematics."""
    problem, raw = chosen_answer(item, p.several)
    if raw is None:
        return (p.wrong if item.answers and item.answer else p.missing), problem
    if item.reference is None:
        return None, "there is no reference answer"
    equal = answers.compare(raw.strip(), item.reference)
    if equal is None:
        return None, f"{short(raw.strip())} {UNSETTLED} with {short(item.reference)}"
    verb = "equals" if equal else "is not"
    return (p.right if equal else p.wrong), f"{short(raw.strip())} {verb} {short(item.reference)}"


class MultipleChoice(RightOrWrong):
    """Scores and letters of a multiple choice."""

    options: int = Field(4, title="Number of options", ge=2, le=26, description="4 allows the letters A to D.")


_CHOICE = re.compile(
    r"(?:option|answer|choice)?\s*:?\s*[(\[]?([A-Za-z])[)\]]?(?:[.):\]\s].*)?", re.DOTALL | re.IGNORECASE)


def multiple_choice(item: Item, p: MultipleChoice) -> Mark:
    """Right when the letter in the answer tag is the reference's: `B`, `(B)`, `B. Paris` and `option b` are alike."""
    problem, raw = chosen_answer(item, "last")
    if raw is None:
        return p.missing, problem
    reference = letter(item.reference or "", p.options)
    if reference is None:
        return None, f"the reference {short(item.reference or '')} is not one of {p.options} letters"
    given = letter(raw, p.options)
    if given is None:
        return p.wrong, f"{short(raw.strip())} does not start with one of {p.options} letters"
    return (p.right if given == reference else p.wrong), f"option {given}, the reference is {reference}"


def letter(text: str, options: int) -> str | None:
    """The option that a text names, as a capital letter."""
    plain = re.sub(r"\\(?:text|mathrm|textbf|boxed)\s*\{([^{}]*)\}", r"\1", text[:2000]).strip().strip("*$`").strip()
    match = _CHOICE.fullmatch(plain)
    if match is None or (match[1] in "aAiI" and re.match(r"[aAiI]\s+[a-z]", plain)):  # "a cat", "I think"
        return None
    return match[1].upper() if ord(match[1].upper()) - ord("A") < options else None


KINDS = (
    RewardKind(
        "math_equal", "Mathematically equal", "The answer equals the reference in any spelling: fractions, sets, "
        "intervals and equations are compared by math-verify where numbers do not settle it.",
        MathEqual, lambda p, s: score_bounds(p, ("right", "wrong", "missing")), math_equal,
        (Example(with_answer(r"\frac{1}{2}"), "0.5", 1.0), Example(with_answer(r"\{2, 1\}"), r"\{1, 2\}", 1.0),
         Example(with_answer("(2, 1)"), "(1, 2)", 0.0), Example("0.5", "0.5", 0.0))),
    RewardKind(
        "multiple_choice", "Multiple choice", "The letter in the answer tag is the right option.",
        MultipleChoice, lambda p, s: score_bounds(p, ("right", "wrong", "missing")), multiple_choice,
        (Example(with_answer("(B) Paris"), "B", 1.0), Example(with_answer("C"), "B", 0.0),
         Example(GOOD, "B", 0.0), Example("B", "B", 0.0))),
)
