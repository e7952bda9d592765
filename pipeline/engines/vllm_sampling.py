"""A loaded model that answers prompts through vLLM on one GPU. See `base.Generator`."""

import gc
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig

from pipeline.engines.base import OnBatch, Sample, Sampling, ShouldStop
from pipeline.engines.loading import load_tokenizer
from pipeline.engines.vllm_room import MOST_AT_ONCE, graphs_for, room_for
from pipeline.engines.vllm_start import graph_sizes
from pipeline.errors import EngineError, StudioError
from pipeline.hardware import detect
from pipeline.model_facts import ModelFacts, read_facts
from pipeline.recipe import ModelStep
from pipeline.working_time import CLOCK

VLLM_PRECISION = {"16bit": None, "8bit": "fp8", "fp8": "fp8", "4bit": "bitsandbytes"}
HANDED_OVER = 8192  # answers handed to vLLM together: far more than it samples at a time
FLUSH_ANSWERS, FLUSH_SECONDS = 256, 1.0

logger = logging.getLogger(__name__)


class VllmGenerator:
    """Offline vLLM on one GPU. 8bit is online fp8, 4bit is bitsandbytes nf4, quantised while loading."""

    def __init__(self, model: str | Path, step: ModelStep, adapter: Path | None = None, precision: str = "16bit",
                 rank: int = 64, length: int = 0, answers: int = 0, log: Path | None = None) -> None:
        """`length` and `answers`: see `base.Engine.generator`. `log`: where this process's output goes; vLLM's own
        process tells only there why it failed."""
        self._source, self._step, self._adapter, self._rank, self._log = model, step, adapter, rank, log
        self._length, self._answers, self._precision = length or step.max_length, answers, precision
        self._quantization = VLLM_PRECISION[precision]
        self.method = {None: "16-bit", "fp8": "fp8 (vLLM online)", "bitsandbytes": "bitsandbytes nf4 (vLLM)"}[
            self._quantization]
        self.weight_bytes: int | None = None
        self._peak_bytes: int | None = None

    def __enter__(self) -> "VllmGenerator":
        self.tokenizer = load_tokenizer(self._source, self._step)
        seen = self._logged()
        try:
            self.llm = self._load()
        except RuntimeError:  # its own process says why in the log only: mostly that another took memory meanwhile
            gc.collect()
            try:
                self.llm = self._load()
            except (ValueError, RuntimeError, OSError) as error:
                raise self._failure(error, seen) from error
        except (ValueError, OSError) as error:
            raise self._failure(error, seen) from error
        report = self._ask("memory_report")
        self.weight_bytes, self._peak_bytes = report["weights"], report["peak"]
        return self

    def _load(self) -> Any:
        import vllm  # heavy and optional: only where a GPU and the GPU requirements are

        options: dict[str, Any] = {"enable_lora": True, "max_lora_rank": vllm_rank(self._rank)} if self._adapter else {}
        room = room_for(self._step.gpu_memory_share, self._answers, self._length, self._facts(), self._precision,
                        detect())  # asked through NVML: CUDA is not started in this process
        if room.at_once is not None:
            graphs = {"cudagraph_capture_sizes": graph_sizes(graphs_for(room.at_once), MOST_AT_ONCE)}
            options |= {"max_num_seqs": room.at_once, "compilation_config": graphs}
        return vllm.LLM(
            model=str(self._source), revision=self._step.revision, quantization=self._quantization,
            gpu_memory_utilization=room.share, max_model_len=room.length, trust_remote_code=False,
            enable_prefix_caching=True, disable_log_stats=True,
            worker_extension_cls="pipeline.engines.vllm_worker.WorkerReport", **options)

    def _facts(self) -> ModelFacts | None:
        """The model's shape; None where it cannot be read, or not all of it."""
        try:
            facts = read_facts(str(self._source), self._step.revision)
        except StudioError:
            return None
        return facts if facts.layers and facts.kv_heads and facts.head_dim and facts.vocabulary else None

    def change_model(self, model: str | Path, adapter: Path | None, precision: str) -> bool:
        """See `base.Generator.change_model`: vLLM reads the other weights into the ones it has. Before, some of those
        that can be looked at must differ from the folder's, and afterwards none."""
        if adapter or self._adapter or self._quantization or VLLM_PRECISION[precision]:
            return False
        tokenizer = load_tokenizer(model, self._step)
        if tokenizer.eos_token_id != self.tokenizer.eos_token_id or not same_shape(Path(self._source), Path(model)):
            return False
        try:
            if not self._ask("differs", str(model)):
                return False
            self.llm.collective_rpc("reload_weights", kwargs={"weights_path": str(model)})
            self.llm.reset_prefix_cache()
            wrong = self._ask("compare_weights", str(model))
        except Exception as error:  # whatever vLLM raises: a fresh one will do, and tells if that fails too
            logger.warning("vLLM did not change its model, so it is started again: %s", error)
            return False
        if wrong:
            logger.warning("vLLM did not take these weights of %s, so it is started again: %s", model, wrong)
            return False
        self._source, self.tokenizer = model, tokenizer
        return True

    def _ask(self, question: str, *args: str) -> Any:
        """What a method of `WorkerReport` says in vLLM's own process."""
        return self.llm.collective_rpc(question, args=args)[0]

    def _failure(self, error: Exception, seen: int) -> EngineError:
        return EngineError(f"vLLM cannot load {str(self._source)!r}: {self._cause(error, seen)} Wait for other "
                           "programs on this GPU to end, lower the sequence length, or switch fast inference off.")

    def _cause(self, error: Exception, seen: int) -> str:
        """Why vLLM failed, as its own process told in the log after byte `seen`."""
        return f"{(told_cause(self._log, seen) or str(error).splitlines()[0])[:400]} The log has more."

    def peak_bytes(self) -> int | None:
        """The most that vLLM saw beside its KV cache, which fills its share of the GPU whatever the precision."""
        return self._peak_bytes

    def __exit__(self, *exc: object) -> None:
        shut_down = getattr(getattr(self.llm.llm_engine, "engine_core", None), "shutdown", None)
        if shut_down:
            shut_down()
        del self.llm
        gc.collect()
        torch.cuda.empty_cache()

    def generate(self, prompts: Sequence[list[int]], sampling: Sampling, on_batch: OnBatch | None = None,
                 should_stop: ShouldStop | None = None) -> list[list[Sample]]:
        """See `base.Generator.generate`: answers are handed over as they are done, and stopping takes a moment."""
        from vllm import SamplingParams
        from vllm.v1.engine.exceptions import EngineDeadError

        settings = SamplingParams(n=sampling.samples, temperature=sampling.temperature, top_p=sampling.top_p,
                                  top_k=sampling.top_k, max_tokens=sampling.max_completion_tokens, seed=sampling.seed,
                                  detokenize=False)  # the text is made of the whole answer below
        answers: list[list[Sample]] = []
        width, seen = max(1, HANDED_OVER // sampling.samples), self._logged()
        for first in range(0, len(prompts), width):
            part = prompts[first:first + width]
            try:
                done = vllm_answers(self.llm, self.tokenizer, part, settings, self._lora(), should_stop,
                                    on_batch and (lambda at, new, first=first: on_batch([first + i for i in at], new)))
            except EngineDeadError as error:
                raise EngineError(f"vLLM ended while it answered: {self._cause(error, seen)}") from error
            answers += done
            if len(done) < len(part):
                break
        return answers

    def _logged(self) -> int:
        """How many bytes the log has."""
        return self._log.stat().st_size if self._log and self._log.exists() else 0

    def _lora(self) -> Any:
        if self._adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        return LoRARequest("adapter", 1, str(self._adapter))


def same_shape(one: Path, other: Path) -> bool:
    """Whether two model folders differ in nothing but their weights: the same architecture, type and end tokens."""
    configs = [AutoConfig.from_pretrained(folder).to_dict() for folder in (one, other)]
    for config in configs:
        for name in ("_name_or_path", "transformers_version"):
            config.pop(name, None)
    ends = [GenerationConfig.from_pretrained(folder).eos_token_id if (folder / "generation_config.json").is_file()
            else None for folder in (one, other)]
    return bool(configs[0] == configs[1] and ends[0] == ends[1])


def told_cause(log: Path | None, seen: int) -> str:
    """What was printed to a log after byte `seen` about want of memory, otherwise the last error; empty without any."""
    if log is None or not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(seen)
        text = file.read().decode("utf-8", "replace")
    found = [line.strip() for line in re.findall(r"\b(?:\w+\.)*\w*Error: (.+)", text)
             if "Engine core initialization failed" not in line]
    return next((line for line in found if "memory" in line.lower()), found[-1] if found else "")


def vllm_answers(llm: Any, tokenizer: Any, prompts: Sequence[list[int]], settings: Any, lora: Any = None,
                 should_stop: ShouldStop | None = None, on_batch: OnBatch | None = None) -> list[list[Sample]]:
    """Answers of a `vllm.LLM` to prompts (token ids), in their order; fewer when it was told to stop.

    vLLM's own `generate` returns when all is done; here its engine is stepped, so that answers are kept and shown as
    they end, and a stop is heard at once.
    """
    ids = llm.enqueue([{"prompt_token_ids": list(p)} for p in prompts], settings, lora_request=lora, use_tqdm=False)
    index = {name.split("-")[0]: i for i, name in enumerate(ids)}  # vLLM adds a random ending to the id it answers with
    engine, ready, answers = llm.llm_engine, {}, {}  # type: ignore[var-annotated]
    flushed = CLOCK.seconds()

    def hand_over() -> None:
        nonlocal flushed
        if not ready:
            return
        now = CLOCK.seconds()
        seconds = (now - flushed) / sum(len(o.outputs) for o in ready.values())
        batch = {i: [_sample(tokenizer, completion, seconds) for completion in ready[i].outputs] for i in sorted(ready)}
        flushed = now
        ready.clear()
        answers.update(batch)
        if on_batch:
            on_batch(list(batch), list(batch.values()))

    while engine.has_unfinished_requests():
        if should_stop and should_stop():
            open_ones = set(range(len(ids))) - answers.keys() - ready.keys()
            engine.abort_request([ids[i] for i in sorted(open_ones)], internal=True)
            break
        ready |= {index[o.request_id.split("-")[0]]: o for o in engine.step() if o.finished}
        if len(ready) >= FLUSH_ANSWERS or CLOCK.seconds() - flushed >= FLUSH_SECONDS:
            hand_over()
    hand_over()
    return [answers[i] for i in sorted(answers)]


def _sample(tokenizer: Any, completion: Any, seconds: float) -> Sample:
    ids = list(completion.token_ids)
    return Sample(tokenizer.decode(ids, skip_special_tokens=True), len(ids), completion.finish_reason == "length",
                  seconds)


def vllm_rank(rank: int) -> int:
    """The smallest LoRA rank ceiling that vLLM knows which holds `rank`."""
    return next((r for r in (8, 16, 32, 64, 128, 256, 320, 512) if r >= rank), 512)
