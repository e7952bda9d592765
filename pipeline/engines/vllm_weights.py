"""What vLLM samples with while the TRL engine learns: the base with the adapter as it is now, and the base left alone.

TRL adds the adapter to the base in place, hands the sums to vLLM and subtracts the adapter again. In 16 bits much of a
small update vanishes in the sum (`pipeline.engines.rounding`) and the difference is not quite the base again. In 4 bits
nearly nothing of the adapter arrives, and the roundings wear the base away (docs/benchmarks.md). So the sums for a
16-bit base are made beside it and rounded stochastically. For a 4-bit base there are none: vLLM has its own 4-bit copy
and applies the adapter to every request (https://arxiv.org/abs/2310.18547).
"""

import contextlib
import tempfile
from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from trl.generation import vllm_generation
from trl.trainer import grpo_trainer

from pipeline.engines.rounding import DROPPED_BITS, stochastic
from pipeline.engines.vllm_sampling import vllm_rank
from pipeline.engines.vllm_start import graph_sizes, start_sooner

# vLLM and the trainer never agree on a token's probability to the last digit. Each token is weighted by their ratio, at
# most 2 (https://fengyao.notion.site/off-policy-rl). TRL's default multiplies the ratios of a whole answer and drops
# answers above 3: with differences of 0.04 a token, answers of 340 tokens got weights from 0 to 3, 0.68 on average
# (docs/benchmarks.md), and with top_p or top_k below all, long answers would get nearly none.
CORRECTION = {"vllm_importance_sampling_correction": True, "vllm_importance_sampling_mode": "token_truncate",
              "vllm_importance_sampling_clip_min": None, "vllm_importance_sampling_clip_max": 2.0}
# TRL takes token ids and decodes whole answers itself. vLLM would also make text of every token and of every token's
# log-probability, while the GPU waits: 25 ms for 1,000 tokens (python -m benchmarks.vllm_text).
ONLY_TOKENS = {"detokenize": False}


@contextlib.contextmanager
def exact_sampling(precision: str) -> Iterator[None]:
    """A GRPOTrainer made meanwhile keeps its vLLM as above; `precision` is that of its base."""
    kept = grpo_trainer.VLLMGeneration
    grpo_trainer.VLLMGeneration = AdapterRequests if precision == "4bit" else SummedWeights
    try:
        yield
    finally:
        grpo_trainer.VLLMGeneration = kept


class TrainersVllm(vllm_generation.VLLMGeneration):
    """TRL's vLLM, started as `vllm_start` says."""

    def _init_vllm(self) -> None:
        start_sooner()
        plain = vllm_generation.LLM
        vllm_generation.LLM = lambda **options: self.start(plain, options)
        try:
            super()._init_vllm()
        finally:
            vllm_generation.LLM = plain

    def start(self, cls: Any, options: dict[str, Any]) -> Any:
        """A `cls` (`vllm.LLM`, or one made of it) with TRL's options."""
        sizes = graph_sizes(options["max_num_seqs"])
        return cls(**options, compilation_config={"cudagraph_capture_sizes": sizes})


class SummedWeights(TrainersVllm):
    """Gives vLLM the sums of a 16-bit base and its adapter."""

    def sync_weights(self) -> None:
        """Every layer that has an adapter, in one go; the others too where a vLLM that slept has lost them.

        TRL hands over layer by layer, and vLLM lists all its parameters for each.
        """
        _wake(self)
        model_inside(self.llm).load_weights(summed_weights(self.model, everything=self.enable_sleep_mode))
        self.llm.reset_prefix_cache()


class AdapterRequests(TrainersVllm):
    """Gives vLLM the adapter after every step, as a new one, and names it in every request."""

    def _init_vllm(self) -> None:
        self._adapter = tempfile.TemporaryDirectory(prefix="adapter-")
        self._version = 0
        super()._init_vllm()

    def start(self, cls: Any, options: dict[str, Any]) -> Any:
        """See `TrainersVllm.start`."""
        rank = vllm_rank(max(config.r for config in self.model.peft_config.values()))
        return super().start(_adapter_llm(cls, self),
                             options | {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank})

    def sync_weights(self) -> None:
        """Write the adapter where vLLM reads it with the next request."""
        _wake(self)
        self._version += 1
        self.model.save_pretrained(self._adapter.name, save_embedding_layers=False)
        self.llm.reset_prefix_cache()

    def request(self) -> Any:
        """A `vllm.lora.request.LoRARequest`; vLLM loads an adapter once for each number, so it counts up."""
        from vllm.lora.request import LoRARequest

        return LoRARequest(f"step-{self._version}", self._version, self._adapter.name)


def model_inside(llm: Any) -> Any:
    """The torch module with which a `vllm.LLM` in this process answers."""
    return llm.llm_engine.model_executor.driver_worker.model_runner.model


def _wake(generation: Any) -> None:
    if generation.enable_sleep_mode:
        torch.cuda.empty_cache()  # the trainer's, for there may be no room for vLLM's weights otherwise
        generation.llm.wake_up(tags=["weights"])
        generation._llm_weights_sleeping = False


def _adapter_llm(plain: Any, owner: AdapterRequests) -> Any:
    class AdapterLLM(plain):  # type: ignore[misc]
        """Keeps its 4-bit weights in the machine's memory while it sleeps (level 2 would throw them away)."""

        def sleep(self, level: int = 1, **more: Any) -> Any:
            return super().sleep(level=1, **more)

        def generate(self, *args: Any, **more: Any) -> Any:
            return super().generate(*args, lora_request=owner.request(), **more)

    return AdapterLLM


def summed_weights(model: Any, everything: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """Name (as in the base model's folder) and value, in the base's dtype, of each weight with its adapter added.

    `model` is a PeftModel with LoRA layers on a base in 16 or 32 bits; nothing in it is changed. Without `everything`
    only weights that have an adapter are given. The same adapter gives the same sums.
    """
    layers = {f"{path}.base_layer.weight": layer for path, layer in model.named_modules()
              if isinstance(layer, LoraLayer)}
    generators: dict[torch.device, torch.Generator] = {}
    for path, weight in model.named_parameters():
        if model.prefix in path:
            continue
        layer, value = layers.get(path), weight.data
        if layer is not None:
            if value.device not in generators:
                generators[value.device] = torch.Generator(value.device).manual_seed(0)
            value = sum_with_adapters(layer, value, generators[value.device])
        if layer is not None or everything:
            yield path.removeprefix("base_model.model.").replace(".base_layer", ""), value


@torch.no_grad()
def sum_with_adapters(layer: Any, weight: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """A new tensor: the weight with the layer's active adapters added, in its dtype; 16 bits need the generator."""
    total = weight.float()
    for adapter in layer.active_adapters:
        if adapter in layer.lora_A:
            total = total + layer.get_delta_weight(adapter).float()
    return stochastic(total, weight.dtype, generator) if weight.dtype in DROPPED_BITS else total.to(weight.dtype)
