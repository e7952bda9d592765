"""Which engine a recipe gets on this machine, and in which process a stage runs."""

import contextlib
import gc
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.engine_choice import Choice, choose, engine_problems
from pipeline.engines.base import Engine
from pipeline.errors import EngineError, StudioError
from pipeline.hardware import SMALLEST_CAPABILITY, Gpu, Hardware, detect, unusable
from pipeline.memory import choose_engine
from pipeline.model_facts import architecture, read_facts
from pipeline.recipe import ModelStep, Recipe


def gpu_count() -> int:
    """CUDA devices that can be used. Torch asks NVML for them, so that this process never holds GPU memory; NVML counts
    GPUs on which CUDA does not start as well, so these are hidden first, here and from every child."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    if unusable(detect()):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def machine() -> Hardware:
    """This machine as torch can use it: torch says whether there are GPUs, the driver what they are."""
    found, count = detect(), gpu_count()
    if not count:
        return replace(found, gpus=())
    if found.gpus:
        return found
    unknown = Gpu(0, "NVIDIA GPU", 0.0, 0.0, SMALLEST_CAPABILITY)  # NVML is forbidden, as in some containers
    return replace(found, gpus=tuple(replace(unknown, index=i) for i in range(count)))


def choice(step: ModelStep, source: str | Path | None = None) -> Choice:
    """The engine and the sampler for a model (the recipe's own where none is given), as the Train tab tells them."""
    return choose(step, machine(), *architecture(str(source or step.source), step.revision))


def engine_of(recipe: Recipe) -> str:
    """The name of the engine that trains a recipe here, as the Train tab tells it."""
    try:
        return choose_engine(recipe, read_facts(recipe.model.source, recipe.model.revision), machine()).engine
    except StudioError:  # a model whose size cannot be read
        return choice(recipe.model).engine


def engine_for(recipe: Recipe) -> Engine:
    """The engine. Raises EngineError when it cannot work here."""
    check_gpus(recipe.model)
    with _no_garbage():
        if engine_of(recipe) == "trl":
            from pipeline.engines.trl import TrlEngine

            return TrlEngine()
        from pipeline.engines.unsloth_packing import choose_rows

        choose_rows(recipe.model)
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
    for problem in engine_problems(step, machine()):
        raise EngineError(problem)
