"""How long this process has worked: a clock that stands still while its run pauses, and while it is held up itself.

Held up is a process that gets no processor at all for a while: stopped by a signal, frozen with its container, or
suspended with the job of a cluster. A thread looks at the clock every second; a look that comes late, while the whole
process used next to no processor time, tells how long that was. A machine that sleeps needs no such care: there
`time.monotonic` stands still by itself (CLOCK_MONOTONIC, https://man7.org/linux/man-pages/man2/clock_gettime.2.html).
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOOK_SECONDS = 1.0
HELD_UP_SECONDS = 20.0  # a shorter gap may be a library that keeps Python's lock for itself
IDLE_SHARE = 0.01  # of the gap, as processor time: loading a model on a slow disk uses more


class WorkingTime:
    """Seconds of work. Made once a process (`CLOCK`): what pauses it and what reads it need not know of each other."""

    def __init__(self, look_seconds: float = LOOK_SECONDS, held_up_seconds: float = HELD_UP_SECONDS,
                 clock: Callable[[], float] = time.monotonic, used: Callable[[], float] = time.process_time) -> None:
        self.look_seconds, self.held_up_seconds, self.clock, self.used = look_seconds, held_up_seconds, clock, used
        self._lost = 0.0  # seconds in which nothing was worked
        self._lock = threading.Lock()
        self._looked: tuple[float, float] | None = None  # when last, and the processor time until then

    def seconds(self) -> float:
        """Seconds of work since an arbitrary moment. From the first call on, the process is watched."""
        with self._lock:
            if self._looked is None:
                threading.Thread(target=self._watch, name="working time", daemon=True).start()
            return self._look() - self._lost

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is waited for in this block is no work."""
        began = self.seconds()
        try:
            yield
        finally:
            waited = self.seconds() - began
            with self._lock:
                self._lost += waited

    def _watch(self) -> None:
        never = threading.Event()
        while not never.wait(self.look_seconds):
            with self._lock:
                self._look()

    def _look(self) -> float:
        """Now, by the clock of the machine; a gap in which the process was held up is noted as lost."""
        now, used = self.clock(), self.used()
        before, used_before = self._looked or (now, used)
        if now - before > self.held_up_seconds and used - used_before < IDLE_SHARE * (now - before):
            self._lost += now - before
        self._looked = now, used
        return now


CLOCK = WorkingTime()
