"""Base, SFT and GRPO side by side: rates with intervals, paired tests in numbers and in words, transitions.

Everything here is computed from stored answers (`RunReader.answers`), so a page, the command line, a report and a
model card show the same numbers. A contestant is a model at a precision; two are compared only where both answered
the same question.
"""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipeline.contestants import Contestant, Row, contestants, settings_of, title_of, way_of, way_words
from pipeline.errors import RunError
from pipeline.paired_tests import PairedTest, check_pairable, tests
from pipeline.recipe import EvaluateStep
from pipeline.run_folder import RunFolder, RunReader
from pipeline.statistics import clustered_rate, majority_at_k, pass_at_k

__all__ = ["PairedTest", "answered", "as_table", "benchmarks", "by_subject", "contestants", "load", "result",
           "summary", "tests", "title_of", "transitions", "ways"]

TOLERANCE = EvaluateStep().plausible_tolerance
METRICS = {"format": "Format", "exact": "Exact", "lenient": "Lenient", "plausible": "Plausible"}
EXPLAINED = {
    "format": "every tag once and in order, nothing outside",
    "exact": "the answer in the tags is right",
    "lenient": "the last number anywhere is right",
    "plausible": "the number in the tags is within {tolerance:.3g} % of the right one",
    "extractable": "an answer could be read from the tags",
    "truncated": "cut off at the token limit",
}


def explained(metric: str, tolerance: float = TOLERANCE) -> str:
    """When an answer counts; the tolerance of `plausible` is a share (0.1 is 10 %)."""
    return EXPLAINED[metric].format(tolerance=100 * tolerance)


def title_with(metric: str, tolerance: float = TOLERANCE) -> str:
    """The metric's title; that of `plausible` states its tolerance."""
    return f"{METRICS[metric]} (±{100 * tolerance:.3g} %)" if metric == "plausible" else METRICS[metric]


def summary(rows: Sequence[Row], expected: Sequence[dict[str, Any]] = ()) -> dict[str, dict[str, Any]]:
    """Per contestant: format, exact, lenient, … each `{count, n, rate, low, high}`, and the plain numbers."""
    return {c.key: _summary(c) for c in contestants(rows, expected)}


def _summary(c: Contestant) -> dict[str, Any]:
    out: dict[str, Any] = {metric: clustered_rate(list(c.counts(metric).values()), c.samples).as_dict()
                           for metric in (*METRICS, "extractable", "truncated")}
    answers = [row for rows in c.by_question.values() for row in rows]
    tokens = [row["tokens"] or 0 for row in answers]
    out |= {
        "title": c.title, "questions": len(c.by_question), "samples": c.samples, "partial": c.partial,
        "expected": c.expected, "tolerance": c.settings.get("plausible_tolerance", TOLERANCE),
        "mean_tokens": _mean(tokens), "total_tokens": sum(tokens),
        "seconds_per_answer": _mean([row["seconds"] or 0.0 for row in answers]),
        "pass_at_k": _at_k(c, _pass), "majority_at_k": _at_k(c, _vote),
    }
    return out


def _at_k(c: Contestant, score: Any) -> dict[int, float]:
    """The mean over questions for k = 1, 2, 4, …, samples; empty for one answer a question."""
    sizes = [2**i for i in range(9) if 2**i < c.samples] + [c.samples]
    return {k: _mean([score(rows, k) for rows in c.by_question.values()]) for k in sizes} if c.samples > 1 else {}


def _pass(rows: list[Row], k: int) -> float:
    return pass_at_k(len(rows), sum(bool(row["exact"]) for row in rows), k)


def _vote(rows: list[Row], k: int) -> float:
    return majority_at_k([row["extracted"] for row in rows], [bool(row["exact"]) for row in rows], k)


def by_subject(rows: Sequence[Row], metric: str = "exact") -> dict[str, dict[str, dict[str, Any]]]:
    """Rates per subject or difficulty: subject -> contestant -> rate. Empty where the data names none."""
    subjects = sorted({row["subject"] for row in rows if row.get("subject")}, key=_natural)
    out, counted = {}, [row for c in contestants(rows) for row in c.rows]
    for subject in subjects:
        some = contestants([row for row in counted if row["subject"] == subject])
        out[subject] = {c.key: clustered_rate(list(c.counts(metric).values()), c.samples).as_dict() for c in some}
    return out


def token_note(rows: Sequence[Row], expected: Sequence[dict[str, Any]]) -> str:
    """A sentence where the models' tokenizers differ, so that their token counts are not compared; else empty."""
    known = {(e["model"], e["settings"]): e.get("tokenizer") for e in expected}
    groups: dict[str, list[str]] = {}
    for c in contestants(rows, expected):
        if c.rows and (tokenizer := known.get((c.rows[0]["model"], c.rows[0]["settings"]))):
            groups.setdefault(tokenizer, []).append(c.title)
    if len(groups) < 2:
        return ""
    return ("Tokens are counted by each model's own tokenizer, and these differ: " + " / ".join(
        ", ".join(titles) for titles in groups.values()) + ". Do not compare their lengths.")


def transitions(rows: Sequence[Row], a: str, b: str, metric: str = "exact") -> dict[tuple[bool, bool], int]:
    """How many questions go from (a right?) to (b right?); right means more than half of the answers."""
    by_key = {c.key: c for c in contestants(rows)}
    one, two = _right(by_key[a], metric), _right(by_key[b], metric)
    counts = Counter((one[q], two[q]) for q in check_pairable(by_key[a], by_key[b]))
    return {(x, y): counts[x, y] for x in (True, False) for y in (True, False)}


def _right(c: Contestant, metric: str) -> dict[int, bool]:
    return {q: 2 * count > c.samples for q, count in c.counts(metric).items()}


def load(folder: RunFolder, benchmark: str | None = None, way: str = "") -> tuple[list[Row], list[dict[str, Any]]]:
    """The stored answers to a benchmark (the first one stored when None), and what was expected; only those that were
    asked for in a way of `ways`, if one is given. Of an evaluation that is not done, the questions before the first
    that is still open."""
    reader = RunReader(folder)
    benchmark = benchmark or next(iter(benchmarks(folder)), None)
    expected = [e for e in reader.status().get("evaluations") or [] if e["benchmark"] == benchmark]
    rows = _before_open_ones(reader.answers(benchmark), expected)
    if way:
        asked_so = {text for text in {row["settings"] for row in rows} if way_of(settings_of(text)) == way}
        rows = [row for row in rows if row["settings"] in asked_so]
    return rows, expected


def _before_open_ones(rows: list[Row], expected: Sequence[dict[str, Any]]) -> list[Row]:
    """Without what is answered after a question that is not: short answers end first, and a model that was stopped
    would be judged by these."""
    present: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        present.setdefault((row["model"], row["settings"]), set()).add(row["question_index"])
    open_at = {}
    for entry in expected:
        key = (entry["model"], entry["settings"])
        done = present.get(key, set())
        if len(done) < entry["questions"]:
            open_at[key] = next(i for i in itertools.count() if i not in done)
    return [row for row in rows if row["question_index"] < open_at.get((row["model"], row["settings"]), math.inf)]


def ways(folder: RunFolder, benchmark: str) -> list[tuple[str, str]]:
    """How a benchmark was asked, the newest way first: each as `contestants.way_of` has it, and in words."""
    sql = "SELECT settings, MAX(id) AS last FROM evaluations WHERE benchmark = ? GROUP BY settings ORDER BY last DESC"
    stored = RunReader(folder).rows(sql, (benchmark,))
    found = list(dict.fromkeys(way_of(settings_of(row["settings"])) for row in stored))
    return list(zip(found, way_words(found), strict=True))


def benchmarks(folder: RunFolder) -> list[str]:
    """The benchmarks with answers in a run, `test` first."""
    sql = "SELECT benchmark, MIN(id) AS first FROM evaluations GROUP BY benchmark"
    rows = sorted(RunReader(folder).rows(sql), key=lambda r: (r["benchmark"] != "test", r["first"]))
    return [row["benchmark"] for row in rows]


def answered(folder: RunFolder, benchmark: str | None = None) -> tuple[list[Row], list[dict[str, Any]]]:
    """As `load`. Raises RunError when the run has no answers."""
    rows, expected = load(folder, benchmark)
    if rows:
        return rows, expected
    stored = benchmarks(folder)
    if not stored:
        raise RunError(f"Run {folder.id} has no evaluation yet: finish it, or run "
                       f"`python -m pipeline evaluate {folder.id}`.")
    if benchmark in (None, *stored):
        raise RunError(f"The evaluation of run {folder.id} is not far enough to compare: its first question is still "
                       "open. Wait until it is done, or resume it.")
    raise RunError(f"Run {folder.id} has no answers to {benchmark!r}, only to {', '.join(stored)}: choose one of "
                   f"these, or run `python -m pipeline evaluate {folder.id} --data {benchmark}`.")


def result(rows: Sequence[Row], expected: Sequence[dict[str, Any]], found: Sequence[PairedTest]) -> dict[str, Any]:
    """The comparison as one JSON document: contestant -> metric -> {count, n, rate, low, high}; and `tests`."""
    return {**summary(rows, expected), "tests": [test.as_dict() for test in found]}


def as_table(rows: Sequence[Row], expected: Sequence[dict[str, Any]] = ()) -> str:
    """The table and the sentences as plain Markdown, for a terminal, a report or a model card."""
    found = summary(rows, expected)
    tolerance = next((values["tolerance"] for values in found.values()), TOLERANCE)
    heads = ["model", "questions", *(title_with(m, tolerance).lower() for m in METRICS), "extractable", "mean tokens",
             "all tokens", "truncated", "s/answer"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for values in found.values():
        asked = f"{values['questions']} of {values['expected']}, stopped" if values["partial"] else values["questions"]
        cells = [values["title"], asked, *(rate_text(values[m]) for m in METRICS),
                 percent(values["extractable"]["rate"]), f"{values['mean_tokens']:.0f}", f"{values['total_tokens']:,}",
                 percent(values["truncated"]["rate"]), f"{values['seconds_per_answer']:.3f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines + _at_k_lines(found))


def _at_k_lines(found: dict[str, dict[str, Any]]) -> list[str]:
    """pass@k and majority@k of the models that gave several answers to a question."""
    lines = []
    for values in found.values():
        parts = [f"{name} " + ", ".join(f"@{k} {percent(share)}" for k, share in values[key].items())
                 for name, key in (("pass", "pass_at_k"), ("majority", "majority_at_k")) if values[key]]
        lines += [f"\n{values['title']}: {'; '.join(parts)}"] if parts else []
    return lines


def rate_text(rate: dict[str, Any]) -> str:
    """61.3 % (55.7–66.7)"""
    if rate["rate"] is None:
        return "no answers"
    return f"{percent(rate['rate'])} ({100 * rate['low']:.1f}–{100 * rate['high']:.1f})"


def percent(rate: float | None) -> str:
    """61.3 %"""
    return "–" if rate is None else f"{100 * rate:.1f} %"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _natural(text: str) -> tuple[int, str]:
    digits = "".join(ch for ch in text if ch.isdigit())
    return (int(digits) if digits else 0, text)
