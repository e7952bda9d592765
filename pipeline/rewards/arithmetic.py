"""A reward for the way to the answer: the equations in the reasoning must hold.

A right answer may be luck: a model that writes `12 / 4 = 6` on its way to it is paid by every reward for the answer.
Only equations of numbers are judged; what cannot be read with certainty (`20% of 50 = 10`, `1/4 = 25` percent) is left
alone.
"""

import ast
import itertools
import re
from collections.abc import Iterator
from fractions import Fraction

from pydantic import Field

from pipeline.rewards import answers
from pipeline.rewards.base import Example, Item, Mark, Parameters, RewardKind
from pipeline.rewards.correct import score_bounds, short

MAX_SIGNS = 1000
MAX_CHARS = 120
MAX_DIGITS = 30
_ALIKE = str.maketrans({"×": "*", "·": "*", "∙": "*", "÷": "/", "−": "-", "–": "-", "\u00a0": " "})
_TIMES = re.compile(r"(?<=[\d)])\s*[xX]\s*(?=[$€£]?\s*[\d.(])")
_LEFT = re.compile(r"(?:(?P<before>[^\W\d_]+|%)\s*)?(?P<sum>[\d.,()+\-*/$€£ ]+)\Z")
_RIGHT = re.compile(r"\s*(?P<sum>[\d.,()+\-*/$€£ ]+)(?P<after>%?)")
_JOINED = ("and", "by", "double", "from", "half", "less", "minus", "more", "of", "plus", "than", "thirds", "times",
           "twice", "%")  # before a sum: part of it is in words
_FIRST = re.compile(r"-?\s*[\d.]+")
_SUM = re.compile(r"\d\s*\)*\s*[+\-*/]\s*\(*\s*[\d.]")
_STEPS = {ast.Add: Fraction.__add__, ast.Sub: Fraction.__sub__, ast.Mult: Fraction.__mul__,
          ast.Div: Fraction.__truediv__}


class Arithmetic(Parameters):
    """Scores of reasoning whose equations all hold, do not all hold, or that has none."""

    right: float = Field(0.5, title="All hold", ge=-100, le=100, description="Every equation that was read is true.")
    wrong: float = Field(-0.5, title="One is false", ge=-100, le=100, description="At least one equation is false.")
    none: float = Field(0.0, title="No equation", ge=-100, le=100, description="Nothing that can be checked.")
    only_right: bool = Field(True, title="Only of right answers",
        description="A wrong answer gets the score of no equation. Without this, a model that is seldom right learns "
        "to write one true equation that has nothing to do with the question.")
    tolerance: float = Field(0.0, title="Relative tolerance", ge=0, le=1,
        description="0.01 accepts results that are off by up to 1 %; a rounded decimal is always accepted.")


def arithmetic(item: Item, p: Arithmetic) -> Mark:
    """All equations of numbers in the reasoning hold, or one is false."""
    if p.only_right and item.reference is None:
        return None, "there is no reference answer"
    if p.only_right and not (item.answer and answers.compare(item.answer, str(item.reference))):
        return p.none, "the answer is not right, so its equations do not count"
    count = 0
    for words, value, results, step in equations(item.reasoning or ""):
        if not holds(value, results, step, Fraction(p.tolerance)):
            return p.wrong, f"{short(words)} is false: it is {_words(value)}"
        count += 1
    if not count:
        return p.none, "there is no equation of numbers"
    return p.right, f"{count} equation{'s' * (count > 1)} hold{'s' * (count == 1)}"


def holds(value: Fraction, results: tuple[Fraction, ...], step: Fraction, tolerance: Fraction = Fraction(0)) -> bool:
    """Whether a result is the left side's value, up to rounding (`step`) and a relative tolerance."""
    return any(abs(value - result) <= step + abs(value) * tolerance for result in results)


def equations(text: str) -> Iterator[tuple[str, Fraction, tuple[Fraction, ...], Fraction]]:
    """Words, value of the left side, values that the right side may mean, and half of its last decimal place.

    In a chain (`2 * 3 = 6 + 4 = 10`) the right side may be all up to the next sign of equality, or its first number. At
    most MAX_SIGNS signs are looked at, MAX_CHARS to each side; linear in the length of the text.
    """
    text = _TIMES.sub("*", text.translate(_ALIKE))
    for sign in itertools.islice(re.finditer("=", text), MAX_SIGNS):
        left = _LEFT.search(text[max(0, sign.start() - MAX_CHARS):sign.start()])
        right = _RIGHT.match(text[sign.end():sign.end() + MAX_CHARS])
        if not left or not right or (left["before"] or "").lower() in _JOINED or right["after"]:
            continue
        if left["before"] and _plain(left["sum"])[:1] in ("+", "-", "*", "/"):  # 3 boxes * 4 + 1
            continue
        value, given = value_of(left["sum"]), _plain(right["sum"])
        first = _FIRST.match(given)
        results = tuple(r for t in (first[0] if first else "", given) if (r := value_of(t)) is not None)
        if value is None or not results or not _SUM.search(_plain(left["sum"])):
            continue
        if value and any(abs(r) in (abs(value) * 100, abs(value) / 100) for r in results):  # percent, or cents
            continue
        number = first[0].rstrip(".") if first else given
        places = len(number.partition(".")[2]) if first else 0
        yield f"{left['sum'].strip()} = {number}", value, results, Fraction(places > 0, 2 * 10**places)


def value_of(text: str) -> Fraction | None:
    """The exact value of a sum such as `2 * (3.50 + $1,000)`; None when it is not one."""
    plain = _plain(text)
    if not plain or re.search(rf"\d{{{MAX_DIGITS},}}|\*\*|//", plain):
        return None
    plain = re.sub(r"(?<![\d.])0+(?=\d)", "", plain)  # 007 is no number to Python
    try:
        return _value(ast.parse(plain, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _plain(text: str) -> str:
    """Without currency signs, thousands separators, and what only ends a sentence or leads on to a unit."""
    plain = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", re.sub(r"[$€£]", "", text)).strip()
    return re.sub(r"[\s.,(+\-*/]+\Z", "", re.sub(r"\A(?:[\s,)]|\.(?!\d))+", "", plain))


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(str(node.value))
    if isinstance(node, ast.BinOp) and type(node.op) in _STEPS:
        return _STEPS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    raise ValueError("not a sum")


def _words(value: Fraction) -> str:
    try:
        return f"{float(value):.6g}"
    except OverflowError:
        return "a number of more than 300 digits"


def _reasoning(text: str) -> str:
    return f"<reasoning> {text} </reasoning> <answer>42</answer>"


KINDS = (
    RewardKind(
        "arithmetic", "Arithmetic holds", "Checks the equations in the reasoning, so that a right answer by luck is "
        "worth less than one that was worked out; use it beside a reward for the answer.",
        Arithmetic, lambda p, s: score_bounds(p, ("right", "wrong", "none")), arithmetic,
        (Example(_reasoning("6 x 7 = 42"), "42", 0.5), Example(_reasoning("12 / 4 = 6, and 6 x 7 = 42"), "42", -0.5),
         Example(_reasoning("$1,000 / 3 = $333.33 each"), "42", 0.5),
         Example(_reasoning("It must be 42."), "42", 0.0), Example(_reasoning("2 * 2 = 4"), "43", 0.0))),
)
