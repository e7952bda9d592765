"""What the time until a stage's first step goes into: told on the page while it passes, and kept in numbers."""

import time

from pipeline.run import Run
from pipeline.run_folder import RunReader

WITH_VLLM = "Starting vLLM, which takes one to two minutes the first time"
FIRST_STEP = "The first step, which also compiles"


class Start:
    """Made when the libraries are imported; `loading(…)` before each long part; `ready()` when training begins."""

    def __init__(self, run: Run, is_main: bool) -> None:
        self._run, self._is_main = run, is_main
        self._parts: dict[str, float] = {}
        self._name, self._since = "libraries", time.time()
        if is_main:  # others, perhaps on other machines, open no database
            rows = RunReader(run.folder).stages()
            self._since = next((row["started"] for row in rows if row["name"] == run.stage), None) or self._since

    def loading(self, part: str, words: str) -> None:
        """The next part begins: its name in `data` of the event at the end, and what the page says of it."""
        self._end_part()
        self._name = part
        if self._is_main:
            self._run.progress(0, None, "", words)

    def ready(self) -> None:
        """All is loaded: an event with the seconds of each part (wall time)."""
        self._end_part()
        if self._is_main:
            parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self._parts.items())
            self._run.event("info", f"Ready to train after {sum(self._parts.values()):.0f} s ({parts}).",
                            data={f"{name}_seconds": round(seconds, 2) for name, seconds in self._parts.items()})

    def _end_part(self) -> None:
        now = time.time()
        self._parts[self._name] = self._parts.get(self._name, 0.0) + now - self._since
        self._since = now
