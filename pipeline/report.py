"""A comparison as files: answers as CSV, everything as JSON, and a report in Markdown."""

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

from pipeline.comparison import as_table, by_subject, percent, rate_text, summary, token_note
from pipeline.contestants import Row, contestants, title_of, way_of
from pipeline.paired_tests import TESTED, PairedTest, by_kind, correction
from pipeline.recipe import Recipe
from pipeline.reward_means import Mean
from pipeline.seeds import ALONE, OverSeeds, footnote, heading, trained

RewardMeans = dict[str, dict[str, Mean]]

COLUMNS = (
    "model",
    "precision",
    "question_index",
    "sample",
    "question",
    "reference",
    "subject",
    "completion",
    "extracted",
    "exact",
    "lenient",
    "plausible",
    "format",
    "tokens",
    "truncated",
    "seconds",
)


def answers_csv(rows: Sequence[Row]) -> str:
    """Every answer, one line each. Text that a spreadsheet would run as a formula gets an apostrophe before it."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        precision = json.loads(row["settings"]).get("precision", "16bit")
        writer.writerow({k: _cell(v) for k, v in {**row, "precision": precision}.items()})
    return out.getvalue()


def document(
    run: str,
    benchmark: str,
    recipe: Recipe,
    rows: Sequence[Row],
    tests: Sequence[PairedTest],
    expected: Sequence[dict[str, Any]] = (),
    rewards: RewardMeans | None = None,
    over: Sequence[OverSeeds] = (),
) -> str:
    """Run, recipe, summary, tests and answers as one JSON text; `over` is what several seeds say together."""
    return json.dumps(
        {
            "run": run,
            "benchmark": benchmark,
            "recipe": recipe.model_dump(mode="json"),
            "summary": summary(rows, expected),
            "tests": [t.as_dict() for t in tests],
            "seeds": [pair.as_dict() for pair in over],
            "by_subject": by_subject(rows),
            "rewards": {label: {key: vars(m) for key, m in means.items()} for label, means in (rewards or {}).items()},
            "answers": [{k: v for k, v in row.items() if k != "id"} for row in rows],
        },
        indent=1,
        ensure_ascii=False,
    )


def markdown(
    run: str,
    benchmark: str,
    recipe: Recipe,
    rows: Sequence[Row],
    tests: Sequence[PairedTest],
    expected: Sequence[dict[str, Any]] = (),
    rewards: RewardMeans | None = None,
    over: Sequence[OverSeeds] = (),
) -> str:
    """The report: what was compared, the table, what can be claimed of this run and over several seeds, by subject, how
    to repeat it."""
    parts = [
        f"# {as_text(recipe.name)}: comparison",
        f"Run `{run}`, questions `{benchmark}`, data `{recipe.data.source}`, base model `{recipe.model.source}`. "
        "Rates with 95 % intervals (Wilson; resampled by question where there are several answers each).",
        as_table(rows, expected),
        *filter(None, [token_note(rows, expected)]),
        "## What can be claimed",
        claims(tests),
        *filter(None, [several_seeds(over, rows)]),
    ]
    if table := level_table(rows, expected):
        parts += ["## Precision", recommendation(rows, tests, expected), table]
    if subjects := subject_table(rows):
        parts += ["## Exact accuracy by subject or difficulty", subjects]
    if rewards:
        parts += ["## Mean of each reward on these answers", reward_table(rewards)]
    parts += [
        "## Repeat it",
        "The recipe below repeats the run: `python -m pipeline run recipe.yaml`.",
        f"```yaml\n{recipe.to_yaml()}```",
    ]
    return "\n\n".join(parts) + "\n"


def as_text(words: str) -> str:
    """A name from a person or from data, in one line of Markdown that holds no image, link, tag, code or table cell."""
    return re.sub(r"([\\<\[\]|`&])", r"\\\1", " ".join(words.split()))


def claims(tests: Sequence[PairedTest]) -> str:
    """The sentences, exact accuracy first, as a Markdown list."""
    lines = []
    for metric in TESTED:
        groups = by_kind([t for t in tests if t.metric == metric])
        for title, some in groups.items():
            lines += [f"**{metric.capitalize()}**" + f": {title[0].lower()}{title[1:]}" * (len(groups) > 1), "",
                      *(f"- {t.sentence}" for t in some), ""]
    lines.append(
        f"Paired exact tests, {correction([t for t in tests if t.metric == TESTED[0]])}; intervals of differences by "
        "paired bootstrap over questions."
        if tests
        else "There is nothing to compare: one model alone was evaluated."
    )
    return "\n".join(lines)


def several_seeds(over: Sequence[OverSeeds], rows: Sequence[Row], about: str = "") -> str:
    """What the seeds of a recipe say together (only `about` one model where it is given) as Markdown, or that this is
    one; empty where no trained model is among `rows`, or nothing is said of that one."""
    if not over:
        return ALONE if trained({row["model"] for row in rows}) else ""
    shown = [pair for pair in over if about in ("", pair.a, pair.b)]
    if not shown:
        return ""
    return "\n".join([f"**{heading(shown)}**", "", *(f"- {pair.sentence}" for pair in shown), "", footnote(over)])


def subject_table(rows: Sequence[Row]) -> str:
    """Rates per subject as a Markdown table; empty where the data has none."""
    found = by_subject(rows)
    if not found:
        return ""
    keys = sorted({key for rates in found.values() for key in rates}, key=list(summary(rows)).index)
    lines = ["| subject | " + " | ".join(title_of(k) for k in keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for subject, rates in found.items():
        cells = [rate_text(rates[k]) if k in rates else "–" for k in keys]
        lines.append(f"| {as_text(subject)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def reward_table(rewards: RewardMeans) -> str:
    """Mean scores before the weights as a Markdown table."""
    keys = list(dict.fromkeys(key for means in rewards.values() for key in means))
    lines = ["| reward | " + " | ".join(title_of(k) for k in keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for label, means in rewards.items():
        cells = [f"{m.mean:.2f} ({m.low:.2f} to {m.high:.2f})" if (m := means.get(k)) else "–" for k in keys]
        lines.append(f"| {as_text(label)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def levels(rows: Sequence[Row], facts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each contestant of a model with several precisions costs: exact rate, method, bytes, peak, speed."""
    found, known = summary(rows), _facts(facts)
    several = {key.partition("@")[0] for key in found if "@" in key}
    out = []
    for key, values in found.items():
        model, _, precision = key.partition("@")
        if model not in several:
            continue
        fact = known.get((model, precision or "16bit"), {})
        out.append({"title": f"{values['title']}{'' if precision else ' 16-bit'}", "exact": values["exact"],
                    "method": fact.get("method") or precision or "16-bit", "bytes": fact.get("bytes"),
                    "peak_bytes": fact.get("peak_bytes"),
                    "seconds_per_answer": fact.get("level_seconds") or values["seconds_per_answer"]})
    return out


def level_table(rows: Sequence[Row], facts: Sequence[dict[str, Any]]) -> str:
    """`levels` as a Markdown table; empty where one precision alone was evaluated."""
    lines = [f"| {v['title']} | {v['method']} | {rate_text(v['exact'])} | {megabytes(v['bytes'])} | "
             f"{megabytes(v['peak_bytes'])} | {v['seconds_per_answer']:.3f} |" for v in levels(rows, facts)]
    head = ["| level | method | exact | weights | peak memory | s/answer |", "|---|---|---|---|---|---|"]
    return "\n".join(head + lines) if lines else ""


def megabytes(value: int | None) -> str:
    """4.2 MB; a dash where it is not known."""
    return "–" if value is None else f"{value / 1e6:,.1f} MB"


def _facts(facts: Sequence[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """What is known of the weights, by model and precision; the newest entry counts."""
    return {(e["model"], json.loads(e["settings"]).get("precision", "16bit")): e for e in facts if e.get("bytes")}


def recommendation(rows: Sequence[Row], tests: Sequence[PairedTest], facts: Sequence[dict[str, Any]] = ()) -> str:
    """In words: which precision of a model to use, given its accuracies at several. Empty with only one precision.

    The smallest that cannot be told from 16-bit is recommended, unless its interval still allows a loss of more than
    5 points: then more questions are asked for. Levels that were asked in another way say nothing about each other.
    """
    found, sentences = summary(rows), []
    ways = {c.key: way_of(c.settings) for c in contestants(rows)}
    sizes = _facts(facts)
    for model in dict.fromkeys(key.partition("@")[0] for key in found):
        levels = [k for k in found if k.startswith(f"{model}@")]
        alike = [k for k in levels if ways[k] == ways.get(model)]
        if model in found and alike:
            sentences.append(_recommend(model, alike, found, tests, sizes))
        elif model in found and levels:
            sentences.append(f"{title_of(model)} and its smaller levels were asked in different ways, so none is "
                             "recommended: evaluate all precisions in one go.")
    return " ".join(sentences)


def _recommend(
    model: str,
    levels: Sequence[str],
    found: dict[str, Any],
    tests: Sequence[PairedTest],
    sizes: dict[tuple[str, Any], dict[str, Any]],
) -> str:
    for key in reversed(levels):  # smallest first
        test = next((t for t in tests if t.metric == "exact" and t.a == model and t.b == key), None)
        if test is None or (test.significant and test.difference < 0):
            continue
        sizes_text = _sizes(model, key, sizes)
        rates = f"{percent(found[key]['exact']['rate'])} against {percent(found[model]['exact']['rate'])} at 16-bit"
        if test.low < -0.05:
            return (
                f"{title_of(key)} shows no certain loss ({rates}), but a loss of up to {-100 * test.low:.1f} points "
                f"cannot be ruled out with {test.n} questions: evaluate more of them before you choose it{sizes_text}."
            )
        loss = max(0.0, -100 * test.low)
        return f"Use {title_of(key)}: {rates}, at most {loss:.1f} points lost with 95 % confidence{sizes_text}."
    return f"Stay with {title_of(model)} at 16-bit: every smaller level answers significantly fewer questions."


def _sizes(model: str, key: str, sizes: dict[tuple[str, Any], dict[str, Any]]) -> str:
    small, full = sizes.get((model, key.partition("@")[2])), sizes.get((model, "16bit"))
    if not small or not full:
        return ""
    return (
        f" ({small['bytes'] / 1e6:.1f} instead of {full['bytes'] / 1e6:.1f} MB, {small.get('method') or 'quantised'})"
    )


def _cell(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return "'" + value
    return value
