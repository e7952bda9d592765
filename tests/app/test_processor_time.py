"""How long GRPO takes without a GPU, against sums done by hand."""

from pipeline.demo import demo_recipe
from pipeline.hardware import Gpu, Hardware
from pipeline.presets import gsm8k_recipe
from pipeline.processor_time import grpo_seconds, processor_doubt
from pipeline.recipe import Recipe

LAPTOP = Hardware(2, 24, 20)
SMOL, TINY = 134_515_008, 984_192


def test_the_gsm8k_start_on_a_laptop_is_said_to_take_days_and_what_takes_minutes() -> None:
    """75 steps x 512 answers x 192 tokens = 7.4 million tokens at 10 x 134.5 million operations: 9.9e15. At 2 x 5e9 a
    second they take 991,752 s, 11.5 days; with a longest answer of 256 tokens 15.3 days."""
    recipe = gsm8k_recipe()
    assert round(grpo_seconds(recipe, SMOL, 2)) == 991_752
    assert "takes days on this processor (a rough estimate for 75 steps of 512 answers)" in (
        told := processor_doubt(recipe, SMOL, LAPTOP) or "")
    assert "135 million parameters" in told and "«The demo's settings»" in told
    longer = recipe.model_copy(update={"grpo": recipe.grpo.model_copy(update={"max_completion_tokens": 256})})
    assert "takes weeks" in (processor_doubt(longer, SMOL, LAPTOP) or "")
    assert "takes hours" in (processor_doubt(Recipe(), SMOL, LAPTOP) or "")


def test_nothing_is_said_of_what_takes_minutes_or_has_a_gpu_or_no_grpo() -> None:
    recipe = gsm8k_recipe()
    assert processor_doubt(demo_recipe(1), TINY, LAPTOP) is None
    assert processor_doubt(Recipe(), TINY, LAPTOP) is None
    assert processor_doubt(recipe, SMOL, Hardware(2, 24, 20, (Gpu(0, "NVIDIA H200", 139.8, 9.0, (9, 0)),))) is None
    assert processor_doubt(recipe.model_copy(update={"grpo": recipe.grpo.model_copy(update={"enabled": False})}),
                           SMOL, LAPTOP) is None
