"""Recipes to start from: the general defaults, the demo's, and one for real data that was measured on a GPU."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.demo import demo_recipe
from pipeline.recipe import (
    DataStep,
    EvaluateStep,
    GrpoStep,
    LoraStep,
    ModelStep,
    Recipe,
    RewardSpec,
    RewardsStep,
    SftStep,
    Split,
)


def gsm8k_recipe(seed: int = 1, model: str = "HuggingFaceTB/SmolLM2-135M-Instruct") -> Recipe:
    """A model of 100 to 500 million parameters on GSM8K (https://arxiv.org/abs/2110.14168), on one GPU.

    Such a model answers few of these questions, and a group without a right answer teaches nothing. So it practises on
    those with short solutions, of which it gets twice as many right as of all, in groups of 16, and 32 groups make a
    learning step. Only right answers and the format are rewarded: a reward for near numbers would speak in many more
    groups than the right answers do, and drown them; one for equations that hold was learnt by writing one equation
    that has nothing to do with the question. A little less variety than the model's own (temperature 0.8) finds more
    right answers. SFT is a warm-up: 3,000 worked solutions, seen twice. The engine is the one that this was
    found with. What was tried, and what came of it: docs/gpu-benchmarks.md.
    """
    return Recipe(
        name=f"GSM8K, small model (seed {seed})",
        seed=seed,
        model=ModelStep(source=model, max_length=768, engine="trl", gpu_memory_share=0.3),
        data=DataStep(source="gsm8k", split=Split(sft=3000, grpo=4000, validation=200, test=0),
                      grpo_longest=80),
        lora=LoraStep(rank=32, alpha=64, gradient_checkpointing=False),
        sft=SftStep(learning_rate=1e-3, batch_size=32, epochs=2.0, eval_every=50, save_every=100),
        rewards=RewardsStep(functions=[
            RewardSpec(kind="math_equal", name="accuracy", weight=2.0),
            RewardSpec(kind="format_exact", name="format", parameters={"right": 1.0})]),
        grpo=GrpoStep(learning_rate=2e-4, steps=75, num_generations=16, batch_size=64, accumulation=8,
                      max_completion_tokens=192, temperature=0.8, eval_every=25, eval_rows=200, save_every=25),
        evaluate=EvaluateStep(benchmarks=["gsm8k"], max_completion_tokens=256),
    )


@dataclass(frozen=True)
class Start:
    """A recipe to start from and what to expect of it, in a sentence. `whole`: model, data and rewards are its own;
    otherwise the chosen ones stay."""

    recipe: Callable[[], Recipe]
    expect: str
    whole: bool = True


STARTS = {
    "General defaults": Start(
        Recipe, "The value that each field has at first. The chosen model, data and rewards stay.", whole=False),
    "The demo's settings": Start(
        lambda: demo_recipe(1), "The bundled tiny model and problems made on this machine: a few minutes on a "
        "processor. The learning rates are far above what a larger model bears."),
    "GSM8K with a small model (one GPU, about 13 minutes)": Start(
        gsm8k_recipe, "SmolLM2-135M-Instruct and GSM8K's school mathematics, both fetched from the Hub; timed on an "
        "H200 that trained three such runs at once. What to expect: the model learns the tags and to answer briefly, "
        "and of the short problems that it practises on it gets up to twice as many right as at first. Of a hundred "
        "problems that it never saw it answers one or two more: it is too small for most of them. A larger model, "
        "chosen in the header afterwards, keeps these settings."),
}
