"""The memory estimate and the batch planner, against sums done by hand."""

from dataclasses import replace

import pytest

from pipeline.hardware import GIB, Gpu, Hardware
from pipeline.memory import (
    Estimate,
    estimate_grpo,
    estimate_sft,
    estimates,
    kv_bytes_per_token,
    lower_to_fit,
    plan_batch,
    with_value,
)
from pipeline.model_facts import ModelFacts
from pipeline.recipe import GrpoStep, ModelStep, Recipe, SftStep

# A model of 1.5 billion parameters in the shape of Qwen2.5-1.5B: 28 layers of hidden size 1,536, tied embeddings.
LINEARS = {"q_proj": ((1536, 1536),) * 28, "k_proj": ((256, 1536),) * 28, "v_proj": ((256, 1536),) * 28,
           "o_proj": ((1536, 1536),) * 28, "gate_proj": ((8960, 1536),) * 28, "up_proj": ((8960, 1536),) * 28,
           "down_proj": ((1536, 8960),) * 28}
QWEN = ModelFacts("qwen", "Qwen2ForCausalLM", "qwen2", 1_543_714_304, 3_087_467_144, 28, 1536, 8960, 151_936, 2, 128,
                  32_768, True, LINEARS)


def gpu(memory_gib: float) -> Hardware:
    """A machine with one empty GPU of this size."""
    return Hardware(8, 64, 60, (Gpu(0, "GPU", memory_gib, 0.0, (9, 0)),), "575.1")


def bar(estimate: Estimate, name: str) -> float:
    """One bar in GiB."""
    return next(b.gib for b in estimate.bars if b.name == name)


def test_weights_take_two_bytes_in_16_bit_and_little_more_than_half_a_byte_in_4_bit() -> None:
    """The linear layers have 28·(2·1536² + 2·256·1536 + 3·8960·1536) = 1,310,195,712 weights, the rest 233,518,592."""
    linear, rest = 1_310_195_712, 1_543_714_304 - 1_310_195_712
    assert QWEN.linear_parameters == linear
    assert bar(estimate_sft(Recipe(), QWEN, gpu(80)), "Weights") == pytest.approx(1_543_714_304 * 2 / GIB)
    four = Recipe(model=ModelStep(precision="4bit"))
    assert bar(estimate_sft(four, QWEN, gpu(80)), "Weights") == pytest.approx((linear * 0.5625 + rest * 2) / GIB)


def test_adapter_takes_sixteen_bytes_per_trained_weight() -> None:
    """Rank 16: 16·28·(3072 + 1792 + 1792 + 3072 + 3·10496) = 18,464,768 weights, the number that peft prints."""
    estimate = estimate_sft(Recipe(), QWEN, gpu(80))
    assert bar(estimate, "Adapter and optimizer") == pytest.approx(18_464_768 * 16 / GIB)


def test_keys_and_values_of_a_token_are_28_kib() -> None:
    """2 (key, value) · 28 layers · 2 heads · 128 · 2 bytes = 28,672 bytes."""
    assert kv_bytes_per_token(QWEN, gpu(80)) == 28_672


def test_vllm_takes_its_share_of_the_gpu_and_nothing_without_one() -> None:
    estimate = estimate_grpo(Recipe(model=ModelStep(gpu_memory_share=0.4)), QWEN, gpu(80))
    assert bar(estimate, "vLLM weights") + bar(estimate, "vLLM KV cache") == pytest.approx(32.0)
    cpu = estimate_grpo(Recipe(), QWEN, Hardware(2, 24, 22))
    assert not [b for b in cpu.bars if "vLLM" in b.name]


def test_a_sleeping_vllm_counts_only_beyond_what_learning_holds() -> None:
    """Learning + vLLM awake = a + b; asleep in turns = max(a, b); the CUDA graphs stay. 0.4 of 80 GiB is 32 GiB."""
    awake = estimate_grpo(Recipe(model=ModelStep(gpu_memory_share=0.4)), QWEN, gpu(80))
    asleep = estimate_grpo(Recipe(model=ModelStep(gpu_memory_share=0.4, engine="trl", vllm_sleep=True)), QWEN, gpu(80))
    learning = bar(awake, "Activations") + bar(awake, "Token scores")
    assert awake.total_gib - asleep.total_gib == pytest.approx(min(learning, 32.0))
    assert bar(asleep, "CUDA graphs") == bar(awake, "CUDA graphs")


def test_more_of_anything_never_needs_less() -> None:
    """Monotone in batch, length, rank; and without gradient checkpointing activations grow."""
    base = Recipe()
    total = estimate_sft(base, QWEN, gpu(80)).total_gib
    for step, name, value in (("sft", "batch_size", 16), ("model", "max_length", 2048), ("lora", "rank", 64),
                              ("lora", "gradient_checkpointing", False)):
        changed = with_value(base, step, name, value)
        assert changed is not None
        assert estimate_sft(changed, QWEN, gpu(80)).total_gib > total


def test_only_the_stages_that_run_are_estimated() -> None:
    recipe = Recipe(sft=SftStep(enabled=False))
    assert [e.stage for e in estimates(recipe, QWEN, gpu(80))] == ["GRPO"]


def test_nothing_is_offered_when_all_fits_and_what_fits_comes_first_when_not() -> None:
    assert lower_to_fit(Recipe(), QWEN, gpu(140)) == []
    big = Recipe(model=ModelStep(max_length=4096, gpu_memory_share=0.5), sft=SftStep(batch_size=32))
    changes = lower_to_fit(big, QWEN, gpu(80))
    assert changes
    for change in changes:
        changed = with_value(big, *change.path, change.value)
        assert changed is not None
        assert max(e.total_gib for e in estimates(changed, QWEN, gpu(80))) == pytest.approx(change.total_gib)
    fits = [c.total_gib < 80 * 0.92 for c in changes]
    assert fits == sorted(fits, reverse=True)


def test_the_plan_keeps_the_answers_per_step_and_fits() -> None:
    recipe = Recipe(grpo=GrpoStep(batch_size=64, num_generations=8))
    for memory in (24.0, 40.0, 80.0, 140.0):
        plan = plan_batch(recipe, QWEN, gpu(memory))
        assert plan is not None, memory
        assert plan.batch_size * plan.accumulation == 64
        changed = recipe.model_copy(update={
            "grpo": recipe.grpo.model_copy(update={"batch_size": plan.batch_size, "accumulation": plan.accumulation}),
            "model": recipe.model.model_copy(update={"gpu_memory_share": plan.gpu_memory_share})})
        assert estimate_grpo(changed, QWEN, gpu(memory)).fits


def test_a_larger_gpu_never_gets_a_smaller_batch_and_a_hopeless_one_gets_none() -> None:
    recipe = Recipe(grpo=GrpoStep(batch_size=64, num_generations=8))
    plans = [plan_batch(recipe, QWEN, gpu(memory)) for memory in (24.0, 48.0, 80.0, 140.0)]
    sizes = [plan.batch_size for plan in plans if plan is not None]
    assert sizes == sorted(sizes) and len(sizes) == 4
    assert plan_batch(recipe, QWEN, gpu(4.0)) is None


def test_a_cpu_is_measured_by_the_memory_that_is_free() -> None:
    busy = Hardware(cpus=2, memory_gib=24, available_gib=3)
    assert not estimate_sft(Recipe(), QWEN, busy).fits
    assert estimate_sft(Recipe(), QWEN, replace(busy, available_gib=64)).capacity_gib == 64


def shape(hidden: int, inner: int, layers: int, kv: int, parameters: int) -> ModelFacts:
    """A Llama with a vocabulary of 49,152, head size 64, as the benchmarks measured two of."""
    sides = {"q_proj": (hidden, hidden), "k_proj": (kv * 64, hidden), "v_proj": (kv * 64, hidden),
             "o_proj": (hidden, hidden), "gate_proj": (inner, hidden), "up_proj": (inner, hidden),
             "down_proj": (hidden, inner)}
    return ModelFacts("llama", "LlamaForCausalLM", "llama", parameters, parameters * 2, layers, hidden, inner, 49_152,
                      kv, 64, 8192, True, {name: (side,) * layers for name, side in sides.items()})


SMALL, BILLION = shape(576, 1536, 30, 3, 134_515_008), shape(2048, 8192, 16, 8, 1_073_809_408)


@pytest.mark.parametrize(("facts", "engine", "precision", "length", "stage", "peak_gib"), [
    (SMALL, "trl", "16bit", 1024, "SFT", 12.10), (SMALL, "trl", "4bit", 2048, "SFT", 25.13),
    (BILLION, "trl", "16bit", 2048, "SFT", 28.56), (BILLION, "trl", "4bit", 1024, "SFT", 16.34),
    (SMALL, "trl", "16bit", 1024, "GRPO", 19.33), (SMALL, "unsloth", "16bit", 1024, "SFT", 2.04)])
def test_estimates_are_within_15_percent_of_what_an_h200_was_seen_to_hold(
        facts: ModelFacts, engine: str, precision: str, length: int, stage: str, peak_gib: float) -> None:
    """Batch 16, a tenth of the GPU for vLLM: docs/results/gpu-memory-*.json."""
    recipe = Recipe.parse({
        "model": {"engine": engine, "precision": precision, "max_length": length, "gpu_memory_share": 0.1},
        "sft": {"batch_size": 16}, "grpo": {"batch_size": 16, "max_completion_tokens": length // 2}})
    found = next(e for e in estimates(recipe, facts, gpu(139.8)) if e.stage == stage)
    assert 0.85 <= peak_gib / found.total_gib <= 1.15
