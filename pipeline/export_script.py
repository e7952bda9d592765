"""The single-file script that repeats a run with public libraries alone, made from `assets/export/repeat.py`.

Settings enter as JSON inside a Python string literal, never as code. What the script cannot repeat is refused in words.
"""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

from pipeline.dataset.chat import PLAIN_TEMPLATE
from pipeline.errors import RunError
from pipeline.recipe import Recipe
from pipeline.rewards.library import LIBRARY
from pipeline.tags import scheme_of

TEMPLATE = Path(__file__).resolve().parent.parent / "assets" / "export" / "repeat.py"
REWARDS = ("format_exact", "format_approximate", "answer_exact", "answer_numeric")
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "pandas", "math-verify")


def problems(recipe: Recipe) -> list[str]:
    """What the script would do differently from the run; empty when it can be written."""
    found = []
    other = [s.label for s in recipe.rewards.functions if s.enabled and s.kind not in REWARDS and recipe.grpo.enabled]
    if other:
        found.append(f"it knows the rewards {', '.join(REWARDS)}, not {', '.join(other)}")
    if any(s.parameters.get("several", "last") != "last" or s.parameters.get("units", "ignore") != "ignore"
           for s in recipe.rewards.functions if s.enabled):
        found.append("it takes the last of several answers and ignores units")
    if scheme_of(recipe.data.tags).is_boxed or not scheme_of(recipe.data.tags).reasoning_open:
        found.append("it reads answers between tags, with reasoning before them")
    if recipe.model.gpus > 1:
        found.append("it trains on one device")
    return found


def script(recipe: Recipe) -> str:
    """The script's text. Raises RunError when the recipe needs what the script does not have."""
    if found := problems(recipe):
        raise RunError(f"A single script cannot repeat this run: {'; '.join(found)}. "
                       "`python -m pipeline run recipe.yaml` repeats it.")
    scheme = scheme_of(recipe.data.tags)
    template = PLAIN_TEMPLATE if recipe.model.chat_template == "plain" else None
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, empty, value in (("RECIPE", "{}", settings(recipe)), ("TAGS", "[]", list(scheme.tags)),
                               ("CHAT_TEMPLATE", "null", template)):
        line = f'{name} = json.loads("{empty}")'
        assert text.count(line) == 1, line
        text = text.replace(line, f"{name} = json.loads({json.dumps(value)!r})")
    return text.replace("{requirements}", " ".join(_pins()), 1)


def settings(recipe: Recipe) -> dict[str, Any]:
    """What the script needs of a recipe, reward parameters filled in with their defaults."""
    rewards = [{"kind": s.kind, "label": s.label, "weight": s.weight,
                "parameters": LIBRARY[s.kind].parameters(**s.parameters).model_dump()}
               for s in recipe.rewards.functions if s.enabled] if recipe.grpo.enabled else []
    return {
        "seed": recipe.seed, "source": recipe.model.source, "precision": recipe.model.precision,
        "max_length": recipe.model.max_length, "lora": recipe.lora.model_dump(), "sft": recipe.sft.model_dump(),
        "grpo": recipe.grpo.model_dump(), "rewards": rewards, "scale": recipe.rewards.scale,
        "aggregation": "sum_then_normalize" if recipe.rewards.combine == "sum" else "normalize_then_sum",
        "evaluate": recipe.evaluate.model_dump(include={"limit", "max_completion_tokens"})}


def _pins() -> list[str]:
    pins = []
    for package in PACKAGES:
        try:
            pins.append(f"{package}=={importlib.metadata.version(package).partition('+')[0]}")
        except importlib.metadata.PackageNotFoundError:
            pins.append(package)
    return pins
