"""What a run's records say in plain words: findings, each with its evidence and a change to try.

`Trace` holds the metric series of a run, thinned to at most POINTS means a series; the checks in `diagnose_checks` are
pure functions from a trace to a finding or None. They stay silent on too few steps and wherever noise would explain
what is seen: a difference counts when it is larger than twice its standard error.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline import live_data, live_groups
from pipeline.recipe import Recipe
from pipeline.run_folder import RunReader

POINTS = 1000
RECENT = 20  # points that count as "now"


@dataclass(frozen=True)
class Evidence:
    """A place to look at: a step of a stage, or one group there."""

    label: str
    stage: str
    step: int
    group: int | None = None


@dataclass(frozen=True)
class Finding:
    """Something that stands out. `what` says what was seen, in numbers; `change` what to try."""

    kind: str
    level: str  # "serious" or "notable"
    title: str
    what: str
    change: str
    evidence: Sequence[Evidence] = ()


@dataclass(frozen=True)
class Curve:
    """One series: steps, and the mean of each point (None where no value of it was finite)."""

    steps: list[int]
    raw: list[float | None]

    @property
    def values(self) -> list[float]:
        """The finite values in order."""
        return [v for v in self.raw if v is not None]

    def __len__(self) -> int:
        return len(self.values)

    def recent(self, count: int = RECENT) -> list[float]:
        """The last values."""
        return self.values[-count:]

    def first(self, count: int = RECENT) -> list[float]:
        """The first values."""
        return self.values[:count]

    def quarters(self) -> tuple[list[float], list[float]]:
        """The first and the last quarter of the values."""
        size = max(1, len(self) // 4)
        return self.values[:size], self.values[-size:]

    def gain(self) -> tuple[float, float]:
        """Mean of the last quarter minus that of the first, and twice the standard error of that difference."""
        before, after = self.quarters()
        return mean(after) - mean(before), 2 * (_error(before) ** 2 + _error(after) ** 2) ** 0.5

    @property
    def last_step(self) -> int:
        """The step of the last point."""
        return self.steps[-1]

    def step_of(self, value: float) -> int:
        """The first step at which the series has this value."""
        return self.steps[self.raw.index(value)]


NOTHING = Curve([], [])
FindGroup = Callable[[str, str, int, int], "tuple[int, int] | None"]  # filter, order, from step, to step -> id, step


@dataclass(frozen=True)
class Trace:
    """The curves of a run by stage and key, its recipe where it can be read, and a way to find a group as evidence."""

    curves: dict[str, dict[str, Curve]]
    recipe: Recipe | None = None
    estimate_seconds: float | None = None  # of one GRPO step, from a dry run
    find_group: FindGroup = field(default=lambda *_: None)

    def grpo(self, key: str) -> Curve:
        """A curve of GRPO; an empty one when it was not recorded."""
        return self.curves.get("grpo", {}).get(key, NOTHING)

    def sft(self, key: str) -> Curve:
        """A curve of SFT; an empty one when it was not recorded."""
        return self.curves.get("sft", {}).get(key, NOTHING)

    def raw_rewards(self) -> dict[str, Curve]:
        """Label -> the mean score of each reward function."""
        return self._by_label("reward_raw/")

    def failed_rewards(self) -> dict[str, Curve]:
        """Label -> the share of answers without a score, of each reward that has failed, from its first failure on."""
        return self._by_label("reward_failed/")

    def _by_label(self, prefix: str) -> dict[str, Curve]:
        return {k.removeprefix(prefix): c for k, c in self.curves.get("grpo", {}).items() if k.startswith(prefix)}

    def look(self, filter_name: str, order: str, from_step: int = 0) -> list[Evidence]:
        """The group that shows it best, from a step on, as evidence; the last step without one."""
        curve = self.grpo("reward/total")
        last = curve.last_step if curve.steps else 0
        found = self.find_group(filter_name, order, from_step, last) or self.find_group("all", order, from_step, last)
        if found:
            return [Evidence(f"See a group of step {found[1]}", "grpo", found[1], found[0])]
        return [Evidence(f"See step {last}", "grpo", last)]


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def _error(values: Sequence[float]) -> float:
    """Standard error of the mean; 0 for fewer than two values."""
    n, middle = len(values), mean(values)
    return (sum((v - middle) ** 2 for v in values) / (n - 1) / n) ** 0.5 if n > 1 else 0.0


def diagnose(reader: RunReader, recipe: Recipe | None = None) -> list[Finding]:
    """What stands out in a run, the serious first; empty when nothing does."""
    from pipeline.diagnose_checks import findings

    return findings(read_trace(reader, recipe))


def read_trace(reader: RunReader, recipe: Recipe | None = None) -> Trace:
    """The curves of a run's store."""
    curves: dict[str, dict[str, Curve]] = {}
    for stage, keys in live_data.metric_keys(reader).items():
        stride = live_data.stride_for(live_data.last_step(reader, stage), POINTS)
        found = live_data.series(reader, stage, keys, 0, stride)
        curves[stage] = {key: Curve(s.steps, s.mean) for key, s in found.items()}
    dry = curves.get("dry_run", {}).get("time/step_seconds", NOTHING).values
    estimate = mean(dry) if dry else reader.status().get("estimated_step_seconds")
    return Trace(curves, recipe, estimate, _finder(reader))


def _finder(reader: RunReader) -> FindGroup:
    def find(filter_name: str, order: str, from_step: int, to_step: int) -> tuple[int, int] | None:
        where, by = live_groups.FILTERS[filter_name], live_groups.ORDERS[order]
        rows = reader.rows(f"SELECT id, step FROM groups WHERE stage = 'grpo' AND step BETWEEN ? AND ? AND {where} "
                           f"ORDER BY {by} LIMIT 1", (from_step, to_step))
        return (rows[0]["id"], rows[0]["step"]) if rows else None

    return find
