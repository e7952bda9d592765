"""The reference answer of a row: after `####`, in `\\boxed{}`, between answer tags, in a column, or the last number."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.rewards.numbers import is_missing
from pipeline.tags import SCHEMES, extract

MAX_REFERENCE = 400  # characters; a longer "answer" is prose that no check can compare
RULE_NAMES = {
    "column": "the answer column as it is",
    "hash": "the text after ####",
    "boxed": "the content of \\boxed{}",
    "tag": "the text between answer tags",
    "last_number": "the last number",
}
_NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?(?![\w])(?!\.\d)")
_WRITTEN = re.compile(r"(?<!\w)\d[\d.,]*\d(?!\w)|(?<!\w)\d(?!\w)")
_THOUSANDS = re.compile(r"([-+]?)\$?(\d{1,3}(?:,\d{3})+)(\.\d+)?")
_ANSWER_IS = re.compile(r"(?:final )?answer(?: is|:)\s*:?\s*(.+)", re.IGNORECASE)
_SOLUTION = ("<|begin_of_solution|>", "<|end_of_solution|>")


def text_of(value: Any) -> str | None:
    """A cell as text: None for null, blanks and what tables write for a missing value (see `is_missing`).

    72.0 is `72`, True is `True`, one-item lists are their item.
    """
    if isinstance(value, list | tuple):
        if len(value) == 1:
            return text_of(value[0])
        parts = [text_of(v) for v in value]
        return ", ".join(p for p in parts if p) or None
    if value is None or isinstance(value, dict):
        return None
    if isinstance(value, float) and not isinstance(value, bool):
        if math.isnan(value):
            return None
        if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
    text = plain_ends(str(value)).strip()
    return None if is_missing(text) else text or None


def plain_ends(text: str) -> str:
    """The text with the line ends of Windows as plain ones: a model would learn to write the extra character."""
    return text.replace("\r\n", "\n")


def hash_answer(text: str) -> str | None:
    """What follows the last `####`, up to the end of its line."""
    _head, found, tail = text.rpartition("####")
    return _tidy(tail.strip().split("\n", 1)[0]) if found else None


def boxed_answer(text: str) -> str | None:
    """What the last `\\boxed{…}` holds, with nested braces."""
    return extract(SCHEMES["boxed"], text)


def tag_answer(text: str) -> str | None:
    """What the last answer tags of any known scheme hold."""
    for scheme in SCHEMES.values():
        if not scheme.is_boxed and (found := extract(scheme, text)):
            return _tidy(found)
    _before, found, rest = text.rpartition(_SOLUTION[0])
    return rest.partition(_SOLUTION[1])[0].strip() or None if found else None


def last_number(text: str) -> str | None:
    """The number in the sentence that names the answer, otherwise the last one of the text; no thousands commas."""
    for part in _answer_parts(text):
        if numbers := _NUMBER.findall(part):
            return _tidy(numbers[-1].replace("−", "-"))
    return None


def last_written(text: str) -> str | None:
    """The digits, dots and commas where `last_number` looks for the last number, all of them: 1.234,5 and not 5."""
    return next((found[-1] for part in _answer_parts(text) if (found := _WRITTEN.findall(part))), None)


def column_answer(text: str) -> str | None:
    """The cell itself; its `\\boxed{}` or `####` part where it has one."""
    return hash_answer(text) or boxed_answer(text) or _tidy(text)


FINDERS: dict[str, Callable[[str], str | None]] = {
    "column": column_answer, "hash": hash_answer, "boxed": boxed_answer, "tag": tag_answer, "last_number": last_number,
}


def find_reference(rule: str, texts: Sequence[str | None]) -> tuple[str | None, str | None]:
    """The reference in the first of `texts` where the rule finds one, and the rule that found it.

    Where the rule finds nothing, an explicit mark (`####`, a box, answer tags) of another kind is accepted. A find
    longer than MAX_REFERENCE characters is no reference.
    """
    explicit = [r for r in ("hash", "boxed", "tag") if r != rule]
    for attempt in [rule, *explicit]:
        for text in texts:
            found = FINDERS[attempt](text) if text else None
            if found and len(found) <= MAX_REFERENCE and not is_missing(found):
                return found, attempt
    return None, None


def _answer_parts(text: str) -> list[str]:
    """The sentence that names the answer, where there is one, and the end of the text."""
    tail = text[-2000:]
    return [*_ANSWER_IS.findall(tail)[-1:], tail]


def _tidy(text: str) -> str | None:
    """White space and a closing full stop off; a plain number loses its thousands commas."""
    text = text.strip()
    if text.endswith(".") and not text.endswith(".."):
        text = text[:-1].rstrip()
    if match := _THOUSANDS.fullmatch(text):
        sign, whole, rest = match.groups()
        return sign + whole.replace(",", "") + (rest or "")
    return text or None
