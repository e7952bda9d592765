"""A new run that goes on from where another one ended, with other settings.

The earlier run stays as it is. The new folder starts with its data, adapters, models, complete checkpoints and
records; finished stages are skipped as on resume, and the curves are whole. Large files are linked, not copied:
nothing writes into a finished file again.
"""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

from pipeline import jobs
from pipeline.engines.checkpoints import complete_checkpoints
from pipeline.errors import RunError
from pipeline.failures import OUT_OF_GPU_MEMORY, WANT_OF_MEMORY
from pipeline.lighter import Lighter, lighter, vllm_of
from pipeline.recipe import Parent, Recipe
from pipeline.run_folder import RunFolder
from pipeline.run_state import state_of
from pipeline.studio_home import StudioHome

LINKED = (".safetensors", ".pt", ".bin", ".parquet")


def proposal(home: StudioHome, run_id: str) -> Lighter | None:
    """What would need less memory, for a run that failed for want of it; None for every other run."""
    folder = home.run(run_id)
    now = state_of(home, folder)
    if now.state != "failed" or now.failure not in WANT_OF_MEMORY:
        return None
    recipe = folder.recipe()
    return lighter(recipe, now.stage, vllm_of(recipe, now.stage), now.failure == OUT_OF_GPU_MEMORY)


def try_again(home: StudioHome, run_id: str) -> tuple[str, Lighter]:
    """Start the proposal as a new run that continues from the last checkpoint; gives its id, and the proposal.

    Raises RunError.
    """
    found = proposal(home, run_id)
    if found is None:
        raise RunError("This run did not fail for want of memory, or nothing is left to lower: duplicate it and choose "
                       "a smaller model, a 4-bit base or shorter texts.")
    return continue_as(home, run_id, found.recipe), found


def continue_as(home: StudioHome, run_id: str, recipe: Recipe) -> str:
    """Queue `recipe` as a new run with everything that the run finished; gives its id. Raises RunError."""
    folder = home.run(run_id)
    if state_of(home, folder).alive:
        raise RunError("It is still running: stop it first.")
    stage = state_of(home, folder).stage
    last = complete_checkpoints(folder.checkpoints(stage))[-1:]
    parent = Parent(run=run_id, checkpoint=last[0].name if last else None)
    name = recipe.name.removesuffix(" (less memory)")[:80] + " (less memory)"
    return jobs.start(home, recipe.model_copy(update={"parent": parent, "name": name}), home.about(run_id)["kind"],
                      fill=lambda half: _fill(folder, half))


def _fill(folder: RunFolder, half: Path) -> None:
    for name in ("data", "adapters", "models"):
        if (folder.path / name).is_dir():
            _copy(folder.path / name, half / name)
    for stage in (folder.path / "checkpoints").glob("*"):
        for checkpoint in complete_checkpoints(stage):
            _copy(checkpoint, half / "checkpoints" / stage.name / checkpoint.name)
    _copy_records(folder.database, half / folder.database.name)


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=_link_or_copy, ignore=shutil.ignore_patterns(".*", "*.part"))


def _link_or_copy(source: str, target: str) -> None:
    if source.endswith(LINKED):
        with contextlib.suppress(OSError):  # a disk without links
            os.link(source, target)
            return
    shutil.copy2(source, target)


def _copy_records(source: Path, target: Path) -> None:
    """The store as it was at this moment, without the state of the run that ended."""
    if not source.exists():
        return
    old, new = sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True), sqlite3.connect(target, isolation_level=None)
    try:
        old.backup(new)
        new.execute("DELETE FROM status")
    finally:
        old.close()
        new.close()
