"""Answers whose dot may separate thousands, or whose comma may begin the decimals, as German, Spanish and many other
languages write numbers. Here a dot begins the decimals and commas separate thousands (see `rewards/numbers.py`).

One answer cannot tell: 1.234 may be either. All answers of a dataset together can: they are looked at for what only one
of the two ways of writing has. What is found is told as a question, since prices with three decimals exist; nothing is
read in another way because of it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.dataset.examples import Example
from pipeline.dataset.report import PreparedReport
from pipeline.rewards.numbers import canonical, number

FEWEST = 5  # different answers with three digits after the dot and none with another number of them
FEWEST_CERTAIN = 2  # different answers such as 1.234.567 or 1.234,5, which cannot be decimals
FEWEST_COMMAS = 10  # different answers such as 3,50, and a third of all: a few may be lists of two numbers
COMMA_SHARE = 1 / 3
STRAY = 20  # one answer with a decimal point among so many that cannot have one is a slip

_ONE_NUMBER = re.compile(r"[^\d(\[{]{0,6}?(\.?\d[\d.,]*)[^\d]{0,40}")  # no list or pair in brackets
_CERTAIN = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+,\d+|[1-9]\d{0,2}(?:\.\d{3}){2,}")
_THREE = re.compile(r"[1-9]\d{0,2}\.\d{3}")
_COMMA = re.compile(r"\d+,(?:\d{1,2}|\d{4,})")
_POINT = re.compile(r"\d*\.\d+|\d{1,3}(?:,\d{3})+\.\d+|\d{1,3}(?:,\d{3}){2,}|\d{5,}")


@dataclass(frozen=True)
class Written:
    """An answer with one number in it: its row, the number as it is written, and the answer that is compared."""

    row: int
    text: str
    reference: str


def notice_separators(examples: Sequence[Example], report: PreparedReport) -> None:
    """Ask what the dots and commas in the answers mean, where they may mean the other thing; and list the rows."""
    numbers = [found for e in examples if (found := _written(e))]
    certain, three, commas, points = ([n for n in numbers if kind.fullmatch(n.text)]
                                      for kind in (_CERTAIN, _THREE, _COMMA, _POINT))
    points = [n for n in points if not _THREE.fullmatch(n.text)]
    if points and len(points) * STRAY > len(certain):
        three, commas = [], []
    are_dots = _different(certain) >= FEWEST_CERTAIN or _different(three) >= FEWEST
    are_commas = _different(commas) >= FEWEST_COMMAS and len(commas) >= COMMA_SHARE * len(numbers)
    found = (certain + three if are_dots or (three and are_commas) else []) + (commas if are_commas else [])
    if not found:
        return
    for n in sorted(found, key=lambda n: n.row):
        report.notice("separators", n.row, f"{n.text} is {_reading(n)}")
    report.warnings.append(_question(certain, three, commas, found))


# ------------------------------------------------------------------------------------------------------------------


def _written(example: Example) -> Written | None:
    text, reference = example.written or example.reference or "", example.reference or ""
    if text.isdecimal():
        return Written(example.row, text, reference)
    match = _ONE_NUMBER.fullmatch(canonical(text))
    return Written(example.row, match[1].rstrip(".,"), reference) if match else None


def _different(numbers: Sequence[Written]) -> int:
    return len({n.text for n in numbers})


def _reading(n: Written) -> str:
    """What an answer is read as, to follow `is`."""
    if not n.reference:
        return "not read: the row has no answer"
    if n.text not in n.reference:
        return f"read as {n.reference}"
    if number(n.reference) is None:
        return "not read as a number: only the same spelling is right"
    return f"read as a decimal, not as {_plain(n.text)}"


def _plain(text: str) -> str:
    """As it would be written here, were its dots thousands and its comma the decimals."""
    return text.replace(".", "").replace(",", ".")


def _question(certain: Sequence[Written], three: Sequence[Written], commas: Sequence[Written],
              found: Sequence[Written]) -> str:
    shown = [kind[0] for kind in (three, certain, commas) if kind and kind[0] in found]
    ways = {"a dot between thousands": any("." in n.text for n in found),
            "a comma before the decimals": any("," in n.text for n in found)}
    readings = "; ".join(f"{n.text} (row {n.row:,}) is {_reading(n)}" for n in shown)
    better = ", ".join(f"{n.text} as {_plain(n.text)}" for n in shown)
    doubt = ("" if certain else " If they are decimals, such as prices with three places, leave them." if three
             else " If they are lists of numbers, leave them.")
    return (f"Are {len(found):,} answers written with {' and '.join(way for way, is_so in ways.items() if is_so)}, as "
            f"in German? Here a dot begins the decimals, and commas separate thousands: {readings}. If so, right "
            f"answers may be taken for wrong: write {better} in the data, and check again.{doubt}")
