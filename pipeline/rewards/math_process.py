"""The scoring process: math-verify behind a pipe, killed at a deadline and replaced.

math-verify bounds its own time with SIGALRM, which works in a main thread only, and a number such as `9^{9^{9^9}}`
holds the interpreter for ever. So it runs in a process of its own, in its own session, which imports nothing of this
project. It ends when its input closes (the parent ended), and the kernel ends it when a request burns too much
processor time or memory, so an orphan cannot linger. The deadline is extended only where a busy machine gave the
process too little processor time.
"""

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

CHILD = Path(__file__).with_name("math_child.py")
START_SECONDS = 60.0
MAX_WAITS = 3


class MathProcess:
    """A pre-spawned process (and one in reserve) that compares two expressions; safe to use from any thread."""

    def __init__(self, deadline_seconds: float = 0.8) -> None:
        self.deadline_seconds = deadline_seconds
        self.asked = self.timeouts = self.failures = 0
        self._lock = threading.Lock()
        self._current: Child | None = None
        self._spare: Child | None = None

    def start(self) -> None:
        """Spawn the process if there is none; does not wait until it is ready."""
        with self._lock:
            self._current = self._alive()

    def equal(self, given: str, reference: str) -> bool | None:
        """Whether the two are mathematically equal; None when that could not be found out in time."""
        request = json.dumps([given, reference]).encode() + b"\n"
        with self._lock:
            self.asked += 1
            for _ in range(2):  # one that died while idle is replaced, once
                child = self._current = self._alive()
                if not child.wait_until_ready(START_SECONDS):
                    self._replace()
                    continue
                if self._spare is None:
                    self._spare = Child()  # waits in reserve, so that a kill costs no start
                used = child.processor_seconds()
                line = child.read(self.deadline_seconds) if child.send(request) else None
                waited = 1
                while line is None and waited < MAX_WAITS and child.usable() and (
                        child.processor_seconds() - used < 0.8 * self.deadline_seconds):
                    line, waited = child.read(self.deadline_seconds), waited + 1  # a busy machine gave it no time
                late = line is None and child.usable()
                if line is not None:
                    answer = json.loads(line)
                    self.failures += answer is None
                    return answer
                self._replace()
                if late:
                    self.timeouts += 1
                    return None
            self.failures += 1
            return None

    def close(self) -> None:
        """End the processes; a later comparison starts new ones."""
        with self._lock:
            for child in (self._current, self._spare):
                if child is not None:
                    child.kill()
            self._current = self._spare = None

    def _alive(self) -> "Child":
        if self._current is not None and self._current.usable():
            return self._current
        self._replace()
        assert self._current is not None
        return self._current

    def _replace(self) -> None:
        if self._current is not None:
            self._current.kill()
        spare, self._spare = self._spare, None
        if spare is not None and spare.usable():
            self._current, self._spare = spare, Child()
        else:
            self._current = Child()


class Child:
    """A running `math_child.py` and its two pipes. Not thread-safe."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.ready = False
        self._buffer = b""
        self._ended = False
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, start_new_session=True, env={"PATH": os.environ.get("PATH", "")})

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def usable(self) -> bool:
        """Whether it runs, and was started by this very process (not by the parent of a fork)."""
        return self.owner == os.getpid() and not self._ended and self._process.poll() is None

    def wait_until_ready(self, seconds: float) -> bool:
        """Wait for the line that says the libraries are loaded."""
        self.ready = self.ready or self.read(seconds) is not None
        return self.ready

    def processor_seconds(self) -> float:
        """Processor time it has used so far."""
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return times.user + times.system

    def send(self, request: bytes) -> bool:
        """Write one line; False when the process is gone."""
        try:
            self._process.stdin.write(request)  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except OSError:
            return False
        return True

    def read(self, seconds: float) -> bytes | None:
        """One line of its output; None at the deadline or when it is gone."""
        descriptor, end = self._process.stdout.fileno(), time.monotonic() + seconds  # type: ignore[union-attr]
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
            chunk = os.read(descriptor, 65536) if ready else b""
            self._ended = bool(ready) and not chunk  # its end closed: it is gone, even before the system says so
            if not chunk:
                return None
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def kill(self) -> None:
        """End it at once and close the pipes; in a forked process only forget it."""
        if self.owner == os.getpid():
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]


SHARED = MathProcess()
atexit.register(SHARED.close)
