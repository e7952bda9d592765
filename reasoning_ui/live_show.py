"""What the Live page is told on each tick. One pure function of what the browser already has: `show(home, seen)`.

The browser sends which run it looks at and, for each chart on its screen, how far it has got; the answer holds the
rest. A page that was just opened, reloaded, hidden for an hour or left alone by a restarted app asks with less and is
told more, so it always heals itself.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import jobs, live_data
from pipeline.errors import StudioError
from pipeline.run_folder import RunReader
from pipeline.studio_home import StudioHome
from reasoning_ui import charts, live_findings

Seen = Mapping[str, Any]


def show(home: StudioHome, seen: Seen) -> dict[str, Any]:
    """All that is new since `seen`: keys `head`, `charts`, `data`, `findings`, `marks`, `log`, each only when changed.

    `seen`: run, others (runs drawn over it), have ({part: digest}), cards ([chart ids, run, epoch, stride, from step,
    newest row id], charts that have got as far together), log (byte seen, null for none yet; absent while it is shut).
    """
    run_id = str(seen.get("run") or "")
    runs = _run_names(home)
    if run_id not in runs:
        return _only_changed({"head": {"state": "none", "runs": runs, "asked": run_id}}, seen)
    reader = RunReader(home.run(run_id))
    keys = live_data.metric_keys(reader)
    parts = {"head": _head(home, run_id, reader, runs), "charts": charts.for_keys(keys), "marks": home.marks(run_id)}
    if "charts" in (seen.get("have") or {}) and not any(card[-1] == -1 for card in seen.get("cards", ())):
        parts["findings"] = live_findings.findings(home, run_id)  # once the charts are there
    answer = _only_changed(parts, seen)
    states: dict[str, _RunNow] = {}
    cards = [[chart, *rest] for charts_, *rest in seen.get("cards", ()) for chart in charts_]
    if data := [d for card in cards if (d := _card_data(home, states, card))]:
        answer["data"] = _together(data)
    if "log" in seen:
        piece = live_data.log_after(reader.folder.log, seen["log"])
        if piece.end != seen["log"]:
            answer["log"] = {"text": piece.text, "start": piece.start, "end": piece.end, "size": piece.size}
    return answer


def _only_changed(parts: dict[str, Any], seen: Seen) -> dict[str, Any]:
    have = seen.get("have") or {}
    digests = {name: _digest(part) for name, part in parts.items()}
    changed = {name: part for name, part in parts.items() if have.get(name) != digests[name]}
    return changed | ({"have": {name: digests[name] for name in changed}} if changed else {})


def _digest(part: Any) -> str:
    return hashlib.blake2b(json.dumps(part, sort_keys=True, default=str).encode(), digest_size=6).hexdigest()


def _run_names(home: StudioHome) -> dict[str, str]:
    return {row["id"]: row["name"] for row in home.known_runs()}


def _head(home: StudioHome, run_id: str, reader: RunReader, runs: dict[str, str]) -> dict[str, Any]:
    state = jobs.state(home, run_id)
    left = state.seconds_left
    return {
        "runs": runs, "state": state.state, "paused": state.paused, "reason": state.reason,
        "remedy": state.remedy, "stage": state.stage, "left": None if left is None else round(left),
        "stages": [{k: row[k] for k in ("name", "state", "done", "total", "unit", "message")}
                   for row in reader.stages()],
    }


@dataclass(frozen=True)
class _RunNow:
    """What a tick needs to know of a run, read once for all its charts."""

    reader: RunReader
    newest: int
    attempts: dict[str, int]
    charts: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, home: StudioHome, run_id: str) -> "_RunNow":
        reader = RunReader(home.run(run_id))
        shown = charts.for_keys(live_data.metric_keys(reader))
        return cls(reader, live_data.newest(reader), live_data.stage_attempts(reader), {c["id"]: c for c in shown})


def _card_data(home: StudioHome, states: dict[str, _RunNow], card: list[Any]) -> dict[str, Any] | None:
    """New points of one chart of one run, or None. The browser forgets its points from step `from` on, then appends.

    A new attempt (rows were dropped) or fewer rows than before start the chart anew. When the run has grown so long
    that points stand for more steps, the browser widens the points it has, and only the newest are sent.
    """
    chart_id, run_id, epoch, stride, from_step, row_id = card
    try:
        now = states[run_id] if run_id in states else states.setdefault(run_id, _RunNow.of(home, run_id))
    except StudioError:
        return None
    stage = chart_id.split(".")[0]
    attempt = str(now.attempts.get(stage, 0))
    if now.newest == row_id and epoch == attempt:
        return None
    last = live_data.last_step(now.reader, stage)
    wanted = live_data.stride_for(last)
    anew = epoch != attempt or row_id < 0 or now.newest < row_id or stride < 1 or wanted % stride
    start = 0 if anew else from_step - from_step % wanted
    chart = now.charts.get(chart_id)
    found = live_data.series(now.reader, stage, charts.keys_of(chart) if chart else [], start, wanted)
    return {"chart": chart_id, "run": run_id, "from": start,
            "cursor": [attempt, wanted, max(0, last - last % wanted - wanted), now.newest],  # one full bucket again
            "series": {key: _points(s, wanted) for key, s in found.items()}}


def _together(pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pieces of charts that have got as far, as one: run, from, cursor, the commonest `steps`, and by chart and key
    the columns, with None in place of those steps. It is half the bytes, and Gradio does not compress these answers."""
    groups: dict[str, dict[str, Any]] = {}
    for piece in pieces:
        same = {key: piece[key] for key in ("run", "from", "cursor")}
        group = groups.setdefault(repr(same), same | {"steps": [], "charts": {}})
        group["charts"][piece["chart"]] = piece["series"]
    for group in groups.values():
        columns = [columns for series in group["charts"].values() for columns in series.values()]
        counted = Counter(tuple(c[0]) for c in columns)
        group["steps"] = list(counted.most_common(1)[0][0]) if counted else []
        for column in columns:
            column[0] = None if column[0] == group["steps"] else column[0]
    return list(groups.values())


def _points(series: live_data.Series, stride: int) -> list[list[Any]]:
    """[steps, values] or, thinned, [steps, means, lows, highs]."""
    columns = [series.mean] if stride == 1 else [series.mean, series.low, series.high]
    return [series.steps, *(live_data.rounded(c) for c in columns)]
