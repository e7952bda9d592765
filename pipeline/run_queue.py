"""The queue: who waits for which device, and the launch of the next worker.

Rows are in studio.db. Looking at them and launching happens under one lock for the whole home, and a launch waits
until the worker holds its own locks, so two starters never give one device to two runs. A run leaves the queue only
then: a crash between the two leaves it waiting. Nobody overtakes: a run that waits for two GPUs is not passed by.
"""

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import devices, hardware, hub_token, locks
from pipeline.errors import RunError
from pipeline.recipe import Recipe
from pipeline.run_folder import RunFolder, RunReader, RunWriter
from pipeline.studio_home import StudioHome

PROJECT = Path(__file__).resolve().parent.parent
DEFAULTS = {  # for every library in a worker and its children, unless the environment says otherwise
    "DO_NOT_TRACK": "1",  # no reports of use to anybody
    "VLLM_NO_USAGE_STATS": "1",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # FlashInfer's sampler is compiled on the machine while vLLM loads, which needs nvcc and was seen to take 90 s the
    # first time. Requests with a seed, as all of ours, do not use it.
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
}
MARK = "REASONING_STUDIO_WORKER"  # in the environment of a worker and all its descendants: home|run|nonce
LAUNCH_SECONDS = 60.0  # a worker takes its locks before it imports anything heavy


def put(home: StudioHome, run_id: str, kind: str, request: Mapping[str, Any] | None = None,
        first: bool = False) -> None:
    """Append to the queue, or put in front of it."""
    position = "COALESCE(MIN(position), 0) - 1" if first else "COALESCE(MAX(position), 0) + 1"
    home.write("INSERT INTO queue (run, kind, request, position, created) VALUES (?, ?, ?, "
               f"(SELECT {position} FROM queue), ?)", (run_id, kind, json.dumps(dict(request or {})), time.time()))


def waiting(home: StudioHome) -> list[dict[str, Any]]:
    """The rows in the order in which they will start: id, run, kind, request, position, created."""
    return home.read("SELECT * FROM queue ORDER BY position, id")


def remove(home: StudioHome, run_id: str) -> bool:
    """Take a run out of the queue; whether it was there."""
    return home.write("DELETE FROM queue WHERE run = ?", (run_id,)) > 0


def move(home: StudioHome, run_id: str, places: int) -> None:
    """Move a waiting run by places (negative is earlier), past one's own runs only."""
    with locks.holding(home.queue_lock, what="The queue"):
        rows = [row for row in waiting(home) if home.owns(row["run"])]
        at = next((i for i, row in enumerate(rows) if row["run"] == run_id), None)
        if at is None:
            raise RunError("This run is not waiting any more: it may just have started.")
        positions = [row["position"] for row in rows]
        rows.insert(max(0, min(len(rows) - 1, at + places)), rows.pop(at))
        for position, row in zip(positions, rows, strict=True):
            home.write("UPDATE queue SET position = ? WHERE id = ?", (position, row["id"]))


def advance(home: StudioHome) -> list[str]:
    """Start every run whose turn it is and whose devices are free; gives their ids. Cheap when there is none."""
    started: list[str] = []
    home = home.whole  # whoever's turn it is, whoever looks
    if not waiting(home):
        return started
    with locks.holding(home.queue_lock, timeout_seconds=LAUNCH_SECONDS + 30, what="The queue"):
        for row in waiting(home):
            if not _start_row(home, row, started):
                break
    return started


def free_devices(home: StudioHome) -> list[str]:
    """The devices that no worker holds."""
    return [name for name in devices.all_devices() if not locks.is_held(home.device_lock(name))]


def _start_row(home: StudioHome, row: dict[str, Any], started: list[str]) -> bool:
    """Launch one row if it can go; False ends the round (it must wait, and so must those behind it)."""
    try:
        folder = home.run(row["run"])
        needed = _gpus(folder)
    except Exception as error:  # its folder or recipe is gone or broken: it must not block the others
        home.write("DELETE FROM queue WHERE id = ?", (row["id"],))
        print(f"Run {row['run']} was taken out of the queue: {error}", file=sys.stderr, flush=True)
        return True
    free = free_devices(home)
    if len(free) < needed or locks.is_held(folder.lock):
        return False
    sweep(home)
    best = devices.emptiest_first(free, hardware.detect()) if len(free) > needed else free
    chosen = [name for name in free if name in best[:needed]]  # in the driver's order, in which they are looked at
    try:
        launch(home, folder, row, chosen)
    except (RunError, OSError) as error:
        home.write("DELETE FROM queue WHERE id = ?", (row["id"],))
        record_end(folder, "failed", f"The worker could not be started: {error}", "The log says more.")
        return True
    home.write("DELETE FROM queue WHERE id = ?", (row["id"],))
    started.append(folder.id)
    return True


def _gpus(folder: RunFolder) -> int:
    return max(1, min(Recipe.load(folder.recipe_file).model.gpus, len(devices.all_devices())))


def launch(home: StudioHome, folder: RunFolder, row: Mapping[str, Any], chosen: list[str]) -> None:
    """Start a detached worker and wait until it holds its lock. Raises RunError with its last words otherwise."""
    home.clear_stop(folder.id)
    request = {"kind": row["kind"], "request": json.loads(row["request"]), "devices": chosen}
    with folder.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipeline.worker", str(folder.path), json.dumps(request)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder.path, start_new_session=True,
            env=hub_token.for_worker(worker_environment(f"{home.path}|{folder.id}|{uuid.uuid4().hex}"), home.path,
                                     trusted=home.about(folder.id)["owner"] is None))
    threading.Thread(target=process.wait, daemon=True).start()  # no zombie when it ends while we still live
    deadline = time.monotonic() + LAUNCH_SECONDS
    while locks.holder(folder.lock) != process.pid:
        if process.returncode is not None:
            if process.returncode == 0:  # so short a job that it is over already
                return
            raise RunError(f"the worker ended at once with code {process.returncode}: {_last_line(folder.log)}")
        if time.monotonic() > deadline:
            process.kill()
            raise RunError(f"the worker did not start within {LAUNCH_SECONDS:.0f} s: is the machine overloaded?")
        time.sleep(0.02)


def worker_environment(mark: str) -> dict[str, str]:
    """Ours over DEFAULTS, plus the mark, and the project on the path from any directory.

    The run folder is the working directory, and no file in it may pass for a module: -P and PYTHONSAFEPATH
    keep it off the path, and relative entries of PYTHONPATH are left out.
    """
    ours = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(entry)]
    path = os.pathsep.join(dict.fromkeys([str(PROJECT), *ours]))
    return DEFAULTS | os.environ | {MARK: mark, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1",
                                    "PYTHONIOENCODING": "utf-8"}


def sweep(home: StudioHome) -> int:
    """End what dead workers of this home left behind (when worker and keeper were both killed); gives how many."""
    import psutil

    ended = 0
    for process in psutil.process_iter():
        try:
            home_path, run_id, _ = process.environ().get(MARK, "||").rsplit("|", 2)
            ours = home_path == str(home.path) and process.pid != os.getpid()
            if ours and not locks.is_held(home.run(run_id).lock):
                process.kill()
                ended += 1
        except (psutil.Error, OSError, RunError):
            continue
    return ended


def record_end(folder: RunFolder, state: str, reason: str, remedy: str = "") -> None:
    """Write how a run ended in place of its worker, which is gone; holds the run's lock meanwhile."""
    deadline = time.monotonic() + 5
    while not locks.take(folder.lock):
        if time.monotonic() > deadline:
            return  # somebody resumed it already
        time.sleep(0.05)
    try:
        status, writer = RunReader(folder).status(), RunWriter(folder)
        job, stage = status.get("job") or {}, status.get("stage")
        if job.get("state") == "running":
            writer.set_status(job=job | {"state": state, "reason": reason, "remedy": remedy})
        else:
            writer.set_status(state=state, reason=reason, remedy=remedy)
        if stage:
            writer.set_stage(stage, state=state, ended=time.time())
        writer.add_event("warning", reason, stage)
        writer.close()
    finally:
        locks.release(folder.lock)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:500] if lines else "it wrote nothing."
