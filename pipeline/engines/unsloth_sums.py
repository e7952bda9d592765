"""Sampling with Unsloth from sums, without an adapter in every request.

Unsloth's vLLM and the trainer hold the base's weights together, so vLLM would add the adapter's small products to every
token: a third of the time of sampling from a small model (docs/gpu-benchmarks.md). Here the shared weights hold their
sums with the adapter while vLLM samples, rounded as TRL's vLLM gets them (`vllm_weights`), and before anything learns
the base's own come back bit for bit from a copy. Such a vLLM needs no adapters at all, so it has less to record and to
compile at its start. Unsloth can do the same by itself (UNSLOTH_VLLM_MERGED_ROLLOUT), but rounds to the nearest value,
which loses most of a small update (docs/benchmarks.md). For which models: `engine_choice.samples_from_sums`.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.lora import LoraLayer

from pipeline.engines.vllm_weights import model_inside, sum_with_adapters
from pipeline.errors import EngineError

ADAPTER_OPTIONS = ("enable_lora", "max_loras", "max_lora_rank", "lora_target_modules")


class SamplesFromSums:
    """Mixin before a `GRPOTrainer` class whose vLLM shares the weights of its model, a PeftModel."""

    def scores_once(self) -> bool:
        """See `ScoresOnce`: Unsloth scores all answers right after sampling in any case, and weights them itself."""
        return False

    def _generate_single_turn(self, *args, **more):  # type: ignore[no-untyped-def]
        with sums_in_place(self.model, self.vllm_generation.llm):
            return super()._generate_single_turn(*args, **more)


@contextlib.contextmanager
def without_adapters() -> Iterator[None]:
    """A `vllm.LLM` that is made meanwhile is made without adapters, which Unsloth always asks for."""
    import vllm

    plain = vllm.LLM

    class WithoutAdapters(plain):  # type: ignore[misc,valid-type]  # Unsloth looks at the class, too
        def __init__(self, **options: Any) -> None:
            super().__init__(**{name: options[name] for name in options if name not in ADAPTER_OPTIONS})

    vllm.LLM = WithoutAdapters
    try:
        yield
    finally:
        vllm.LLM = plain


def name_no_adapter(model: Any) -> None:
    """Let Unsloth, which asks its model for the adapter before vLLM samples, name none in the request."""
    model.load_lora = lambda *_, **__: None


@contextlib.contextmanager
def sums_in_place(model: Any, llm: Any) -> Iterator[None]:
    """Meanwhile the base's weights, which a `vllm.LLM` in this process shares, hold their sums with the adapter.

    The same adapter gives the same sums. Nothing can learn then. Raises EngineError where vLLM reads other weights, or
    would answer with what it has cached of earlier ones.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    weights = [layer.get_base_layer().weight for layer in layers]
    _assert_shared(weights, llm)
    with torch.inference_mode():  # in which vLLM's weights can be written, however it has made them
        kept = [weight.clone() for weight in weights]
    try:
        with torch.inference_mode():
            generator = torch.Generator(weights[0].device).manual_seed(0)
            for layer, weight in zip(layers, weights, strict=True):
                weight.copy_(sum_with_adapters(layer, weight, generator))
            _finished(weights)
        if not llm.reset_prefix_cache():  # which it refuses while an answer is open
            raise EngineError("vLLM is still at work on earlier answers. Resume the run.")
        yield
    finally:
        with torch.inference_mode():
            _finished(weights)
            for weight, own in zip(weights, kept, strict=True):
                weight.copy_(own)
            _finished(weights)


def _assert_shared(weights: list[torch.Tensor], llm: Any) -> None:
    read = {weight.untyped_storage().data_ptr() for weight in model_inside(llm).parameters()}
    if any(weight.untyped_storage().data_ptr() not in read for weight in weights):
        raise EngineError("vLLM does not read the weights that Unsloth trains beside, so it would sample from the base "
                          "alone. Duplicate the run and choose the engine trl.")


def _finished(weights: list[torch.Tensor]) -> None:
    """Wait for the GPU: vLLM works on a stream of its own."""
    if weights[0].is_cuda:
        torch.cuda.synchronize(weights[0].device)
