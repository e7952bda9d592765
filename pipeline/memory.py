"""How much memory a recipe needs, bar by bar, and the batch that fills what is there. Pure arithmetic, no torch.

The peak of a stage is what stays (weights, adapter, its gradient and optimizer, runtime) plus the larger of what the
learning step holds for a moment (activations, token scores) and what sampling holds. The terms follow the counts in
Korthikanti et al. (https://arxiv.org/abs/2205.05198), with fewer constants: with gradient checkpointing one input per
layer is kept and one layer is recomputed at a time. CONSTANTS holds every number that is not derived from the model;
those for a GPU are fitted to measured peaks (docs/gpu-benchmarks.md).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pipeline.engine_choice import Choice, choose, samples_from_sums
from pipeline.hardware import GIB, Hardware
from pipeline.model_check import targeted_parameters, trainable_parameters, weights_gib
from pipeline.model_facts import ModelFacts
from pipeline.recipe import Recipe

ADAPTER_BYTES = 16  # per adapter weight: float32 value, gradient, and Adam's two moments
CONSTANTS = {
    "gpu_runtime_gib": 0.9,  # CUDA context, cuBLAS workspaces, kernels
    "cpu_runtime_gib": 0.65,  # Python with torch, transformers and trl imported
    "vllm_graphs_gib": 0.6,  # captured CUDA graphs, beside the share that vLLM was given
    "layer_hidden": 18,  # activations of one layer per token, in multiples of the hidden size …
    "layer_intermediate": 4,  # … and of the MLP's inner size
    "quantised_inputs": 2.0,  # on an 8-bit or 4-bit base what passes between layers is float32
    "sft_scores_bytes": 13.5,  # per token and vocabulary entry: 16-bit logits, float32 copy, its softmax, gradients
    "grpo_scores_bytes": 8.0,  # 16-bit logits, the same divided by the temperature, gradients
    "cpu_scores_bytes": 12.0,
    "unsloth_scores_gib": 0.3,  # its losses look at a piece of the tokens at a time
    "unsloth_layer": 0.75,  # of a layer's activations, with its kernels; the layers' inputs go to the machine's memory
    "keep_free": 0.08,  # share of the device left for fragmentation
}
# Up to this size `auto` prefers TRL with vLLM to Unsloth, not clearly faster there and tried less; SFT takes six times
# the memory. At a billion Unsloth's steps are faster (docs/gpu-benchmarks.md).
SMALL_PARAMETERS = 200_000_000
LEAST_AT_ONCE = 2  # answers that vLLM must be able to hold
VLLM_TOKENS = 8192  # that vLLM works on at once when it measures itself at its start
VLLM_SCORES_BYTES = 16  # of an answer and vocabulary entry while vLLM samples: 32 bits, and copies of them


class Bar(NamedTuple):
    """One part of the memory: its name, GiB, and what it is in words."""

    name: str
    gib: float
    why: str


@dataclass(frozen=True)
class Estimate:
    """What a stage needs on one device, and what the device has."""

    stage: str
    bars: tuple[Bar, ...]
    capacity_gib: float

    @property
    def total_gib(self) -> float:
        """Sum of the bars."""
        return sum(bar.gib for bar in self.bars)

    @property
    def room_gib(self) -> float:
        """The capacity with a little kept free."""
        return self.capacity_gib * (1 - CONSTANTS["keep_free"])

    @property
    def fits(self) -> bool:
        """Whether the stage fits with a little kept free."""
        return self.total_gib <= self.room_gib


class Plan(NamedTuple):
    """Batch, accumulation and vLLM share that fill the device with the same answers per learning step."""

    batch_size: int
    accumulation: int
    gpu_memory_share: float | None
    words: str


def estimate_sft(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> Estimate:
    """The bars of supervised fine-tuning."""
    recipe, tokens = _decided(recipe, facts, hardware), recipe.sft.batch_size * recipe.model.max_length
    if recipe.model.precision == "fp8":  # which vLLM makes, and SFT does without it
        recipe = with_values(recipe, {("model", "precision"): "16bit"}) or recipe
    bars = [*_standing(recipe, facts, hardware), _activations(recipe, facts, tokens, hardware),
            _scores(recipe, facts, tokens, hardware, "sft", "the whole text")]
    return Estimate("SFT", tuple(bars), _capacity(recipe, hardware))


def estimate_grpo(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> Estimate:
    """The bars of GRPO. With vLLM its share of the GPU is taken for the whole stage, unless vLLM sleeps while learning:
    then only the larger of what sampling and what learning hold counts."""
    recipe, grpo = _decided(recipe, facts, hardware), recipe.grpo
    prompt = max(recipe.model.max_length - grpo.max_completion_tokens, 1)
    answers = grpo.batch_size * grpo.max_completion_tokens
    learning = [_activations(recipe, facts, grpo.batch_size * (prompt + grpo.max_completion_tokens), hardware),
                _scores(recipe, facts, answers, hardware, "grpo", "the answers")]
    bars = [*_standing(recipe, facts, hardware), *learning]
    if samples_with_vllm(recipe, facts, hardware):
        awake, beside = _vllm_bars(recipe, facts, hardware)
        if _unsloth(recipe, hardware):
            bars = [bar for bar in bars if bar.name != "Weights"]  # vLLM's are the trainer's too
            bars += _copy_bar(recipe, facts, sum(bar.gib for bar in learning))
        if recipe.model.vllm_sleep:
            more = sum(bar.gib for bar in awake) - sum(bar.gib for bar in learning)
            awake = [Bar("vLLM, in turns", max(more, 0.0), "what sampling needs beyond the memory that learning left")]
        bars += [*awake, *beside]
    else:
        cache = grpo.batch_size * grpo.accumulation * recipe.model.max_length * kv_bytes_per_token(facts, hardware)
        bars.append(Bar("KV cache", cache / GIB, "keys and values of the answers being sampled"))
    return Estimate("GRPO", tuple(bars), _capacity(recipe, hardware))


def estimates(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> list[Estimate]:
    """The estimates of the stages that the recipe runs."""
    wanted = [(recipe.sft.enabled, estimate_sft), (recipe.grpo.enabled, estimate_grpo)]
    return [estimate(recipe, facts, hardware) for enabled, estimate in wanted if enabled]


def kv_bytes_per_token(facts: ModelFacts, hardware: Hardware) -> float:
    """Keys and values of one token in all layers."""
    return 2 * facts.layers * facts.kv_heads * facts.head_dim * (2 if hardware.gpus else 4)


def plan_batch(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> Plan | None:
    """The largest GRPO batch that fits, with as much accumulation as keeps the answers per step; None if none fits."""
    target, group = recipe.grpo.completions_per_step, recipe.grpo.num_generations
    sizes = [size for size in range(target, 0, -1) if target % size == 0]
    for size in sizes:
        if target * recipe.model.processes % group:
            break
        share = _best_share(recipe, facts, hardware, size, target // size)
        if share is not None:
            words = f"{size} answers at a time" + (f", {target // size} times a learning step" * (size < target))
            if samples_with_vllm(recipe, facts, hardware):
                return Plan(size, target // size, share, f"{words}; {share:.0%} of the GPU for vLLM")
            return Plan(size, target // size, None, words)
    return None


def vllm_share(recipe: Recipe, facts: ModelFacts, hardware: Hardware, at_once: int = LEAST_AT_ONCE) -> float:
    """The share of the GPU with which vLLM holds so many answers at once beside its weights and what it needs to work.

    Above 1 where the GPU is too small. With less than LEAST_AT_ONCE answers vLLM may not start.
    """
    gib = vllm_gib(at_once, recipe.model.max_length, facts, recipe.model.precision, hardware)
    return max(0.05, math.ceil(100 * gib / max(hardware.device_memory_gib, 1e-3)) / 100)


def vllm_gib(answers: int, length: int, facts: ModelFacts, precision: str, hardware: Hardware) -> float:
    """GiB with which vLLM holds so many answers at once, each of `length` tokens with its prompt: beside these its
    weights and one layer's activations in 16 bit."""
    per_token = CONSTANTS["layer_hidden"] * facts.hidden + CONSTANTS["layer_intermediate"] * facts.intermediate
    each = length * kv_bytes_per_token(facts, hardware) + VLLM_SCORES_BYTES * facts.vocabulary
    return weights_gib(facts, precision, hardware) + (2 * VLLM_TOKENS * per_token + answers * each) / GIB


def vllm_holds(gib: float, length: int, facts: ModelFacts, precision: str, hardware: Hardware) -> int:
    """How many such answers a vLLM that was given so many GiB holds at once."""
    none, one = (vllm_gib(answers, length, facts, precision, hardware) for answers in (0, 1))
    return max(0, int((gib - none) / (one - none)))


def with_values(recipe: Recipe, values: Mapping[tuple[str, str], Any]) -> Recipe | None:
    """The recipe with some settings, (step, name) -> value, changed; None where that makes it invalid."""
    changed = recipe.model_dump()
    for (step, name), value in values.items():
        changed[step][name] = value
    try:
        return Recipe.model_validate(changed)
    except ValueError:
        return None


def samples_with_vllm(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> bool:
    """Whether vLLM holds a share of the GPU while GRPO runs."""
    return choose(recipe.model, hardware, facts.architecture, facts.model_type).vllm


def choose_engine(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> Choice:
    """`choose` for a model whose size is known: `auto` takes TRL for a small one where both could train it, unless TRL
    alone does not fit. The whole GPU counts, whoever uses it now: all stages, and the page, must choose alike."""
    found = choose(recipe.model, hardware, facts.architecture, facts.model_type)
    small = 0 < facts.parameters <= SMALL_PARAMETERS and recipe.model.precision == "16bit"
    if recipe.model.engine != "auto" or found.engine != "unsloth" or not found.vllm or not small:
        return found
    empty = replace(hardware, gpus=tuple(replace(gpu, used_gib=0.0) for gpu in hardware.gpus))
    with_trl, with_unsloth = (_fits_with(recipe, engine, facts, empty) for engine in ("trl", "unsloth"))
    size = f"up to {SMALL_PARAMETERS / 1e6:.0f} million parameters"
    if with_unsloth and not with_trl:
        return replace(found, why=f"Unsloth with vLLM, on one GPU: TRL, which was tried more with models of {size}, "
                       "would need more memory than this GPU has")
    return replace(found, engine="trl", why=f"TRL with vLLM: it was tried more with models of {size}, and Unsloth is "
                   "not clearly faster there")


# ------------------------------------------------------------------------------------------------------------------


def _decided(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> Recipe:
    """The recipe with the engine that `auto` takes for it, so that the bars need not choose anew."""
    return _with_engine(recipe, choose_engine(recipe, facts, hardware).engine)


def _with_engine(recipe: Recipe, engine: str) -> Recipe:
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"engine": engine})})


def _unsloth(recipe: Recipe, hardware: Hardware) -> bool:
    """Whether Unsloth trains a recipe whose engine is decided."""
    return bool(hardware.gpus) and recipe.model.engine == "unsloth"


def _fits_with(recipe: Recipe, engine: str, facts: ModelFacts, hardware: Hardware) -> bool:
    return all(estimate.fits for estimate in estimates(_with_engine(recipe, engine), facts, hardware))


def _capacity(recipe: Recipe, hardware: Hardware) -> float:
    """What a new run finds free: of the GPUs that are given to it, the emptiest ones, the fullest counts."""
    if not hardware.gpus:
        return hardware.available_gib
    free = sorted((gpu.for_a_run_gib for gpu in hardware.gpus), reverse=True)
    return free[min(recipe.model.gpus, len(free)) - 1]


def _standing(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> list[Bar]:
    """What a stage holds from its beginning to its end."""
    adapter = trainable_parameters(facts, recipe.lora.rank, recipe.lora.targets) * ADAPTER_BYTES / GIB
    runtime = CONSTANTS["gpu_runtime_gib" if hardware.gpus else "cpu_runtime_gib"]
    return [
        Bar("Weights", weights_gib(facts, recipe.model.precision, hardware), "the model itself, frozen"),
        Bar("Adapter and optimizer", adapter, "trained weights, their gradient and Adam's two moments"),
        Bar("Runtime", runtime, "the libraries, before any model is loaded"),
    ]


def _activations(recipe: Recipe, facts: ModelFacts, tokens: int, hardware: Hardware) -> Bar:
    size, passed = 2.0 if hardware.gpus else 4.0, float(facts.hidden)
    if hardware.gpus and recipe.model.precision != "16bit" and not _unsloth(recipe, hardware):
        passed *= CONSTANTS["quantised_inputs"]
    layer = CONSTANTS["layer_hidden"] * facts.hidden + CONSTANTS["layer_intermediate"] * facts.intermediate
    if recipe.lora.gradient_checkpointing and _unsloth(recipe, hardware):
        values, why = CONSTANTS["unsloth_layer"] * layer, "one layer at a time; their inputs go to the machine's memory"
    elif recipe.lora.gradient_checkpointing:
        values, why = facts.layers * passed + layer, "one input per layer, and one layer recomputed at a time"
    else:
        values, why = facts.layers * layer * passed / facts.hidden, "everything the backward pass needs, in all layers"
    return Bar("Activations", tokens * values * size / GIB, why)


def _scores(recipe: Recipe, facts: ModelFacts, tokens: int, hardware: Hardware, stage: str, of: str) -> Bar:
    per_entry = CONSTANTS[f"{stage}_scores_bytes" if hardware.gpus else "cpu_scores_bytes"]
    gib = tokens * facts.vocabulary * per_entry / GIB
    if _unsloth(recipe, hardware):
        gib = min(gib, CONSTANTS["unsloth_scores_gib"])
    return Bar("Token scores", gib, f"a score for every word piece at {of}")


def _vllm_bars(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> tuple[list[Bar], list[Bar]]:
    """What vLLM gives back when it sleeps, and what it keeps."""
    share = recipe.model.gpu_memory_share * hardware.device_memory_gib
    weights = min(weights_gib(facts, recipe.model.precision, hardware), share)
    shared = _unsloth(recipe, hardware)
    awake = [
        Bar("vLLM weights", weights, "the model, which training shares" if shared else
            "the model a second time, for sampling"),
        Bar("vLLM KV cache", share - weights, "the rest of vLLM's share: keys and values of the answers being sampled"),
    ]
    graphs = Bar("CUDA graphs", CONSTANTS["vllm_graphs_gib"], "recorded kernels that make vLLM fast")
    return awake, [] if shared else [graphs]


def _copy_bar(recipe: Recipe, facts: ModelFacts, learning_gib: float) -> list[Bar]:
    """The copy that Unsloth's sampling from sums needs, where it takes more than learning holds at other times."""
    more = 2 * targeted_parameters(facts, recipe.lora.targets) / GIB - learning_gib
    why = "the base's own weights while vLLM samples from sums, beyond what learning holds at other times"
    summed = samples_from_sums(recipe.model, facts.model_type, facts.parameters)
    return [Bar("Copy of the weights", more, why)] if summed and more > 0 else []


def _best_share(recipe: Recipe, facts: ModelFacts, hardware: Hardware, batch: int, times: int) -> float | None:
    """The vLLM share for a batch: the recipe's when it holds all answers of a step at once, otherwise one that does, or
    the most that fits; None if none fits."""
    changes: dict[tuple[str, str], Any] = {("grpo", "batch_size"): batch, ("grpo", "accumulation"): times}
    if not samples_with_vllm(recipe, facts, hardware):
        changed = with_values(recipe, changes)
        return 0.0 if changed and estimate_grpo(changed, facts, hardware).fits else None
    answers = max(batch * times, LEAST_AT_ONCE)
    needed, floor = (vllm_share(recipe, facts, hardware, at_once) for at_once in (answers, LEAST_AT_ONCE))
    now = recipe.model.gpu_memory_share
    for share in ([now] if now >= needed else []) + [needed, round((needed + floor) / 2, 2), floor]:
        changed = with_values(recipe, changes | {("model", "gpu_memory_share"): share})
        if changed and estimate_grpo(changed, facts, hardware).fits:
            return share
    return None
