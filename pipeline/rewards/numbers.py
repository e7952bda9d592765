"""Reading a written answer as a number with a unit, cheaply: the policy on spellings, units, currency and percent.

- Ignored: white space, `$…$`, bold, code marks, `\\boxed{}`, `\\text{}`, a trailing period, thousands separators.
- A currency sign or a word after the number is its unit (`$5`, `5 dollars`, `5\\text{ cm}`). Two different units
  differ (`5 cm`, `5 km`); a unit on one side only is ignored.
- `thousand`, `million`, `billion`, `trillion`, `dozen` and an attached `k` multiply.
- `50%` equals `50` and `0.5` (a reader may have meant either), but `50` never equals `0.5`.
- `nan` is no number and no answer, nor is `n/a` or an error of a spreadsheet: a table writes them where a value is
  missing. Infinity is an answer (of a limit, say) but no number; `inf`, `infinity`, `∞` and LaTeX's are one.
- A fraction equals a decimal exactly, or when the decimal is that fraction rounded to six or more places.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

MAX_NUMBER_CHARS = 200
MAX_EXPONENT = 300

_MINUS = str.maketrans({"\u2212": "-", "\u2013": "-", "\u2012": "-", "\ufe63": "-", "\uff0d": "-", "\u00a0": " ",
                        "\u202f": " ", "\u2009": " ", "\u2007": " ", "\uff0c": ",", "\u066c": ","})
_PLAIN = re.compile(r"-?\d{1,15}")
_NUMBER = re.compile(
    r"""(?P<sign>[+-]?)\s*(?P<currency>(?:US\$|USD|EUR|GBP|[$€£¥₹])?)\s*(?P<sign2>[+-]?)
    (?:(?P<mixed>\d{1,50})(?:\s+(?=\d{1,50}\s*/|\\frac)|(?=\\frac)))?
    (?: \\frac\s*\{\s*(?P<n1>-?\d{1,50})\s*\}\s*\{\s*(?P<d1>-?\d{1,50})\s*\}
      | \\frac\s*(?P<n2>\d)\s*(?P<d2>\d)
      | (?P<n3>\d{1,50})\s*/\s*(?P<d3>\d{1,50})
      | (?P<int>\d{1,3}(?:[, ]\d{3})+(?![\d])|\d+)?(?P<dec>\.\d*)?(?:[eE](?P<exp>[+-]?\d{1,6}))? )
    \s*(?P<unit>.*)""", re.VERBOSE | re.DOTALL)
_UNIT = re.compile(r"[^\W\d_]+(?:[ /.²³-]+[^\W\d_]+)*[²³]?\.?|[%°€£¥₹$]")
_SCALE = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_UNITS = {"$": "dollar", "usd": "dollar", "us$": "dollar", "buck": "dollar",
          "€": "euro", "eur": "euro", "£": "pound", "gbp": "pound",
          "¥": "yen", "jpy": "yen", "₹": "rupee", "inr": "rupee", "°": "degree", "percent": "%", "hr": "hour",
          "h": "hour", "min": "minute", "sec": "second", "s": "second", "kilometer": "km", "kilometre": "km",
          "meter": "m", "metre": "m", "centimeter": "cm", "centimetre": "cm", "millimeter": "mm", "millimetre": "mm",
          "kilogram": "kg", "gram": "g", "liter": "l", "litre": "l", "mile": "mi", "feet": "ft", "foot": "ft",
          "inche": "in", "inch": "in", "pound": "pound", "lb": "pound", "cent": "cent", "¢": "cent"}


_MISSING = frozenset({"nan", "<na>", "n/a", "#n/a", "#na", "#nan", "nat", "#div/0!", "#value!", "#ref!", "#name?",
                      "#num!", "#null!"})
_INFINITE = re.compile(r"([+-]?)\s*(?:\\infty|∞|inf(?:inity)?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Number:
    """A value with its unit words; `decimals` counts the written decimal places, -1 for a fraction."""

    value: int | Fraction
    units: frozenset[str]
    decimals: int = 0

    @property
    def percent(self) -> bool:
        """Whether it was written with a percent sign or word."""
        return "%" in self.units


_NO_UNITS: frozenset[str] = frozenset()
_WRAPPERS = (
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf|textit|mathit|operatorname|mbox|boldsymbol)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\boxed\s*\{(.*)\}", re.DOTALL), r"\1"),
    (re.compile(r"\\(?:left|right|displaystyle|limits|big|Big|bigl|bigr)(?![a-zA-Z])"), ""),
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\[!,;: ]|\\q?quad(?![a-zA-Z])|~"), " "),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree|\\circ"), "°"),
    (re.compile(r"\{,\}"), ","),
)


@lru_cache(maxsize=65536)
def canonical(text: str) -> str:
    """The text without marks that carry no meaning: see the policy above. Linear in its length."""
    if _PLAIN.fullmatch(text):
        return text
    out = text.translate(_MINUS).strip()
    if "\\" in out:
        out = re.sub(r"(?<=\d)\\[!,; ](?=\d{3})", "", out)
        for pattern, replacement in _WRAPPERS:
            out = pattern.sub(replacement, out)
        out = out.replace(r"\(", "").replace(r"\)", "").replace(r"\[", "").replace(r"\]", "")
        out = out.replace(r"\$", "$ ").replace(r"\%", "%").replace("$ $", "$")
    else:
        out = out.replace("{,}", ",")
    out = out.replace("**", "").replace("__", "").replace("`", "").strip()
    if out.startswith("*") and out.endswith("*"):
        out = out.strip("*")
    while len(out) > 1 and out[0] == out[-1] == "$":
        out = out[1:-1].strip()
    if out.endswith("$") and out.count("$") == 1 and not out[:-1].rstrip()[-1:].isdigit():
        out = out[:-1]
    return " ".join(out.rstrip(" .;,:").split()) if len(out) > 1 else out


@lru_cache(maxsize=65536)
def number(text: str) -> Number | None:
    """The text as one number with an optional unit, or None when it is anything else."""
    if len(text) > 4 * MAX_NUMBER_CHARS:
        return None
    if _PLAIN.fullmatch(text):
        return Number(int(text), _NO_UNITS)
    plain = canonical(text)
    if not plain or len(plain) > MAX_NUMBER_CHARS or not any(c in "0123456789" for c in plain):
        return None
    if plain[0] == "(" and plain[-1] == ")" and "," not in plain:
        plain = plain[1:-1].strip()
    match = _NUMBER.fullmatch(plain)
    if match is None:
        return None
    part = match.groupdict()
    return _number(part) if part["mixed"] is None or (part["int"] is None and part["dec"] is None) else None


def is_missing(text: str) -> bool:
    """Whether a cell or an answer is what a table writes where a value is missing: it is no answer, whoever gives it.
    """
    return len(text) <= 20 and text.strip().lstrip("+-").casefold() in _MISSING


def infinite(text: str) -> int:
    """1 or -1 where a canonical text is infinity with its sign; otherwise 0."""
    match = _INFINITE.fullmatch(text) if len(text) <= 20 else None
    return 0 if match is None else -1 if match[1] == "-" else 1


def same_number(a: Number, b: Number) -> bool:
    """Equality under the policy above."""
    if not same_units(a, b):
        return False
    if _close(a, b):
        return True
    if a.percent != b.percent:
        whole, other = (a, b) if a.percent else (b, a)
        return whole.value == 100 * other.value
    return False


def same_units(a: Number, b: Number) -> bool:
    """Whether the units allow a comparison: one has none, or one's words hold the other's."""
    return not a.units or not b.units or a.units <= b.units or b.units <= a.units


def _close(a: Number, b: Number) -> bool:
    if a.value == b.value:
        return True
    if (a.decimals < 0) == (b.decimals < 0):
        return False
    fraction, decimal = (a, b) if a.decimals < 0 else (b, a)
    return decimal.decimals >= 6 and abs(fraction.value - decimal.value) * 2 <= Fraction(1, 10**decimal.decimals)


def _number(part: dict[str, str | None]) -> Number | None:
    read = _value(part)
    if read is None:
        return None
    value, decimals = read
    if part["sign"] and part["sign2"]:
        return None
    if "-" in (part["sign"], part["sign2"]):
        value = -value
    units = _units((part["unit"] or "").strip())
    if units is None:
        return None
    scale, words = units
    if part["currency"]:
        words = words | {_UNITS[part["currency"].casefold()]}
    value *= scale
    return Number(value.numerator if value.denominator == 1 else value, frozenset(words), decimals)


def _value(part: dict[str, str | None]) -> tuple[Fraction, int] | None:
    for n, d in (("n1", "d1"), ("n2", "d2"), ("n3", "d3")):
        if part[n] is not None and part[d] is not None:
            if int(part[d]) == 0:  # type: ignore[arg-type]
                return None
            return Fraction(int(part[n]), int(part[d])) + int(part["mixed"] or 0), -1  # type: ignore[arg-type]
    whole, decimal, exponent = part["int"], part["dec"], int(part["exp"] or 0)
    if whole is None and (decimal is None or decimal == "."):
        return None
    if abs(exponent) > MAX_EXPONENT or part["mixed"] is not None:
        return None
    digits = (whole or "0").replace(",", "").replace(" ", "")
    value = Fraction(int(digits + (decimal or ".")[1:]), 10 ** len((decimal or ".")[1:]))
    return value * Fraction(10) ** exponent, len((decimal or ".")[1:])


@lru_cache(maxsize=4096)
def _units(text: str) -> tuple[int, frozenset[str]] | None:
    """Factor and unit words of what follows a number; None when it is no unit."""
    if not text:
        return 1, frozenset()
    if text in ("k", "K"):
        return 1000, frozenset()
    if not _UNIT.fullmatch(text) or len(text) > 60:
        return None
    scale, words = 1, set()
    for word in re.split(r"[^\w%°€£¥₹$¢²³]+", text.casefold()):
        if word in _NOT_UNITS:
            return None
        singular = word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
        if singular in _SCALE:
            scale *= _SCALE[singular]
        elif word and word not in _FILLERS:
            words.add(_UNITS.get(singular, singular))
    return (scale, frozenset(words)) if len(words) <= 5 else None


_FILLERS = frozenset({"of", "a", "an", "the", "per", "in", "total", "each", "more", "less", "left", "us"})
_NOT_UNITS = frozenset({"or", "and", "not", "to", "plus", "minus", "times", "pi", "sqrt", "i", "x", "y", "e", "but",
                        "is", "isn", "was", "if", "than", "because", "maybe", "no", "wrong"})
