"""What the Compare page may ask of Python: the top (table, sentences, filters), questions, a chart, a file."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pipeline import comparison, jobs
from pipeline.errors import RunError, StudioError
from pipeline.question_table import PAGE_SIZE, SORTS
from pipeline.run_folder import RunFolder
from pipeline.run_state import OVER, State
from pipeline.seeds import another_seed, over_seeds, siblings, unfinished
from pipeline.studio_home import StudioHome
from reasoning_ui import compare_files, compare_html, compare_words, server_calls
from reasoning_ui.compare_charts import CHARTS, chart_csv, figure
from reasoning_ui.compare_data import Comparison, load, version
from reasoning_ui.server_calls import Call

FIRST_OPEN = (
    "Answers are stored, but the first question is still open, and what comes after it is no fair sample: wait until "
    "the evaluation is done, or resume the run."
)
NOTHING = (
    "Nothing to compare yet. Train the demo, or finish a run: its last stage answers the held-out questions "
    "with every model. Models that exist already can be evaluated below."
)
NEWEST = "as last asked"
LOOKED = "comparison-opened"  # a vote of a run's reader: the comparison was on the screen


def server_functions(home: StudioHome) -> list[Call]:
    """The functions for `gr.HTML(server_functions=…)`; in the browser each is `server.<name>(object)`."""
    return server_calls.server_functions(home, "Compare", {
        "compare_look": look, "compare_list": listing, "compare_chart": chart, "compare_file": file,
        "compare_again": again})


def look(home: StudioHome, asked: dict[str, Any]) -> dict[str, Any]:
    """The top of the page and the chosen questions; only `seen` where nothing is new since the browser asked.

    `list` is left out while an evaluation only goes on (`drawn` stays the same), so that a reader is not disturbed.
    """
    run = str(asked.get("run") or "")
    folder = home.run(run) if run else None
    wanted = str(asked.get("benchmark") or "")
    names = comparison.benchmarks(folder) if folder else []
    name = wanted if wanted in names else next(iter(names), "")
    way = str(asked.get("way") or "")
    others = siblings(home, run) if folder else []
    waited_for = unfinished(home, others)
    settled = [folder for folder, seed in others if seed not in waited_for or waited_for[seed] in OVER]
    seen = f"{run}|{name}|{way}|{version(folder) if folder else ''}|{waited_for}|{_versions(settled)}"
    if seen == asked.get("seen"):
        return {"seen": seen}
    found = load(folder, name, way) if folder and name else None
    if found is None:
        return {"seen": seen, "nothing": compare_html.notice(FIRST_OPEN if names else NOTHING)}
    first = _remember(home, run)
    steady = "partial" if any(v["partial"] for v in found.summary.values()) else found.version
    drawn = f"{run}|{name}|{found.way}|{steady}|{found.table.keys}"
    top = {"seen": seen, "drawn": drawn, "first": first, "benchmark": name, "benchmarks": names,
           "way": found.way, "ways": [("", NEWEST), *found.ways] if len(found.ways) > 1 else [],
           "summary": compare_html.summary_table(found.summary),
           "words": compare_words.words(found, _seeds(home, run, found, others, waited_for)),
           "filters": [[f.name, f.title, f.count] for f in found.table.filters()],
           "sorts": list(SORTS.items()), "charts": [[key, title] for key, (title, _) in CHARTS.items()]}
    return top if drawn == asked.get("drawn") else top | {"list": _listed(found, run, asked)}


def listing(home: StudioHome, asked: dict[str, Any]) -> dict[str, Any]:
    """A page of 50 questions by filter, cell of a matrix, search, order and page number."""
    run = str(asked["run"])
    return _listed(_found(home, asked), run, asked)


def chart(home: StudioHome, asked: dict[str, Any]) -> dict[str, Any]:
    """A Plotly figure as plain values; with `csv`, its numbers as CSV text."""
    name, found = str(asked["name"]), _found(home, asked)
    if name not in CHARTS:
        raise RunError(f"There is no chart {name!r}. Choose one of: {', '.join(CHARTS)}.")
    if asked.get("csv"):
        return {"csv": chart_csv(name, found)}
    return {"figure": json.loads(figure(name, found).to_json())}


def file(home: StudioHome, asked: dict[str, Any]) -> dict[str, Any]:
    """One of the files of `compare_files.FILES` as text."""
    run, found = str(asked["run"]), _found(home, asked)
    over = partial(over_seeds, home, run, found.rows, found.expected)
    return {"text": compare_files.text(str(asked["name"]), run, found, over)}


def again(home: StudioHome, asked: dict[str, Any]) -> dict[str, Any]:
    """Train the run's recipe once more with another seed, which joins this comparison when it has answered."""
    recipe = another_seed(home, str(asked["run"]))
    return {"run": jobs.start(home, recipe), "name": recipe.name}


def _found(home: StudioHome, asked: dict[str, Any]) -> Comparison:
    found = load(home.run(str(asked["run"])), str(asked.get("benchmark") or "") or None, str(asked.get("way") or ""))
    if found is None:
        raise RunError("There are no answers yet: evaluate a run first.")
    return found


def _listed(found: Comparison, run: str, asked: dict[str, Any]) -> dict[str, Any]:
    kind, cell = str(asked.get("kind") or "all"), str(asked.get("cell") or "")
    if not cell and kind not in {f.name for f in found.table.filters()}:
        kind = "all"
    sort = str(asked.get("sort") or "number")
    search = str(asked.get("search") or "")[:1000]
    chosen = found.table.select(cell or kind, search, sort if sort in SORTS else "number")
    pages = max(1, -(-len(chosen) // PAGE_SIZE))
    page = min(max(1, int(asked.get("page") or 1)), pages)
    where = f"{len(chosen):,} of {len(found.table.questions):,} questions"
    if cell:
        where += f" · {_cell_words(cell)} (choose a filter, or the cell again, to leave it)"
    if pages > 1:
        where += f" · page {page} of {pages}"
    part = chosen[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    return {"kind": kind, "page": page, "pages": pages, "count": compare_html.notice(where),
            "matrices": compare_html.matrices(found.table, cell),
            "html": compare_html.questions(found.table, part, found.scheme, run, found.benchmark)}


def _cell_words(cell: str) -> str:
    pair, _, change = cell.partition(":")
    (a, _, b), (was, _, now) = pair.partition(">"), change.partition(">")
    return f"{comparison.title_of(a)} {was} → {comparison.title_of(b)} {now}"


def _seeds(home: StudioHome, run: str, found: Comparison, others: Sequence[tuple[RunFolder, int]],
           waited_for: Mapping[int, State]) -> str:
    """What the seeds of this recipe say; nothing where no model was trained that could be compared."""
    if not found.trained:
        return ""
    return compare_words.of_seeds(over_seeds(home, run, found.rows, found.expected, others), waited_for)


def _versions(folders: Sequence[RunFolder]) -> str:
    """Changes whenever one of these runs got an answer. A seed that is still in work is not among them: the sentences
    would be drawn anew with every batch of its answers, and what a reader has unfolded would close."""
    found = []
    for folder in folders:
        with contextlib.suppress(StudioError):  # damaged: it is left out
            found.append(version(folder))
    return ",".join(found)


def _remember(home: StudioHome, run: str) -> bool:
    """Note that the comparison was looked at, so that the header points on to the export; whether that is new."""
    if LOOKED in home.votes(run):
        return False
    home.set_vote(run, LOOKED, True)
    return True
