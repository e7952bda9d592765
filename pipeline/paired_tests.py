"""Paired tests between two models that answered the same questions, in numbers and in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from pipeline.contestants import PROTOCOL, Contestant, Row, contestants, title_of
from pipeline.errors import RunError
from pipeline.statistics import bootstrap_mean, holm, mcnemar, questions_needed, sign_flip

TESTED = ("exact", "lenient", "format")
KINDS = {"models": "Which model is better", "precisions": "What a smaller precision costs",
         "both": "Different models at different precisions"}
GAIN = 0.03  # the gain, in the needed number of questions, that people ask about
WORDS = {
    "exact": ("answers {n} questions that {a} gets wrong", "loses {n} that {a} gets right"),
    "lenient": ("finds the number in {n} questions where {a} does not", "misses it in {n} where {a} finds it"),
    "format": ("keeps the format in {n} questions where {a} does not", "loses it in {n} where {a} keeps it"),
    "plausible": ("comes close in {n} questions where {a} does not", "misses in {n} where {a} comes close"),
}


@dataclass(frozen=True)
class PairedTest:
    """Whether `b` is better than `a` in `metric`, over the questions that both answered."""

    metric: str
    a: str
    b: str
    n: int  # questions
    gained: int  # questions on which b has more right answers than a
    lost: int
    difference: float  # of the rates, b minus a
    low: float
    high: float
    p: float
    p_holm: float
    method: str
    needed: int | None  # questions after which a gain of 3 points would be found
    note: str = ""
    kind: str = "models"  # which of KINDS the pair answers

    @property
    def significant(self) -> bool:
        """Below 5 % after Holm's correction."""
        return self.p_holm < 0.05

    @property
    def sentence(self) -> str:
        """The result in words."""
        return sentence(self)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; with the sentence."""
        return {**vars(self), "significant": self.significant, "sentence": self.sentence}


def tests(rows: Sequence[Row], metrics: Sequence[str] = TESTED,
          expected: Sequence[dict[str, Any]] = ()) -> list[PairedTest]:
    """Every pair of contestants in every metric; Holm's correction over the pairs of a family.

    A family is what one asks together, in one metric: the models at one precision, or the precisions, or both at once.
    So whether training helped does not hang on how many precisions were tried afterwards. Raises RunError when two
    contestants answered different questions.
    """
    found, pairs = contestants(rows, expected), []
    for a, b in combinations(found, 2):
        check_pairable(a, b)
        pairs.append((a, b))
    families = [(kind_of(a, b), a.precision if kind_of(a, b) == "models" else "") for a, b in pairs]
    out = []
    for metric in metrics:
        raw = [_test(a, b, metric) for a, b in pairs]
        corrected = _holm_within(families, [test.p for test in raw])
        out += [replace(test, p_holm=p) for test, p in zip(raw, corrected, strict=True)]
    return out


def kind_of(a: Contestant, b: Contestant) -> str:
    """Which of KINDS a pair answers."""
    if a.precision == b.precision:
        return "models"
    return "precisions" if a.model == b.model else "both"


def by_kind(found: Sequence[PairedTest]) -> dict[str, list[PairedTest]]:
    """The tests under the titles of KINDS, of those kinds that there are."""
    return {title: some for kind, title in KINDS.items() if (some := [test for test in found if test.kind == kind])}


def correction(found: Sequence[PairedTest]) -> str:
    """What the p-values are corrected for, in words."""
    if len(by_kind(found)) > 1:
        return "Holm-corrected within each group and precision"
    return f"Holm-corrected over the {len(found)} comparisons"


def _holm_within(families: Sequence[Any], p_values: Sequence[float]) -> list[float]:
    """Holm's correction within each family, in the given order."""
    out = list(p_values)
    for family in set(families):
        places = [place for place, its in enumerate(families) if its == family]
        for place, p in zip(places, holm([p_values[place] for place in places]), strict=True):
            out[place] = p
    return out


def check_pairable(a: Contestant, b: Contestant) -> list[int]:
    """The questions that both answered. Raises RunError when they were not asked the same things."""
    common = sorted(a.by_question.keys() & b.by_question.keys())
    differ = [q for q in common if a.by_question[q][0]["question"] != b.by_question[q][0]["question"]
              or a.by_question[q][0]["reference"] != b.by_question[q][0]["reference"]]
    if differ or not common:
        why = (f"question {differ[0] + 1} is not the same" if differ else "they have no question in common")
        raise RunError(f"{a.title} and {b.title} cannot be compared: they were asked different questions ({why}). "
                       "Evaluate both on the same data.")
    return common


def _test(a: Contestant, b: Contestant, metric: str) -> PairedTest:
    common = check_pairable(a, b)
    one, two = a.counts(metric), b.counts(metric)
    scale = math.lcm(a.samples, b.samples)
    d = [two[q] * (scale // b.samples) - one[q] * (scale // a.samples) for q in common]
    gained, lost = sum(x > 0 for x in d), sum(x < 0 for x in d)
    low, high = bootstrap_mean([x / scale for x in d])
    single = scale == 1
    p = mcnemar(gained, lost) if single else sign_flip(d)
    discordant = (gained + lost) / len(d)
    return PairedTest(
        metric, a.key, b.key, len(d), gained, lost, sum(d) / scale / len(d), low, high, p, p,
        "exact McNemar" if single else "exact sign-flip permutation test by question",
        questions_needed(GAIN, discordant) if discordant else None, _notes(a, b, len(common)), kind_of(a, b))


def _notes(a: Contestant, b: Contestant, common: int) -> str:
    notes = []
    for c in (a, b):
        if c.partial:
            notes.append(f"{c.title} was stopped after {len(c.by_question)} of {c.expected} questions")
    if common < max(len(a.by_question), len(b.by_question)) and not notes:
        notes.append(f"only the {common} questions that both answered count")
    changed = [name for name in PROTOCOL if name != "data" and a.settings.get(name) != b.settings.get(name)]
    if changed:
        notes.append(f"the two were sampled with different settings ({', '.join(changed)})")
    return "; ".join(notes)


def sentence(test: PairedTest) -> str:
    """GRPO answers 41 of 300 questions that SFT did not, and loses 6: very unlikely to be chance (p = …)."""
    a, b = title_of(test.a), title_of(test.b)
    gains, loses = WORDS[test.metric]
    if not test.gained + test.lost:
        return f"{a} and {b} agree on all {test.n} questions: no difference can be claimed.{_partial(test)}"
    counts = f"{b} {gains.format(n=f'{test.gained} of {test.n}', a=a)}, and {loses.format(n=test.lost, a=a)}"
    partial = _partial(test)
    points = (f"{100 * test.difference:+.1f} points, 95 % interval {100 * test.low:+.1f} to "
              f"{100 * test.high:+.1f}")
    if not test.significant:
        need = ""
        if test.needed and test.needed > test.n:
            need = f" To be sure of a 3-point gain you need about {test.needed:,} questions."
        return (f"No difference between {a} and {b} can be claimed: {counts} ({points}; p = {p_text(test.p_holm)})."
                f"{need}{partial}")
    strength = "very unlikely" if test.p_holm < 0.001 else "unlikely"
    direction = "" if test.difference > 0 else f", so {b} is worse"
    return f"{counts}{direction}: {strength} to be chance ({points}; p = {p_text(test.p_holm)}).{partial}"


def _partial(test: PairedTest) -> str:
    return f" Note: {test.note}." if test.note else ""


def p_text(p: float) -> str:
    """0.03, 0.0004, 2e-09, 1; what is too small for a number is told so."""
    if p >= 0.9995:
        return "1"
    if p < 1e-300:
        return "1e-300 or less"
    return f"{p:.2g}" if p >= 1e-4 else f"{p:.0e}"
