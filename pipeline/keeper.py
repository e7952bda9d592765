"""The keeper: a small process beside each worker that outlives it by a moment.

It does what a worker cannot do for itself: end the worker's processes when a stop is not heard in time, end the worker
when its work is over and it does not leave, end its children when it dies (so that none holds the GPU), and start the
next run in the queue once the memory is free, with the app closed. It is the worker's child and sees its death as a
change of parent.
`prctl(PR_SET_PDEATHSIG)` is not used: it fires when the *thread* that started a child ends, and children that
libraries start cannot be given it.
"""

import contextlib
import os
import signal
import statistics
import sys
import time
from pathlib import Path

from pipeline import devices, locks, machines, run_queue
from pipeline.errors import RunError
from pipeline.resuming import way_on
from pipeline.run_folder import RunFolder, RunReader
from pipeline.studio_home import StudioHome

POLL_SECONDS = 0.25
GRACE_STEPS = 3
SHORTEST_GRACE_SECONDS, LONGEST_GRACE_SECONDS = 30.0, 1800.0
DYING_SECONDS = 600.0  # a killed process gives back its memory before its locks
LEAVE_SECONDS = 20.0  # from the end of the work to that of the process: a library may hang while Python ends


def grace_seconds(folder: RunFolder) -> float:
    """How long a stop may take: three median steps (of the last 20), within bounds."""
    if fixed := os.environ.get("REASONING_STUDIO_GRACE_SECONDS"):
        return float(fixed)
    rows = RunReader(folder).rows("SELECT value FROM metrics WHERE key = 'time/step_seconds' AND value IS NOT NULL "
                                  "ORDER BY id DESC LIMIT 20")
    median = statistics.median(row["value"] for row in rows) if rows else 0.0
    return min(max(GRACE_STEPS * median, SHORTEST_GRACE_SECONDS), LONGEST_GRACE_SECONDS)


def end_processes(mark: str, session: int | None = None) -> int:
    """Kill everything that carries a mark, and everything of a process session; gives how many."""
    import psutil

    ended = 0
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            if os.getsid(process.pid) == session or process.environ().get(run_queue.MARK) == mark:
                process.kill()
                ended += 1
        except (psutil.Error, OSError):
            continue
    return ended


def watch(home: StudioHome, folder: RunFolder, worker: int, mark: str) -> None:
    """Stay until the worker is gone, whichever way, and leave the machine clean."""
    deadline: float | None = None
    over: float | None = None
    looked = 0.0
    leave_seconds = float(os.environ.get("REASONING_STUDIO_LEAVE_SECONDS", LEAVE_SECONDS))
    while os.getppid() == worker:
        now = time.monotonic()
        if now - looked >= 1.0:
            looked = now
            if deadline is None and _stop_asked(home, folder):
                deadline = now + grace_seconds(folder)
        if _work_is_over(folder, worker):
            over = over or now
            if now - over > leave_seconds:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
                break
        elif deadline is not None and now > deadline:
            end_processes(mark, worker)
            run_queue.record_end(folder, "stopped", "It did not stop in time and was ended. "
                                 + way_on(folder).words)
            break
        else:
            over = None
        time.sleep(POLL_SECONDS)
    end_processes(mark, worker)
    if not locks.is_held(folder.lock):  # otherwise the run goes on already, on other devices
        machines.withdraw(folder)
    wait_until_left(home, worker)
    run_queue.advance(home)


def wait_until_left(home: StudioHome, worker: int, seconds: float = DYING_SECONDS) -> bool:
    """Wait until a process that ended holds no device any more; whether it came to that in so many seconds.

    The system gives a process's children another parent before the last of its threads has given back its memory and
    its locks. A look at the queue in between finds the device taken, and nobody would look again.
    """
    deadline = time.monotonic() + seconds
    while any(locks.holder(home.device_lock(name)) == worker for name in devices.all_devices()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _work_is_over(folder: RunFolder, worker: int) -> bool:
    """Whether a worker gave its run back and said how it ended. A lock that cannot be looked at just now is no sign."""
    holder = locks.holder(folder.lock)
    if holder is not None:
        return holder != worker
    try:
        status = RunReader(folder).status()
    except RunError:
        return False
    return "running" not in (status.get("state"), (status.get("job") or {}).get("state"))


def _stop_asked(home: StudioHome, folder: RunFolder) -> bool:
    try:
        return home.stop_presses(folder.id) > 0
    except Exception:  # studio.db busy or gone for a moment: asked again in a second
        return False


def main(arguments: list[str]) -> None:
    """`python -m pipeline.keeper RUN WORKER_PID MARK`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    path, worker, mark = Path(arguments[0]), int(arguments[1]), arguments[2]
    watch(StudioHome(path.parent.parent), RunFolder(path), worker, mark)


if __name__ == "__main__":
    main(sys.argv[1:])
