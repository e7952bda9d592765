"""The time left counts work only: not the seconds in which a run paused for the disk, was stopped, or was held up."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from waiting import recipe

from pipeline import run_queue
from pipeline.jobs import start
from pipeline.run import Run
from pipeline.run_folder import RunFolder, RunReader, RunWriter
from pipeline.stage_process import stop_poll
from pipeline.studio_home import StudioHome
from pipeline.watch import Watch
from pipeline.working_time import WorkingTime

PAUSE = 1.2  # seconds; a step takes a hundredth of them


@pytest.fixture
def run(home: StudioHome, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run at GRPO that a worker has taken up, in this process."""
    monkeypatch.setattr(run_queue, "advance", lambda home: [])
    folder = home.run(start(home, recipe(20)))
    run = Run(folder, recipe(20), RunWriter(folder))
    run.begin("grpo", 1)
    yield run
    run.writer.close()


def left(folder: RunFolder) -> float | None:
    return next(row["seconds_left"] for row in RunReader(folder).stages() if row["name"] == "grpo")


def steps(run: Run, first: int, last: int) -> None:
    for step in range(first, last + 1):
        time.sleep(PAUSE / 100)
        run.progress(step, 20, "steps")


def full_disk(monkeypatch: pytest.MonkeyPatch, look: Callable[[], None] = lambda: None) -> None:
    """The disk counts as full for PAUSE seconds from now on."""
    monkeypatch.setenv("REASONING_STUDIO_MIN_FREE_MB", "1e12")
    look()

    def room() -> None:
        os.environ["REASONING_STUDIO_MIN_FREE_MB"] = "0"
        look()

    threading.Timer(PAUSE, room).start()


@pytest.mark.parametrize("where", ["worker", "stage process"])
def test_the_time_left_after_a_pause_for_the_disk_is_that_of_the_work(run: Run, home: StudioHome, where: str,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """16 of 20 steps are left after 4 at the pace of some hundredths of a second, with a pause of 1.2 s behind the
    second. With the pause in the pace they would take more than 16 / 4 x 1.2 = 4.8 s; without it, about 0.2 s."""
    watch = Watch(home, run.folder, run.writer)
    run.stop_requested = watch.stop_requested if where == "worker" else stop_poll(run.folder)
    run.progress(0, 20, "steps")
    steps(run, 1, 2)
    full_disk(monkeypatch, watch._look if where == "worker" else lambda: None)
    began = time.monotonic()
    run.check_stop()
    assert time.monotonic() - began >= 0.9 * PAUSE
    steps(run, 3, 4)
    assert 0 < (left(run.folder) or 0) < 2.4


def test_an_attempt_that_goes_on_at_step_10_knows_only_its_own_pace(run: Run) -> None:
    """Ten slow steps before the stop, then the time until somebody resumed: neither counts. 8 steps are left."""
    run.progress(0, 20, "steps")
    time.sleep(PAUSE / 4)
    run.progress(10, 20, "steps")
    assert (left(run.folder) or 0) >= 0.9 * PAUSE / 4
    again = Run(run.folder, run.recipe, run.writer)
    again.begin("grpo", 2)
    assert left(run.folder) is None
    time.sleep(PAUSE / 2)
    again.progress(10, 20, "steps")
    assert left(run.folder) is None
    steps(again, 11, 12)
    assert 0 < (left(run.folder) or 0) < 2.4


def test_a_count_that_begins_anew_has_a_pace_of_its_own(run: Run) -> None:
    """Reading 1,000 rows took 1.2 s. Of the 16 passes that follow, one is done at once: not 15 x 1.2 s are left."""
    run.progress(0, 1000, "rows", "reading rows")
    time.sleep(PAUSE)
    run.progress(1000, 1000, "rows", "reading rows")
    run.progress(0, 16, "rows", "looking for near duplicates")
    assert left(run.folder) is None
    time.sleep(PAUSE / 100)
    run.progress(1, 16, "rows", "looking for near duplicates")
    assert 0 < (left(run.folder) or 0) < 4


HELD_UP = """
import time
from pipeline.working_time import WorkingTime
clock = WorkingTime(look_seconds=0.05, held_up_seconds=0.5)
worked, wall = clock.seconds(), time.monotonic()
print("ready", flush=True)
while True:
    time.sleep(0.02)
    print(clock.seconds() - worked, time.monotonic() - wall, flush=True)
"""


def test_time_in_which_the_process_was_held_up_is_no_work() -> None:
    """Stopped by a signal for 1.2 s and let go on, as a cluster does with a job that has to make room."""
    child = subprocess.Popen([sys.executable, "-c", HELD_UP], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGSTOP)
        time.sleep(PAUSE)
        child.send_signal(signal.SIGCONT)
        pairs = ([float(word) for word in line.split()] for line in child.stdout)
        worked, wall = next(pair for pair in itertools.islice(pairs, 1000) if pair[1] > PAUSE)
        assert wall - worked >= 0.9 * PAUSE
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_work_that_keeps_the_processor_busy_is_never_taken_for_held_up() -> None:
    """A library that lets no other thread run for a minute, as while it loads a model, works: the clock goes on."""
    now, used = [100.0], [5.0]
    clock = WorkingTime(look_seconds=3600, clock=lambda: now[0], used=lambda: used[0])
    began = clock.seconds()
    now[0], used[0] = 160.0, 50.0
    assert clock.seconds() - began == 60
    now[0] = 220.0
    assert clock.seconds() - began == 60
