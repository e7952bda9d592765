"""How a vLLM inside a trainer's process is started: without what only costs time before its first answer."""

from pathlib import Path
from typing import Any

from pipeline.errors import StudioError
from pipeline.memory import SMALL_PARAMETERS
from pipeline.model_facts import read_facts

LARGEST_GRAPH = 512  # answers at once for which vLLM records a CUDA graph by itself; more are run without one


def start_sooner() -> None:
    """Spare a vLLM inside a trainer's process two things that it does before its first answer.

    To look at a model's class it starts Python and imports itself once more, so that CUDA is not started here: 8 to 25
    seconds the first time. A trainer has started CUDA already. And FlashInfer's sampler, which Unsloth switches on
    where it finds nvcc, whatever the environment says, is compiled while vLLM loads.
    """
    from vllm import envs
    from vllm.model_executor.models import registry

    if hasattr(registry, "_run_in_subprocess"):
        registry._run_in_subprocess = lambda look: look()
    envs.environment_variables["VLLM_USE_FLASHINFER_SAMPLER"] = lambda: False


def graph_sizes(answers: int, largest: int = LARGEST_GRAPH) -> list[int]:
    """For how many answers at once vLLM is to record a CUDA graph when it never samples more than `answers`: the steps
    that it takes by itself, but not twice as far; beyond its own largest they are wider."""
    most = min(answers, largest)
    steps = {1, 2, 4, *range(8, 256, 8), *range(256, LARGEST_GRAPH, 16), *range(LARGEST_GRAPH, most + 1, 64), most}
    return sorted(size for size in steps if size <= most)


def graphs_alone(answers: int) -> dict[str, Any]:
    """vLLM's `compilation_config` without torch.compile: the recorded graphs hold vLLM's own kernels. Each is recorded
    once: where a trainer's vLLM has adapters, all its requests do."""
    return {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY", "cudagraph_capture_sizes": graph_sizes(answers),
            "cudagraph_specialize_lora": False}


def is_small(model: str | Path, revision: str | None = None, most: int = SMALL_PARAMETERS) -> bool:
    """Whether a model has at most so many parameters; one whose size cannot be read counts as large.

    Up to SMALL_PARAMETERS sampling waits for Python and not for the GPU, and compiling a model gains nothing: measured
    at 135 million (docs/gpu-benchmarks.md).
    """
    try:
        return 0 < read_facts(str(model), revision).parameters <= most
    except StudioError:
        return False
