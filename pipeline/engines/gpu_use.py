"""How busy the GPU is while a stage trains: asked several times a second in a thread, averaged over each step.

NVML's figure covers the last fraction of a second, so asked once a step it would always describe the step's end.
"""

import threading
from collections.abc import Callable

SECONDS = 0.2  # between two questions; one takes well under a millisecond


class GpuUse:
    """Use as: `start()`, `take()` after every step, `stop()`."""

    def __init__(self, ask: Callable[[], float]) -> None:
        """`ask` gives the percentage of now; it may raise where NVML is missing or forbidden."""
        self._ask, self._ended, self._lock = ask, threading.Event(), threading.Lock()
        self._sum, self._count = 0.0, 0

    def start(self) -> None:
        """Begin to ask."""
        threading.Thread(target=self._watch, daemon=True, name="gpu-use").start()

    def take(self) -> float | None:
        """The mean share (0 to 1) since the last call; None where it cannot be told."""
        with self._lock:
            mean = self._sum / self._count / 100 if self._count else None
            self._sum, self._count = 0.0, 0
        return mean

    def stop(self) -> None:
        """Ask no more."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(SECONDS):
            try:
                now = float(self._ask())
            except Exception:  # no NVML: the number is not shown, training goes on
                return
            with self._lock:
                self._sum, self._count = self._sum + now, self._count + 1
