"""The recipe form as data: which settings it shows in which groups, and the way between form and recipe."""

import json
from collections.abc import Sequence
from typing import Any

from pipeline.recipe import ModelStep, Recipe
from reasoning_ui.form import Setting, from_form, settings, to_form
from reasoning_ui.shared import TRAINING_KEYS, model_step, training_values

GROUPS = {
    "model": ("Model", "What is trained. The header offers models to choose from; any folder or Hub id can be typed."),
    "sft": ("SFT: imitate worked solutions", "The warm-up. The model learns the tags and a way of working."),
    "grpo": ("GRPO: practise with rewards", "The model answers each question several times; answers that score better "
             "than the others of their group become likelier."),
    "lora": ("Adapter", "The small part that is trained, while the model itself stays as it is."),
    "evaluate": ("Compare afterwards", "The held-out questions that tell whether it worked."),
}
GOALS = {"SFT, then GRPO": (True, True), "SFT alone": (True, False), "GRPO alone": (False, True)}
SETTINGS: list[Setting] = [s for step in ("", *GROUPS)
                           for s in settings(step, skip=("enabled",) if step in ("sft", "grpo") else ())]


def values_of(goal: str, shown: Sequence[Any]) -> dict[str, Any]:
    """The form as plain recipe values (without data and rewards), not yet validated."""
    values: dict[str, Any] = {step: {} for step in GROUPS}
    for setting, raw in zip(SETTINGS, shown, strict=True):
        (values[setting.step] if setting.step else values)[setting.name] = from_form(setting, raw)
    values["sft"]["enabled"], values["grpo"]["enabled"] = GOALS[goal]
    return values


def shown_of(values: dict[str, Any]) -> tuple[str, list[Any]]:
    """Plain recipe values as the form shows them: the goal and all values; defaults where one is missing."""
    defaults = Recipe().model_dump(mode="json")
    shown = []
    for setting in SETTINGS:
        part = values.get(setting.step, {}) if setting.step else values
        fallback = (defaults[setting.step] if setting.step else defaults)[setting.name]
        shown.append(to_form(setting, part.get(setting.name, fallback)))
    enabled = tuple(bool(values.get(step, {}).get("enabled", True)) for step in ("sft", "grpo"))
    goal = next((name for name, flags in GOALS.items() if flags == enabled), "SFT, then GRPO")
    return goal, shown


def stored(values: dict[str, Any]) -> tuple[str | None, str]:
    """The form's values for `shared.model` (None while they are not valid) and `shared.training`."""
    training = json.dumps({key: values[key] for key in TRAINING_KEYS})
    try:
        return ModelStep.model_validate(values["model"]).model_dump_json(), training
    except ValueError:
        return None, training


def from_store(model: str, training: str) -> tuple[str, list[Any]]:
    """What the form shows for the stored choices."""
    return shown_of(training_values(training) | {"model": model_step(model).model_dump(mode="json")})
