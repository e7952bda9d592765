"""The Compare tab's pieces as safe HTML: tables, transition matrices, questions side by side.

Everything that a model, a dataset or a person wrote passes through `html.escape` or `highlight.completion_html`.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pipeline.comparison import METRICS, TOLERANCE, by_subject, explained, percent, title_with
from pipeline.contestants import Row, title_of
from pipeline.question_table import Question, QuestionTable
from pipeline.report import megabytes
from pipeline.tags import TagScheme
from reasoning_ui.highlight import completion_html

ASSETS = Path(__file__).resolve().parent.parent / "assets"
SHOWN_CHARACTERS = 4_000  # of one answer in a list; alone, a question is shown whole
OPEN_AT_FIRST = 3
SHOWN_SAMPLES = 4


def summary_table(found: dict[str, dict[str, Any]]) -> str:
    """One line per contestant: rates with their intervals, lengths, time."""
    sampled = any(values["samples"] > 1 for values in found.values())
    tolerance = next((values["tolerance"] for values in found.values()), TOLERANCE)
    heads = [(title_with(metric, tolerance), explained(metric, tolerance)) for metric in METRICS]
    heads += [("Read", explained("extractable")), ("Tokens", "mean tokens of an answer"),
              ("All tokens", "tokens of all answers together"), ("Cut off", explained("truncated")),
              ("s/answer", "wall time divided by the answers of a batch")]
    if sampled:
        heads += [("pass@k", "a right one among k answers"), ("majority@k", "the commonest of k answers is right")]
    names = ["Questions", *(title for title, _ in heads)]
    lines = [_summary_line(values, names, sampled) for values in found.values()]
    titles = "".join(f"<th title='{escape(about)}'>{escape(title).replace(' %', '&nbsp;%')}</th>"
                     for title, about in heads)
    return (
        f"<div class='cmp'><div class='rates'><table><thead><tr><th>Model</th><th>Questions</th>{titles}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div></div>"
    )


def _summary_line(values: dict[str, Any], names: Sequence[str], sampled: bool) -> str:
    asked = str(values["questions"])
    if values["partial"]:
        asked += f" <span class='range'>of {values['expected']}, stopped</span>"
    cells = [asked, *(_rate(values[m]) for m in METRICS)]
    cells += [percent(values["extractable"]["rate"]), f"{values['mean_tokens']:.0f}", f"{values['total_tokens']:,}",
              percent(values["truncated"]["rate"]), f"{values['seconds_per_answer']:.3f}"]
    cells += [_at_k(values[m]) for m in ("pass_at_k", "majority_at_k")] if sampled else []
    return _line(values["title"], names, cells)


def subjects(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """Exact accuracy by subject or difficulty, folded; empty where the data names none."""
    found = by_subject(rows)
    if not found:
        return ""
    heads = "".join(f"<th>{escape(title_of(key))}</th>" for key in keys)
    cells = {subject: "".join(f"<td>{_rate(rates.get(key, {'rate': None}))}</td>" for key in keys)
             for subject, rates in found.items()}
    lines = "".join(f"<tr><td>{escape(subject)}</td>{text}</tr>" for subject, text in cells.items())
    return ("<details><summary>By subject or difficulty</summary><table class='subjects'><thead><tr><th>Subject</th>"
            f"{heads}</tr></thead><tbody>{lines}</tbody></table></details>")


def levels(found: Sequence[dict[str, Any]]) -> str:
    """What each precision costs: accuracy with interval, size, memory, speed."""
    heads = {"Method": "", "Exact": explained("exact"), "Weights": "",
             "Peak memory": "largest memory of the process that answered", "s/answer": ""}
    lines = []
    for v in found:
        cells = (escape(v["method"]), _rate(v["exact"]), megabytes(v["bytes"]), megabytes(v["peak_bytes"]),
                 f"{v['seconds_per_answer']:.3f}")
        lines.append(_line(v["title"], heads, cells))
    titles = "".join(f"<th title='{escape(about)}'>{head}</th>" for head, about in heads.items())
    return (f"<div class='rates'><table class='levels'><thead><tr><th>Level</th>{titles}</tr></thead>"
            f"<tbody>{''.join(lines)}</tbody></table></div>")


def _line(title: str, heads: Iterable[str], cells: Iterable[str]) -> str:
    """A line of a table; each cell knows its head, which stands before it where the line is a card (compare.css)."""
    shown = "".join(f"<td data-head='{escape(head)}'>{cell}</td>" for head, cell in zip(heads, cells, strict=True))
    return f"<tr><td><b>{escape(title)}</b></td>{shown}</tr>"


def _rate(rate: dict[str, Any]) -> str:
    if rate["rate"] is None:
        return "–"
    low, high = 100 * rate["low"], 100 * rate["high"]
    title = f"{rate['count']} of {rate['n']}; 95 % interval {low:.1f} to {high:.1f} %"
    return (
        f"<span title='{title}'><b>{percent(rate['rate'])}</b> <span class='range'>{low:.1f}–{high:.1f}</span>"
        f"<span class='bar'><i style='left:{low:.1f}%;width:{high - low:.1f}%'></i>"
        f"<em style='left:{100 * rate['rate']:.1f}%'></em></span></span>"
    )


def _at_k(values: dict[int, float]) -> str:
    return "<br>".join(f"@{k}: {percent(v)}" for k, v in values.items()) or "–"


def notice(text: str, warn: bool = False) -> str:
    """A line of plain text."""
    return f"<div class='cmp'><p class='{'warn' if warn else 'quiet'}'>{escape(text)}</p></div>"


def matrices(table: QuestionTable, chosen: str | None = "") -> str:
    """For each pair (six at most), how many questions went from right or wrong to right or wrong. Cells are buttons,
    the chosen one is pressed; None makes them plain numbers, for a page on which nothing can be chosen."""
    pairs = [(a, b) for i, a in enumerate(table.keys) for b in table.keys[i + 1 :]][:6]
    return (
        f"<div class='cmp'><div class='matrices'>{''.join(_matrix(table, a, b, chosen) for a, b in pairs)}</div></div>"
    )


def _matrix(table: QuestionTable, a: str, b: str, chosen: str | None) -> str:
    counts = table.matrix(a, b)
    lines = []
    for was in (True, False):
        cells = []
        for now in (True, False):
            name = f"{a}>{b}:{_word(was)}>{_word(now)}"
            kind = "" if was == now else "good" if now else "bad"
            label = f"{title_of(a)} {_word(was)}, {title_of(b)} {_word(now)}: {counts[was, now]} questions"
            button = (f"<button type='button' class='{kind}' data-cell='{escape(name)}' aria-label='{escape(label)}' "
                      f"aria-pressed='{str(name == chosen).lower()}'><b>{counts[was, now]}</b></button>")
            plain = f"<span class='{kind}'><b>{counts[was, now]}</b></span>"
            cells.append(f"<td>{plain if chosen is None else button}</td>")
        lines.append(f"<tr><th scope='row'>{escape(title_of(a))} {_word(was)}</th>{''.join(cells)}</tr>")
    heads = "".join(f"<th scope='col'>{escape(title_of(b))} {_word(now)}</th>" for now in (True, False))
    caption = f"{escape(title_of(a))} → {escape(title_of(b))}"
    return f"<table><caption>{caption}</caption><tr><td></td>{heads}</tr>{''.join(lines)}</table>"


def _word(right: bool) -> str:
    return "right" if right else "wrong"


def questions(table: QuestionTable, positions: Sequence[int], scheme: TagScheme, run: str, benchmark: str) -> str:
    """Questions, each with its answers side by side; the first ones are open. Without a run they have no links."""
    if not positions:
        return notice("No question fits. Choose another filter or clear the search.")
    limit = None if len(positions) == 1 else SHOWN_CHARACTERS
    items = [_question(table, p, scheme, run, benchmark, i < OPEN_AT_FIRST, limit) for i, p in enumerate(positions)]
    return f"<div class='cmp'>{''.join(items)}</div>"


def _question(
    table: QuestionTable, position: int, scheme: TagScheme, run: str, benchmark: str, opened: bool, limit: int | None
) -> str:
    q = table.questions[position]
    chips = "".join(_chip(table.right(key, position), title_of(key)) for key in table.keys)
    address = "?" + urlencode({"run": run, "benchmark": benchmark, "question": q.index + 1})
    link = f" · <a href='{escape(address)}'>link to this question</a>" if run else ""
    subject = f" · {escape(q.subject)}" if q.subject else ""
    columns = "".join(_column(table, position, key, scheme, limit) for key in table.keys)
    return (
        f"<details class='q' {'open' if opened else ''}><summary><span class='num'>#{q.index + 1}</span>"
        f"<span class='text'>{escape(q.question[:160])}</span><span>{chips}</span></summary><div class='body'>"
        f"<p class='question'>{escape(q.question)}</p><p class='facts'>Right answer: <b>{escape(q.reference)}</b>"
        f"{subject}{link}</p>"
        f"<div class='cols'>{columns}</div></div></details>"
    )


def _chip(right: bool | None, title: str) -> str:
    kind = "none" if right is None else _word(right)
    sign = {"none": "–", "right": "✓", "wrong": "✗"}[kind]
    word = "not answered" if right is None else kind
    return f"<span class='chip {kind}' title='{escape(title)}: {word}'>{escape(title)} {sign}</span> "


def _column(table: QuestionTable, position: int, key: str, scheme: TagScheme, limit: int | None) -> str:
    q: Question = table.questions[position]
    right = table.right(key, position)
    kind = "none" if right is None else _word(right)
    rows = q.answers.get(key, [])
    shown = rows if limit is None else rows[:SHOWN_SAMPLES]
    texts = "".join(
        f"<p class='facts'>{_facts(row, len(rows) > 1)}</p>"
        f"<div class='text-of'>{_answer_text(row['completion'], scheme, limit)}</div>"
        for row in shown
    )
    if len(shown) < len(rows):
        texts += (
            f"<p class='facts'>and {len(rows) - len(shown)} more answers: in the app, open the question by its "
            "link; answers.csv has them too.</p>")
    word = "not answered" if right is None else kind
    return (
        f"<div class='col {kind}'><h4><span>{escape(title_of(key))}</span><span class='chip {kind}'>{word}</span></h4>"
        f"{texts}</div>"
    )


def _facts(row: dict[str, Any], several: bool) -> str:
    given = f"answer <b>{escape(row['extracted'])}</b>" if row["extracted"] is not None else "no answer in the tags"
    parts = [given, f"{row['tokens']} tokens"]
    if several:
        parts.insert(0, f"{row['sample'] + 1}. {'right' if row['exact'] else 'wrong'}")
    parts += ["format lost"] if not row["format"] else []
    parts += ["cut off"] if row["truncated"] else []
    parts += ["right number, wrong place"] if row["lenient"] and not row["exact"] else []
    return " · ".join(parts)


def _answer_text(text: str, scheme: TagScheme, limit: int | None) -> str:
    if limit is None or len(text) <= limit:
        return completion_html(text, scheme) or "<span class='quiet'>(an empty answer)</span>"
    half = limit // 2
    left_out = f"<p class='quiet'>… {len(text) - limit:,} characters left out; answers.csv has them …</p>"
    return completion_html(text[:half], scheme) + left_out + completion_html(text[-half:], scheme)
