"""The whole configuration of a run: its steps together, read from YAML and checked in words.

The steps and their settings are in `recipe_data` and `recipe_steps`. Combinations that TRL would
only reject in the middle of a run are rejected here, with the number to change and to what.
"""

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from pipeline.errors import RecipeError
from pipeline.recipe_data import ADVANCED, DataStep, Split, Step, Tags
from pipeline.recipe_steps import (
    EvaluateStep,
    GrpoStep,
    LoraStep,
    ModelStep,
    Parent,
    Provenance,
    RewardSpec,
    RewardsStep,
    SftStep,
    seed_workflow_rewards,
)
from pipeline.wrong_values import fields_along, setting_name, settings_of, wrong_value

__all__ = [
    "ADVANCED",
    "DataStep",
    "EvaluateStep",
    "GrpoStep",
    "LoraStep",
    "ModelStep",
    "Parent",
    "Provenance",
    "Recipe",
    "RewardSpec",
    "RewardsStep",
    "SftStep",
    "Split",
    "Step",
    "Tags",
    "recipe_problems",
    "seed_workflow_rewards",
]


class Recipe(Step):
    """Everything needed to repeat a run."""

    name: str = Field("My reasoner", title="Name", min_length=1, max_length=100,
        description="Shown in the list of runs.")
    seed: int = Field(1, title="Seed", ge=0, le=2**31 - 1, description="The same seed repeats the same run.")
    model: ModelStep = Field(default_factory=ModelStep, title="Model", description="What is trained.")
    data: DataStep = Field(default_factory=DataStep, title="Data", description="What it is trained on.")
    lora: LoraStep = Field(default_factory=LoraStep, title="Adapter", description="What is changed in the model.")
    sft: SftStep = Field(default_factory=SftStep, title="SFT", description="Imitate worked solutions.")
    rewards: RewardsStep = Field(default_factory=RewardsStep, title="Rewards", description="What counts as good.")
    grpo: GrpoStep = Field(default_factory=GrpoStep, title="GRPO", description="Practise with rewards.")
    evaluate: EvaluateStep = Field(default_factory=EvaluateStep, title="Compare", description="Test what was learnt.")
    parent: Parent | None = Field(None, title="Continues", description="An earlier run that this one builds on.")
    provenance: Provenance | None = Field(None, title="Made with", description="Written by the app at the start.")

    @model_validator(mode="after")
    def _combinations(self) -> "Recipe":
        for problem in recipe_problems(self):
            raise ValueError(problem)
        return self

    def to_yaml(self) -> str:
        """The recipe as YAML text that `from_yaml` reads back to an equal recipe."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    @classmethod
    def from_yaml(cls, text: str) -> "Recipe":
        """Parse YAML. Raises RecipeError with one line per problem that names the setting and what to change."""
        try:
            values = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            raise RecipeError(f"The recipe is not valid YAML: {error}") from error
        if not isinstance(values, dict):
            raise RecipeError(f"The recipe must be a list of settings (key: value), not {type(values).__name__}.")
        return cls.parse(values)

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "Recipe":
        """Validate plain values. Raises RecipeError in words."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise RecipeError("\n".join(_in_words(e) for e in error.errors())) from error

    @classmethod
    def load(cls, path: str | Path) -> "Recipe":
        """Read a recipe file. Raises RecipeError when it cannot be read or is wrong."""
        try:
            return cls.from_yaml(Path(path).read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise RecipeError(f"{Path(path).name!r} is no recipe: it holds no text (UTF-8). Give a YAML file, such as "
                              "the recipe.yaml of a run.") from error
        except OSError as error:
            raise RecipeError(f"Cannot read the recipe {str(path)!r}: {error}. "
                              "Give the path of a YAML file.") from error


def recipe_problems(recipe: Recipe) -> list[str]:
    """Combinations that cannot work, each with the number to change and to what."""
    problems = []
    grpo, model = recipe.grpo, recipe.model
    total = grpo.completions_per_step * model.processes
    if grpo.enabled and total % grpo.num_generations:
        unit = grpo.accumulation * model.processes
        better = next(b for b in range(grpo.batch_size, grpo.batch_size + grpo.num_generations + 1)
                      if b * unit % grpo.num_generations == 0)
        problems.append(
            f"GRPO: batch size {grpo.batch_size} x accumulation {grpo.accumulation} x {model.processes} GPU(s) = "
            f"{total} answers a step, which does not divide into groups of {grpo.num_generations}: "
            f"set the batch size to {better}")
    if grpo.enabled and grpo.max_completion_tokens >= model.max_length:
        problems.append(
            f"GRPO: the longest answer ({grpo.max_completion_tokens} tokens) leaves no room for the question in a "
            f"sequence of {model.max_length}: set the sequence length to {2 * grpo.max_completion_tokens} "
            f"or the longest answer to {model.max_length // 2}")
    if grpo.enabled and not any(f.enabled and f.weight for f in recipe.rewards.functions):
        problems.append("GRPO: no reward is switched on, so there is nothing to learn from: switch one on")
    if model.processes > 1 and model.engine == "unsloth":
        problems.append(f"Unsloth trains on one GPU: set GPUs and machines to 1, or the engine to trl for "
                        f"{model.processes} GPUs")
    if model.vllm_sleep and model.engine == "unsloth":
        problems.append("vLLM sleeps only with the engine trl: set the engine to trl, or let vLLM stay awake")
    if grpo.epsilon_high is not None and grpo.epsilon_high < grpo.epsilon:
        problems.append(f"GRPO: the upper clip range {grpo.epsilon_high} is below the clip range: "
                        f"set it to {grpo.epsilon} or more")
    shares = [v for v in recipe.data.split.model_dump().values() if v < 1]
    if sum(shares) > 1 + 1e-9:
        problems.append(f"Data: the shares of the split add up to {sum(shares):.2f}: lower them to 1 in all")
    return problems


def _in_words(error: dict[str, Any]) -> str:
    name = setting_name(error, "recipe")
    if error["type"] == "extra_forbidden":
        names = _names_in(error["loc"][:-1])
        near = difflib.get_close_matches(str(error["loc"][-1]), names, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(names)}."
        return f"{name}: there is no such setting. {hint}"
    return f"{name}: {wrong_value(error, Recipe)}"


def _names_in(location: tuple[Any, ...]) -> list[str]:
    fields = fields_along(Recipe, location)
    group = settings_of(fields[-1]) if fields else Recipe
    return list(group.model_fields) if group else []
