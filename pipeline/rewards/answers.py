"""Whether an answer is right: a cheap comparison first, math-verify in the scoring process only for what is left."""

import re
import time
from functools import lru_cache

from pipeline.rewards import math_process
from pipeline.rewards.numbers import Number, canonical, infinite, is_missing, number, same_number, same_units

MAX_MATH_CHARS = 400
STARVED_SECONDS = 10.0

_LAST = re.compile(
    r"(?:(?<![\w.)])[-\u2212\u2013][$€£]?|(?<![\w.])[$€£]?)\d(?:[\d,]*\d)?(?:\.\d+)?(?:/\d+)?%?")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_WORD = re.compile(r"[^\W\d_]{2,}")
_FUNCTIONS = frozenset((
    "sqrt", "pi", "sin", "cos", "tan", "sec", "csc", "cot", "log", "ln", "exp", "inf", "infty", "infinity", "oo", "or",
    "and", "cup", "cap", "arcsin", "arccos", "arctan", "binom", "mod", "bmod", "pmod", "max", "min", "gcd", "lcm"))
_NOT_MATH = re.compile(r"\d\s+\d|[-+*/^=]\s*$|--|\+\+|\d!")
_ASSIGNED = re.compile(r"[a-zA-Z](?:_\{?\w\}?)?\s*=\s*(?=[^=]+$)")


def same_answer(given: str | None, reference: str | None) -> bool:
    """Whether both are the same answer; False where it could not be found out in time. See `compare`."""
    return compare(given, reference) is True


def compare(given: str | None, reference: str | None) -> bool | None:
    """True or False, or None when only math-verify could tell and it did not in time."""
    if given is None or reference is None:
        return False
    if is_missing(given) or is_missing(reference):
        return False
    if given == reference:
        return bool(given.strip())
    settled = settle(given, reference)
    return _math_equal(canonical(given), canonical(reference)) if settled is None else settled


def settle(given: str, reference: str) -> bool | None:
    """The cheap comparison: numbers by value, words by letters; None when it takes mathematics to tell."""
    if len(given) > 10 * MAX_MATH_CHARS or len(reference) > 10 * MAX_MATH_CHARS:
        return given.strip() == reference.strip() != ""
    a, b = _plain(given, reference), _plain(reference, given)
    if not a or not b:
        return False
    if a == b:
        return True
    x, y = number(a), number(b)
    if x is not None and y is not None:
        return same_number(x, y)
    if (endless := infinite(a)) and (x is not None or y is not None or infinite(b)):
        return endless == infinite(b)
    if infinite(b) and x is not None:
        return False
    if _letters(a) == _letters(b):
        return True
    if not (_is_math(a) and _is_math(b)):
        return False
    one = a if y is not None else b if x is not None else None
    if one is not None and ("," in one or "=" in one or (_WORD.search(_COMMAND.sub(" ", one)) and " or " in one)):
        return False
    return None


def two_numbers(given: str | None, reference: str | None) -> tuple[Number, Number] | None:
    """Both as numbers with units that can be compared, or None."""
    if given is None or reference is None:
        return None
    a, b = number(given), number(reference)
    return (a, b) if a is not None and b is not None and same_units(a, b) else None


def relative_error(given: str | None, reference: str | None) -> float | None:
    """`|given - reference| / |reference|` where both are numbers; infinite against a reference of 0."""
    pair = two_numbers(given, reference)
    return None if pair is None else number_error(*pair)


def number_error(a: Number, b: Number) -> float:
    """`|a - b| / |b|`; infinite against 0."""
    if same_number(a, b):
        return 0.0
    if b.value == 0:
        return float("inf")
    try:
        return float(abs(a.value - b.value) / abs(b.value))
    except OverflowError:
        return float("inf")


def plausible(given: str | None, reference: str | None, tolerance: float = 0.1) -> bool:
    """Whether the number is right within a relative tolerance: near, though perhaps not equal."""
    error = relative_error(given, reference)
    return error is not None and error <= tolerance


def last_number(text: str) -> str | None:
    """The last number written anywhere in the text, with its sign, currency, fraction or percent sign."""
    tail = text[-400:]
    found = _LAST.findall(tail)
    if len(text) > 400 and len(found) < 2:  # the only one may have been cut at its start
        found = _LAST.findall(text)
    return found[-1] if found else None


def numbers_in(text: str) -> list[str]:
    """Every number written in the text."""
    return _LAST.findall(text)


def lenient_match(text: str, reference: str | None) -> bool:
    """Whether the answer is right by its last number, or, for another kind of answer, by what the text ends with."""
    if reference is None:
        return False
    if number(reference) is not None:
        return same_answer(last_number(text), reference)
    boxed = re.findall(r"\\boxed\{((?:[^{}]|\{[^{}]*\}){0,400})\}", text[-4000:])
    lines = [line for line in re.sub(r"</?\w{1,30}>", "\n", text[-4000:]).splitlines() if line.strip()]
    ends = boxed[-1:] + lines[-1:]
    ends += [re.split(r"\b(?:is|answer)\b:?|=", end)[-1] for end in lines[-1:]]
    for end in dict.fromkeys(ends):
        if (equal := compare(end, reference)) is not False:
            return bool(equal)  # one that could not be settled in time is enough: the next would take as long
    return False


# ------------------------------------------------------------------------------------------------------------------


def _plain(text: str, other: str) -> str:
    """Canonical text, without the `x =` before a value that the other side does not have."""
    plain = canonical(text)
    if "=" in plain and "=" not in other:
        plain = _ASSIGNED.sub("", plain, count=1) if _ASSIGNED.match(plain) else plain
    return plain


def _letters(text: str) -> str:
    """Words compared without case and outer brackets; formulas with it, and without spaces."""
    if "\\" in text or not _WORD.search(text):
        if len(text) == 3 and text[0] == "(" and text[2] == ")":
            text = text[1]
        return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)
    return text.casefold().strip("()[]\"'")


def _is_math(text: str) -> bool:
    """Whether it can be handed to math-verify: a formula without prose, which would hide any number it mentions."""
    if len(text) > MAX_MATH_CHARS or "$" in text or ":" in text or _NOT_MATH.search(text):
        return False
    words = _WORD.findall(_COMMAND.sub(" ", text))
    if any(word.casefold() not in _FUNCTIONS for word in words if len(word) > 2 or " " in text):
        return False
    return bool(re.search(r"[\d\\(){}\[\]^+*/=<>|√π∞-]", text))


class _Starved(Exception):
    """The machine was too busy to compare."""


_starved: dict[tuple[str, str], float] = {}  # pair -> until when it is not asked again


def _math_equal(given: str, reference: str) -> bool | None:
    """A pair that got no processor time is not remembered, but left alone for a while: several rewards may ask."""
    if _starved.get((given, reference), 0.0) > time.monotonic():
        return None
    try:
        return _remembered(given, reference)
    except _Starved:
        if len(_starved) > 1000:
            _starved.clear()
        _starved[given, reference] = time.monotonic() + STARVED_SECONDS
        return None


@lru_cache(maxsize=65536)
def _remembered(given: str, reference: str) -> bool | None:
    verdict = math_process.SHARED.compare(given, reference)
    if verdict.starved:
        raise _Starved
    return verdict.equal
