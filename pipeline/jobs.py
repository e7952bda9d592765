"""What people do with runs: start, stop, resume, rename, duplicate, order, delete, and ask how they are.

Both the app and the command line call these; none of it imports torch. A run is alive exactly when the OS lock on
its folder is held. Everything else (its own words in run.db, the queue, stop requests) is read in that light.
"""

import contextlib
import hashlib
import importlib.metadata
import re
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline import custom_code, devices, locks, run_queue
from pipeline.dataset.sources import check_at_hand
from pipeline.disk import LowDisk
from pipeline.errors import RecipeError, RunError
from pipeline.failures import STAGE_WORDS, TOKEN, redact, refusal
from pipeline.recipe import Provenance, Recipe
from pipeline.run_folder import RunFolder
from pipeline.run_state import RunCard, RunState, card_of, state_of
from pipeline.studio_home import StudioHome
from pipeline.whole_paths import whole_recipe, whole_request

__all__ = ["RunCard", "RunState", "delete", "duplicate", "list_runs", "move", "rename", "restore", "resume",
           "set_note", "start", "state", "stop", "submit", "tend"]

PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "vllm", "unsloth", "bitsandbytes")


def start(home: StudioHome, recipe: Recipe, kind: str = "train", request: Mapping[str, Any] | None = None,
          fill: Callable[[Path], None] | None = None) -> str:
    """Make a run folder for a recipe and queue it; it starts at once when its device is free. Gives the run's id.

    `fill` may put files into the new folder before it appears.
    """
    recipe, request = whole_recipe(recipe), whole_request(request)
    _refuse_secrets(recipe)
    custom_code.refuse_if_off(recipe.rewards)
    home.may_start(recipe, request)
    devices.check_enough(recipe.model.gpus)
    _check_questions(kind, recipe, request)
    if problem := LowDisk(home.runs_dir).problem():
        raise RunError(problem.replace("Paused: the", "The").split(" It goes on")[0] + " Free some before starting.")
    run_id = _new_id(recipe.name)
    folder = RunFolder(home.runs_dir / run_id)
    recipe = recipe.model_copy(update={"provenance": _provenance(recipe)})
    half = folder.path.with_name(f".{run_id}")  # appears whole or not at all
    try:
        half.mkdir()
        if fill is not None:
            fill(half)
        (half / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        half.rename(folder.path)
    except OSError as error:
        shutil.rmtree(half, ignore_errors=True)
        raise RunError(f"The run's folder could not be made. {refusal(error)}") from error
    home.add_run(run_id, recipe.name, kind, recipe.parent.run if recipe.parent else None)
    run_queue.put(home, run_id, kind, request)
    run_queue.advance(home)
    return run_id


def submit(home: StudioHome, kind: str, run_id: str | None = None, recipe: Recipe | None = None,
           request: Mapping[str, Any] | None = None) -> str:
    """Queue another kind of job (`evaluate`, `dry_run`, `ask`): on a run, or on a new folder for a recipe.

    The stage finds `request` (JSON-able) in `run.request`. It waits for the same device as training.
    """
    if run_id is None:
        if recipe is None:
            raise RunError(f"A job of kind {kind!r} needs a run or a recipe.")
        return start(home, recipe, kind, request)
    folder, request = home.run(run_id), whole_request(request)
    home.may_start(folder.recipe(), request)
    if TOKEN.search(repr(request)):
        raise RunError("The request contains a Hub token: log in with `hf auth login` instead.")
    if locks.is_held(folder.lock) or any(row["run"] == run_id for row in run_queue.waiting(home)):
        raise RunError(f"«{home.about(run_id)['name']}» is busy or waiting already: stop it, or wait until it is done.")
    _check_questions(kind, folder.recipe(), request)
    run_queue.put(home, run_id, kind, request)
    run_queue.advance(home)
    return run_id


def stop(home: StudioHome, run_id: str) -> str:
    """Ask a run to stop, or take it out of the queue. Gives a sentence that says what happens now."""
    folder = home.run(run_id)
    with locks.holding(home.queue_lock, run_queue.LAUNCH_SECONDS + 30, "The queue"):  # not in the middle of a launch
        queued = run_queue.remove(home, run_id)
        alive = locks.is_held(folder.lock)
        presses = home.ask_stop(run_id) if alive else 0
    if not alive:
        if queued:
            return "It was taken out of the queue before it started."
        raise RunError(f"Run {run_id} is not running: it is {state(home, run_id).state}.")
    now = state_of(home, folder)
    if presses > 1:
        from pipeline.keeper import grace_seconds
        return (f"It was asked to stop already and is finishing: {_where(now)}. If it has not stopped "
                f"{grace_seconds(folder):.0f} s after the first press, it is ended, and what is past the last "
                "checkpoint is repeated on resume.")
    if now.stage in ("sft", "grpo") and now.unit == "steps" and now.total:
        return f"It stops after step {int(now.done) + 1} with a checkpoint, so that resume is exact."
    return f"It stops as soon as it can ({_where(now)}); what is done is kept."


def resume(home: StudioHome, run_id: str) -> None:
    """Queue a run that was stopped, interrupted or failed again. Raises RunError when there is nothing to resume."""
    folder = home.run(run_id)
    now = state_of(home, folder)
    if now.alive:
        raise RunError("It is still stopping: resume it when it has stopped." if now.state == "stopping"
                       else "It is running already.")
    if now.state == "waiting":
        raise RunError("It is waiting in the queue already.")
    if now.state == "finished":
        raise RunError("It is finished: duplicate it to train again with other settings.")
    folder.recipe()  # raises RecipeError in words when the file was damaged
    run_queue.put(home, run_id, home.about(run_id)["kind"])
    run_queue.advance(home)


def state(home: StudioHome, run_id: str) -> RunState:
    """How a run is, now. Raises RunError for an unknown id."""
    return state_of(home, home.run(run_id))


def list_runs(home: StudioHome, kinds: tuple[str, ...] | None = ("train",)) -> list[RunCard]:
    """The cards of all runs, newest first. `kinds=None` includes dry runs and other jobs with folders of their own."""
    cards, queue = [], run_queue.waiting(home)
    for row in home.known_runs():
        if kinds is None or row["kind"] in kinds:
            with contextlib.suppress(RunError):  # its folder went away just now
                cards.append(card_of(home, row, queue))
    return cards


def tend(home: StudioHome) -> list[str]:
    """Start what may start: for the app's timer, after a power cut or a killed keeper. Cheap when nothing waits."""
    try:
        return run_queue.advance(home)
    except RunError:  # somebody else is launching
        return []


def rename(home: StudioHome, run_id: str, name: str) -> None:
    """Give a run another name (1–100 characters); its id and recipe stay."""
    home.run(run_id)
    name = " ".join(name.split())
    if not 1 <= len(name) <= 100:
        raise RunError(f"A name has 1 to 100 characters; this one has {len(name)}.")
    home.write("UPDATE runs SET name = ? WHERE id = ?", (name, run_id))


def set_note(home: StudioHome, run_id: str, note: str) -> None:
    """Replace a run's note (at most 10,000 characters)."""
    home.run(run_id)
    if len(note) > 10_000:
        raise RunError(f"A note has at most 10,000 characters; this one has {len(note):,}.")
    home.write("UPDATE runs SET note = ? WHERE id = ?", (note, run_id))


def duplicate(home: StudioHome, run_id: str) -> Recipe:
    """The recipe for a new run like this one; nothing is started."""
    recipe = home.run(run_id).recipe()
    name = re.sub(r" \(copy\)$", "", home.about(run_id)["name"])[:93]
    return recipe.model_copy(update={"name": f"{name} (copy)", "provenance": None})


def move(home: StudioHome, run_id: str, places: int) -> None:
    """Move a waiting run in the queue; negative is earlier."""
    home.run(run_id)
    run_queue.move(home, run_id, places)


def delete(home: StudioHome, run_id: str) -> None:
    """Move a run to the trash; `restore` brings it back. Raises RunError while it is running."""
    folder = home.run(run_id)
    with locks.holding(home.queue_lock, run_queue.LAUNCH_SECONDS + 30, "The queue"):
        if locks.is_held(folder.lock):
            raise RunError(f"«{home.about(run_id)['name']}» is running: stop it first.")
        run_queue.remove(home, run_id)
        folder.path.rename(home.trashed(run_id))
        home.write("UPDATE runs SET deleted = ? WHERE id = ?", (time.time(), run_id))


def restore(home: StudioHome, run_id: str) -> None:
    """Bring a deleted run back."""
    trashed = home.trashed(run_id)
    if not trashed.is_dir():
        raise RunError(f"Run {run_id} is not in the trash.")
    trashed.rename(home.runs_dir / run_id)
    home.write("UPDATE runs SET deleted = NULL WHERE id = ?", (run_id,))


def empty_trash(home: StudioHome) -> int:
    """Delete what is in the trash for good; gives the number of runs."""
    rows = home.known_runs(deleted=True)
    for row in rows:
        shutil.rmtree(home.trashed(row["id"]), ignore_errors=True)
        for table in ("marks", "votes", "stops"):
            home.write(f"DELETE FROM {table} WHERE run = ?", (row["id"],))
        home.write("DELETE FROM runs WHERE id = ?", (row["id"],))
    return len(rows)


# ----------------------------------------------------------------------------------------------------


def _check_questions(kind: str, recipe: Recipe, request: Mapping[str, Any] | None) -> None:
    """Raises DatasetError for questions of the evaluation that cannot be had: hours before they are asked."""
    names = recipe.evaluate.benchmarks if kind == "evaluate" or (kind == "train" and recipe.evaluate.enabled) else []
    if kind == "evaluate":
        names = (request or {}).get("benchmarks") or names
    check_at_hand(name for name in names if name != "test")


def _where(now: RunState) -> str:
    words = STAGE_WORDS.get(now.stage, now.stage or "Starting")
    return f"{words}, {now.doing}" if now.message else words


def _new_id(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:30].strip("-") or "run"
    return f"{datetime.now():%Y%m%d-%H%M}-{slug}-{secrets.token_hex(2)}"


def _provenance(recipe: Recipe) -> Provenance:
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    sources = [recipe.data.source, recipe.data.test_source, *recipe.evaluate.benchmarks]
    files = [Path(source) for source in sources if source and Path(source).is_absolute()]  # others are names
    hashes = {str(file): _sha256(file) for file in files if file.is_file()}
    return Provenance(created=datetime.now().astimezone().isoformat(timespec="seconds"), versions=versions, data=hashes)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _refuse_secrets(recipe: Recipe) -> None:
    text = recipe.to_yaml()
    if redact(text) != text:
        raise RecipeError("The recipe contains an access token, which would be stored with the run: remove it and log "
                          "in with `hf auth login`, or set HF_TOKEN.")
