"""Plotly figures of a comparison, drawn on demand. Every one also serves the report."""

import csv
import io
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pipeline import report
from pipeline.comparison import METRICS, by_subject, percent, title_with
from pipeline.contestants import title_of
from reasoning_ui.charts import COLOURS
from reasoning_ui.compare_data import Comparison

GREY = "#7c8596"  # readable on white and on black
CHARTS: dict[str, tuple[str, Callable[[Comparison], go.Figure]]] = {}


def _chart(name: str, title: str) -> Callable[[Callable[[Comparison], go.Figure]], Callable[[Comparison], go.Figure]]:
    def register(draw: Callable[[Comparison], go.Figure]) -> Callable[[Comparison], go.Figure]:
        CHARTS[name] = (title, draw)
        return draw

    return register


def figure(name: str, found: Comparison) -> go.Figure:
    """The figure `name` (one of CHARTS), transparent, so that it suits a light and a dark page."""
    title, draw = CHARTS[name]
    fig = draw(found)
    fig.update_layout(
        title={"text": title, "font": {"size": 15}},
        height=370,
        margin={"l": 55, "r": 15, "t": 45, "b": 80},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": GREY},
        bargap=0.25,
        legend={"orientation": "h", "y": -0.24, "yanchor": "top"},
        template="none",
    )
    fig.update_xaxes(gridcolor="rgba(124,133,150,0.25)", zerolinecolor=GREY, automargin=True)
    fig.update_yaxes(gridcolor="rgba(124,133,150,0.25)", zerolinecolor=GREY, automargin=True)
    return fig


@_chart("accuracy", "Rates with 95 % intervals")
def _accuracy(found: Comparison) -> go.Figure:
    fig = go.Figure()
    for i, values in enumerate(found.summary.values()):
        rates = [values[m] for m in METRICS]
        fig.add_bar(
            name=values["title"],
            x=[title_with(m, values["tolerance"]) for m in METRICS],
            y=[r["rate"] for r in rates],
            marker_color=COLOURS[i % len(COLOURS)],
            hovertext=[f"{r['count']} of {r['n']}" for r in rates],
            error_y=_bars([(r["rate"], r["low"], r["high"]) for r in rates]),
        )
    fig.update_yaxes(range=[0, 1], tickformat=".0%")
    return fig


@_chart("lengths", "Length of the answers (tokens)")
def _lengths(found: Comparison) -> go.Figure:
    fig = go.Figure()
    for i, c in enumerate(found.table.contestants):
        tokens = [row["tokens"] for rows in c.by_question.values() for row in rows]
        fig.add_histogram(x=tokens, name=c.title, marker_color=COLOURS[i % len(COLOURS)], opacity=0.6, nbinsx=40)
    fig.update_layout(barmode="overlay")
    fig.update_xaxes(title="tokens")
    fig.update_yaxes(title="answers")
    return fig


@_chart("by_length", "Accuracy against length")
def _by_length(found: Comparison) -> go.Figure:
    """Each model's answers in up to six groups of equal size by length; the marks show how many answers."""
    fig = go.Figure()
    for i, c in enumerate(found.table.contestants):
        answers = sorted((row["tokens"], row["exact"]) for rows in c.by_question.values() for row in rows)
        size = max(1, -(-len(answers) // 6))
        groups = [answers[j : j + size] for j in range(0, len(answers), size)]
        fig.add_scatter(
            x=[statistics.fmean(t for t, _ in g) for g in groups],
            y=[statistics.fmean(e for _, e in g) for g in groups],
            name=c.title,
            mode="lines+markers",
            line_color=COLOURS[i % len(COLOURS)],
            hovertext=[f"{len(g)} answers of {g[0][0]} to {g[-1][0]} tokens" for g in groups],
        )
    fig.update_xaxes(title="mean tokens of the group")
    fig.update_yaxes(title="exact", range=[0, 1.02], tickformat=".0%")
    return fig


@_chart("by_subject", "Accuracy by subject or difficulty")
def _by_subject(found: Comparison) -> go.Figure:
    fig, rates = go.Figure(), by_subject(found.rows)
    for i, key in enumerate(found.table.keys):
        cells = [rates[s].get(key) for s in rates]
        fig.add_bar(
            name=title_of(key),
            x=list(rates),
            y=[r["rate"] if r else None for r in cells],
            marker_color=COLOURS[i % len(COLOURS)],
            hovertext=[f"{r['count']} of {r['n']}" if r else "" for r in cells],
            error_y=_bars([(r["rate"], r["low"], r["high"]) if r else None for r in cells]),
        )
    if not rates:
        _say(fig, "The data names no subject or difficulty.")
    fig.update_yaxes(range=[0, 1], tickformat=".0%")
    return fig


@_chart("rewards", "Mean of each reward")
def _rewards(found: Comparison) -> go.Figure:
    """What the rewards of the recipe give to these answers, before their weights; intervals over questions."""
    fig, means = go.Figure(), found.reward_means()
    for i, key in enumerate(found.table.keys):
        cells = [values.get(key) for values in means.values()]
        fig.add_bar(
            name=title_of(key),
            x=list(means),
            y=[cell.mean if cell else None for cell in cells],
            marker_color=COLOURS[i % len(COLOURS)],
            hovertext=[f"{cell.n} answers" if cell else "" for cell in cells],
            error_y=_bars([(c.mean, c.low, c.high) if c else None for c in cells]),
        )
    if not means:
        _say(fig, "The recipe has no reward that is switched on.")
    fig.update_yaxes(title="score before the weight")
    return fig


@_chart("precision", "Accuracy against size and speed")
def _precision(found: Comparison) -> go.Figure:
    fig = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    for i, level in enumerate(report.levels(found.rows, found.expected)):
        exact = level["exact"]
        for col, x in ((1, level["bytes"] and level["bytes"] / 1e6), (2, level["seconds_per_answer"])):
            fig.add_scatter(
                x=[x],
                y=[exact["rate"]],
                name=level["title"],
                showlegend=col == 1,
                mode="markers",
                marker={"size": 12, "color": COLOURS[i % len(COLOURS)]},
                hovertext=f"{percent(exact['rate'])}, {report.megabytes(level['bytes'])} of weights, "
                f"{report.megabytes(level['peak_bytes'])} at the most, {level['seconds_per_answer']:.3f} s an answer, "
                f"{level['method']}",
                error_y=_bars([(exact["rate"], exact["low"], exact["high"])]),
                row=1,
                col=col,
            )
    if not fig.data:
        _say(fig, "Evaluate a model at several precisions to see what each costs.")
    fig.update_xaxes(title="weights (MB)", rangemode="tozero", col=1)
    fig.update_xaxes(title="seconds an answer", rangemode="tozero", col=2)
    fig.update_yaxes(range=[0, 1.05], tickformat=".0%")
    fig.update_yaxes(title="exact", col=1)
    return fig


def chart_csv(name: str, found: Comparison) -> str:
    """The numbers of a chart, one line for each mark: series, x, y, and the ends of its interval where it has one."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("series", "x", "y", "low", "high"))
    for trace in figure(name, found).data:
        xs, ys = list(trace.x), list(trace.y) if trace.y is not None else [None] * len(trace.x)
        error = getattr(trace, "error_y", None)
        up = list(error.array) if error is not None and error.array is not None else [None] * len(xs)
        down = list(error.arrayminus) if error is not None and error.arrayminus is not None else up
        for x, y, plus, minus in zip(xs, ys, up, down, strict=True):
            ends = (None, None) if y is None or plus is None else (y - minus, y + plus)
            writer.writerow((trace.name, x, y, *ends))
    return out.getvalue()


def _bars(cells: Sequence[tuple[float | None, float, float] | None]) -> dict[str, Any]:
    """Plotly's error bars from (value, low, high)."""
    known = [(c[0] or 0.0, c[1], c[2]) if c else (0.0, 0.0, 0.0) for c in cells]
    return {"array": [high - value for value, _, high in known], "arrayminus": [value - low for value, low, _ in known],
            "color": GREY, "thickness": 1.5}


def _say(fig: go.Figure, text: str) -> None:
    fig.add_annotation(text=text, xref="paper", yref="paper", x=0.5, y=0.5, showarrow=False)
