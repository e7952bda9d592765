"""The downloads of the Compare tab: CSV, JSON, Markdown and one self-contained HTML page."""

import tempfile
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline import report
from pipeline.errors import RunError
from pipeline.studio_home import StudioHome
from reasoning_ui import compare_html
from reasoning_ui.compare_charts import CHARTS, figure
from reasoning_ui.compare_data import Comparison, load
from reasoning_ui.shared import Shared, guard

SHOWN_QUESTIONS = 200  # in the HTML report; the CSV has all
PAGE_STYLE = """
:root { --body-text-color: #1f2937; --body-text-color-subdued: #5b6472; --border-color-primary: #d6dae1;
  --background-fill-primary: #fff; --background-fill-secondary: #f6f7f9; --font-mono: ui-monospace, monospace; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--body-text-color); max-width: 1080px; margin: 24px auto;
  padding: 0 16px; }
pre { background: #f6f7f9; padding: 12px; overflow-x: auto; font-size: 12px; }
"""


def build_downloads(shared: Shared, benchmark: gr.Dropdown) -> None:
    """A button that makes the files, and the place where they appear."""
    with gr.Accordion("Download", open=False, elem_id="compare-download"):
        make = gr.Button("Make the files", size="sm")
        files = gr.Files(label="CSV, JSON, Markdown and HTML", interactive=False, visible=False)
    make.click(
        guard(lambda run, name: gr.update(value=write_files(shared.home, run, name), visible=True)),
        [shared.run, benchmark],
        files,
        api_visibility="private",
    )


def write_files(home: StudioHome, run: str, benchmark: str | None) -> list[str]:
    """Write the four files to a temporary folder. Raises RunError when there is nothing to write."""
    found = load(home.run(run), benchmark) if run else None
    if found is None:
        raise RunError("There are no answers to download yet: evaluate a run first.")
    folder = Path(tempfile.mkdtemp(prefix="comparison-"))
    args: tuple[Any, ...] = (run, found.benchmark, found.recipe, found.rows, found.tests, found.expected)
    texts = {
        "answers.csv": report.answers_csv(found.rows),
        "comparison.json": report.document(*args),
        "report.md": report.markdown(*args),
        "report.html": page(run, found),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [str(folder / name) for name in texts]


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
        f"<h2>From wrong to right</h2>{compare_html.matrices(found.table)}<h2>Charts</h2>{''.join(charts)}"
        f"<h2>The first {len(shown)} questions</h2>{listed}<h2>Recipe</h2>"
        f"<pre>{escape(found.recipe.to_yaml())}</pre></body></html>"
    )
