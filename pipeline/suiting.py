"""Settings that suit what is trained: a very small model, or few worked solutions.

The general defaults are for models of 100 million parameters and more and for hundreds of worked solutions. With them
the bundled model hardly changes, and SFT over a few dozen rows ends before the tags are learnt. What is proposed for a
very small model are the demo's settings; for few rows, as many epochs as make the demo's number of SFT steps.
"""

import math
from dataclasses import dataclass
from typing import Any

from pipeline.dataset.prepare import demo_sizes, mapping_of
from pipeline.dataset.sample import load_sample
from pipeline.demo import SFT_STEPS, demo_recipe
from pipeline.errors import StudioError
from pipeline.recipe import DataStep, Recipe

VERY_SMALL = 20_000_000  # parameters
RATES = {"sft": 5e-4, "grpo": 1e-4}  # below these a very small model hardly changes
FEW_STEPS = 30  # of SFT
MOST_EPOCHS = 30
NAMES = {"sft": "SFT", "grpo": "GRPO"}
DEMOS = {"sft": ("learning_rate", "batch_size", "accumulation"),
         "grpo": ("learning_rate", "steps", "num_generations", "batch_size", "accumulation", "max_completion_tokens",
                  "max_grad_norm")}
Values = dict[tuple[str, str], Any]  # (step, setting) -> new value


@dataclass(frozen=True)
class Suiting:
    """Why other settings would suit better, in sentences; the words of a button; and what it sets."""

    doubts: tuple[str, ...]
    label: str
    values: Values


def suiting(recipe: Recipe, parameters: int, sft_rows: int | None) -> Suiting | None:
    """Other settings for a model of so many parameters and so many worked solutions (None: not known), or None."""
    doubts: list[str] = []
    values: Values = {}
    slow = [f"{name} {getattr(recipe, step).learning_rate:g}" for step, name in NAMES.items()
            if getattr(recipe, step).enabled and getattr(recipe, step).learning_rate < RATES[step]]
    if slow and parameters < VERY_SMALL:
        doubts.append(f"A model of {parameters / 1e6:.1f} million parameters hardly learns at such learning rates "
                      f"({', '.join(slow)}): they are for models a hundred times as large.")
        values |= _of_demo(recipe)
    steps = _sft_steps(recipe, sft_rows, {})
    if steps is not None and sft_rows and steps < FEW_STEPS:
        doubts.append(f"SFT has about {sft_rows:,} worked solutions and takes {math.ceil(steps)} learning "
                      f"step{'s' * (steps > 1)} over them: the tags are seldom learnt in fewer than {FEW_STEPS}.")
    after = _sft_steps(recipe, sft_rows, values)
    if doubts and after is not None and after < SFT_STEPS:
        epochs = min(math.ceil(recipe.sft.epochs * SFT_STEPS / after), MOST_EPOCHS)
        values["sft", "epochs"] = max(float(epochs), recipe.sft.epochs)
    return Suiting(tuple(doubts), f"Use what suits: {_told(values)}", values) if doubts else None


def sft_rows(data: DataStep, seed: int) -> int | None:
    """About how many worked solutions SFT gets; None where the rows are not all at hand."""
    if data.source == "demo":
        return demo_sizes(data)["sft"]
    try:
        sample = load_sample(data, seed)
        reasoning = mapping_of(data, [row for _, row in sample.rows]).reasoning
    except StudioError:
        return None
    if not sample.complete:
        return None
    if not reasoning:
        return 0
    share = data.split.sft
    return min(sum(bool(row.get(reasoning)) for _, row in sample.rows),
               int(share if share >= 1 else share * len(sample.rows)))


def _of_demo(recipe: Recipe) -> Values:
    demo = demo_recipe(recipe.seed)
    return {(step, name): getattr(getattr(demo, step), name) for step, names in DEMOS.items()
            if getattr(recipe, step).enabled for name in names}


def _sft_steps(recipe: Recipe, rows: int | None, values: Values) -> float | None:
    """How many batches SFT's rows make with some values changed; None where it does not follow its rows."""
    if not recipe.sft.enabled or not rows or recipe.sft.max_steps:
        return None
    now = recipe.sft.model_copy(update={name: value for (step, name), value in values.items() if step == "sft"})
    return rows * now.epochs / (now.batch_size * now.accumulation * recipe.model.processes)


def _told(values: Values) -> str:
    """The values that people know by name: "SFT 15 epochs, learning rate 0.002; GRPO 40 steps, learning rate 0.001"."""
    told = {step: [words.format(values[step, name]) for name, words in (
        ("steps", "{} steps"), ("epochs", "{:g} epochs"), ("learning_rate", "learning rate {:g}"))
        if (step, name) in values] for step in NAMES}
    return "; ".join(f"{NAMES[step]} {', '.join(parts)}" for step, parts in told.items() if parts)
