"""Advantages against TRL's own formulas, written with torch as in grpo_trainer.py 1.14.2."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.rewards.combine import advantages, advantages_normalised

torch = pytest.importorskip("torch")
SCORES = st.lists(st.one_of(st.none(), st.floats(-10, 10, width=16)), min_size=8, max_size=8)


def nanstd(x, dim=None, keepdim=False):
    from trl.trainer.utils import nanstd as theirs

    return theirs(x, dim=dim, keepdim=keepdim)


def tensor(rows):
    return torch.tensor([[math.nan if v is None else v for v in row] for row in rows], dtype=torch.float64)


def trl_sum_then_normalize(rows, weights, n, scale):
    per_func = tensor(rows)
    rewards = (per_func * torch.tensor(weights).unsqueeze(0)).nansum(dim=1)
    rewards[torch.isnan(per_func).all(dim=1)] = torch.nan
    mean = torch.nanmean(rewards.view(-1, n), dim=1).repeat_interleave(n, dim=0)
    std = nanstd(rewards.view(-1, n), dim=1).repeat_interleave(n, dim=0)
    if scale == "batch":
        std = nanstd(rewards).expand_as(rewards)
    out = rewards - mean
    return torch.nan_to_num(out if scale == "none" else out / (std + 1e-4), nan=0.0).tolist()


def trl_normalize_then_sum(rows, weights, n):
    per_func = tensor(rows)
    grouped = per_func.view(-1, n, len(weights))
    reward_k = (grouped - torch.nanmean(grouped, dim=1, keepdim=True)) / (nanstd(grouped, dim=1, keepdim=True) + 1e-4)
    rewards = (reward_k.view(-1, len(weights)) * torch.tensor(weights).unsqueeze(0)).nansum(dim=1)
    rewards[torch.isnan(per_func).all(dim=1)] = torch.nan
    out = (rewards - torch.nanmean(rewards)) / (nanstd(rewards).expand_as(rewards) + 1e-4)
    return torch.nan_to_num(out, nan=0.0).tolist()


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@given(SCORES)
@settings(deadline=None, max_examples=60)
def test_advantages_are_those_of_trl(scale: str, scores: list[float | None]) -> None:
    expected = trl_sum_then_normalize([[s] for s in scores], [1.0], 4, scale)
    assert advantages(scores, 4, scale) == pytest.approx(expected, abs=1e-6)  # type: ignore[arg-type]


@given(SCORES, SCORES)
@settings(deadline=None, max_examples=60)
def test_normalised_advantages_are_those_of_trl(first: list[float | None], second: list[float | None]) -> None:
    expected = trl_normalize_then_sum(list(zip(first, second, strict=True)), [1.0, 0.5], 4)
    got = advantages_normalised({"a": first, "b": second}, {"a": 1.0, "b": 0.5}, 4)
    assert got == pytest.approx(expected, abs=1e-6)


def test_a_group_of_equal_totals_teaches_nothing() -> None:
    assert advantages([1.0, 1.0, 0.0, 2.0], 2, "none") == [0.0, 0.0, -1.0, 1.0]


def test_the_group_scale_divides_by_the_sample_deviation() -> None:
    """Mean 1, deviation sqrt(((0-1)^2 + (2-1)^2) / 1) = sqrt(2): 1 / (1.41421 + 0.0001) = 0.70706."""
    assert advantages([0.0, 2.0], 2) == pytest.approx([-0.70706, 0.70706], abs=1e-5)
