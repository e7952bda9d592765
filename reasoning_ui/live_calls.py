"""What the Live page may ask of Python. Each call takes one object from the browser and gives plain values; whatever
goes wrong in words comes back as {"error": …}. Nothing that the browser sends is trusted.
"""

from typing import Any

from pipeline import jobs, live_data, live_groups
from pipeline.run_folder import RunReader
from pipeline.studio_home import StudioHome
from reasoning_ui import charts, live_groups_view, live_show, server_calls
from reasoning_ui.server_calls import Call


def server_functions(home: StudioHome) -> list[Call]:
    """The functions for `gr.HTML(server_functions=…)`; in the browser each is `server.<name>(object)`."""
    return server_calls.server_functions(home, "Live", {
        "live_show": live_show.show, "live_groups": list_groups, "live_group": one_group, "live_search": search,
        "live_csv": csv_of_chart, "live_log_search": search_log, "live_job": control, "live_mark": mark})


def list_groups(home: StudioHome, asked: dict[str, Any]) -> dict[str, Any]:
    """A page of groups: by step (the nearest that has some), filter, order, or with the prompt of group `like`."""
    reader = _reader(home, asked)
    stage = str(asked.get("stage") or "grpo")
    step = asked.get("step")
    step = live_groups.nearest_step(reader, stage, int(step)) if step is not None else None
    like = live_groups.group(reader, int(asked["like"])) if asked.get("like") else None
    query = live_groups.GroupQuery(stage, step, like["prompt"] if like else None, str(asked.get("filter", "all")),
                                   str(asked.get("order", "step")), int(asked.get("offset", 0)))
    rows = live_groups.groups(reader, query)
    return {"html": live_groups_view.rows_html(rows), "step": step, "count": len(rows),
            "more": len(rows) == query.limit, "range": live_groups.step_range(reader, stage)}


def one_group(home: StudioHome, asked: dict[str, Any]) -> dict[str, Any]:
    """One group as HTML, with the ids before and after it, and how its prompt fared each time it came."""
    folder = home.run(str(asked["run"]))
    reader = RunReader(folder)
    row = live_groups.group(reader, int(asked["group"]))
    if row is None:
        return {"error": f"There is no group {int(asked['group'])} in this run any more: choose another step."}
    before, after = live_groups.neighbours(reader, row)
    again = live_groups.follow(reader, row["prompt"], row["stage"])
    return {"html": live_groups_view.group_html(row, again, folder), "step": row["step"], "stage": row["stage"],
            "before": before, "after": after}


def search(home: StudioHome, asked: dict[str, Any]) -> dict[str, Any]:
    """Completions whose text matches, newest first; `before` is the last id of the page before."""
    before = asked.get("before")
    found = live_groups.search(_reader(home, asked), str(asked.get("text", ""))[:300], int(before) if before else None)
    return {"html": live_groups_view.hits_html(found), "more": len(found.hits) == live_groups.PAGE,
            "last": found.hits[-1]["id"] if found.hits else None,
            "count": None if found.count is None else f"{found.count:,}{'+' if found.more else ''}"}


def csv_of_chart(home: StudioHome, asked: dict[str, Any]) -> dict[str, Any]:
    """Every value of one chart, not thinned, as CSV text."""
    reader = _reader(home, asked)
    chart = next((c for c in charts.for_keys(live_data.metric_keys(reader)) if c["id"] == asked["chart"]), None)
    if chart is None:
        return {"error": "This run has no values for that chart."}
    return {"csv": live_data.to_csv(reader, chart["stage"], charts.keys_of(chart))}


def search_log(home: StudioHome, asked: dict[str, Any]) -> dict[str, Any]:
    """Lines of the whole log that hold a text; with an empty text the whole log, to download (its last 20 MB)."""
    log = home.run(str(asked["run"])).log
    if text := str(asked.get("text", "")):
        return {"lines": live_data.log_search(log, text[:300])}
    return {"text": live_data.log_after(log, None, 20_000_000).text}


def control(home: StudioHome, asked: dict[str, Any]) -> dict[str, Any]:
    """Stop or resume the run."""
    run_id = home.run(str(asked["run"])).id
    action = {"stop": jobs.stop, "resume": jobs.resume}[asked["action"]]
    answer = action(home, run_id)
    return {"said": answer if isinstance(answer, str) else ""}


def mark(home: StudioHome, asked: dict[str, Any]) -> dict[str, Any]:
    """Write a note at a step, or remove one."""
    run_id = home.run(str(asked["run"])).id
    if asked.get("remove"):
        home.remove_mark(run_id, int(asked["remove"]))
    elif text := str(asked.get("text", "")).strip():
        home.add_mark(run_id, str(asked.get("stage", "grpo"))[:20], int(asked["step"]), text[:2000])
    return {"marks": home.marks(run_id)}


def _reader(home: StudioHome, asked: dict[str, Any]) -> RunReader:
    return RunReader(home.run(str(asked["run"])))
