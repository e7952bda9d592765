"""Storing merged weights in 16 bits: small updates must survive on average, and untouched weights exactly."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.rounding import round_to, stochastic


def rounded(values: torch.Tensor, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> torch.Tensor:
    return stochastic(values, dtype, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_an_update_below_half_a_step_survives_on_average_where_the_nearest_value_loses_it(dtype: torch.dtype) -> None:
    step = 2.0 ** (-7 if dtype == torch.bfloat16 else -10)  # between 1 and the next value
    weights = torch.full((100_000,), 1 + 0.1 * step)
    assert float(weights.to(dtype).float().mean() - 1) == 0  # nearest: gone
    kept = float(rounded(weights, dtype).double().mean() - 1) / step
    assert abs(kept - 0.1) < 5 * (0.1 * 0.9 / 100_000) ** 0.5  # five standard errors of a share of 0.1


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=50), st.integers(0, 2**31))
def test_every_value_becomes_one_of_its_two_neighbours(values: list[float], seed: int) -> None:
    exact = torch.tensor(values, dtype=torch.float32)
    got = rounded(exact, seed=seed).float()
    down = (exact.view(torch.int32) & -65536).view(torch.float32)  # towards zero
    up = ((exact.view(torch.int32) & -65536) + 65536).view(torch.float32)
    assert bool(((got == down) | (got == up)).all())
    held = exact.bfloat16().float()
    assert torch.equal(rounded(held, seed=seed).float(), held)  # what fits exactly stays


def test_a_model_is_rounded_repeatably_and_its_tied_weights_stay_tied() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(50, 8), torch.nn.Linear(8, 50, bias=False))
    model[1].weight = model[0].weight
    again = torch.nn.Sequential(torch.nn.Embedding(50, 8), torch.nn.Linear(8, 50, bias=False))
    again[1].weight = again[0].weight
    again.load_state_dict(model.state_dict())
    one, two = round_to(model, torch.bfloat16), round_to(again, torch.bfloat16)
    assert one[0].weight.dtype == torch.bfloat16 and one[0].weight is one[1].weight
    assert torch.equal(one[0].weight, two[0].weight)
