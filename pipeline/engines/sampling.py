"""A loaded model that answers prompts through transformers, anywhere. See `base.Generator`; vLLM: `vllm_sampling`."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import GenerationConfig

from pipeline.engines.base import OnBatch, Sample, Sampling, ShouldStop
from pipeline.engines.loading import load_model, load_tokenizer, tune_threads
from pipeline.peak_memory import PeakMemory
from pipeline.recipe import ModelStep
from pipeline.working_time import CLOCK


class TransformersGenerator:
    """Batched `generate` of transformers with left padding; 16-bit, 8-bit or 4-bit (bitsandbytes)."""

    def __init__(self, model: str | Path, step: ModelStep, adapter: Path | None = None,
                 precision: str = "16bit") -> None:
        self._source, self._step, self._adapter, self._precision = model, step, adapter, precision
        self.weight_bytes: int | None = None
        self._peak = PeakMemory()
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
        self.weight_bytes = int(model.get_memory_footprint())
        self.ends = end_ids(model.generation_config, self.tokenizer)
        return self

    def peak_bytes(self) -> int | None:
        """See `PeakMemory`, since this was made."""
        return self._peak.bytes()

    def change_model(self, model: str | Path, adapter: Path | None, precision: str) -> bool:
        """Loading one takes seconds."""
        return False

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
                on_batch(range(first, first + len(batch)), batch)
        return answers

    def _answer(self, prompts: Sequence[list[int]], sampling: Sampling) -> list[list[Sample]]:
        started = CLOCK.seconds()
        longest = max(len(p) for p in prompts)
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in prompts])  # (P, L)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])  # (P, L)
        with torch.inference_mode():
            out = self.model.generate(input_ids=ids.to(self.model.device), attention_mask=mask.to(self.model.device),
                                      generation_config=self._config(sampling))  # (P * samples, L + C)
        rows = out[:, longest:].tolist()
        seconds = (CLOCK.seconds() - started) / len(rows)
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


def end_ids(generation_config: GenerationConfig | None, tokenizer: Any) -> set[int]:
    """Token ids that end an answer: the model's own and the tokenizer's."""
    ends = generation_config.eos_token_id if generation_config is not None else None
    ends = [ends] if isinstance(ends, int) else list(ends or [])
    return {int(e) for e in [*ends, tokenizer.eos_token_id] if e is not None}
