"""The detached process that does one job of one run: `python -m pipeline.worker RUN [JOB AS JSON]`.

1. Takes the locks of its devices and of the run: from here on it is alive for everybody, whatever any pid says.
2. Starts its keeper, which cleans up after it (see keeper.py).
3. Does the stages in their order, each `stage(run)`, and skips those that are finished.
4. Writes in words how it ended. A stage that was interrupted starts again from its last complete checkpoint.

Meanwhile a thread writes a heartbeat, looks for a stop request and watches the disk. With a full disk the run pauses
where it asks for stop requests, and goes on by itself.
"""

import gc
import importlib
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline import devices, locks, run_queue
from pipeline.disk import LowDisk
from pipeline.errors import EngineError, RecipeError, RunError
from pipeline.failures import explain, is_disk_full, redact
from pipeline.recipe import Recipe
from pipeline.resuming import ANEW, Way, way_on
from pipeline.run import Run, Stopped
from pipeline.run_folder import STAGES, RunFolder, RunReader, RunWriter
from pipeline.stages import STAGE_WORK, stage_work
from pipeline.studio_home import StudioHome
from pipeline.watch import Watch

# Which stages a kind of job has. The kind under which a run was made decides its state; others are extra jobs.
KINDS: dict[str, tuple[str, ...]] = {
    "train": STAGES, "evaluate": ("evaluate",), "dry_run": ("prepare", "dry_run"),
    "sample": ("prepare", "dry_run"), "ask": ("ask",)}
STAGES_VARIABLE = "REASONING_STUDIO_STAGES"  # a module that stands in for pipeline.stages; for tests
EXIT_FINISHED, EXIT_FAILED, EXIT_BUSY = 0, 1, 3


def stage_function(name: str) -> Callable[[Run], None]:
    """The function of a stage, imported only now. Raises EngineError when this installation lacks it."""
    try:
        if stand_in := os.environ.get(STAGES_VARIABLE):
            module, function = STAGE_WORK[name]
            return getattr(getattr(importlib.import_module(stand_in), module), function)
        return stage_work(name)
    except ModuleNotFoundError as error:
        raise EngineError(f"The stage {name!r} cannot run: the module {error.name!r} is missing. "
                          "Install the requirements with `pip install -r requirements.txt`.") from error


def wanted_stages(recipe: Recipe, kind: str) -> list[tuple[str, bool]]:
    """The stages of a job in order, each with whether the recipe wants it."""
    switched = {"sft": recipe.sft.enabled, "merge_sft": recipe.sft.enabled, "grpo": recipe.grpo.enabled,
                "merge_grpo": recipe.grpo.enabled, "evaluate": recipe.evaluate.enabled or kind == "evaluate"}
    return [(name, switched.get(name, True)) for name in KINDS[kind]]


class Worker:
    """One job of one run, in this process, which holds the run's lock."""

    def __init__(self, home: StudioHome, folder: RunFolder, kind: str, request: Mapping[str, Any],
                 used_devices: list[str]) -> None:
        self.home, self.folder, self.kind, self.request = home, folder, kind, request
        self.used_devices = used_devices
        self.writer = RunWriter(folder)
        self.is_main = home.about(folder.id)["kind"] == kind
        self.watch = Watch(home, folder, self.writer)

    def work(self) -> int:
        """Do the stages; gives the exit code. Never raises."""
        self._say("running", started=time.time(), pid=os.getpid(), devices=self.used_devices, kind=self.kind)
        self.watch.start()
        stage = ""
        try:
            run = Run(self.folder, self.folder.recipe(), self.writer, self.watch.stop_requested, request=self.request)
            for stage, wanted in wanted_stages(run.recipe, self.kind):
                self._do_stage(run, stage, wanted)
        except Stopped:
            return self._ended("stopped", f"Stopped on request. {self._way().words}".strip(), stage=stage)
        except BaseException as error:  # also SystemExit from a library: the run must say how it ended
            return self._failed(error, stage)
        return self._ended("finished", "")

    def _do_stage(self, run: Run, stage: str, wanted: bool) -> None:
        before = next((row for row in RunReader(self.folder).stages() if row["name"] == stage), None)
        if not wanted:
            self.writer.set_stage(stage, state="skipped")
            return
        if self.is_main and before and before["state"] == "finished":
            return
        run.check_stop()
        run.begin(stage, before["attempt"] + 1 if before and before["state"] != "waiting" else 1)
        run.progress(0, None, "", "Loading")
        self.watch.stage_began(stage)
        stage_function(stage)(run)
        row = next(row for row in RunReader(self.folder).stages() if row["name"] == stage)
        done = row["total"] if row["total"] is not None else row["done"]
        self._surely(lambda: self.writer.set_stage(stage, state="finished", done=done, ended=time.time(),
                                                   seconds_left=0.0))

    def _way(self) -> Way:
        """How a person goes on with this work."""
        try:
            return way_on(self.folder)
        except RunError:  # the store cannot be read just now
            return Way() if self.is_main else ANEW

    def _failed(self, error: BaseException, stage: str) -> int:
        print(redact("".join(traceback.format_exception(error))), flush=True)
        if is_disk_full(error) and self._came_further(stage) and self._wait_for_space():
            run_queue.put(self.home, self.folder.id, self.kind, self.request, first=True)
            return self._ended("waiting", "There is space on the disk again: it goes on.", stage=stage)
        if self.watch.stop.is_set() and is_disk_full(error):
            return self._ended("stopped", f"Stopped on request, but the disk was full. {self._way().words}".strip(),
                               stage=stage)
        try:
            failure = explain(error, self.folder.recipe(), stage, self._way())
        except RecipeError:
            failure = explain(error, Recipe(), stage, self._way())
        self._ended("failed", failure.reason, failure.remedy, stage, failure.kind)
        return EXIT_FAILED

    def _came_further(self, stage: str) -> bool:
        """Whether the disk filled up at another place than last time; otherwise what is free does not do, however
        long we wait (a large model beside enough space for the small files)."""
        row = next((row for row in RunReader(self.folder).stages() if row["name"] == stage), {})
        here = [stage, row.get("done")]
        before = RunReader(self.folder).status().get("full_at")
        self._surely(lambda: self.writer.set_status(full_at=here))
        return before != here

    def _wait_for_space(self) -> bool:
        """Wait until the disk has room again; False when a stop was asked for meanwhile."""
        disk = LowDisk(self.folder.path)
        while disk.problem() and not self.watch.stop.wait(0.5):
            pass
        return not self.watch.stop.is_set()

    def _ended(self, state: str, reason: str, remedy: str = "", stage: str = "", failure: str = "") -> int:
        self.watch.end()
        if stage:
            self._surely(lambda: self.writer.set_stage(stage, state=state, ended=time.time()))
        self._surely(lambda: self._say(state, reason=reason, remedy=remedy, failure=failure, ended=time.time()))
        if reason:
            level = "error" if state == "failed" else "info"
            text = f"{reason} {remedy}".strip()
            print(f"[{level}] {redact(text)}", flush=True)
            self.writer.add_event(level, text, stage or None)
        self.writer.close()
        self.watch.copy()
        return EXIT_FINISHED

    def _say(self, state: str, **values: Any) -> None:
        """Write the state: of the run for the kind it was made as, otherwise of the extra job."""
        values = {"reason": "", "remedy": "", "failure": ""} | values
        if self.is_main:
            self.writer.set_status(state=state, **values)
        else:
            self.writer.set_status(job={"kind": self.kind, "state": state, **values})

    def _surely(self, write: Callable[[], None]) -> None:
        """Repeat a write that must not be lost (the store counts lost ones instead of raising)."""
        for _ in range(20):
            lost = self.writer.failed_writes
            write()
            if self.writer.failed_writes == lost:
                return
            time.sleep(0.5)


def start_keeper(folder: RunFolder) -> None:
    """Start the keeper with the environment that we were given, before devices narrow it."""
    environment = {key: value for key, value in os.environ.items() if key != run_queue.MARK}
    subprocess.Popen([sys.executable, "-P", "-m", "pipeline.keeper", str(folder.path), str(os.getpid()),
                      os.environ.get(run_queue.MARK, "")],
                     stdin=subprocess.DEVNULL, cwd=folder.path, start_new_session=True, env=environment)


def main(arguments: list[str]) -> int:
    """Take the locks, then work."""
    folder = RunFolder(Path(arguments[0]).absolute())
    home = StudioHome(folder.path.parent.parent)
    job = json.loads(arguments[1]) if len(arguments) > 1 else {}
    chosen = job.get("devices") or list(devices.all_devices()[:1])
    if not all(locks.take(home.device_lock(name)) for name in chosen) or not locks.take(folder.lock):
        print("Another process works on this run or uses its device: nothing was done.", flush=True)
        return EXIT_BUSY
    if not hasattr(os, "getsid") or os.getsid(0) != os.getpid():
        print("Started by hand: the queue starts workers detached.", flush=True)
    start_keeper(folder)
    os.environ.update(devices.environment(chosen))
    os.chdir(folder.path)
    code = Worker(home, folder, job.get("kind", "train"), job.get("request") or {}, chosen).work()
    # The devices stay ours until the process, and its memory, is gone. If that hangs, the keeper ends it.
    locks.release(folder.lock)
    gc.freeze()  # or Python's end looks for garbage among a million objects of libraries: two seconds on a CPU
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
