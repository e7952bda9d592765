"""Loaded models that answer prompts: through transformers anywhere, through vLLM on a GPU. See `base.Generator`."""

import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import GenerationConfig

from pipeline.engines.base import Sample, Sampling
from pipeline.engines.loading import load_model, load_tokenizer, tune_threads
from pipeline.errors import EngineError
from pipeline.recipe import ModelStep

OnBatch = Callable[[int, list[list[Sample]]], None]
ShouldStop = Callable[[], bool]


class TransformersGenerator:
    """Batched `generate` of transformers with left padding; 16-bit, 8-bit or 4-bit (bitsandbytes)."""

    def __init__(self, model: str | Path, step: ModelStep, adapter: Path | None = None,
                 precision: str = "16bit") -> None:
        self._source, self._step, self._adapter, self._precision = model, step, adapter, precision
        self.method = {"16bit": "16-bit", "8bit": "bitsandbytes int8", "4bit": "bitsandbytes nf4"}[precision]

    def __enter__(self) -> "TransformersGenerator":
        self.tokenizer = load_tokenizer(self._source, self._step)
        model: Any = load_model(self._source, self._step, self._precision)
        if self._adapter is not None:
            model = PeftModel.from_pretrained(model, self._adapter)
        tune_threads(model)
        if self._precision == "16bit" and model.dtype == torch.float32:
            self.method = "16-bit, float32 in memory"
        self.model = model.eval()
        self.ends = end_ids(model.generation_config, self.tokenizer)
        return self

    def __exit__(self, *exc: object) -> None:
        del self.model
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def generate(self, prompts: Sequence[list[int]], sampling: Sampling, on_batch: OnBatch | None = None,
                 should_stop: ShouldStop | None = None) -> list[list[Sample]]:
        """See `base.Generator.generate`. `sampling.batch_size` prompts at a time, in their order."""
        torch.manual_seed(sampling.seed)
        answers: list[list[Sample]] = []
        for first in range(0, len(prompts), sampling.batch_size):
            if should_stop and should_stop():
                break
            batch = self._answer(prompts[first:first + sampling.batch_size], sampling)
            answers += batch
            if on_batch:
                on_batch(first, batch)
        return answers

    def _answer(self, prompts: Sequence[list[int]], sampling: Sampling) -> list[list[Sample]]:
        started = time.perf_counter()
        longest = max(len(p) for p in prompts)
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in prompts])  # (P, L)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])  # (P, L)
        with torch.inference_mode():
            out = self.model.generate(input_ids=ids.to(self.model.device), attention_mask=mask.to(self.model.device),
                                      generation_config=self._config(sampling))  # (P * samples, L + C)
        rows = out[:, longest:].tolist()
        seconds = (time.perf_counter() - started) / len(rows)
        samples = [self._sample(row, seconds) for row in rows]
        return [samples[i:i + sampling.samples] for i in range(0, len(samples), sampling.samples)]

    def _sample(self, row: list[int], seconds: float) -> Sample:
        end = next((i for i, token in enumerate(row) if token in self.ends), None)
        kept = row if end is None else row[:end + 1]
        return Sample(self.tokenizer.decode(kept, skip_special_tokens=True), len(kept), end is None, seconds)

    def _config(self, sampling: Sampling) -> GenerationConfig:
        random = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p,
                  "top_k": sampling.top_k} if sampling.temperature > 0 else {"do_sample": False}
        return GenerationConfig(max_new_tokens=sampling.max_completion_tokens, eos_token_id=sorted(self.ends),
                                pad_token_id=self.tokenizer.pad_token_id, num_return_sequences=sampling.samples,
                                use_cache=True, **random)


VLLM_PRECISION = {"16bit": None, "8bit": "fp8", "fp8": "fp8", "4bit": "bitsandbytes"}


class VllmGenerator:
    """Offline vLLM on one GPU. 8bit is online fp8, 4bit is bitsandbytes nf4, quantised while loading."""

    def __init__(self, model: str | Path, step: ModelStep, adapter: Path | None = None, precision: str = "16bit",
                 rank: int = 64, length: int = 0) -> None:
        self._source, self._step, self._adapter, self._rank = model, step, adapter, rank
        self._length = max(length, step.max_length)
        self._quantization = VLLM_PRECISION[precision]
        self.method = {None: "16-bit", "fp8": "fp8 (vLLM online)", "bitsandbytes": "bitsandbytes nf4 (vLLM)"}[
            self._quantization]

    def __enter__(self) -> "VllmGenerator":
        import vllm  # heavy and optional: only where a GPU and the GPU requirements are

        self.tokenizer = load_tokenizer(self._source, self._step)
        options: dict[str, Any] = {"enable_lora": True, "max_lora_rank": vllm_rank(self._rank)} if self._adapter else {}
        try:
            self.llm = vllm.LLM(
                model=str(self._source), revision=self._step.revision, quantization=self._quantization,
                gpu_memory_utilization=max(self._step.gpu_memory_share, 0.5), max_model_len=self._length,
                trust_remote_code=False, enable_prefix_caching=True, disable_log_stats=True, **options)
        except (ValueError, RuntimeError, OSError) as error:
            raise EngineError(f"vLLM cannot load {str(self._source)!r}: {str(error).splitlines()[0][:300]} "
                              "Lower the vLLM share of GPU memory or the sequence length, or switch fast inference "
                              "off.") from error
        return self

    def __exit__(self, *exc: object) -> None:
        shut_down = getattr(getattr(self.llm.llm_engine, "engine_core", None), "shutdown", None)
        if shut_down:
            shut_down()
        del self.llm
        gc.collect()
        torch.cuda.empty_cache()

    def generate(self, prompts: Sequence[list[int]], sampling: Sampling, on_batch: OnBatch | None = None,
                 should_stop: ShouldStop | None = None) -> list[list[Sample]]:
        """See `base.Generator.generate`. vLLM schedules a slice of prompts at a time, so that stopping is possible."""
        return vllm_answers(self.llm.generate, self.tokenizer, prompts, sampling, on_batch, should_stop,
                            lora=self._lora())

    def _lora(self) -> Any:
        if self._adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        return LoRARequest("adapter", 1, str(self._adapter))


def vllm_answers(generate: Callable[..., Any], tokenizer: Any, prompts: Sequence[list[int]], sampling: Sampling,
                 on_batch: OnBatch | None, should_stop: ShouldStop | None, lora: Any = None) -> list[list[Sample]]:
    """Answers through a function with the signature of `vllm.LLM.generate` (Unsloth's `fast_generate` has it too).

    Slices of 2,048 prompts: large enough to keep the GPU full, small enough to show progress and to stop between.
    """
    from vllm import SamplingParams

    settings = SamplingParams(n=sampling.samples, temperature=sampling.temperature, top_p=sampling.top_p,
                              top_k=sampling.top_k, max_tokens=sampling.max_completion_tokens, seed=sampling.seed)
    answers: list[list[Sample]] = []
    width = max(1, 2048 // sampling.samples)
    for first in range(0, len(prompts), width):
        if should_stop and should_stop():
            break
        started = time.perf_counter()
        part = [{"prompt_token_ids": list(p)} for p in prompts[first:first + width]]
        outputs = generate(part, sampling_params=settings, lora_request=lora, use_tqdm=False)
        seconds = (time.perf_counter() - started) / (len(part) * sampling.samples)
        batch = [[Sample(tokenizer.decode(c.token_ids, skip_special_tokens=True), len(c.token_ids),
                         c.finish_reason == "length", seconds) for c in o.outputs] for o in outputs]
        answers += batch
        if on_batch:
            on_batch(first, batch)
    return answers


def vllm_rank(rank: int) -> int:
    """The smallest LoRA rank ceiling that vLLM knows which holds `rank`."""
    return next((r for r in (8, 16, 32, 64, 128, 256, 320, 512) if r >= rank), 512)


def end_ids(generation_config: GenerationConfig | None, tokenizer: Any) -> set[int]:
    """Token ids that end an answer: the model's own and the tokenizer's."""
    ends = generation_config.eos_token_id if generation_config is not None else None
    ends = [ends] if isinstance(ends, int) else list(ends or [])
    return {int(e) for e in [*ends, tokenizer.eos_token_id] if e is not None}
