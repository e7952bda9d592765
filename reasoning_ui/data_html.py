"""Tables, reports and cards of the Data tab as HTML. Every text from a dataset is escaped."""

import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pipeline.dataset.answers import RULE_NAMES
from pipeline.dataset.examples import Example
from pipeline.dataset.mapping import Mapping as Columns
from pipeline.dataset.report import REASONS, Lengths, PreparedReport, Rowlist
from pipeline.dataset.sample import Sample
from pipeline.dataset.saved import Card
from reasoning_ui.highlight import escaped

LISTED = 200  # rows shown of a list
CELL = 300  # characters shown of a cell
COLUMNS = 12  # columns shown of a table
NOTICED = {
    "no_reference": ("without an answer that can be checked",
                     "They can be imitated (SFT), but not practised on (GRPO)."),
    "no_reasoning": ("without a worked solution", "They can be practised on (GRPO), but not imitated (SFT)."),
    "tiny_reasoning": ("with a very short worked solution", "The model learns to skip its reasoning from these."),
    "disagrees": ("whose reasoning ends in another number than the answer",
                  "Often harmless (a unit, a later remark); look at a few."),
    "separators": ("whose answer has a dot or comma that may mean something else than it is read as",
                   "A dot is read as the beginning of the decimals, a comma before three digits as thousands."),
    "tags": ("whose text already holds the tags", "They are used for GRPO alone."),
    "long_sft": ("too long for SFT", "They are used for GRPO alone."),
    "long_grpo": ("whose question leaves no room for the longest answer", "They are used for SFT alone."),
    "near_duplicate": ("nearly equal to another question", "Each such group stays in one part, so no test question was "
                       "practised on in other words."),
    "multi_turn": ("with a chat of several questions",
                   "Only the first question and its reply are used; what follows in the chat is not trained on."),
    "over_limit": ("whose worked solution is longer than the longest answer",
                   "The model would be cut off when it answers like them: raise the limit."),
}
PART_NAMES = {"sft": "SFT (imitate)", "grpo": "GRPO (practise)", "validation": "Validation (curves)",
              "test": "Test (held out)"}


def note(text: str, kind: str = "warn") -> str:
    """A coloured box; `kind` is good, bad or warn."""
    return f'<div class="rs-note rs-{kind}">{"<br>".join(escape(line) for line in text.splitlines())}</div>'


def source_html(title: str, sentence: str, sample: Sample) -> str:
    """What was found: kind, rows, columns, and what was noticed while reading."""
    rows = f"{sample.total:,} rows" if sample.total else (
        f"{len(sample.rows):,} rows" if sample.complete else f"more than {len(sample.rows):,} rows")
    rows = "as many rows as you ask for" if sample.kind == "made here" else rows
    words = f"<p><b>{escape(title)}</b> · {escape(sample.kind)} · {rows} · {len(sample.columns):,} columns</p>"
    about = f'<p class="rs-about">{escape(sentence)}</p>' if sentence else ""
    if sample.loading:
        about += '<p class="rs-about">These are the first rows; more are being read.</p>'
    notes = "".join(note(n) for n in sample.notes)
    if sample.broken:
        first = "\n".join(b.why for b in sample.broken[:5])
        notes += note(f"{len(sample.broken)} of the first rows cannot be read and will be left out:\n{first}", "bad")
    return words + about + notes


def rows_html(sample: Sample, mapping: Columns | None, count: int = 5) -> str:
    """The first rows as they are, with the role of each column above it."""
    roles: dict[str, list[str]] = {}
    for role in ("question", "reasoning", "answer", "system"):
        if mapping and (column := getattr(mapping, role)):
            roles.setdefault(column, []).append(role)
    columns = [*roles, *(c for c in sample.columns if c not in roles)][:COLUMNS]
    head = "".join(f'<th scope="col">{escape(c[:60])}<small>{escape(", ".join(roles.get(c, [])))}</small></th>'
                   for c in columns)
    body = "".join(f'<tr><td class="number">{number}</td>' + "".join(_cell(row.get(c)) for c in columns) + "</tr>"
                   for number, row in sample.rows[:count])
    more = len(sample.columns) - len(columns)
    rest = f'<p class="rs-about">{more:,} more columns are not shown.</p>' if more > 0 else ""
    return (f'<div class="d-table" tabindex="0"><table><thead><tr><th class="number">row</th>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>{rest}")


def reasons_html(mapping: Columns) -> str:
    """Why each column was chosen, and what looks wrong."""
    names = {"question": "Question", "reasoning": "Reasoning", "answer": "Answer", "system": "System prompt",
             "rule": "How the answer is found"}
    lines = []
    for role, title in names.items():
        if role in mapping.reasons:
            chosen = RULE_NAMES[mapping.rule] if role == "rule" else getattr(mapping, role) or "none"
            why = mapping.reasons[role].removeprefix(f"{chosen}: ")
            lines.append(f"<li><b>{title}:</b> {escape(chosen)}: {escape(why)}</li>")
    return f'<ul class="d-why">{"".join(lines)}</ul>' + "".join(note(w) for w in mapping.warnings)


def example_facts(example: Example | None, row: int) -> str:
    """How the answer of a row was found, or why it cannot be used."""
    if example is None:
        return note(f"Row {row} has no question: it is left out.")
    if not example.reference and not example.completion:
        title = "The text already holds the tags" if example.problem == "tags" else "No answer was found"
        if example.problem == "no_reasoning":
            title = "There is neither a worked solution nor an answer"
        return note(f"{title}{f' ({example.detail})' if example.detail else ''}. This row cannot be used.")
    if example.reference:
        rule = RULE_NAMES.get(example.rule or "", "")
        words = f"Answer to check against: <b>{escape(example.reference[:200])}</b> ({escape(rule)})."
    else:
        words = "No short answer was found, so rewards cannot check this row: it can be imitated, not practised on."
    if example.turns > 1:
        words += f" The chat goes on: the first of its {example.turns} questions is used."
    problem = ""
    if example.problem:
        detail = f" ({example.detail})" if example.detail else ""
        titles = {"no_reasoning": "There is no worked solution to imitate", "no_answer": "No answer was found"}
        title = titles.get(example.problem, REASONS[example.problem])
        problem = note(f"{title}{detail}. This row is not used for SFT.")
    return f"<p>{words}</p>{problem}"


def report_html(report: PreparedReport) -> str:
    """The whole quality report. Its rows open in the preview; a prepared dataset's are numbered as in its source."""
    links = not report.reused
    facts = [(report.rows_in, "rows in"), (report.kept, "rows kept"), (report.dropped_total, "rows left out"),
             (report.references_found, "answers found"), (report.references_missing, "answers missing")]
    boxes = "".join(f"<div><b>{n:,}</b><span>{w}</span></div>" for n, w in facts)
    parts = "".join(f"<div><b>{n:,}</b><span>{PART_NAMES[p]}</span></div>" for p, n in report.parts.items())
    lists = "".join(_list(f"{REASONS[k]}", "", v, "left out", links) for k, v in report.dropped.items())
    noticed = "".join(_list(*NOTICED.get(k, (k, "")), v, "kept", links) for k, v in report.noticed.items())
    leaks = "".join(_list(f"also in {k}", "A score on it would flatter the model.", v, "leakage", links)
                    for k, v in report.leakage.items())
    notes = "".join(note(w) for w in report.warnings)
    notes += "".join(f'<p class="rs-about">{escape(n)}</p>' for n in report.notes)
    charts = (f'<div class="d-charts">{_histogram("Length of the prompts", report.prompt)}'
              f'{_histogram("Length of the worked answers", report.completion)}</div>')
    return (f'<div class="d-report"><div class="d-facts">{boxes}</div>{notes}'
            f'<h4>Parts</h4><div class="d-facts">{parts}</div>'
            f"<h4>What to look at</h4>{lists}{noticed}"
            f"{'' if lists or noticed or leaks else '<p>Nothing: every row can be used.</p>'}{leaks}{_compared(report)}"
            f"<h4>Token lengths</h4>{charts}</div>")


def card_html(card: Card, report: PreparedReport | None) -> str:
    """Source, mapping, scheme, counts and hash of a prepared dataset."""
    data = card.data
    mapping = report.mapping if report else {}
    lines = {
        "Name": card.name, "Made": time.strftime("%Y-%m-%d %H:%M", time.localtime(card.created)),
        "Source": " ".join(str(data[k]) for k in ("source", "config", "source_split", "revision") if data.get(k)),
        "Columns": ", ".join(f"{r}: {c}" for r, c in mapping.items() if c),
        "Tags": data["tags"]["scheme"], "Parts": ", ".join(f"{p} {n:,}" for p, n in card.parts.items()),
        "Lengths counted with": card.model, "Seed": str(card.seed), "Hash": card.hash,
    }
    listed = "".join(f"<dt>{k}</dt><dd>{escape(v)}</dd>" for k, v in lines.items())
    return f'<div class="d-card"><dl>{listed}</dl></div>'


# ------------------------------------------------------------------------------------------------------------------


def _compared(report: PreparedReport) -> str:
    """Which benchmarks the questions were compared with, and which not, with the reason."""
    if not report.compared_with and not report.not_compared:
        return ""
    found = sum(rows.count for rows in report.leakage.values())
    words = f"Compared with {', '.join(report.compared_with) or 'no benchmark'}: "
    words += f"{found:,} of these questions are in them, word for word or nearly so." if found else "none is in them."
    missing = "".join(f" Not compared with {title}: {why}." for title, why in report.not_compared.items())
    return f'<p class="rs-about">{escape(words + missing)}</p>'


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)[: CELL * 4]
    return f'<td dir="auto">{escaped(text[:CELL])}{"…" if len(text) > CELL else ""}</td>'


def _list(title: str, why: str, rows: Rowlist, state: str, links: bool = True) -> str:
    items = "".join(f"<li>{_row(n, links)} {escaped(w)}</li>" for n, w in rows.rows[:LISTED])
    more = f"<li>… and {rows.count - LISTED:,} more</li>" if rows.count > LISTED else ""
    about = f'<p class="rs-about">{escape(why)}</p>' if why else ""
    counted = f"<b>{rows.count:,}</b> row{'' if rows.count == 1 else 's'}"
    return (f"<details><summary>{counted} {state}: {escape(title[0].lower() + title[1:])}</summary>"
            f"{about}<ol>{items}{more}</ol></details>")


def _row(number: int, links: bool) -> str:
    if not links:
        return f"row {number:,}:"
    return f'<button type="button" class="d-row" data-row="{number}" title="See it above">row {number:,}</button>'


def _histogram(title: str, lengths: Lengths) -> str:
    """Bars as SVG, with the limit as a dashed line and what passes it in red."""
    if not lengths.count:
        return f"<figure><figcaption>{title}: none</figcaption></figure>"
    width, height, top = 560, 130, max(lengths.bins)
    right = max(lengths.edges[-1], int(lengths.limit * 1.05) if lengths.limit < 3 * lengths.edges[-1] else 0)
    scale = width / right
    bars = []
    for i, count in enumerate(lengths.bins):
        x, w = lengths.edges[i] * scale, (lengths.edges[i + 1] - lengths.edges[i]) * scale
        h = count / top * (height - 14)
        over = ' class="over"' if lengths.edges[i] >= lengths.limit > 0 else ""
        bars.append(f'<rect{over} x="{x:.1f}" y="{height - h:.1f}" width="{max(w - 1, 0.5):.1f}" height="{h:.1f}">'
                    f"<title>{lengths.edges[i]}-{lengths.edges[i + 1] - 1} tokens: {count:,} rows</title></rect>")
    limit = ""
    if 0 < lengths.limit <= right:
        x = lengths.limit * scale
        anchor, gap = ("end", -4) if x > width / 2 else ("start", 4)
        limit = (f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>'
                 f'<text x="{x + gap:.1f}" y="10" text-anchor="{anchor}">limit {lengths.limit:,}</text>')
    axis = (f'<text x="0" y="{height + 12}">0</text>'
            f'<text x="{width}" y="{height + 12}" text-anchor="end">{right:,} tokens</text>')
    words = (f"{title}: typically {lengths.median:,}, 95 % up to {lengths.p95:,}, longest {lengths.longest:,} tokens; "
             f"{lengths.over:,} ({lengths.over / lengths.count:.1%}) over the limit of {lengths.limit:,}")
    return (f'<figure><figcaption>{words}</figcaption><svg viewBox="0 0 {width} {height + 16}" role="img" '
            f'aria-label="{escape(words)}">{"".join(bars)}{limit}{axis}</svg></figure>')


def tags_html(tokens: Mapping[str, int], problems: Sequence[str], model: str) -> str:
    """How many tokens each tag costs, and what is wrong with the tags."""
    counted = " · ".join(f"<code>{escape(t)}</code> {n}" for t, n in tokens.items())
    return (f'<p class="rs-about">Tokens per tag with {escape(model)}: {counted}. '
            f"Fewer are easier to learn.</p>" + "".join(note(p, "bad") for p in problems))
