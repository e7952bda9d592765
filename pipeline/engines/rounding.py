"""Storing float32 weights in 16 bits without losing what training added.

bfloat16 keeps 8 binary digits: an update smaller than half a step of a weight, as GRPO's mostly are, vanishes when
every weight is rounded to the nearest value, and it vanishes everywhere in the same direction. Rounding up or down at
random, in proportion to the distances (stochastic rounding, Gupta et al., https://arxiv.org/abs/1502.02551), keeps each
update on average, and what is left is noise that a layer's many weights cancel. docs/benchmarks.md has the measurement.
"""

import torch

DROPPED_BITS = {torch.bfloat16: 16, torch.float16: 13}  # of the 23 digits of a float32


def round_to(model: torch.nn.Module, dtype: torch.dtype, seed: int = 0) -> torch.nn.Module:
    """The model in `dtype`, its float32 weights rounded stochastically; the same seed gives the same weights.

    Weights that `dtype` holds exactly stay as they are, so layers without an adapter do not change.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():  # each tied weight once
            if weight.dtype == torch.float32 and dtype in DROPPED_BITS:
                weight.data = stochastic(weight.data, dtype, generator)
    return model.to(dtype)


def stochastic(values: torch.Tensor, dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
    """float32 values as bfloat16 or float16: each becomes one of its neighbours, the nearer one likelier. The generator
    is on the values' device.

    What float16 holds with fewer digits (below 6e-5) or not at all (above 65504) is rounded as torch does.
    """
    span = 1 << DROPPED_BITS[dtype]
    bits = values.contiguous().view(torch.int32)
    noise = torch.randint(0, span, bits.shape, generator=generator, dtype=torch.int32, device=values.device)
    return ((bits + noise) & -span).view(torch.float32).to(dtype)
