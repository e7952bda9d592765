"""How transformers samples while a model learns: without the small operations an adapter adds to each token.

A token at a time, an adapter's small products cost about as much as the model itself: PEFT converts, multiplies twice,
scales, adds and converts again. A base in 32 bits holds its sums with the adapter meanwhile (`summed`). Sums in 16 bits
or fewer would lose small updates (docs/benchmarks.md), which nothing corrects when transformers samples: there the
adapter stays beside the base, in the base's type, as it is when it learns (`lean`). Neither applies dropout.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from peft.tuners.lora import LoraLayer

from pipeline.engines.vllm_weights import sum_with_adapters


class SamplesFaster:
    """Mixin before a `GRPOTrainer` class whose model is a PeftModel."""

    def _generate_single_turn(self, *args, **more):  # type: ignore[no-untyped-def]
        with contextlib.nullcontext() if self.use_vllm else sampling(self.model):
            return super()._generate_single_turn(*args, **more)


def sampling(model: Any) -> contextlib.AbstractContextManager[None]:
    """Meanwhile the model, a PeftModel with LoRA layers, gives the same logits sooner; nothing can learn then."""
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    weights = [layer.get_base_layer().weight for layer in layers]
    uses = Counter(id(weight) for module in model.modules() for weight in module.parameters(recurse=False))
    can_sum = (all(map(_plain_adapter, layers)) and all(weight.dtype == torch.float32 for weight in weights)
               and all(uses[id(weight)] == 1 for weight in weights))  # not both embedding and head
    return summed(model, layers) if can_sum else lean(layers)


@contextlib.contextmanager
def summed(model: Any, layers: list[Any]) -> Iterator[None]:
    """The base holds its sums with the adapter, and the adapter's layers do nothing.

    The base's own weights are kept beside it and come back bit for bit.
    """
    weights = [layer.get_base_layer().weight for layer in layers]
    kept = [weight.data for weight in weights]
    try:
        for layer, weight in zip(layers, weights, strict=True):
            weight.data = sum_with_adapters(layer, weight.data)
        with model.disable_adapter():
            yield
    finally:
        for weight, own in zip(weights, kept, strict=True):
            weight.data = own


@contextlib.contextmanager
def lean(layers: list[Any]) -> Iterator[None]:
    """Each layer does its base's product and two small ones, the second added in place, and nothing else.

    A and B are in the type of the base's answers, as autocast has them while learning. Layers with another adapter than
    plain LoRA, or with several, stay as they are.
    """
    replaced = {layer: name for layer in layers if (name := _plain_adapter(layer))}
    try:
        for layer, name in replaced.items():
            layer.forward = _products(layer, name)
        yield
    finally:
        for layer in replaced:
            layer.__dict__.pop("forward", None)


def _plain_adapter(layer: Any) -> str | None:
    """The name of the layer's one adapter where that is plain LoRA and nothing else is in its way."""
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    if (len(active) != 1 or layer.lora_variant or layer.merged or layer.disable_adapters
            or "forward" in vars(layer)):  # somebody else's, such as a hook
        return None
    plain = isinstance(layer.lora_A[active[0]], torch.nn.Linear) and not layer.lora_bias[active[0]]
    return active[0] if plain else None


def _products(layer: Any, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """A forward without gradients: (…, in) to (…, out)."""
    base, scaling = layer.get_base_layer(), layer.scaling[name]
    by_type: dict[torch.dtype, list[torch.Tensor]] = {}

    def forward(x: torch.Tensor) -> torch.Tensor:
        out = base(x).contiguous()
        if out.dtype not in by_type:
            by_type[out.dtype] = [part[name].weight.detach().to(out.dtype).t() for part in (layer.lora_A, layer.lora_B)]
        a, b = by_type[out.dtype]  # (in, rank), (rank, out)
        inner = (x.reshape(-1, x.shape[-1]).to(out.dtype) @ a).to(out.dtype)  # under autocast (Unsloth) a shorter one
        out.view(-1, out.shape[-1]).addmm_(inner, b, alpha=scaling)
        return out

    return forward
