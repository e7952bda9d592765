"""The reward set, test bench and dry run as HTML. Every text from a model, a dataset or a person is escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pipeline.errors import StudioError
from pipeline.recipe import RewardsStep
from pipeline.rewards import Scores
from pipeline.rewards.dry_report import seconds
from pipeline.rewards.library import kind_of, parameters_of
from pipeline.run_state import RunState
from pipeline.tags import TagScheme
from reasoning_ui.highlight import completion_html, escaped

SHORT = 60
ADVANTAGE = ("<b>Advantage</b>: how far an answer is above (+) or below (−) the others to the same question. Training "
             "makes those above likelier and those below less likely; 0 teaches nothing.")


def note(text: str, kind: str = "warn") -> str:
    """A coloured box; `kind` is good, bad or warn."""
    lines = "<br>".join(escape(line) for line in text.splitlines())
    return f'<div class="rs-note rs-{kind}" role="status">{lines}</div>'


def notes(lines: Sequence[str], kind: str = "warn") -> str:
    """A coloured box with one item a line."""
    if len(lines) == 1:
        return note(lines[0], kind)
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<div class="rs-note rs-{kind}" role="status"><ul>{items}</ul></div>'


def signed(value: float | None) -> str:
    """A score with its sign; a dash where there is none."""
    return "–" if value is None else "0" if abs(value) < 5e-7 else f"{round(value, 3):+g}".replace("-", "−")


def set_html(step: RewardsStep, scheme: TagScheme, problem: str | None) -> str:
    """The rewards with their ranges as bars, and the total's range."""
    ranges = [_range(spec, scheme) for spec in step.functions]
    on = [r for spec, r in zip(step.functions, ranges, strict=True) if spec.enabled and r]
    low, high = sum(r[0] for r in on), sum(r[1] for r in on)
    reach = max([abs(v) for r in ranges if r for v in r] + [abs(low), abs(high), 1e-9])
    rows = []
    for spec, limits in zip(step.functions, ranges, strict=True):
        try:
            title = kind_of(spec).title
        except StudioError:
            title = "unknown kind"
        off = "" if spec.enabled else ' class="off"'
        kind = "" if spec.label == spec.kind else f"<small>{escape(title)}</small>"
        rows.append(f"<tr{off}><th scope='row'>{escape(spec.label)}{kind}</th><td class='number'>{spec.weight:g}</td>"
                    f"{_range_cells(limits, reach)}<td>{'on' if spec.enabled else 'off'}</td></tr>")
    total = _range_cells((low, high), reach)
    rows.append(f"<tr class='total'><th scope='row'>Total</th><td></td>{total}<td></td></tr>")
    head = ("<tr><th>Reward</th><th class='number'>Weight</th><th class='number'>Lowest</th>"
            "<th class='r-wide'><span class='rs-unseen'>Range</span></th><th class='number'>Highest</th>"
            "<th><span class='rs-unseen'>On or off</span></th></tr>")
    table = f"<table class='r-set'><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
    return (note(problem, "bad") if problem else "") + f'<div class="r-scroll" tabindex="0">{table}</div>'


def _range(spec: Any, scheme: TagScheme) -> tuple[float, float] | None:
    try:
        low, high = sorted(b * spec.weight for b in kind_of(spec).bounds(parameters_of(spec), scheme))
    except StudioError:
        return None
    return low, high


def _range_cells(limits: tuple[float, float] | None, reach: float) -> str:
    if limits is None:
        return "<td>?</td><td></td><td>?</td>"
    low, high = limits
    left, right = 50 + 50 * min(low, 0) / reach, 50 + 50 * max(high, 0) / reach
    bar = (f"<span class='neg' style='left:{left:.1f}%;width:{50 - left:.1f}%'></span>"
           f"<span class='pos' style='left:50%;width:{right - 50:.1f}%'></span>")
    return (f"<td class='number'>{signed(low)}</td>"
            f"<td class='r-wide'><div class='r-bar' aria-hidden='true'>{bar}</div></td>"
            f"<td class='number'>{signed(high)}</td>")


def bench_html(names: Sequence[str], texts: Sequence[str], scores: Scores, advantages: Sequence[float],
               scheme: TagScheme, gaps: Sequence[str] = (), heads: Mapping[int, str] = {}) -> str:
    """A table of completions and rewards; each row opens to say why. `heads`: a line before the row of that number."""
    labels = list(scores.raw)
    head = "".join(f"<th class='number'>{escape(label)}</th>" for label in labels)
    rows = []
    for i, (name, text) in enumerate(zip(names, texts, strict=True)):
        cells = "".join(f"<td class='number {_colour(scores.raw[label][i])}'>{signed(scores.raw[label][i])}</td>"
                        for label in labels)
        found = scores.extracted[i]
        shown = "none" if found is None else escaped(found[:SHORT] + ("…" if len(found) > SHORT else ""))
        mark = " class='gap'" if name in gaps else ""
        if i in heads:
            rows.append(f"<tr class='question'><th scope='rowgroup' colspan='{4 + len(labels)}'>"
                        f"<div>{escaped(_cut(heads[i]))}</div></th></tr>")
        rows.append(
            f"<tr{mark}><th scope='row'>{escape(name)}</th><td class='number'><b>{signed(scores.totals[i])}</b></td>"
            f"<td class='number'>{signed(round(advantages[i], 2))}</td><td>{shown}</td>{cells}</tr>"
            f"<tr class='why'><td colspan='{4 + len(labels)}'><details><summary>Why</summary>"
            f"{_why(scores, i)}{completion_html(text, scheme) or '<i>nothing written</i>'}</details></td></tr>")
    first = ("<th>Completion</th><th class='number'>Total</th><th class='number'>Advantage</th><th>Answer found</th>")
    return (_failed(scores, len(texts)) + f'<p class="rs-about">{ADVANTAGE}</p>'
            f'<div class="r-scroll" tabindex="0"><table class="r-bench"><thead><tr>{first}{head}</tr></thead>'
            f"<tbody>{''.join(rows)}</tbody></table></div>")


def _failed(scores: Scores, count: int) -> str:
    """A box for rewards that left answers without a score."""
    lines = [f"«{label}» could not score {len(reasons)} of {count}: {reasons[0].removeprefix('failed: ')}"
             for label, reasons in scores.failures.items()]
    return notes(lines) if lines else ""


def _cut(text: str) -> str:
    """A long text with its middle left out."""
    return text if len(text) <= 300 else f"{text[:220]} … {text[-60:]}"


def _why(scores: Scores, i: int) -> str:
    lines = []
    for label, raw, weighted, reason in scores.explain(i):
        times = "" if weighted == raw else f" × {scores.weights[label]:g} = {signed(weighted)}"
        lines.append(f"<li><b>{escape(label)}</b> {signed(raw)}{times}: {escaped(reason)}</li>")
    return f"<ul>{''.join(lines)}</ul>"


def _colour(value: float | None) -> str:
    return "none" if value is None else "up" if value > 0 else "down" if value < 0 else ""


def progress_html(state: RunState, what: str) -> str:
    """How far a dry run or a sample is, or why it ended without a result; `what` ran, in words."""
    if state.state in ("running", "stopping"):
        share = f' value="{state.done / state.total:.3f}"' if state.total else ""
        bar = f'<progress aria-label="{escape(what)}" max="1"{share}></progress>'
        words = state.message or state.words or "Starting"
        counted = f", {state.done:.0f} of {state.total:.0f} {state.unit}" if state.total and state.unit else ""
        return f'<div class="rs-status"><span class="rs-chip rs-{state.state}">{state.state}</span>' + (
            f"<span>{escape(words + counted)}</span>{bar}</div>")
    first = f"{what} failed." if state.state == "failed" else f"{what} is {state.state}."
    words = " ".join(filter(None, [first, state.reason, state.remedy]))
    return note(words, "bad" if state.state == "failed" else "warn")


def report_html(report: dict[str, Any]) -> str:
    """What a dry run found: verdict, facts, and the distribution of each reward."""
    right = "not known" if report["right"] is None else f"{report['right']:.0%}"
    step, whole = ("not measured" if report[name] is None else seconds(report[name])
                   for name in ("step_seconds", "run_seconds"))
    facts = {
        "groups with equal rewards": f"{report['zero_variance']:.0%}", "right answers": right,
        "in the right format": f"{report['format_rate']:.0%}", "cut off": f"{report['truncated']:.0%}",
        "tokens on average": f"{report['mean_tokens']:.0f}", "mean total": signed(report["mean_total"]),
        "a training step": step, "the whole run": whole}
    cells = "".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in facts.items())
    bars = "".join(_distribution(reward) for reward in report["rewards"])
    who = report["model"][:1].upper() + report["model"][1:]
    about = f"{who}, {report['prompts']} questions with {report['group_size']} answers each"
    return (notes(report["verdict"], "good" if report["good"] else "warn")
            + f'<p class="rs-about">{escape(about)}.</p><div class="d-facts">{cells}</div>'
            + f'<p class="rs-about">{escape(report["time_words"])}</p><div class="r-charts">{bars}</div>')


def _distribution(reward: dict[str, Any]) -> str:
    most = max((count for _, count in reward["bars"]), default=1)
    rows = "".join(
        f"<tr><th scope='row'>{escape(value).replace('-', '−')}</th>"
        f"<td><span style='width:{100 * count / most:.0f}%'></span></td><td class='number'>{count}</td></tr>"
        for value, count in reward["bars"])
    failed = f", {reward['failed']} not scored" if reward["failed"] else ""
    return (f"<figure><figcaption><b>{escape(reward['label'])}</b> mean {signed(reward['mean'])}{failed}</figcaption>"
            f"<table class='r-dist'><tbody>{rows}</tbody></table></figure>")
