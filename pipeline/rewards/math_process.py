"""The scoring process: math-verify behind a pipe, with a limit on processor time and one on wall-clock time.

math-verify bounds its own time with SIGALRM, which works in a main thread only, and a number such as `9^{9^{9^9}}`
holds the interpreter for ever. So it runs in a process of its own, in its own session, which imports nothing of this
project (`math_child.py`). It ends when its input closes (the parent ended).

- **Processor time**, 0.5 s: the kernel ends the comparison that burns more, wherever it is. Such a pair cannot be
  settled, on no machine and at no load, and that is remembered.
- **Wall-clock time**, 0.9 s from the moment the pair is asked: then the process is killed, whatever the machine is
  doing, and the answer is "not found out". With room to kill and go on, no pair takes more than 1 s. This limit is
  reached only where a busy machine gave the process less than 0.5 s of its processor in that time, so the pair is not
  to blame: nothing is remembered, and it is asked again the next time. An ordinary comparison takes 2 to 20 ms.

Packages may be installed where only the environment says (PYTHONPATH, `pip install --user`), which Python's isolated
mode does not read: the process is told where this one finds them. Without them nothing is compared, and that is an
error, never "not equal".

A killed process is replaced within milliseconds by a fork of one that has everything loaded. The first start takes a
second or two, which no pair is charged for; what trains or tries rewards calls `start` beforehand. Questions from
several threads take turns.
"""

import atexit
import contextlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import RewardError

CHILD = Path(__file__).with_name("math_child.py")
LIBRARIES = ("math_verify", "latex2sympy2_extended", "antlr4", "sympy", "mpmath")
START_SECONDS = 60.0
BROKEN_SECONDS = 30.0  # a library that cannot be loaded is not tried again for each of a step's answers
BROKEN = ("math-verify, which compares formulas, cannot be loaded: run `pip install -r requirements.txt` and look "
          "whether `python -c 'import math_verify'` works.")


@dataclass(frozen=True)
class Verdict:
    """What came of a comparison: equal or not, None where that was not found out; `starved` when the machine was too
    busy, so that asking again may help."""

    equal: bool | None
    starved: bool = False


class MathProcess:
    """A process that compares two expressions, started when it is first needed; safe to use from any thread."""

    def __init__(self, wall_seconds: float = 0.9, processor_seconds: float = 0.5) -> None:
        self.wall_seconds, self.processor_seconds = wall_seconds, processor_seconds
        self.asked = self.timeouts = self.starved = self.failures = 0
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._broken_until = 0.0

    def start(self) -> None:
        """Spawn the process if there is none; does not wait until it is ready. Raises RewardError without a library."""
        with self._lock:
            self._alive()

    def equal(self, given: str, reference: str) -> bool | None:
        """Whether the two are mathematically equal; None when that could not be found out in time."""
        return self.compare(given, reference).equal

    def compare(self, given: str, reference: str) -> Verdict:
        """The comparison, within `wall_seconds` once the process has started and it is this thread's turn.

        Raises RewardError where a library is missing or cannot be loaded.
        """
        with self._lock:
            self.asked += 1
            if time.monotonic() < self._broken_until:
                raise RewardError(BROKEN)
            for _ in range(2):  # one that died while idle is replaced, once
                child = self._alive()
                if child.wait_until_ready(START_SECONDS):
                    verdict = self._ask(child, given, reference)
                    if verdict is not None:
                        return verdict
                elif child.failed():
                    self._broken_until = time.monotonic() + BROKEN_SECONDS
                    raise RewardError(BROKEN)
                child.kill()
            self.failures += 1
            return Verdict(None)

    def close(self) -> None:
        """End the process; a later comparison starts a new one."""
        with self._lock:
            self._broken_until = 0.0
            if self._child is not None:
                self._child.kill()
            self._child = None

    def _ask(self, child: "Child", given: str, reference: str) -> Verdict | None:
        """One request; None when the whole process is gone."""
        until = time.monotonic() + self.wall_seconds
        number = child.send(until, self.processor_seconds, given, reference)
        while number is not None and (message := child.read(until)) is not None:
            if message[0] == number:
                self.failures += message[1] is None
                return Verdict(message[1])
            if message[0] == "ready":  # the kernel ended the one that was asked, and its successor says hello
                self.timeouts += 1
                return Verdict(None)
        if number is None or not child.usable():
            return None
        child.end_answering()
        self.timeouts += 1
        self.starved += 1
        return Verdict(None, starved=True)

    def _alive(self) -> "Child":
        if self._child is None or not self._child.usable():
            if self._child is not None:
                self._child.kill()
            self._child = Child()
        return self._child


def library_folders() -> list[str]:
    """Where this process finds what the other one imports. Raises RewardError where that is nowhere."""
    specs = {name: importlib.util.find_spec(name) for name in LIBRARIES}
    if missing := [name for name, spec in specs.items() if spec is None or not spec.submodule_search_locations]:
        raise RewardError(f"{', '.join(missing)}, needed to compare formulas, cannot be found: run "
                          "`pip install -r requirements.txt`.")
    return list(dict.fromkeys(str(Path(spec.submodule_search_locations[0]).resolve().parent)
                              for spec in specs.values()))


class Child:
    """A running `math_child.py`, which forks the process that answers, and its two pipes. Not thread-safe."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.answering: int | None = None  # the pid of the process that answers
        self._number = 0
        self._buffer = b""
        self._ended = False
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(CHILD), *library_folders()], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, start_new_session=True, env={"PATH": os.environ.get("PATH", "")})

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def usable(self) -> bool:
        """Whether it runs, and was started by this very process (not by the parent of a fork)."""
        return self.owner == os.getpid() and not self._ended and self._process.poll() is None

    def failed(self) -> bool:
        """Whether it ended by itself with an error; waits a moment for one that has closed its output."""
        if not self._ended:
            return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(5) > 0
        return False

    def wait_until_ready(self, seconds: float) -> bool:
        """Wait for the line that says that a process is there to answer."""
        until = time.monotonic() + seconds
        while self.answering is None and self.read(until) is not None:
            pass
        return self.answering is not None

    def send(self, until: float, processor_seconds: float, given: str, reference: str) -> int | None:
        """Write one request; its number, or None when the process is gone."""
        self._number += 1
        request = json.dumps([self._number, until, processor_seconds, given, reference]).encode() + b"\n"
        try:
            self._process.stdin.write(request)  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except OSError:
            return None
        return self._number

    def read(self, until: float) -> list[Any] | None:
        """One message; None at the given moment or when the process is gone."""
        descriptor = self._process.stdout.fileno()  # type: ignore[union-attr]
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
            chunk = os.read(descriptor, 65536) if ready else b""
            self._ended = bool(ready) and not chunk  # its end closed: it is gone, even before the system says so
            if not chunk:
                return None
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        message = json.loads(line)
        if message[0] == "ready":
            self.answering = message[1]
        return message

    def end_answering(self) -> None:
        """Kill the process that answers; the other forks its successor."""
        answering, self.answering = self.answering, None
        if answering is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(answering, signal.SIGKILL)

    def kill(self) -> None:
        """End both at once and close the pipes; in a forked process only forget them."""
        if self.owner == os.getpid():
            self._process.kill()  # first, or it would fork another
            self.end_answering()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]


SHARED = MathProcess()
atexit.register(SHARED.close)
