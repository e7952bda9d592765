"""The downloads of the Compare tab: CSV, JSON, Markdown and one self-contained HTML page."""

from collections.abc import Callable
from html import escape
from typing import Any

from pipeline import report
from pipeline.errors import RunError
from reasoning_ui import compare_html
from reasoning_ui.compare_charts import CHARTS, figure
from reasoning_ui.compare_data import Comparison

SHOWN_QUESTIONS = 200  # in the HTML report; the CSV has all
PAGE_STYLE = """
:root { --body-text-color: #1f2937; --body-text-color-subdued: #5b6472; --border-color-primary: #d6dae1;
  --background-fill-primary: #fff; --background-fill-secondary: #f6f7f9; --font-mono: ui-monospace, monospace; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--body-text-color); max-width: 1080px; margin: 24px auto;
  padding: 0 16px; }
pre { background: #f6f7f9; padding: 12px; overflow-x: auto; font-size: 12px; }
"""


FILES: dict[str, Callable[[str, Comparison], str]] = {
    "answers.csv": lambda run, found: report.answers_csv(found.rows),
    "comparison.json": lambda run, found: report.document(*_parts(run, found)),
    "report.md": lambda run, found: report.markdown(*_parts(run, found)),
    "report.html": lambda run, found: page(run, found),
}


def text(name: str, run: str, found: Comparison) -> str:
    """The content of one of FILES. Raises RunError for another name."""
    if name not in FILES:
        raise RunError(f"There is no file {name!r}. Choose one of: {', '.join(FILES)}.")
    return FILES[name](run, found)


def _parts(run: str, found: Comparison) -> tuple[Any, ...]:
    return run, found.benchmark, found.recipe, found.rows, found.tests, found.expected, found.reward_means()


def page(run: str, found: Comparison) -> str:
    """The report as one HTML page that needs nothing else: tables, sentences, charts, the first questions."""
    css = compare_html.ASSETS.joinpath("compare.css").read_text(encoding="utf-8")
    charts = [
        figure(name, found).to_html(full_html=False, include_plotlyjs="inline" if i == 0 else False)
        for i, name in enumerate(CHARTS)
    ]
    shown = found.table.select()[:SHOWN_QUESTIONS]
    listed = compare_html.questions(found.table, shown, found.scheme, run, found.benchmark)
    words = "".join(compare_html.sentences(found.tests, m) for m in ("exact", "lenient", "format"))
    title = escape(f"{found.recipe.name}: comparison")
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{PAGE_STYLE}{css}</style></head><body>"
        f"<h1>{title}</h1><p>Run {escape(run)}, questions {escape(found.benchmark)}.</p>"
        f"{compare_html.summary_table(found.summary)}<h2>What can be claimed</h2>"
        f"{compare_html.notice(found.refusal, warn=True) if found.refusal else words}"
        f"<div class='cmp'>{compare_html.subjects(found.rows, found.table.keys)}{_levels(found)}</div>"
        f"<h2>From wrong to right</h2>{compare_html.matrices(found.table)}<h2>Charts</h2>{''.join(charts)}"
        f"<h2>The first {len(shown)} questions</h2>{listed}<h2>Recipe</h2>"
        f"<pre>{escape(found.recipe.to_yaml())}</pre></body></html>"
    )


def _levels(found: Comparison) -> str:
    words = report.recommendation(found.rows, found.tests, found.expected)
    table = compare_html.levels(report.levels(found.rows, found.expected))
    return f"<h2>Precision</h2><p>{escape(words)}</p>{table}" if words else ""
