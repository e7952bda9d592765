"""A recipe that needs less memory: what is proposed after a stage ran out of it.

What costs nothing comes first. Half the batch with twice the accumulation is the same learning in smaller pieces, and
recomputing activations the same in more time; both keep a checkpoint's steps valid. Shorter texts change what is
learnt and are proposed only when nothing else is left.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.errors import RecipeError
from pipeline.hardware import detect, usable
from pipeline.memory import choose_engine, vllm_share
from pipeline.model_facts import facts_at_hand
from pipeline.recipe import Recipe

SMALLEST_SHARE, SHARE_STEP = 0.1, 0.15
SHORTEST_ANSWER, SHORTEST_TEXT = 64, 128


@dataclass(frozen=True)
class Lighter:
    """The proposed recipe, what it changes in words, and whether it learns the same as before."""

    recipe: Recipe
    changes: tuple[str, ...]
    same_learning: bool


class Vllm(NamedTuple):
    """The vLLM of a run on a GPU: the share with less of which it may not start, and whether it can sleep."""

    least_share: float = SMALLEST_SHARE
    can_sleep: bool = False


def vllm_of(recipe: Recipe, stage: str) -> Vllm | None:
    """The vLLM that holds a part of this machine's GPU in a stage; None where none does. Never raises, since it is
    asked while an error is told."""
    if stage not in ("grpo", "evaluate") or not recipe.model.fast_inference:
        return None
    try:
        hardware = usable(detect())
        if not hardware.gpus:
            return None
        facts = facts_at_hand(recipe.model.source, recipe.model.revision)
        if facts is None:
            return Vllm()
        choice = choose_engine(recipe, facts, hardware)
        return Vllm(vllm_share(recipe, facts, hardware), choice.engine == "trl") if choice.vllm else None
    except Exception:  # what cannot be looked at changes nothing
        return Vllm()


def lighter(recipe: Recipe, stage: str, vllm: Vllm | None = None, of_gpu: bool = True) -> Lighter | None:
    """The proposal for a stage that ran out of memory, of the GPU or of the machine; None when nothing is left to
    lower. `vllm`: what samples."""
    values = recipe.model_dump(mode="json")
    free = [_apply(values, change) for change in _without_loss(recipe, stage, vllm, of_gpu)]
    costly = [] if free else [_apply(values, change) for change in _shorter(recipe, stage)][:1]
    if not free and not costly:
        return None
    try:
        return Lighter(Recipe.parse(values), tuple(free or costly), bool(free))
    except RecipeError:  # a combination of settings that stands in the way; the person has to choose
        return None


Change = tuple[str, dict[tuple[str, str], Any]]  # words, and {(step, setting): new value}


def _apply(values: dict[str, Any], change: Change) -> str:
    words, settings = change
    for (step, name), value in settings.items():
        values[step][name] = value
    return words


def _without_loss(recipe: Recipe, stage: str, vllm: Vllm | None, of_gpu: bool) -> Iterator[Change]:
    if stage in ("sft", "grpo"):
        step, title = getattr(recipe, stage), stage.upper()
        if step.batch_size > 1 and step.batch_size % 2 == 0:
            yield (f"{title} batch size from {step.batch_size} to {step.batch_size // 2} with accumulation "
                   f"{step.accumulation * 2} (the same learning, in smaller pieces)",
                   {(stage, "batch_size"): step.batch_size // 2, (stage, "accumulation"): step.accumulation * 2})
        elif not recipe.lora.gradient_checkpointing:
            yield ("gradient checkpointing switched on (the same learning, about a third slower)",
                   {("lora", "gradient_checkpointing"): True})
    elif stage == "evaluate" and vllm:  # it answers as many at once as it has room for, whatever the batch size
        if of_gpu and recipe.model.precision != "fp8":  # which only vLLM has
            yield "answers in batches without vLLM (slower, less GPU memory)", {("model", "fast_inference"): False}
    elif stage == "evaluate" and recipe.evaluate.batch_size > 1:
        half = recipe.evaluate.batch_size // 2
        yield (f"the batch size of the comparison from {recipe.evaluate.batch_size} to {half}",
               {("evaluate", "batch_size"): half})
    if stage == "grpo" and vllm and of_gpu:
        share = recipe.model.gpu_memory_share
        lower = max(round(share - SHARE_STEP, 2), SMALLEST_SHARE, vllm.least_share)
        if lower < share:
            yield (f"the share of GPU memory for vLLM from {share} to {lower}", {("model", "gpu_memory_share"): lower})
        elif vllm.can_sleep and not recipe.model.vllm_sleep:
            yield "vLLM asleep while the model learns (slower)", {("model", "vllm_sleep"): True}


def _shorter(recipe: Recipe, stage: str) -> Iterator[Change]:
    longest = recipe.grpo.max_completion_tokens
    if stage == "grpo" and longest >= 2 * SHORTEST_ANSWER:
        yield (f"the longest answer from {longest} to {longest // 2} tokens",
               {("grpo", "max_completion_tokens"): longest // 2})
    length = recipe.model.max_length
    if stage == "sft" and length >= 2 * SHORTEST_TEXT and length // 2 > longest:
        yield (f"the sequence length from {length} to {length // 2} tokens (longer examples are left out)",
               {("model", "max_length"): length // 2})
