"""Rewards for the answer: right, right in another spelling, or near. The answer is what the last answer tag holds."""

from typing import Literal

from pydantic import Field

from pipeline.rewards import answers
from pipeline.rewards.base import Example, Item, Mark, Parameters, RewardKind
from pipeline.rewards.formats import GOOD
from pipeline.rewards.numbers import Number, canonical, number, same_number, same_units

Several = Literal["last", "agree", "wrong"]
SEVERAL = Field("last", title="Several answer tags",
    description="last: the last one counts; agree: all must be the same answer; wrong: more than one is wrong.")
MAX_SPELLINGS = 10
UNSETTLED = "could not be compared in time"


class AnswerExact(Parameters):
    """Scores of a right, nearly right and wrong answer."""

    exact: float = Field(3.0, title="Exactly the reference", ge=-100, le=100, description="The same characters.")
    same: float = Field(1.5, title="Same answer, written differently", ge=-100, le=100,
        description="Equal once white space, separators, units and spelling are set aside: 1,000 for 1000.")
    within_10: float = Field(1.0, title="Within 10 %", ge=-100, le=100, description="A number off by at most 10 %.")
    within_20: float = Field(0.5, title="Within 20 %", ge=-100, le=100, description="A number off by at most 20 %.")
    wrong: float = Field(-1.5, title="Wrong", ge=-100, le=100, description="Any other answer.")
    missing: float = Field(0.0, title="No answer", ge=-100, le=100,
        description="No closed answer tag, or an empty one: left to the format rewards by default.")
    several: Several = SEVERAL


def answer_exact(item: Item, p: AnswerExact) -> Mark:
    """The reference to the letter, the same answer written differently, a near number, or wrong."""
    problem, raw = chosen_answer(item, p.several)
    if raw is None:
        return (p.wrong if item.answers and item.answer else p.missing), problem
    if item.reference is None:
        return None, "there is no reference answer"
    given = raw.strip()
    if raw == item.reference:
        return p.exact, f"{short(given)} is exactly the reference"
    equal = answers.compare(given, item.reference)
    if equal:
        return p.same, f"{short(given)} is the same answer as {short(item.reference)}, written differently"
    error = answers.relative_error(given, item.reference)
    if error is not None and error <= 0.2:
        share = f"{short(given)} is within {10 if error <= 0.1 else 20} % of {short(item.reference)}"
        return (p.within_10 if error <= 0.1 else p.within_20), share
    if equal is None:
        return None, f"{short(given)} {UNSETTLED} with {short(item.reference)}"
    return p.wrong, f"{short(given)} is not {short(item.reference)}"


class AnswerNumeric(Parameters):
    """Scores and tolerances of a numeric answer."""

    right: float = Field(1.5, title="Right number", ge=-100, le=100, description="Within the tolerances below.")
    near: float = Field(-0.5, title="Near", ge=-100, le=100, description="Within the wider band, if that is not 0.")
    wrong: float = Field(-0.5, title="Wrong number", ge=-100, le=100, description="Another, several, or no number.")
    missing: float = Field(0.0, title="No answer", ge=-100, le=100, description="No closed answer tag, or it is empty.")
    relative_tolerance: float = Field(0.0, title="Relative tolerance", ge=0, le=10,
        description="0.01 accepts numbers that are off by up to 1 %.")
    absolute_tolerance: float = Field(0.0, title="Absolute tolerance", ge=0, le=1e9,
        description="Accepts numbers that are off by up to this much.")
    near_band: float = Field(0.0, title="Band for near (relative)", ge=0, le=10,
        description="0.2 gives the score for near up to 20 % off; 0 has no such band.")
    units: Literal["ignore", "refuse"] = Field("ignore", title="Units",
        description="ignore: $5, 5 dollars and 5 are the same; refuse: only a bare number is right.")
    several: Several = SEVERAL


def answer_numeric(item: Item, p: AnswerNumeric) -> Mark:
    """The number in the answer tag against the reference. Text around one single number does not matter."""
    problem, raw = chosen_answer(item, p.several)
    if raw is None:
        return (p.wrong if item.answers and item.answer else p.missing), problem
    reference = number(item.reference) if item.reference is not None else None
    if reference is None:
        return None, "the reference is not a number"
    found = only_number(raw)
    if found is None:
        return p.wrong, f"{short(raw.strip())} does not hold exactly one number"
    text, given = found
    if p.units == "refuse" and given.units:
        return p.wrong, f"{short(raw.strip())} is not a bare number"
    if not same_units(given, reference):
        return p.wrong, f"{short(text)} has another unit than {short(item.reference or '')}"
    if same_number(given, reference) or abs(given.value - reference.value) <= p.absolute_tolerance:
        return p.right, f"{short(text)} is the right number"
    if p.relative_tolerance or p.near_band:
        error = answers.number_error(given, reference)
        if error <= p.relative_tolerance:
            return p.right, f"{short(text)} is within {p.relative_tolerance:.2%} of {short(item.reference or '')}"
        if error <= p.near_band:
            return p.near, f"{short(text)} is within {p.near_band:.2%} of {short(item.reference or '')}"
    return p.wrong, f"{short(text)} is not {short(item.reference or '')}"


def chosen_answer(item: Item, several: Several) -> tuple[str, str | None]:
    """The answer that counts, as written; or why there is none, and None."""
    found = item.answers
    if not found:
        return "there is no closed answer tag", None
    if len(found) > 1 and several == "wrong":
        return f"there are {len(found)} answers, and only one is allowed", None
    if len(found) > 1 and several == "agree" and not _agree(found):
        return f"the {len(found)} answers do not agree", None
    return ("", found[-1]) if found[-1].strip() else ("the answer is empty", None)


def _agree(found: list[str]) -> bool:
    """Whether all are the same answer; more than MAX_SPELLINGS ways to write it are not looked into."""
    spellings = set(found) - {found[-1]}
    return len(spellings) <= MAX_SPELLINGS and all(answers.same_answer(a, found[-1]) for a in spellings)


def only_number(text: str) -> tuple[str, Number] | None:
    """The one number that a short text holds, as written and as value; None with none or several."""
    whole = number(text)
    if whole is not None:
        return text.strip(), whole
    if len(text) > 1000:
        return None
    found = answers.numbers_in(canonical(text))
    value = number(found[0]) if len(found) == 1 else None
    return (found[0], value) if value is not None else None


def short(text: str) -> str:
    """The text in quotes, cut at 40 characters."""
    return repr(text if len(text) <= 40 else text[:37] + "…")


def score_bounds(p: Parameters, names: tuple[str, ...]) -> tuple[float, float]:
    """Lowest and highest of the named scores."""
    scores = [getattr(p, name) for name in names]
    return min(scores), max(scores)


def with_answer(answer: str) -> str:
    """A well-formed completion with this answer, for examples."""
    return GOOD.replace("42</answer>", answer + "</answer>")


KINDS = (
    RewardKind(
        "answer_exact", "Answer, exact then close", "The most for exactly the reference, less for the same answer "
        "written differently, a little for a number within 10 % or 20 %, a penalty for a wrong one.",
        AnswerExact, lambda p, s: score_bounds(p, ("exact", "same", "within_10", "within_20", "wrong", "missing")),
        answer_exact,
        (Example(GOOD, "42", 3.0), Example(with_answer(" 42.0 "), "42", 1.5), Example(with_answer("45"), "42", 1.0),
         Example(with_answer("49"), "42", 0.5), Example(with_answer("7"), "42", -1.5),
         Example("It is 42.", "42", 0.0))),
    RewardKind(
        "answer_numeric", "Answer, as a number", "Compares the one number in the answer tag with the reference, "
        "with a tolerance of your choice; text and units around it do not matter.",
        AnswerNumeric, lambda p, s: score_bounds(p, ("right", "wrong", "missing") + (("near",) if p.near_band else ())),
        answer_numeric,
        (Example(with_answer("It costs $42."), "42", 1.5), Example(with_answer("41"), "42", -0.5),
         Example("42", "42", 0.0),
         Example(with_answer("41 or 42"), "42", -0.5),
         Example(with_answer("41.9"), "42", 1.5, {"relative_tolerance": 0.01}))),
)
