"""The worker's second thread: heartbeat, stop requests, disk space, memory, log size. It never raises into training."""

import contextlib
import signal
import threading
import time
from typing import Any

import psutil

from pipeline import mirror, run_log
from pipeline.disk import GIB, LowDisk
from pipeline.run_folder import RunFolder, RunWriter
from pipeline.studio_home import StudioHome
from pipeline.working_time import CLOCK

POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 2.0


class Watch:
    """Runs beside the stages. `stop_requested` is what they poll."""

    def __init__(self, home: StudioHome, folder: RunFolder, writer: RunWriter) -> None:
        self.home, self.folder, self.writer = home, folder, writer
        self.stop = threading.Event()
        self.paused = ""
        self._mirrored = mirror.target_of(home) is not None
        self._over = threading.Event()
        self._disk = LowDisk(folder.path)
        self._thread = threading.Thread(target=self._loop, name="watch", daemon=True)

    def start(self) -> None:
        """Begin; SIGTERM and SIGINT count as stop requests from here on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop.set())
        self._look()
        self._thread.start()

    def end(self) -> None:
        """Stop watching; the last words are the worker's."""
        self._over.set()
        self._thread.join(timeout=5)

    def copy(self) -> None:
        """Copy the run to where the home's copies go, if it has such a place; a failure is told, not raised."""
        try:
            mirror.copy_run(self.home, self.folder.id)
        except Exception as error:  # a bucket that cannot be reached must not stop the run
            print(f"[warning] The run could not be copied to the mounted storage: {error}", flush=True)

    def stage_began(self, stage: str) -> None:
        """Look at once, so that a stop pressed between two stages is heard before the next loads its model."""
        self._look()

    def stop_requested(self) -> bool:
        """Whether to stop now. While the disk is full this waits: training pauses exactly where it may stop."""
        if self.paused:
            with CLOCK.paused():
                while self.paused and not self.stop.is_set():
                    time.sleep(0.1)
        return self.stop.is_set()

    def _loop(self) -> None:
        beat, copied = 0.0, time.monotonic()
        while not self._over.wait(POLL_SECONDS):
            with contextlib.suppress(Exception):
                self._look()
            if time.monotonic() - beat >= HEARTBEAT_SECONDS:
                beat = time.monotonic()
                with contextlib.suppress(Exception):
                    self.writer.set_status(heartbeat=time.time(), **memory_of_tree())
                with contextlib.suppress(OSError):
                    run_log.shorten(self.folder.log)
            if self._mirrored and time.monotonic() - copied >= mirror.EVERY_SECONDS:
                self.copy()
                copied = time.monotonic()

    def _look(self) -> None:
        with contextlib.suppress(Exception):  # studio.db is busy or gone for a moment
            if self.home.stop_presses(self.folder.id):
                self.stop.set()
        paused = self._disk.problem() or ""
        if paused != self.paused:
            text = paused or "There is space on the disk again: the run goes on."
            self.paused = paused
            print(f"[warning] {text}", flush=True)
            self.writer.set_status(paused=paused)
            self.writer.add_event("warning", text)


def memory_of_tree() -> dict[str, Any]:
    """Resident memory of this process and its children, and what the machine has, in GiB."""
    process = psutil.Process()
    total = process.memory_info().rss
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            total += child.memory_info().rss
    machine = psutil.virtual_memory()
    return {"memory_gib": round(total / GIB, 3), "machine_gib": round(machine.total / GIB, 2),
            "machine_free_gib": round(machine.available / GIB, 2)}
