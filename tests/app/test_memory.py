"""The memory estimate and the batch planner, against sums done by hand."""

from dataclasses import replace

import pytest

from pipeline.fitting import lower_to_fit
from pipeline.hardware import GIB, Gpu, Hardware
from pipeline.memory import (
    Estimate,
    choose_engine,
    estimate_grpo,
    estimate_sft,
    estimates,
    kv_bytes_per_token,
    plan_batch,
    vllm_holds,
    vllm_share,
    with_values,
)
from pipeline.model_facts import ModelFacts
from pipeline.recipe import GrpoStep, ModelStep, Recipe, SftStep

# A model of 1.5 billion parameters in the shape of Qwen2.5-1.5B: 28 layers of hidden size 1,536, tied embeddings.
LINEARS = {"q_proj": ((1536, 1536),) * 28, "k_proj": ((256, 1536),) * 28, "v_proj": ((256, 1536),) * 28,
           "o_proj": ((1536, 1536),) * 28, "gate_proj": ((8960, 1536),) * 28, "up_proj": ((8960, 1536),) * 28,
           "down_proj": ((1536, 8960),) * 28}
QWEN = ModelFacts("qwen", "Qwen2ForCausalLM", "qwen2", 1_543_714_304, 3_087_467_144, 28, 1536, 8960, 151_936, 2, 128,
                  32_768, True, LINEARS)
PACKAGES = {"torch": "2.11.0", "vllm": "0.26.0", "unsloth": "2026.10.5", "unsloth_zoo": "2026.10.7",
            "bitsandbytes": "0.50.2"}


def gpu(memory_gib: float, used_gib: float = 0.0) -> Hardware:
    """A machine with one GPU of this size, complete; so much of it is taken by other programs."""
    return Hardware(8, 64, 60, (Gpu(0, "GPU", memory_gib, used_gib, (9, 0)),), "580.95", None, PACKAGES)


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


def test_sft_of_an_fp8_base_needs_what_16_bit_needs_and_its_grpo_less() -> None:
    """vLLM makes fp8 while it loads for GRPO; SFT has no vLLM, so its base stays in 16 bit."""
    whole, small = (Recipe(model=ModelStep(engine="unsloth", precision=p)) for p in ("16bit", "fp8"))
    assert estimate_sft(small, QWEN, gpu(80)).bars == estimate_sft(whole, QWEN, gpu(80)).bars
    needed = [bar(estimate_grpo(recipe, QWEN, gpu(80)), "vLLM weights") for recipe in (small, whole)]
    assert needed[0] < needed[1]


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
    awake = estimate_grpo(Recipe(model=ModelStep(gpu_memory_share=0.4, engine="trl")), QWEN, gpu(80))
    asleep = estimate_grpo(Recipe(model=ModelStep(gpu_memory_share=0.4, engine="trl", vllm_sleep=True)), QWEN, gpu(80))
    learning = bar(awake, "Activations") + bar(awake, "Token scores")
    assert awake.total_gib - asleep.total_gib == pytest.approx(min(learning, 32.0))
    assert bar(asleep, "CUDA graphs") == bar(awake, "CUDA graphs")


def test_unsloth_and_its_vllm_have_one_copy_of_the_weights_and_keep_one_layer_at_a_time() -> None:
    """A layer of the model: 0.75·(18·1536 + 4·8960) = 47,616 values of 2 bytes for each of 8·1,024 tokens in SFT."""
    trl, unsloth = (Recipe(model=ModelStep(engine=engine, max_length=1024), sft=SftStep(batch_size=8))
                    for engine in ("trl", "unsloth"))
    ours, theirs = (estimate_grpo(recipe, QWEN, gpu(80)) for recipe in (trl, unsloth))
    assert bar(ours, "Weights") == bar(ours, "vLLM weights") == bar(theirs, "vLLM weights")
    assert not {"Weights", "CUDA graphs"} & {b.name for b in theirs.bars}
    assert bar(estimate_sft(unsloth, QWEN, gpu(80)), "Activations") == pytest.approx(8192 * 47_616 * 2 / GIB)
    assert bar(estimate_sft(unsloth, QWEN, gpu(80)), "Token scores") == 0.3


def test_more_of_anything_never_needs_less() -> None:
    """Monotone in batch, length, rank; and without gradient checkpointing activations grow."""
    base = Recipe()
    total = estimate_sft(base, QWEN, gpu(80)).total_gib
    for step, name, value in (("sft", "batch_size", 16), ("model", "max_length", 2048), ("lora", "rank", 64),
                              ("lora", "gradient_checkpointing", False)):
        changed = with_values(base, {(step, name): value})
        assert changed is not None
        assert estimate_sft(changed, QWEN, gpu(80)).total_gib > total


def test_only_the_stages_that_run_are_estimated() -> None:
    recipe = Recipe(sft=SftStep(enabled=False))
    assert [e.stage for e in estimates(recipe, QWEN, gpu(80))] == ["GRPO"]


def test_one_setting_is_offered_where_one_is_enough_and_what_keeps_the_learning_comes_first() -> None:
    assert lower_to_fit(Recipe(), QWEN, gpu(140)) == []
    big = Recipe(model=ModelStep(engine="trl", max_length=4096), sft=SftStep(batch_size=32))
    changes = lower_to_fit(big, QWEN, gpu(200))
    assert changes[0].label == "SFT examples 16 at a time" and changes[-1].label == "Sequences of 2048 tokens"
    for change in changes:
        changed = with_values(big, change.values)
        assert changed is not None
        after = estimates(changed, QWEN, gpu(200))
        assert max(e.total_gib for e in after) == pytest.approx(change.total_gib) and all(e.fits for e in after)


def test_several_settings_are_offered_together_where_one_is_not_enough() -> None:
    """Examples and answers a step stay: only the pieces get smaller, until a GPU of 24 GiB holds both stages. GRPO gets
    the largest pieces that the planner finds."""
    big = Recipe(model=ModelStep(engine="trl", max_length=4096), sft=SftStep(batch_size=32),
                 grpo=GrpoStep(batch_size=64))
    [change] = lower_to_fit(big, QWEN, gpu(24))
    changed = with_values(big, change.values)
    assert changed is not None and all(e.fits for e in estimates(changed, QWEN, gpu(24)))
    assert changed.sft.batch_size * changed.sft.accumulation == 32
    assert changed.grpo.completions_per_step == 64 and changed.model.max_length == 4096
    assert change.label == "GRPO answers 8 at a time, SFT examples 2 at a time, 17% of the GPU for vLLM"


def test_nothing_is_offered_that_does_not_help_or_cannot_be_done() -> None:
    """2 GiB are too few for any setting; without bitsandbytes there is no 4-bit base."""
    assert lower_to_fit(Recipe(), QWEN, gpu(2)) == []
    short = Recipe(model=ModelStep(max_length=128), grpo=GrpoStep(max_completion_tokens=64))
    for packages, offered in ((PACKAGES, True), ({"torch": "2.11.0"}, False)):
        machine = replace(gpu(4.5), packages=packages)
        values = [path for change in lower_to_fit(short, QWEN, machine) for path in change.values]
        assert (("model", "precision") in values) is offered


def test_memory_that_other_programs_hold_is_not_promised_and_the_emptiest_gpu_counts() -> None:
    assert estimate_grpo(Recipe(), QWEN, gpu(80, 30)).capacity_gib == 50
    two = replace(gpu(80), gpus=(Gpu(0, "GPU", 80, 70, (9, 0)), Gpu(1, "GPU", 80, 1, (9, 0))))
    assert estimate_grpo(Recipe(), QWEN, two).capacity_gib == 79
    assert estimate_grpo(Recipe(model=ModelStep(gpus=2)), QWEN, two).capacity_gib == 10
    ours = replace(gpu(80), gpus=(Gpu(0, "GPU", 80, 70, (9, 0), ours=True),))  # a new run waits until it is free
    assert estimate_grpo(Recipe(), QWEN, ours).capacity_gib == 80
    plan = plan_batch(Recipe(grpo=GrpoStep(batch_size=64)), QWEN, gpu(80, 60))
    assert plan is not None and plan.gpu_memory_share is not None and plan.gpu_memory_share * 80 < 20


def test_a_share_that_is_enough_stays_and_one_that_is_too_small_for_vllm_is_never_proposed() -> None:
    """On 80 GiB half of the GPU holds 8 answers many times over. A share must hold 1.5 billion weights (2.88 GiB), the
    activations of 8,192 tokens (8192 · (18·1536 + 4·8960) · 2 bytes = 0.97 GiB) and 2 · 1024 tokens of 28 KiB (0.05):
    3.90 of 12 GiB are 33 %."""
    plan = plan_batch(Recipe(), QWEN, gpu(80))
    assert plan is not None and (plan.batch_size, plan.gpu_memory_share) == (8, 0.5)
    assert plan.words == "8 answers at a time; 50% of the GPU for vLLM"
    assert vllm_share(Recipe(), QWEN, gpu(12)) == 0.33
    for change in lower_to_fit(Recipe(), QWEN, gpu(12)):
        assert change.values.get(("model", "gpu_memory_share"), 0.33) >= 0.33


def test_how_many_answers_a_share_holds_beside_the_weights() -> None:
    """Of 12 GiB the weights take 3,087,428,608 bytes and the activations of 8,192 tokens 1,040,187,392, so that
    8,757,285,888 are left. An answer takes 600 tokens of 28 KiB and 16 bytes a word piece: 17,203,200 + 2,430,976."""
    assert vllm_holds(12, 600, QWEN, "16bit", gpu(24)) == 8_757_285_888 // 19_634_176 == 446
    assert vllm_holds(12, 300, QWEN, "16bit", gpu(24)) > 600
    assert vllm_holds(12, 600, QWEN, "4bit", gpu(24)) > 500
    assert vllm_holds(3, 600, QWEN, "16bit", gpu(24)) == 0


@pytest.mark.parametrize("step", [{"fast_inference": False}, {"precision": "8bit"}, {}])
def test_vllm_holds_nothing_where_it_cannot_sample(step: dict[str, object]) -> None:
    machine = gpu(80) if step else replace(gpu(80), packages={"torch": "2.11.0"})
    names = [b.name for b in estimate_grpo(Recipe(model=ModelStep(**step)), QWEN, machine).bars]
    assert "KV cache" in names and not [name for name in names if "vLLM" in name]


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
    (SMALL, "trl", "16bit", 1024, "GRPO", 19.33), (SMALL, "trl", "4bit", 2048, "GRPO", 25.07),
    (BILLION, "trl", "16bit", 2048, "GRPO", 27.18), (BILLION, "trl", "4bit", 1024, "GRPO", 21.07),
    (SMALL, "unsloth", "16bit", 1024, "SFT", 2.04), (SMALL, "unsloth", "16bit", 1024, "GRPO", 15.59),
    (SMALL, "unsloth", "4bit", 2048, "SFT", 2.03), (SMALL, "unsloth", "4bit", 2048, "GRPO", 16.29),
    (BILLION, "unsloth", "16bit", 2048, "SFT", 5.92), (BILLION, "unsloth", "16bit", 2048, "GRPO", 19.00),
    (BILLION, "unsloth", "4bit", 1024, "SFT", 3.17), (BILLION, "unsloth", "4bit", 1024, "GRPO", 16.44),
    (SMALL, "unsloth", "fp8", 1024, "GRPO", 15.73)])
def test_estimates_are_within_15_percent_of_what_an_h200_was_seen_to_hold(
        facts: ModelFacts, engine: str, precision: str, length: int, stage: str, peak_gib: float) -> None:
    """Batch 16, a tenth of the GPU for vLLM: docs/results/gpu-memory-*.json."""
    model = {"engine": engine, "precision": precision, "max_length": length, "gpu_memory_share": 0.1}
    assert 0.85 <= peak_gib / estimated(facts, model, 16, stage) <= 1.15


@pytest.mark.parametrize(("model", "stage", "peak_gib"), [
    ({"engine": "unsloth", "precision": "8bit"}, "SFT", 2.48), ({"engine": "trl", "vllm_sleep": True}, "GRPO", 43.25)])
def test_so_are_those_that_were_told_before_they_were_measured(
        model: dict[str, object], stage: str, peak_gib: float) -> None:
    """Batch 32, three tenths of the GPU for vLLM: docs/results/gpu-memory-4.json."""
    told = estimated(SMALL, model | {"max_length": 1024, "gpu_memory_share": 0.3}, 32, stage)
    assert 0.85 <= peak_gib / told <= 1.15


def test_a_copy_for_sampling_from_sums_counts_where_learning_leaves_no_room_for_it() -> None:
    """Two bytes for each weight that has an adapter; learning from a few short answers holds less."""
    recipe = Recipe(model=ModelStep(engine="unsloth"), grpo=GrpoStep(batch_size=2, num_generations=2))
    told = estimate_grpo(recipe, BILLION, gpu(24))
    copy = sum(bar(told, name) for name in ("Copy of the weights", "Token scores", "Activations"))
    assert copy == pytest.approx(2 * BILLION.linear_parameters / GIB) and bar(told, "Copy of the weights") > 1
    for change in (("grpo", "batch_size", 64), ("model", "precision", "4bit"), ("model", "engine", "trl")):
        told = estimate_grpo(with_values(recipe, {change[:2]: change[2]}), BILLION, gpu(24))
        assert "Copy of the weights" not in [one.name for one in told.bars]


def estimated(facts: ModelFacts, model: dict[str, object], batch: int, stage: str) -> float:
    """GiB of a stage on an H200 whose answers have half of the length."""
    recipe = Recipe.parse({"model": model, "sft": {"batch_size": batch},
                           "grpo": {"batch_size": batch, "max_completion_tokens": model["max_length"] // 2}})
    return next(e.total_gib for e in estimates(recipe, facts, gpu(139.8)) if e.stage == stage)


@pytest.mark.parametrize(("parameters", "memory_gib", "used_gib", "step", "engine", "why"), [
    (134_515_008, 80, 0, {}, "trl", "tried more with models of up to 200 million parameters"),
    (134_515_008, 80, 70, {}, "trl", "not clearly faster"),  # taken by others now: the run waits, the choice stays
    (134_515_008, 10, 0, {}, "unsloth", "more memory than"),  # SFT takes 12.4 GiB with TRL, 1.9 with Unsloth
    (134_515_008, 2, 0, {}, "trl", "not clearly faster"),  # neither fits
    (134_515_008, 10, 0, {"engine": "trl"}, "trl", "as chosen"),
    (134_515_008, 80, 0, {"engine": "unsloth"}, "unsloth", "as chosen"),
    (134_515_008, 80, 0, {"precision": "4bit"}, "unsloth", "Unsloth with vLLM, on one GPU"),
    (134_515_008, 80, 0, {"precision": "fp8"}, "unsloth", "Unsloth with vLLM, on one GPU"),
    (361_821_120, 80, 0, {}, "unsloth", "Unsloth with vLLM, on one GPU")])
def test_auto_takes_trl_for_a_small_model_unless_only_unsloth_fits(
        parameters: int, memory_gib: float, used_gib: float, step: dict[str, object], engine: str, why: str) -> None:
    """SmolLM2-135M and SmolLM2-360M; the estimate of SFT follows the engine that is taken."""
    recipe = Recipe(model=ModelStep.model_validate({"max_length": 1024, "gpu_memory_share": 0.2, **step}),
                    sft=SftStep(batch_size=16), grpo=GrpoStep(max_completion_tokens=256))
    facts, machine = replace(SMALL, parameters=parameters), gpu(memory_gib, used_gib)
    choice = choose_engine(recipe, facts, machine)
    assert choice.engine == engine and why in choice.why and choice.vllm
    assert (bar(estimate_sft(recipe, facts, machine), "Token scores") < 0.5) == (engine == "unsloth")


@pytest.mark.parametrize(("model", "engine"), [({}, "trl"), ({"source": "/nowhere"}, "unsloth"),
                                               ({"engine": "unsloth"}, "unsloth")])
def test_the_worker_takes_the_engine_that_the_page_has_told(
        monkeypatch: pytest.MonkeyPatch, model: dict[str, object], engine: str) -> None:
    """The bundled model is small; of one that cannot be read nothing is known."""
    from pipeline.engines import choose as worker

    monkeypatch.setattr(worker, "machine", lambda: gpu(80))
    assert worker.engine_of(Recipe(model=ModelStep.model_validate(model))) == engine
