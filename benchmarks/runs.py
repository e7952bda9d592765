"""Runs that a benchmark started through the worker: waiting for their end, and their processes."""

import contextlib
import time

import psutil

from pipeline import jobs
from pipeline.run_queue import MARK
from pipeline.run_state import OVER, RunState
from pipeline.studio_home import StudioHome

POLL_SECONDS = 0.2


def wait_until_finished(home: StudioHome, run_id: str, seconds: float = 600.0) -> RunState:
    """Wait for the end of a run. Raises SystemExit in words when it is not finished in time, or ends otherwise."""
    deadline = time.monotonic() + seconds
    while (now := jobs.state(home, run_id)).state not in OVER:
        if time.monotonic() > deadline:
            raise SystemExit(f"Run {run_id} is not over after {seconds:,.0f} s ({now.state}, {now.words}): see "
                             f"{home.run(run_id).log}")
        time.sleep(POLL_SECONDS)
    if now.state != "finished":
        raise SystemExit(f"Run {run_id} is {now.state}. {now.reason} {now.remedy}")
    return now


def processes_of(home: StudioHome, run_id: str = "") -> list[psutil.Process]:
    """The workers of a run, or of all runs of the home, and all that they started."""
    found, mark = [], f"{home.path}|" + (f"{run_id}|" if run_id else "")
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK, "").startswith(mark):
                found.append(process)
    return found
