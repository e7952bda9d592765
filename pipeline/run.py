"""What a stage is given: the run's folder, recipe and store, and the way to report progress and hear a stop request."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.recipe import Recipe
from pipeline.run_folder import RunFolder, RunReader, RunWriter
from pipeline.working_time import CLOCK


class Stopped(Exception):
    """A stop request was honoured; what was done so far is on disk."""


def never() -> bool:
    """No stop is asked for."""
    return False


@dataclass
class Run:
    """One attempt at a run, as the stages see it. A stage is a function `stage(run)`."""

    folder: RunFolder
    recipe: Recipe
    writer: RunWriter
    stop_requested: Callable[[], bool] = never  # cheap; asked at least once a second
    stage: str = "prepare"
    attempt: int = 1
    request: Mapping[str, Any] = field(default_factory=dict)  # what an evaluation, a dry run or Ask was asked for
    part: tuple[int, int] = (0, 1)  # which of how many equal parts of the stage this process does
    _started: float = field(default=0.0, repr=False)  # by the clock that knows only work
    _done_at_start: float = field(default=-1.0, repr=False)
    _last: tuple[float, float] = field(default=(0.0, 0.0), repr=False)  # done and total, as reported last
    _pace: float | None = field(default=None, repr=False)  # seconds a unit in the part before

    def model_before(self, stage: str) -> str:
        """The model a stage starts from: the merged SFT model for `grpo` after SFT, otherwise the recipe's base."""
        from pipeline.dataset.chat import model_folder

        if stage == "grpo" and self.recipe.sft.enabled:
            return str(self.folder.model("sft"))
        model = self.recipe.model
        return str(model_folder(model.source)) if model.source == "tiny" else model.source

    def begin(self, stage: str, attempt: int) -> None:
        """Enter a stage: its row says running, and the estimate of the time left starts anew."""
        self.stage, self.attempt = stage, attempt
        self._done_at_start = -1.0
        self.writer.set_status(stage=stage)
        self.writer.set_stage(stage, attempt=attempt, state="running", started=time.time(), ended=None,
                              done=0, total=None, unit="", message="", seconds_left=None)

    def progress(self, done: float, total: float | None, unit: str, message: str = "") -> None:
        """Report `done` of `total` units (steps, rows, questions) of this part; the page shows the whole stage.

        The seconds left follow from the pace since the first report with a total: what an earlier attempt left behind,
        the loading, and the time in which the run paused or was held up do not count. A count that begins anew, as for
        the next thing that is done with rows, has a pace of its own. Until a part has one, that of the part before is
        used.
        """
        if total is None:
            self.writer.set_stage(self.stage, done=done, total=None, unit=unit, message=message, seconds_left=None)
            return
        if self._done_at_start < 0 or done < self._last[0] or total != self._last[1]:
            self._done_at_start, self._started, self._pace = done, CLOCK.seconds(), self._pace_before()
        self._last = done, total
        gained, seconds = done - self._done_at_start, CLOCK.seconds() - self._started
        number, parts = self.part
        done, total = done + number * total, total * parts
        pace = seconds / gained if gained > 0 else self._pace
        left = None if pace is None else (total - done) * pace
        self.writer.set_stage(self.stage, done=done, total=total, unit=unit, message=message, seconds_left=left)

    def _pace_before(self) -> float | None:
        """Seconds a unit as the part before left it in the store; None in the first part."""
        row = next((row for row in RunReader(self.folder).stages() if row["name"] == self.stage), {})
        rest = (row.get("total") or 0) - (row.get("done") or 0)
        return row["seconds_left"] / rest if self.part[0] and rest > 0 and row["seconds_left"] is not None else None

    def metrics(self, step: int, values: Mapping[str, float | None]) -> None:
        """Record metric values of a step of the current stage. Keys as in the design: `reward/total`, `sft/loss`, …"""
        self.writer.add_metrics(self.stage, self.attempt, step, values)

    def event(self, level: str, text: str, step: int | None = None, data: Mapping[str, Any] | None = None) -> None:
        """Add a line for people: info, warning or error. Also printed to the log."""
        print(f"[{level}] {text}", flush=True)
        self.writer.add_event(level, text, self.stage, step, data)

    def check_stop(self) -> None:
        """Raise Stopped when a stop was asked for."""
        if self.stop_requested():
            raise Stopped
