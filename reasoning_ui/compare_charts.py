"""Plotly figures of a comparison, drawn on demand. Every one also serves the report."""

import statistics
from collections.abc import Callable

import plotly.graph_objects as go

from pipeline.comparison import METRICS, by_subject, percent
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
        height=340,
        margin={"l": 55, "r": 15, "t": 45, "b": 45},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": GREY},
        bargap=0.25,
        legend={"orientation": "h", "y": -0.18},
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
            x=list(METRICS.values()),
            y=[r["rate"] for r in rates],
            marker_color=COLOURS[i % len(COLOURS)],
            hovertext=[f"{r['count']} of {r['n']}" for r in rates],
            error_y={
                "array": [r["high"] - (r["rate"] or 0) for r in rates],
                "arrayminus": [(r["rate"] or 0) - r["low"] for r in rates],
                "color": GREY,
                "thickness": 1.5,
            },
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
            error_y={
                "array": [r["high"] - r["rate"] if r else 0 for r in cells],
                "arrayminus": [r["rate"] - r["low"] if r else 0 for r in cells],
                "color": GREY,
                "thickness": 1.5,
            },
        )
    if not rates:
        _say(fig, "The data names no subject or difficulty.")
    fig.update_yaxes(range=[0, 1], tickformat=".0%")
    return fig


@_chart("precision", "Accuracy against size and speed")
def _precision(found: Comparison) -> go.Figure:
    fig = go.Figure()
    facts = {(e["model"], e["settings"]): e for e in found.expected}
    for i, c in enumerate(found.table.contestants):
        exact = found.summary[c.key]["exact"]
        known = facts.get((c.rows[0]["model"], c.rows[0]["settings"]), {})
        if not known.get("bytes"):
            continue
        seconds = found.summary[c.key]["seconds_per_answer"]
        fig.add_scatter(
            x=[known["bytes"] / 1e6],
            y=[exact["rate"]],
            name=c.title,
            mode="markers+text",
            text=[c.title],
            textposition="top center",
            marker={"size": 12, "color": COLOURS[i % len(COLOURS)]},
            hovertext=f"{percent(exact['rate'])}, {known['bytes'] / 1e6:.1f} MB, {seconds:.3f} s an answer, "
            f"{known.get('method') or c.precision}",
            error_y={
                "array": [exact["high"] - exact["rate"]],
                "arrayminus": [exact["rate"] - exact["low"]],
                "color": GREY,
            },
        )
    if not fig.data:
        _say(fig, "Evaluate a model at several precisions to see what each costs.")
    fig.update_xaxes(title="weights in memory (MB)", rangemode="tozero")
    fig.update_yaxes(title="exact", range=[0, 1.05], tickformat=".0%")
    return fig


def _say(fig: go.Figure, text: str) -> None:
    fig.add_annotation(text=text, xref="paper", yref="paper", x=0.5, y=0.5, showarrow=False)
