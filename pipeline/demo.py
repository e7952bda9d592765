"""The demo: one recipe that takes the bundled tiny model through SFT and GRPO on two CPU cores in a few minutes.

The learning rates are far above the general defaults: a model of about a million parameters bears, and within so few
steps needs, larger ones. They were chosen on the seeds 11 and 12 and checked on 13; docs/benchmarks.md reports
the seeds 1, 2 and 3.
"""

from pipeline.recipe import DataStep, EvaluateStep, GrpoStep, LoraStep, ModelStep, Recipe, SftStep, Split

SFT_STEPS, SFT_BATCH = 60, 16
GRPO_STEPS, GRPO_ANSWERS, GROUP_SIZE = 40, 64, 8
TEST_QUESTIONS = 300


def demo_recipe(seed: int) -> Recipe:
    """The demo's recipe for a seed; the seed also decides which problems are made."""
    return Recipe(
        name=f"Demo (seed {seed})",
        seed=seed,
        model=ModelStep(source="tiny", max_length=512),
        data=DataStep(source="demo", split=Split(
            sft=SFT_STEPS * SFT_BATCH, grpo=GRPO_STEPS * GRPO_ANSWERS // GROUP_SIZE, validation=64,
            test=TEST_QUESTIONS)),
        lora=LoraStep(rank=16, alpha=32, gradient_checkpointing=False),
        sft=SftStep(learning_rate=2e-3, batch_size=SFT_BATCH, epochs=1.0, eval_every=20, save_every=30),
        grpo=GrpoStep(
            learning_rate=1e-3, steps=GRPO_STEPS, num_generations=GROUP_SIZE, batch_size=GRPO_ANSWERS,
            max_completion_tokens=96, max_grad_norm=1.0, save_every=20),
        evaluate=EvaluateStep(batch_size=100),
    )
