"""Waiting with a deadline for what a worker does, and a small recipe for the fake stages."""

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

import psutil

from pipeline import jobs, locks
from pipeline.recipe import Recipe
from pipeline.run_folder import RunReader
from pipeline.studio_home import StudioHome


def end_everything(home: StudioHome) -> None:
    """Kill what a test left running: workers, their children, and keepers of this home."""
    home.write("DELETE FROM queue")
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            marked = process.environ().get("REASONING_STUDIO_WORKER", "").startswith(f"{home.path}|")
            if process.pid != os.getpid() and (marked or any(str(home.path) in part for part in process.cmdline())):
                process.kill()


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait for a condition; fails with its last value after the deadline."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still {value!r} after {seconds} s"
        time.sleep(0.03)
    return value


def until_state(home: StudioHome, run_id: str, *states: str, seconds: float = 60.0) -> jobs.RunState:
    """Wait until a run is in one of the states."""
    deadline = time.monotonic() + seconds
    while (now := jobs.state(home, run_id)).state not in states:
        file = home.run(run_id).log
        log = file.read_text()[-2000:] if file.exists() else ""
        assert time.monotonic() < deadline, f"{now} instead of {states}; log: {log}"
        time.sleep(0.03)
    return now


def recipe(steps: int = 10, **changes: Any) -> Recipe:
    """A small recipe for the fake stages."""
    return Recipe.parse({"name": "A run", "grpo": {"steps": steps}, **changes})


def worker_of(home: StudioHome, run_id: str) -> int:
    """The pid of the process that holds the run's lock."""
    return until(lambda: locks.holder(home.run(run_id).lock))


def at_step(home: StudioHome, run_id: str, step: int, stage: str = "grpo") -> Callable[[], bool]:
    """A condition: the stage has done this step."""
    def reached() -> bool:
        rows = RunReader(home.run(run_id)).stages()
        return any(row["name"] == stage and row["done"] >= step for row in rows)
    return reached
