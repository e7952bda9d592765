"""What the page is told on a tick, and what it may ask: only what is new, all escaped, junk answered in words."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.run_folder import CompletionRecord, GroupRecord, RunReader, RunWriter
from pipeline.studio_home import StudioHome
from reasoning_ui import charts, live_calls, live_findings, live_show
from tests.live.synthetic import Synthetic, healthy_grpo, write_run

HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script>${7*7}{{7*7}}</button>\x01\x02'


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 40 steps, written once and copied for each test."""
    return write_run(tmp_path_factory.mktemp("live") / "run-one", Synthetic(grpo_steps=40, sft_steps=20)).path


@pytest.fixture()
def home(tmp_path: Path, written: Path) -> StudioHome:
    """A home with that run."""
    live_findings.forget()
    home = StudioHome(tmp_path / "home")
    shutil.copytree(written, home.runs_dir / "run-one")
    return home


def browser(home: StudioHome, kept: dict[str, Any], run: str = "run-one") -> dict[str, Any]:
    """What assets/live/*.js does with a tick: ask with what it has, forget points from `from` on, append."""
    kept.setdefault("have", {})
    cards = [[[c["id"]], run, *kept["cursor"].get(c["id"], ("", 1, 0, -1))] for c in kept.get("charts", ())]
    answer = live_show.show(home, {"run": run, "have": kept["have"], "cards": cards})
    kept["have"] |= answer.get("have", {})
    if "charts" in answer:
        kept["charts"] = answer["charts"]
        kept.setdefault("cursor", {})
        kept.setdefault("points", {})
    for piece in pieces_of(answer):
        stride = kept["cursor"].get(piece["chart"], ("", 1))[1]
        kept["cursor"][piece["chart"]] = piece["cursor"]
        points = kept["points"].setdefault(piece["chart"], {})
        if piece["from"] == 0:
            points.clear()
        elif piece["cursor"][1] > stride:
            points.update({key: widened(columns, stride, piece["cursor"][1]) for key, columns in points.items()})
        for key, columns in piece["series"].items():
            old = points.get(key, [[] for _ in columns])
            keep = sum(step < piece["from"] for step in old[0])
            points[key] = [o[:keep] + new for o, new in zip(old, columns, strict=True)]
    return answer


def pieces_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """`take` of assets/live/board.js: one piece for each chart, with the steps where they were left out."""
    return [{"chart": chart, "run": group["run"], "from": group["from"], "cursor": group["cursor"],
             "series": {key: [columns[0] or group["steps"], *columns[1:]] for key, columns in series.items()}}
            for group in answer.get("data", ()) for chart, series in group["charts"].items()]


def widened(columns: list[list[Any]], was: int, stride: int) -> list[list[Any]]:
    """`widened` of assets/live/card.js: each bucket's last step, mean, lowest and highest value."""
    buckets: dict[int, list[tuple[Any, ...]]] = {}
    for point in zip(columns[0], columns[1], columns[-2 if len(columns) > 2 else 1], columns[-1], strict=True):
        buckets.setdefault(point[0] // stride, []).append(point)
    made: list[list[Any]] = [[], [], [], []]
    for rows in buckets.values():
        widths = [max(1, was - 1 if row[0] < was else was) for row in rows]
        mean = sum(width * row[1] for width, row in zip(widths, rows, strict=True)) / sum(widths)
        point = rows[-1][0], mean, min(row[2] for row in rows), max(row[3] for row in rows)
        for column, value in zip(made, point, strict=True):
            column.append(value)
    return made


def add_steps(home: StudioHome, first: int, last: int, attempt: int = 1) -> None:
    """The worker writes on."""
    writer = RunWriter(home.run("run-one"))
    for step in range(first, last + 1):
        writer.add_metrics("grpo", attempt, step, {"reward/total": float(step), "optim/lr": 1e-5})
    writer.close()


def test_a_page_that_has_everything_is_told_nothing(home: StudioHome) -> None:
    """Charts first, then points, then the diagnosis, then silence."""
    kept: dict[str, Any] = {}
    assert browser(home, kept)["charts"] and browser(home, kept)["data"]
    assert list(browser(home, kept)) == ["findings", "have"]
    assert browser(home, kept) == {}


def test_a_page_fed_tick_by_tick_has_what_a_fresh_page_gets(home: StudioHome) -> None:
    """From 40 to 700 steps the stride doubles twice: 40 -> 1, 400 -> 2, 700 -> 4."""
    kept: dict[str, Any] = {}
    browser(home, kept), browser(home, kept)
    largest = 0
    for first in range(41, 701, 33):
        add_steps(home, first, min(700, first + 32))
        pieces = [p for p in pieces_of(browser(home, kept)) if p["chart"] == "grpo.reward"]
        largest = max(largest, len(pieces[0]["series"]["reward/total"][0]))
    fresh: dict[str, Any] = {}
    browser(home, fresh), browser(home, fresh)
    ours, theirs = (points["points"]["grpo.reward"]["reward/total"] for points in (kept, fresh))
    assert ours[0] == theirs[0] and ours[2:] == theirs[2:]
    assert ours[1] == pytest.approx(theirs[1], rel=1e-4)  # means of rounded means
    assert largest <= 40  # also where the stride changes, only what is new is sent
    assert kept["cursor"]["grpo.reward"][1] == 4
    assert kept["points"]["grpo.reward"]["reward/total"][0][-1] == 700


def test_a_tick_of_a_running_run_is_small(home: StudioHome) -> None:
    """One new step with all keys, every chart on screen, asked and answered: far below 10 kB."""
    kept: dict[str, Any] = {}
    browser(home, kept), browser(home, kept)
    writer = RunWriter(home.run("run-one"))
    writer.add_metrics("grpo", 1, 41, dict.fromkeys(healthy_grpo(), 1 / 3))
    writer.close()
    asked = [[[c["id"]], "run-one", *kept["cursor"][c["id"]]] for c in kept["charts"]]
    answer = browser(home, kept)
    assert len(json.dumps(asked)) + len(json.dumps(answer)) < 6000


def test_a_resumed_run_redraws_from_the_start(home: StudioHome) -> None:
    """Rows past step 30 are dropped and written again by attempt 2: no point is kept twice and none is missing."""
    kept: dict[str, Any] = {}
    browser(home, kept), browser(home, kept)
    writer = RunWriter(home.run("run-one"))
    writer.drop_after("grpo", 30)
    writer.set_stage("grpo", attempt=2)
    writer.close()
    browser(home, kept)
    assert kept["points"]["grpo.reward"]["reward/total"][0][-1] == 30
    add_steps(home, 31, 50, attempt=2)
    browser(home, kept)
    assert kept["points"]["grpo.reward"]["reward/total"][0] == list(range(1, 51))


def test_an_unknown_or_deleted_run_is_said_to_be_none(home: StudioHome) -> None:
    """Also an id that tries to leave the folder."""
    for run in ("", "gone-run", "../../etc", "run-one/../run-one", None, 7):
        assert live_show.show(home, {"run": run})["head"]["state"] == "none"


def test_grpo_loss_is_not_shown(home: StudioHome) -> None:
    """It is near zero by construction and would be read as progress."""
    shown = charts.for_keys({"grpo": ["loss", "grpo/loss", "reward/total", "custom"]})
    assert [c["id"] for c in shown] == ["grpo.reward"]


def test_whatever_a_model_writes_is_escaped(home: StudioHome) -> None:
    """The question, the reference, the answer, the completion, a reward's name and a search hit."""
    writer = RunWriter(home.run("run-one"))
    writer.add_groups("grpo", 1, 41, [GroupRecord(HOSTILE, HOSTILE, [
        CompletionRecord("zebra " + HOSTILE, 3, True, {HOSTILE: None}, None, None, HOSTILE)] * 2, 0)])
    writer.close()
    call = {f.__name__: f for f in live_calls.server_functions(home)}
    group = RunReader(home.run("run-one")).rows("SELECT max(id) AS id FROM groups")[0]["id"]
    for html in (call["live_group"]({"run": "run-one", "group": group})["html"],
                 call["live_groups"]({"run": "run-one", "step": 41})["html"],
                 call["live_search"]({"run": "run-one", "text": "zebra"})["html"]):
        assert "<img" not in html and "<script" not in html and "&lt;img" in html
    assert html.count("</button>") == 2


@pytest.mark.parametrize("name", ["live_show", "live_groups", "live_group", "live_search", "live_csv",
                                  "live_log_search", "live_job", "live_mark"])
@pytest.mark.parametrize("asked", [
    None, [], {}, {"run": "../x"}, {"run": "run-one", "step": "x", "group": {}, "cards": [1], "text": ["a"]},
    {"run": "run-one", "step": 10**400, "group": 10**400, "offset": -5, "action": "delete", "chart": None}])
def test_junk_from_a_browser_is_answered_in_words(home: StudioHome, name: str, asked: object) -> None:
    """Never an exception, which would end as a failed request without a reason; and nothing is changed."""
    call = {f.__name__: f for f in live_calls.server_functions(home)}
    answer = call[name](asked)
    assert isinstance(answer, dict)
    json.dumps(answer)
    assert home.marks("run-one") == [] and home.stop_presses("run-one") == 0


def test_notes_are_kept_and_removed(home: StudioHome) -> None:
    """A note at a step is in the next tick of every page."""
    call = {f.__name__: f for f in live_calls.server_functions(home)}
    marks = call["live_mark"]({"run": "run-one", "stage": "grpo", "step": 12, "text": " look here "})["marks"]
    assert [(m["step"], m["text"]) for m in marks] == [(12, "look here")]
    assert live_show.show(home, {"run": "run-one"})["marks"] == marks
    assert call["live_mark"]({"run": "run-one", "remove": marks[0]["id"]})["marks"] == []


def test_stopping_a_run_that_does_not_run_says_so(home: StudioHome) -> None:
    """The message of the jobs module reaches the page."""
    call = {f.__name__: f for f in live_calls.server_functions(home)}
    assert "not running" in call["live_job"]({"run": "run-one", "action": "stop"})["error"]


def test_the_csv_of_a_chart_has_all_steps(home: StudioHome) -> None:
    """40 steps and a header, with the spread beside the mean."""
    call = {f.__name__: f for f in live_calls.server_functions(home)}
    lines = call["live_csv"]({"run": "run-one", "chart": "grpo.reward"})["csv"].splitlines()
    assert lines[0] == "step,reward/total,reward/std" and len(lines) == 41
