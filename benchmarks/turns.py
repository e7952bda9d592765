"""Sides that take turns on one machine, and the ratio of what was measured of them with its interval."""

import contextlib
import itertools
import math
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil
from scipy import stats

MEASURES = ("step_seconds", "tokens_per_second")


class TimeUp(SystemExit):
    """The time for everything is over; rounds that are whole count."""


class Seen(NamedTuple):
    """What a side has done so far."""

    ends: list[float]  # Unix time of the end of each step
    tokens: list[float]  # of all answers of each step
    start_seconds: float  # from the start of its GRPO (plain: of its process) to the end of its first step
    sampling: dict[str, list[float]] | None = None  # of each step: what it logs of vLLM against the trainer
    split: dict[str, list[float]] | None = None  # of each step: the seconds of its parts
    start: dict[str, float] | None = None  # the seconds of what comes before the first step


@dataclass
class Side:
    """One of those that take turns: `look` says what it has done, None before its first step."""

    name: str
    look: Callable[[], Seen | None]
    processes: Callable[[], list[psutil.Process]]
    problem: Callable[[], str | None]
    rounds: list[dict[str, float]] = field(default_factory=list)

    def reach(self, steps: int, deadline: float) -> Seen:
        """Wait until this many steps are done."""
        while (seen := self.look()) is None or len(seen.ends) < steps:
            if (why := self.problem()) is not None:
                raise SystemExit(f"{self.name}: {why}")
            if time.monotonic() > deadline:
                raise TimeUp(f"{self.name} did not reach step {steps} in time")
            time.sleep(0.1)
        return seen

    def signal(self, number: int) -> None:
        """Send a signal to all of its processes."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def turn(self, steps: int, deadline: float) -> None:
        """Go on for one step that does not count and `steps` that do."""
        seen = self.look()
        done = len(seen.ends) if seen else 0
        self.signal(signal.SIGCONT)
        try:
            self.rounds.append(timing(self.reach(done + 1 + steps, deadline), done, steps))
        finally:
            self.signal(signal.SIGSTOP)

    def end(self) -> None:
        """Kill it: nothing that comes after is of interest."""
        self.signal(signal.SIGKILL)


def timing(seen: Seen, done: int, steps: int) -> dict[str, float]:
    """Median seconds a step and tokens a second of `steps` steps, of which the first is the second one after `done`."""
    ends = seen.ends[done:done + steps + 1]
    seconds = [after - before for before, after in itertools.pairwise(ends)]
    return {"step_seconds": statistics.median(seconds),
            "tokens_per_second": sum(seen.tokens[done + 1:done + 1 + steps]) / sum(seconds)}


def ratio(ours: list[float], plain: list[float]) -> dict[str, float]:
    """Geometric mean of ours / plain over pairs, with its 95 % interval (needs two pairs or more)."""
    logs = [math.log(a / b) for a, b in zip(ours, plain, strict=True)]
    mean = statistics.mean(logs)
    half = (stats.t.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
            if len(logs) > 1 else float("nan"))
    return {"ratio": math.exp(mean), "low": math.exp(mean - half), "high": math.exp(mean + half), "pairs": len(logs)}


def unpaired_ratio(several: list[float], one: list[float]) -> dict[str, float]:
    """Ratio of the geometric means of measurements that share nothing, with its 95 % interval (Welch's t on their
    logarithms: B. L. Welch 1947, https://doi.org/10.1093/biomet/34.1-2.28; needs two of each or more)."""
    logs = [[math.log(value) for value in values] for values in (several, one)]
    mean = statistics.mean(logs[0]) - statistics.mean(logs[1])
    parts = [statistics.variance(values) / len(values) for values in logs]
    freedom = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, logs, strict=True))
    half = stats.t.ppf(0.975, freedom) * math.sqrt(sum(parts))
    return {"ratio": math.exp(mean), "low": math.exp(mean - half), "high": math.exp(mean + half)}


def ratios(ours: Side, other: Side) -> dict[str, dict[str, float]]:
    """Ours over the other side in the rounds that both had, for each of MEASURES."""
    return ratios_of(list(zip(ours.rounds, other.rounds, strict=False)))


def ratios_of(rounds: list[tuple[dict[str, float], dict[str, float]]]) -> dict[str, dict[str, float]]:
    """The first over the second of each round, for each of MEASURES."""
    return {name: ratio([mine[name] for mine, _ in rounds], [its[name] for _, its in rounds]) for name in MEASURES}
