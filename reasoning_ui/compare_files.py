"""The downloads of the Compare tab: CSV, JSON, Markdown and one self-contained HTML page."""

from collections.abc import Callable
from html import escape
from typing import Any

from pipeline import report
from pipeline.errors import RunError
from pipeline.seeds import OverSeeds
from reasoning_ui import compare_html, compare_words
from reasoning_ui.compare_charts import CHARTS, figure
from reasoning_ui.compare_data import Comparison

SHOWN_QUESTIONS = 200  # in the HTML report; the CSV has all
PAGE_STYLE = """
:root { --body-text-color: #1f2937; --rs-quiet: #475569; --link-text-color: #4338ca; --border-color-primary: #d6dae1;
  --background-fill-primary: #fff; --background-fill-secondary: #f6f7f9; --font-mono: ui-monospace, monospace; }
.dark { --body-text-color: #e5e7eb; --rs-quiet: #cbd5e1; --link-text-color: #a5b4fc; --border-color-primary: #3f4756;
  --background-fill-primary: #111827; --background-fill-secondary: #1f2937; color-scheme: dark; }
html { background: var(--background-fill-primary); }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--body-text-color); max-width: 1180px; margin: 24px auto;
  padding: 0 16px; }
h1 { font-size: 1.8rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 32px 0 10px; }
.cmp .rates td > span > .range { display: block; }
.about { color: var(--rs-quiet); overflow-wrap: anywhere; }
pre { background: var(--background-fill-secondary); padding: 12px; overflow-x: auto; font-size: 12px; }
"""
LIGHT_OR_DARK = """
const wish = matchMedia("(prefers-color-scheme: dark)");
const turn = dark => document.documentElement.classList.toggle("dark", dark);
wish.onchange = () => turn(wish.matches);
addEventListener("beforeprint", () => turn(false));
addEventListener("afterprint", wish.onchange);
turn(wish.matches);
"""


Seeds = Callable[[], list[OverSeeds]]
FILES: dict[str, Callable[[str, Comparison, Seeds], str]] = {
    "answers.csv": lambda run, found, over: report.answers_csv(found.rows),
    "comparison.json": lambda run, found, over: report.document(*_parts(run, found), over()),
    "report.md": lambda run, found, over: report.markdown(*_parts(run, found), over()),
    "report.html": lambda run, found, over: page(run, found, over()),
}


def text(name: str, run: str, found: Comparison, over: Seeds = list) -> str:
    """The content of one of FILES; `over` gives what several seeds say together. Raises RunError for another name."""
    if name not in FILES:
        raise RunError(f"There is no file {name!r}. Choose one of: {', '.join(FILES)}.")
    return FILES[name](run, found, over)


def _parts(run: str, found: Comparison) -> tuple[Any, ...]:
    return run, found.benchmark, found.recipe, found.rows, found.tests, found.expected, found.reward_means()


def page(run: str, found: Comparison, over: list[OverSeeds]) -> str:
    """The report as one HTML page that needs nothing else: tables, sentences, charts, the first questions."""
    css = compare_html.ASSETS.joinpath("compare.css").read_text(encoding="utf-8")
    charts = [
        figure(name, found).to_html(full_html=False, include_plotlyjs="inline" if i == 0 else False,
                                    config={"responsive": True, "displaylogo": False})
        for i, name in enumerate(CHARTS)
    ]
    shown = found.table.select()[:SHOWN_QUESTIONS]
    listed = compare_html.questions(found.table, shown, found.scheme, "", found.benchmark)
    title = escape(f"{found.recipe.name}: comparison")
    several = compare_words.of_seeds(over, offers=False) if found.trained else ""
    about = (f"Run {run}, questions {found.benchmark}, data {found.recipe.data.source}, base model "
             f"{found.recipe.model.source}. Small numbers beside a rate are its 95 % interval.")
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title><meta name='viewport' "
        f"content='width=device-width, initial-scale=1'><style>{PAGE_STYLE}{css}</style>"
        f"<script>{LIGHT_OR_DARK}</script></head><body><h1>{title}</h1><p class='about'>{escape(about)}</p>"
        f"{compare_html.summary_table(found.summary)}<h2>What can be claimed</h2>{compare_words.words(found, several)}"
        f"<h2>From wrong to right</h2>{compare_html.matrices(found.table, None)}<h2>Charts</h2>{''.join(charts)}"
        f"<h2>The first {len(shown)} questions</h2>{listed}<h2>Recipe</h2>"
        f"<pre>{escape(found.recipe.to_yaml())}</pre></body></html>"
    )
