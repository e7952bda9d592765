"""Watch a run from a terminal: one progress line on standard error, until it ends or Ctrl-C stops it."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from pipeline import jobs
from pipeline.failures import STAGE_WORDS
from pipeline.run_folder import RunReader
from pipeline.run_state import OVER, RunState, duration
from pipeline.studio_home import StudioHome

POLL_SECONDS = 0.3


def follow(home: StudioHome, run_id: str) -> RunState:
    """Show progress until the run is over; the first Ctrl-C asks it to stop and waits, a second one leaves at once."""
    console = Console(stderr=True, highlight=False)
    console.print(f"Run {run_id} in {home.run(run_id).path}", soft_wrap=True)
    try:
        return _watch(home, run_id, console)
    except KeyboardInterrupt:
        return _stop(home, run_id, console)


def _stop(home: StudioHome, run_id: str, console: Console) -> RunState:
    try:
        console.print(f"{jobs.stop(home, run_id)} (Ctrl-C again leaves it to finish by itself.)", soft_wrap=True)
        now = _watch(home, run_id, console)
        console.print(f"Continue with: python -m pipeline resume {run_id}", soft_wrap=True)
        return now
    except (KeyboardInterrupt, jobs.RunError):
        return jobs.state(home, run_id)


def _watch(home: StudioHome, run_id: str, console: Console) -> RunState:
    seen = _Events(home, run_id, console)
    if not sys.stderr.isatty():
        return _plain(home, run_id, console, seen)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.fields[words]}"))
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("Starting", total=None, words="")
        while True:
            now = jobs.state(home, run_id)
            seen.print_new()
            if now.state in OVER:
                return now
            bar.update(task, description=_title(now), total=now.total, completed=now.done, words=_figures(now))
            jobs.tend(home)
            time.sleep(POLL_SECONDS)


def _plain(home: StudioHome, run_id: str, console: Console, seen: "_Events") -> RunState:
    """Without a terminal: a line for each stage and each reason to wait."""
    last = ""
    while True:
        now = jobs.state(home, run_id)
        seen.print_new()
        if now.state in OVER:
            return now
        line = f"{_title(now)} {now.reason if now.state == 'waiting' or now.paused else ''}".strip()
        if line != last:
            console.print(line, soft_wrap=True)
            last = line
        jobs.tend(home)
        time.sleep(POLL_SECONDS)


class _Events:
    """Prints the run's lines for people that are new since this watch began."""

    def __init__(self, home: StudioHome, run_id: str, console: Console) -> None:
        self.reader, self.console = RunReader(home.run(run_id)), console
        rows = self.reader.rows("SELECT max(id) AS id FROM events")
        self.last = (rows[0]["id"] or 0) if rows else 0

    def print_new(self) -> None:
        for row in self.reader.events(self.last):
            self.last = row["id"]
            if row["level"] != "error":  # the reason is printed at the end
                self.console.print(row["text"], markup=False, soft_wrap=True)


def _title(now: RunState) -> str:
    if now.state == "waiting":
        return "Waiting"
    stage = STAGE_WORDS.get(now.stage, now.stage) or "Starting"
    return f"{stage} (stopping)" if now.state == "stopping" else stage


def _figures(now: RunState) -> str:
    if now.state == "waiting" or now.paused:
        return now.reason
    count = f"{now.done:,.0f}/{now.total:,.0f} {now.unit}" if now.counts else now.message
    left = f", {duration(now.seconds_left)} left" if now.seconds_left is not None else ""
    return count + left
