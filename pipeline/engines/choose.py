"""Which engine a recipe gets on this machine, and in which process a stage runs."""

import contextlib
import gc
import importlib.util
import os
from collections.abc import Iterator

from pipeline.engines.base import Engine
from pipeline.errors import EngineError
from pipeline.recipe import ModelStep


def gpu_count() -> int:
    """CUDA devices that can be used; asked through NVML, so that this process never holds GPU memory."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def engine_name(step: ModelStep) -> str:
    """`trl` or `unsloth`: what the recipe asks for, or with `auto` what fits this machine."""
    if step.engine != "auto":
        return step.engine
    fits = gpu_count() > 0 and step.gpus == 1 and importlib.util.find_spec("unsloth") is not None
    return "unsloth" if fits and step.fast_inference and not step.vllm_sleep else "trl"


def engine_for(step: ModelStep) -> Engine:
    """The engine. Raises EngineError when it cannot work here."""
    check_gpus(step)
    with _no_garbage():
        if engine_name(step) == "trl":
            from pipeline.engines.trl import TrlEngine

            return TrlEngine()
        from pipeline.engines.unsloth import UnslothEngine

        return UnslothEngine()


def sampling_engine(step: ModelStep) -> Engine:
    """The engine for merging and for answering with finished models: plain folders need no Unsloth, whose import takes
    a quarter of a minute and patches the libraries. Raises as `engine_for`."""
    check_gpus(step)
    with _no_garbage():
        from pipeline.engines.trl import TrlEngine

        return TrlEngine()


@contextlib.contextmanager
def _no_garbage() -> Iterator[None]:
    """Importing makes objects that stay: without the search for garbage among them it takes a fifth less."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def check_gpus(step: ModelStep) -> None:
    """Raises EngineError when the recipe asks for GPUs or packages that are not here."""
    found = gpu_count()
    if step.gpus > max(1, found):
        raise EngineError(f"The recipe asks for {step.gpus} GPUs and {found} were found: set GPUs to {max(1, found)}.")
    if step.precision == "fp8" and engine_name(step) == "trl":
        raise EngineError("The TRL engine cannot train on an fp8 base: choose 16bit or 4bit, or the unsloth engine.")
    if engine_name(step) == "unsloth" and not found:
        raise EngineError("The unsloth engine needs an NVIDIA GPU, and none was found: choose the engine auto or trl.")
    if engine_name(step) == "unsloth" and importlib.util.find_spec("unsloth") is None:
        raise EngineError("Unsloth is not installed: run `pip install -r requirements-gpu.txt`, or choose the engine "
                          "trl.")

