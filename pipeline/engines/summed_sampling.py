"""What transformers samples from while the TRL engine learns on a base in 32 bits: the base with the adapter added."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.lora import LoraLayer

from pipeline.engines.vllm_weights import sum_with_adapters


class SamplesFromSums:
    """Mixin before a `GRPOTrainer` class whose model is a PeftModel."""

    def _generate_single_turn(self, *args, **more):  # type: ignore[no-untyped-def]
        with contextlib.nullcontext() if self.use_vllm else summed(self.model):
            return super()._generate_single_turn(*args, **more)


@contextlib.contextmanager
def summed(model: Any) -> Iterator[None]:
    """Meanwhile a base in 32 bits holds its sums with the adapter, and the adapter's layers do nothing.

    An adapter's products are small, and for a token at a time they cost a processor about as much as the base's large
    ones. The base's own weights are kept beside it and come back bit for bit. Bases in 16 bits or fewer are left as
    they are: what sums would lose there (docs/benchmarks.md) nothing corrects when transformers samples. So is a base
    in which an adapted weight is used twice, as embedding and head.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    weights = [layer.get_base_layer().weight for layer in layers]
    uses = Counter(id(weight) for module in model.modules() for weight in module.parameters(recurse=False))
    if any(weight.dtype != torch.float32 or uses[id(weight)] > 1 for weight in weights):
        yield
        return
    kept = [weight.data for weight in weights]
    try:
        for layer, weight in zip(layers, weights, strict=True):
            weight.data = sum_with_adapters(layer, weight.data)
        with model.disable_adapter():
            yield
    finally:
        for weight, own in zip(weights, kept, strict=True):
            weight.data = own
