"""Compare: is it really better, where, and with which confidence."""

import html
from typing import Any

import gradio as gr

from pipeline import comparison
from pipeline.errors import RunError
from pipeline.question_table import PAGE_SIZE, SORTS
from pipeline.run_folder import RunFolder
from pipeline.studio_home import StudioHome
from reasoning_ui import compare_html
from reasoning_ui.compare_charts import CHARTS, figure
from reasoning_ui.compare_data import Comparison, load, version
from reasoning_ui.compare_files import build_downloads
from reasoning_ui.compare_more import build_more, recommendation
from reasoning_ui.shared import Shared, go_to, guard

CSS = (compare_html.ASSETS / "compare.css").read_text(encoding="utf-8")
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
NOTHING = (
    "Nothing to compare yet. Train the demo, or finish a run: its last stage answers the held-out questions "
    "with every model. Models that exist already can be evaluated below."
)
SCROLL = """() => { if (new URLSearchParams(location.search).has("question"))
  setTimeout(() => document.querySelector("#compare-questions")?.scrollIntoView(), 600); }"""
PICK = (
    "element.addEventListener('click', e => { const cell = e.target.closest('[data-cell]'); "
    "if (cell) trigger('pick', {name: cell.dataset.cell}); })"
)


def build(shared: Shared, tab: gr.Tab) -> None:
    """The tab's components and what they do."""
    seen = gr.Textbox("", visible="hidden", label="compare-seen")  # what the top shows
    drawn = gr.Textbox("", visible="hidden", label="compare-drawn")  # what chart and list show: not every new answer
    cell = gr.Textbox("", visible="hidden", label="compare-cell")
    benchmark = gr.Dropdown([], label="Questions of", visible=False, elem_id="compare-benchmark")
    table = gr.HTML(css_template=CSS, apply_default_css=False, elem_id="compare-summary")
    words = gr.HTML(css_template=CSS, apply_default_css=False, elem_id="compare-sentences")
    with gr.Row(visible=False) as charts_row, gr.Column():
        chart = gr.Dropdown(
            [(title, name) for name, (title, _) in CHARTS.items()],
            value="accuracy",
            label="Chart",
            elem_id="compare-chart",
        )
        plot = gr.Plot(show_label=False, container=False, elem_id="compare-plot")
    with gr.Column(visible=False) as side:
        gr.Markdown("### Answers side by side")
        matrix = gr.HTML(css_template=CSS, apply_default_css=False, js_on_load=PICK, elem_id="compare-matrices")
        kind = gr.Radio([("All questions", "all")], value="all", label="Show", elem_id="compare-filter")
        with gr.Row():
            search = gr.Textbox(
                label="Search", placeholder="words, or #12 for question 12", elem_id="compare-search", min_width=180
            )
            sort = gr.Dropdown(
                [(title, name) for name, title in SORTS.items()], value="number", label="Sort", min_width=180
            )
            page = gr.Number(1, label="Page", precision=0, minimum=1, min_width=90, elem_id="compare-page")
        found = gr.HTML(css_template=CSS, apply_default_css=False, elem_id="compare-count")
        list_ = gr.HTML(css_template=CSS, apply_default_css=False, elem_id="compare-questions")
    build_downloads(shared, benchmark)
    build_more(shared, tab)

    home = shared.home
    top = [seen, drawn, benchmark, table, words, charts_row, side, matrix, kind]
    listing = [matrix, found, list_, page]
    choices = [shared.run, benchmark, kind, cell, search, sort, page]

    def refresh(before: str, drawn: str, *chosen: Any) -> list[Any]:
        return _all(home, before, drawn, *chosen)

    def tick(shown: str, before: str, drawn: str, *chosen: Any) -> Any:
        if shown != "compare":
            return [gr.skip()] * len(everything)
        try:
            return _all(home, before, drawn, *chosen)
        except Exception:  # a tick must never raise; the next visit of the tab says what is wrong
            return [gr.skip()] * len(everything)

    def show(*chosen: Any) -> list[Any]:
        return _listing(home, *chosen)

    def filtered(run: str, name: str | None, kind: str, cell: str, search: str, sort: str, page: float) -> list[Any]:
        return ["", *_listing(home, run, name, kind, "", search, sort, 1)]

    def picked(run: str, name: str | None, kind: str, cell: str, search: str, sort: str, page: float,
               event: gr.EventData) -> list[Any]:
        cell = "" if event.name == cell else str(event.name)  # the chosen cell again leaves it
        return [None if cell else "all", cell, *_listing(home, run, name, "all", cell, search, sort, 1)]

    # one event does all that a click needs: each event of its own costs the browser a tenth of a second
    everything, inputs = [*top, *listing[1:]], [seen, drawn, *choices]
    gr.on([shared.timer.open_compare, shared.timer.changed_compare], guard(refresh), inputs, everything, **QUIET)
    shared.timer.tick_compare(tick, [shared.tab, *inputs], everything, **QUIET)
    benchmark.input(lambda: "", None, cell, **QUIET).then(guard(refresh), inputs, everything, **QUIET)
    gr.on(
        [drawn.change, chart.change],
        guard(lambda run, name, which: _plot(home, run, name, which)),
        [shared.run, benchmark, chart],
        plot,
        **QUIET,
    )
    kind.input(guard(filtered), choices, [cell, *listing], **QUIET)
    matrix.pick(guard(picked), choices, [kind, cell, *listing], **QUIET)
    gr.on(
        [search.change, sort.input],  # not search.input: text pasted with the mouse would not fire it
        guard(lambda *c: _listing(home, *c[:-1], 1)),
        choices,
        listing,
        trigger_mode="always_last",
        **QUIET,
    )
    page.input(guard(show), choices, listing, trigger_mode="always_last", **QUIET)
    shared.demo.load(_arrive, None, [shared.run, benchmark, search, shared.tabs, shared.tab], **QUIET).then(
        guard(refresh), inputs, everything, **QUIET
    ).then(None, None, None, js=SCROLL, **QUIET)


def _arrive(request: gr.Request) -> list[Any]:
    """A link to a question opens this tab on it."""
    asked = dict(request.query_params)
    number, run = str(asked.get("question", "")), str(asked.get("run", ""))
    if not (number.isdigit() and run):
        return [gr.skip()] * 5
    name = asked.get("benchmark") or "test"
    return [run, gr.Dropdown([name], value=name), f"#{number}", go_to("compare"), "compare"]


def _folder(home: StudioHome, run: str) -> RunFolder | None:
    try:
        return home.run(run) if run else None
    except RunError:
        return None


def _all(home: StudioHome, before: str, drawn: str, run: str, name: str | None, kind: str, cell: str, search: str,
         sort: str, page: float | None) -> list[Any]:
    """The top, and the questions where they are not those that are shown (`drawn`)."""
    top = _top(home, run, name, before, cell, kind)
    if not isinstance(top[0], str) or top[1] == drawn:
        return [*top, gr.skip(), gr.skip(), gr.skip()]
    kind = top[-1].get("value", "all")
    return [*top, *_listing(home, run, top[2]["value"], kind, cell, search, sort, page)[1:]]


def _top(home: StudioHome, run: str, name: str | None, before: str, cell: str, kind: str) -> list[Any]:
    """Summary, sentences and filters; nothing where nothing is new. `seen` names what is shown."""
    folder = _folder(home, run)
    now = f"{run}|{name or ''}|{version(folder) if folder else ''}"
    if now == before:
        return [gr.skip()] * 9
    names = comparison.benchmarks(folder) if folder else []
    name = name if name in names else next(iter(names), None)
    found = load(folder, name) if folder and name else None
    if found is None:
        hidden = gr.update(visible=False)
        return [
            now,
            now,
            gr.update(choices=[], value=None, visible=False),
            compare_html.notice(NOTHING),
            "",
            hidden,
            hidden,
            "",
            gr.skip(),
        ]
    filters = [(f"{f.title} ({f.count})", f.name) for f in found.table.filters()]
    kind = kind if kind in [value for _, value in filters] else "all"
    shown = f"{run}|{name}|{found.version}"
    steady = "partial" if any(v["partial"] for v in found.summary.values()) else found.version
    return [
        shown,
        f"{run}|{name}|{steady}|{found.table.keys}",
        gr.update(choices=names, value=name, visible=len(names) > 1),
        compare_html.summary_table(found.summary),
        _words(found),
        gr.update(visible=True),
        gr.update(visible=True),
        compare_html.matrices(found.table, cell),
        gr.update(choices=filters, value=kind),
    ]


def _words(found: Comparison) -> str:
    if found.refusal:
        return compare_html.notice(found.refusal, warn=True)
    partial = [v["title"] for v in found.summary.values() if v["partial"]]
    note = (
        compare_html.notice(
            f"Not all questions are answered yet by {', '.join(partial)}: resume the evaluation for the rest.",
            warn=True,
        )
        if partial
        else ""
    )
    more = "".join(
        f"<details><summary>{html.escape(title)}</summary>{compare_html.sentences(found.tests, metric)}</details>"
        for metric, title in (("lenient", "Lenient: the last number anywhere"), ("format", "Format"))
    )
    return (
        note
        + compare_html.sentences(found.tests, "exact")
        + recommendation(found)
        + (f"<div class='cmp'>{more}</div>" if found.tests else "")
    )


def _listing(
    home: StudioHome, run: str, name: str | None, kind: str, cell: str, search: str, sort: str, page: float | None
) -> list[Any]:
    """The chosen page of questions: matrices, count, questions, page number."""
    folder = _folder(home, run)
    found = load(folder, name) if folder else None
    if folder is None or found is None:
        return ["", "", "", gr.skip()]
    chosen = found.table.select(cell or kind or "all", search or "", sort or "number")
    pages = max(1, -(-len(chosen) // PAGE_SIZE))
    page = min(max(1, int(page or 1)), pages)
    part = chosen[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    where = f"{len(chosen):,} of {len(found.table.questions):,} questions"
    if cell:
        where += f" · {_cell_words(cell)} (choose a filter, or the cell again, to leave it)"
    if pages > 1:
        where += f" · page {page} of {pages}"
    return [
        compare_html.matrices(found.table, cell),
        compare_html.notice(where),
        compare_html.questions(found.table, part, found.scheme, run, found.benchmark),
        gr.update(value=page, maximum=pages),
    ]


def _cell_words(cell: str) -> str:
    pair, _, change = cell.partition(":")
    (a, _, b), (was, _, now) = pair.partition(">"), change.partition(">")
    return f"{comparison.title_of(a)} {was} → {comparison.title_of(b)} {now}"


def _plot(home: StudioHome, run: str, name: str | None, which: str) -> Any:
    folder = _folder(home, run)
    found = load(folder, name) if folder else None
    return figure(which, found) if found else None
