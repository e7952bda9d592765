"""The keeper at the end of a worker: when it looks at the queue, and what it does with a worker that does not leave."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import at_step, recipe, until, until_state, worker_of

from pipeline import devices, jobs, keeper, locks, run_queue
from pipeline.studio_home import StudioHome


def holding(lock: Path, seconds: float) -> subprocess.Popen[bytes]:
    """A process that has taken a lock, and holds it so long."""
    code = ("import sys, time; from pathlib import Path; from pipeline import locks; locks.take(Path(sys.argv[1])); "
            "print(flush=True); time.sleep(float(sys.argv[2]))")
    process = subprocess.Popen([sys.executable, "-c", code, str(lock), str(seconds)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() and locks.is_held(lock)
    return process


def test_the_keeper_looks_at_the_queue_only_when_a_dying_worker_has_left_its_device(home: StudioHome) -> None:
    """Its children have another parent a moment before its locks are free."""
    device = home.device_lock(devices.all_devices()[0])
    device.parent.mkdir(exist_ok=True)
    holder = holding(device, 0.6)
    try:
        assert keeper.wait_until_left(home, os.getpid(), 5) and locks.is_held(device)  # another's device
        assert not keeper.wait_until_left(home, holder.pid, 0.1)
        assert keeper.wait_until_left(home, holder.pid, 5) and not locks.is_held(device)
    finally:
        holder.wait()


def test_the_keeper_waits_for_that_before_it_looks(home: StudioHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process holds the device for a second, and is no child of whoever is called its keeper's parent."""
    run_id = jobs.start(home, recipe(2))
    until_state(home, run_id, "finished")
    device = home.device_lock(devices.all_devices()[0])
    until(lambda: not locks.is_held(device))
    dying = holding(device, 1)
    held: list[bool] = []
    monkeypatch.setattr(run_queue, "advance", lambda home: held.append(locks.is_held(device)))
    keeper.watch(home, home.run(run_id), dying.pid, "no such mark")
    dying.wait()
    assert held == [False]


def test_a_lock_that_cannot_be_looked_at_is_no_sign_that_the_work_is_over(home: StudioHome) -> None:
    run_id = jobs.start(home, recipe(3000))
    folder, worker = home.run(run_id), worker_of(home, run_id)
    until(at_step(home, run_id, 2, "sft"))
    assert not keeper._work_is_over(folder, worker) and keeper._work_is_over(folder, worker + 1)
    folder.lock.rename(folder.path / "elsewhere")
    assert locks.holder(folder.lock) is None and not keeper._work_is_over(folder, worker)
    (folder.path / "elsewhere").rename(folder.lock)
    jobs.stop(home, run_id)
    until_state(home, run_id, "stopped")
    assert keeper._work_is_over(folder, worker)


def test_a_worker_that_hangs_after_its_work_is_ended_and_the_next_run_starts(
        home: StudioHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASONING_STUDIO_LEAVE_SECONDS", "1")
    first = jobs.start(home, recipe(20))
    (home.run(first).path / "misbehave").write_text("stuck")
    second = jobs.start(home, recipe(2))
    until_state(home, second, "finished", seconds=20)
    assert jobs.state(home, first).state == "finished"
