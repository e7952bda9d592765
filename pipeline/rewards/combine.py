"""From rewards to advantages, with the formulas of TRL 1.14 (`grpo_trainer.py`), in plain Python.

`advantages` is its `sum_then_normalize`: the total minus the group's mean, divided by the standard deviation (n - 1) of
the group or of the batch plus 1e-4, or not divided. `advantages_normalised` is its `normalize_then_sum` (GDPO,
https://arxiv.org/abs/2601.05242): each reward is normalised in its group, the weighted sum is normalised in the batch.
None (could not be scored) is left out of means and deviations; its advantage is 0.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

EPSILON = 1e-4
NAN = float("nan")


def totals(raw: Mapping[str, Sequence[float | None]], weights: Mapping[str, float]) -> list[float | None]:
    """Weighted sum per completion over the rewards that could be scored; None where none could."""
    columns = [(values, weights[label]) for label, values in raw.items()]
    rows = zip(*(values for values, _ in columns), strict=True)
    factors = [weight for _, weight in columns]
    return [_weighted(row, factors) for row in rows]


def advantages(totals: Sequence[float | None], group_size: int, scale: Literal["group", "batch", "none"] = "group"
               ) -> list[float]:
    """Advantage per completion; `totals` holds groups of `group_size` one after another."""
    values = _values(totals, group_size)
    batch_deviation = deviation(values) if len(values) > 1 else 0.0
    out: list[float] = []
    for start in range(0, len(values), group_size):
        group = values[start : start + group_size]
        centre = mean(group)
        spread = batch_deviation if scale == "batch" else deviation(group) if group_size > 1 else 0.0
        divisor = 1.0 if scale == "none" else spread + EPSILON
        out += [(value - centre) / divisor for value in group]
    return [0.0 if math.isnan(value) else value for value in out]


def advantages_normalised(raw: Mapping[str, Sequence[float | None]], weights: Mapping[str, float], group_size: int
                          ) -> list[float]:
    """Advantage per completion when each reward is normalised within its group before they are added."""
    columns: dict[str, list[float | None]] = {}
    for label, scores in raw.items():
        values = _values(scores, group_size)
        column: list[float | None] = []
        for start in range(0, len(values), group_size):
            group = values[start : start + group_size]
            centre, spread = mean(group), deviation(group) if group_size > 1 else 0.0
            column += [_or_none((value - centre) / (spread + EPSILON)) for value in group]
        columns[label] = column
    unscorable = [all(v is None for v in row) for row in zip(*raw.values(), strict=True)]
    summed = [NAN if none else total or 0.0 for total, none in zip(totals(columns, weights), unscorable, strict=True)]
    centre, spread = mean(summed), deviation(summed) if len(summed) > 1 else 0.0
    return [0.0 if math.isnan(v) else v for v in ((value - centre) / (spread + EPSILON) for value in summed)]


def mean(values: Sequence[float]) -> float:
    """Mean without the NaNs; NaN when nothing is left."""
    real = [v for v in values if not math.isnan(v)]
    return math.fsum(real) / len(real) if real else NAN


def deviation(values: Sequence[float]) -> float:
    """Standard deviation (n - 1) without the NaNs; NaN with fewer than two values."""
    real = [v for v in values if not math.isnan(v)]
    if len(real) < 2:
        return NAN
    centre = math.fsum(real) / len(real)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in real) / (len(real) - 1))


def _values(scores: Sequence[float | None], group_size: int) -> list[float]:
    if group_size < 1 or len(scores) % group_size:
        raise ValueError(f"{len(scores)} completions do not divide into groups of {group_size}")
    return [NAN if score is None else float(score) for score in scores]


def _weighted(row: Sequence[float | None], weights: Sequence[float]) -> float | None:
    scored = [score * weight for score, weight in zip(row, weights, strict=True) if score is not None]
    return sum(scored) if scored else None


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
