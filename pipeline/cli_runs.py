"""The commands that start, watch and steer runs. Each gives (exit code, JSON document, text for people)."""

import argparse
from datetime import datetime
from typing import Any

from pipeline import continuing, jobs
from pipeline.disk import folder_bytes, in_words
from pipeline.errors import StudioError
from pipeline.follow import follow
from pipeline.recipe import Recipe
from pipeline.run_folder import RunReader
from pipeline.run_state import RunState, state_as_json
from pipeline.studio_home import StudioHome

Outcome = tuple[int, Any, str]


def demo(options: argparse.Namespace) -> Outcome:
    """`demo [--seed N]`."""
    from pipeline.demo import demo_recipe

    Recipe.parse({"seed": options.seed})  # raises in words
    return _start_and_follow(options.home, demo_recipe(options.seed))


def run(options: argparse.Namespace) -> Outcome:
    """`run RECIPE`."""
    recipe = Recipe.load(options.recipe).model_copy(update={"provenance": None})
    if options.detach:
        return _detached(options.home, jobs.start(options.home, recipe))
    return _start_and_follow(options.home, recipe)


def resume(options: argparse.Namespace) -> Outcome:
    """`resume RUN`; with --less-memory as a new run that continues it."""
    run_id = options.run
    if options.less_memory:
        run_id, _ = continuing.try_again(options.home, run_id)
    else:
        jobs.resume(options.home, run_id)
    return _detached(options.home, run_id) if options.detach else finish(options.home, run_id)


def _start_and_follow(home: StudioHome, recipe: Recipe) -> Outcome:
    return finish(home, jobs.start(home, recipe))


def _detached(home: StudioHome, run_id: str) -> Outcome:
    now = jobs.state(home, run_id)
    text = f"{run_id}: {now.state}. {now.reason}".strip()
    return 0, {"run": run_id, "state": now.state}, f"{text}\nLook at it with: python -m pipeline show {run_id}"


def finish(home: StudioHome, run_id: str) -> Outcome:
    """Follow a run to its end; the comparison when it has one."""
    now = follow(home, run_id)
    document: dict[str, Any] = {"run": run_id, "state": now.state}
    if now.state == "finished":
        found, table = comparison_or_why_not(home, run_id)
        return 0, found | document, f"{table}\nFinished: {home.run(run_id).path}".strip()
    words = " ".join(filter(None, [now.reason, now.remedy]))
    return 1, document | {"error": words}, f"{now.state.capitalize()}: {words}"


def finish_job(home: StudioHome, run_id: str, benchmark: str | None) -> Outcome:
    """Follow an extra job on a run to its end; then the comparison."""
    now = follow(home, run_id)
    job = now.job or {}
    if job.get("state") != "finished":
        words = " ".join(filter(None, [job.get("reason"), job.get("remedy")])) or "The evaluation did not finish."
        return 1, {"run": run_id, "state": job.get("state", now.state), "error": words}, words
    found, table = comparison_of(home, run_id, benchmark)
    return 0, found | {"run": run_id, "state": now.state}, table


def comparison_or_why_not(home: StudioHome, run_id: str) -> tuple[dict[str, Any], str]:
    """For a run that ended well: also one whose recipe asks for no evaluation, or whose answers cannot be paired."""
    from pipeline.comparison import benchmarks

    if not benchmarks(home.run(run_id)):
        return {}, ""
    try:
        return comparison_of(home, run_id)
    except StudioError as error:
        return {}, str(error)


def comparison_of(home: StudioHome, run_id: str, benchmark: str | None = None) -> tuple[dict[str, Any], str]:
    """The comparison as a JSON document and as text, from one reading of the answers and one round of tests.

    Raises RunError when the run has no answers, or answers to different questions.
    """
    from pipeline import comparison, report, seeds

    rows, expected = comparison.answered(home.run(run_id), benchmark)
    tests = comparison.tests(rows, expected=expected)
    levels = report.level_table(rows, expected)
    advice = report.recommendation(rows, tests, expected) if levels else ""
    more = filter(None, [comparison.token_note(rows, expected), levels, advice])
    over = seeds.over_seeds(home, run_id, rows, expected)
    text = [comparison.as_table(rows, expected), *(test.sentence for test in tests),
            *(pair.sentence for pair in over), *more]
    return comparison.result(rows, expected, tests) | {"seeds": [pair.as_dict() for pair in over]}, "\n".join(text)


def compare(options: argparse.Namespace) -> Outcome:
    """`compare RUN`."""
    found, table = comparison_of(options.home, options.run, options.benchmark)
    return 0, found, table


def list_all(options: argparse.Namespace) -> Outcome:
    """`list`."""
    jobs.tend(options.home)
    cards = jobs.list_runs(options.home, kinds=None)
    lines = [f"{card.id}  {card.state.state:<11}  {card.name}  {card.state.words}".rstrip() for card in cards]
    return 0, {"runs": [card.as_json() for card in cards]}, "\n".join(lines) or "No runs yet: python -m pipeline demo"


def show(options: argparse.Namespace) -> Outcome:
    """`show RUN`."""
    home, folder = options.home, options.home.run(options.run)
    reader, about, now = RunReader(folder), options.home.about(options.run), jobs.state(home, options.run)
    metrics = reader.rows("SELECT key, value, MAX(id) FROM metrics WHERE value IS NOT NULL GROUP BY key ORDER BY key")
    size = folder_bytes(folder.path)
    document = {
        "id": folder.id, "name": about["name"], "note": about["note"], "kind": about["kind"],
        "created": about["created"], "path": str(folder.path), "disk_bytes": size, "state": state_as_json(now),
        "stages": reader.stages(), "metrics": {row["key"]: row["value"] for row in metrics},
        "recipe": folder.recipe().model_dump(mode="json")}
    return 0, document, _shown(document, now, size)


def _shown(document: dict[str, Any], now: RunState, size: int) -> str:
    created = datetime.fromtimestamp(document["created"]).strftime("%Y-%m-%d %H:%M")
    lines = [f"{document['name']} ({document['id']})", f"{now.state}: {now.words}", now.reason, now.remedy,
             f"created {created}, uses {in_words(size)} in {document['path']}", document["note"], ""]
    for stage in document["stages"]:
        count = f"{stage['done']:,.0f} of {stage['total']:,.0f} {stage['unit']}" if stage["total"] else ""
        lines.append(f"  {stage['name']:<12} {stage['state']:<11} attempt {stage['attempt']}  {count}")
    lines += [f"  {key:<34} {value:.6g}" for key, value in document["metrics"].items()]
    return "\n".join(line for line in lines if line is not None)


def log(options: argparse.Namespace) -> Outcome:
    """`log RUN`."""
    folder = options.home.run(options.run)
    text = folder.log.read_text(encoding="utf-8", errors="replace") if folder.log.exists() else ""
    lines = [line for line in text.splitlines() if not options.search or options.search.lower() in line.lower()]
    lines = lines[-options.lines:] if options.lines > 0 else lines
    return 0, {"run": folder.id, "lines": lines}, "\n".join(lines)


def stop(options: argparse.Namespace) -> Outcome:
    """`stop RUN`."""
    words = jobs.stop(options.home, options.run)
    if options.wait:
        follow(options.home, options.run)
    now = jobs.state(options.home, options.run)
    return 0, {"run": options.run, "state": now.state, "message": words}, words
