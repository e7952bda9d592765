"""Changes to a recipe that make it fit into the memory of a machine: one setting, or all that are needed together.

Half the batch with twice the accumulation is the same learning in smaller pieces; that, recomputed activations and a
smaller share for vLLM come before what costs more: a vLLM that sleeps, a 4-bit base, no vLLM, and shorter texts.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pipeline.hardware import Hardware
from pipeline.memory import estimates, plan_batch, samples_with_vllm, vllm_share, with_values
from pipeline.model_facts import ModelFacts
from pipeline.recipe import Recipe

Values = dict[tuple[str, str], Any]  # (step, setting) -> new value
SHARES = (0.6, 0.4, 0.3, 0.2, 0.1, 0.05)
MOST_STEPS = 30  # of a combination: each halves something or takes the next share


class Change(NamedTuple):
    """What one button sets: its words, the new values, and the largest stage's total after it, in GiB."""

    label: str
    values: Values
    total_gib: float


def lower_to_fit(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> list[Change]:
    """Changes after which every stage fits, those that cost least first; empty when all fits, or nothing helps.

    Single settings where one is enough; otherwise one combination.
    """
    if _fits(recipe, facts, hardware):
        return []
    found, room = [], _room(recipe, facts, hardware)
    for candidates in TIERS:
        changes = [_change(recipe, values, facts, hardware) for values in candidates(recipe, facts, hardware)]
        found += sorted((c for c in changes if c and c.total_gib <= room),
                        key=lambda change: -change.total_gib)  # the smallest change that is enough
    if found:
        return found
    together = _together(recipe, facts, hardware)
    return [together] if together else []


def in_words(values: Mapping[tuple[str, str], Any]) -> str:
    """What changed values mean for a person; an accumulation that follows its batch is not told."""
    told = {
        ("grpo", "batch_size"): "GRPO answers {} at a time", ("sft", "batch_size"): "SFT examples {} at a time",
        ("lora", "gradient_checkpointing"): "gradient checkpointing", ("model", "vllm_sleep"): "vLLM sleeps in turns",
        ("model", "precision"): "{} base", ("model", "fast_inference"): "no vLLM (much slower)",
        ("model", "max_length"): "sequences of {} tokens",
        ("grpo", "max_completion_tokens"): "answers of {} tokens"}
    words = [text.format(values[path]) for path, text in told.items() if path in values]
    share = values.get(("model", "gpu_memory_share"))
    if share is not None:
        words.append(f"{share:.0%} of the GPU for vLLM")
    return ", ".join(words)


# ------------------------------------------------------------------------------------------------------------------


def _without_loss(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> Iterator[Values]:
    for step in ("grpo", "sft"):
        now = getattr(recipe, step)
        for part in (2, 4):
            if now.enabled and now.batch_size % part == 0:
                yield {(step, "batch_size"): now.batch_size // part, (step, "accumulation"): now.accumulation * part}
    if not recipe.lora.gradient_checkpointing:
        yield {("lora", "gradient_checkpointing"): True}
    if recipe.grpo.enabled and samples_with_vllm(recipe, facts, hardware):
        least = vllm_share(recipe, facts, hardware)
        for share in SHARES:
            if least <= share < recipe.model.gpu_memory_share:
                yield {("model", "gpu_memory_share"): share}


def _asleep(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> Iterator[Values]:
    vllm = recipe.grpo.enabled and samples_with_vllm(recipe, facts, hardware)
    if vllm and not recipe.model.vllm_sleep and recipe.model.engine != "unsloth":
        yield {("model", "vllm_sleep"): True}


def _fewer_bits(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> Iterator[Values]:
    if hardware.gpus and recipe.model.precision == "16bit" and hardware.has("bitsandbytes"):
        yield {("model", "precision"): "4bit"}


def _without_vllm(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> Iterator[Values]:
    if recipe.grpo.enabled and samples_with_vllm(recipe, facts, hardware) and recipe.model.precision != "fp8":
        yield {("model", "fast_inference"): False}


def _shorter(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> Iterator[Values]:
    half = recipe.model.max_length // 2
    shorter: Values = {("model", "max_length"): half}
    if recipe.grpo.enabled and recipe.grpo.max_completion_tokens >= half:
        shorter[("grpo", "max_completion_tokens")] = half // 2
    yield shorter


TIERS = (_without_loss, _asleep, _fewer_bits, _without_vllm, _shorter)  # by what they cost


def _together(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> Change | None:
    """Changes on top of one another until all fits: the planner's batch for GRPO where it has one, then always the one
    that saves most; None when that is not enough."""
    values = _planned(recipe, facts, hardware)
    now = with_values(recipe, values) or recipe
    for candidates in TIERS:
        for _ in range(MOST_STEPS):
            if _fits(now, facts, hardware):
                break
            tried = [(_excess(changed, facts, hardware), i, new, changed)
                     for i, new in enumerate(candidates(now, facts, hardware))
                     if (changed := with_values(now, new)) is not None]
            best = min(tried, key=lambda one: one[:2], default=None)
            if best is None or best[0] >= _excess(now, facts, hardware) - 0.01:
                break
            _, _, new, now = best
            values |= new
    if not now.model.fast_inference:  # what was tried for vLLM's sake before
        values = {path: value for path, value in values.items() if path[1] not in ("vllm_sleep", "gpu_memory_share")}
    return _change(recipe, values, facts, hardware) if _fits(now, facts, hardware) else None


def _planned(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> Values:
    """What the planner would change: the largest pieces that fit."""
    plan = plan_batch(recipe, facts, hardware) if recipe.grpo.enabled else None
    if plan is None:
        return {}
    planned: Values = {("grpo", "batch_size"): plan.batch_size, ("grpo", "accumulation"): plan.accumulation,
                       ("model", "gpu_memory_share"): plan.gpu_memory_share or recipe.model.gpu_memory_share}
    return {(step, name): value for (step, name), value in planned.items()
            if getattr(getattr(recipe, step), name) != value}


def _change(recipe: Recipe, values: Values, facts: ModelFacts, hardware: Hardware) -> Change | None:
    changed = with_values(recipe, values)
    if changed is None:
        return None
    words = in_words(values)
    return Change(words[:1].upper() + words[1:], values, _largest(changed, facts, hardware))


def _fits(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> bool:
    return all(estimate.fits for estimate in estimates(recipe, facts, hardware))


def _largest(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> float:
    return max((estimate.total_gib for estimate in estimates(recipe, facts, hardware)), default=0.0)


def _room(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> float:
    return max(e.room_gib for e in estimates(recipe, facts, hardware))


def _excess(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> float:
    """By how much the stages together do not fit, so that lowering the smaller one counts too."""
    return sum(max(0.0, e.total_gib - e.room_gib) for e in estimates(recipe, facts, hardware))
