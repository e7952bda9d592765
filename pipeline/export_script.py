"""The single-file script that repeats a run with public libraries alone, made from `assets/export/repeat.py`.

Settings enter as JSON inside a Python string literal, never as code. The rewards and the reading of answers are this
project's own functions, copied by `export_bundle`. What the script cannot repeat is refused in words.
"""

import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.dataset.chat import PLAIN_TEMPLATE
from pipeline.errors import RunError
from pipeline.export_bundle import Place, bundle
from pipeline.recipe import Recipe
from pipeline.rewards.library import LIBRARY
from pipeline.tags import scheme_of

TEMPLATE = Path(__file__).resolve().parent.parent / "assets" / "export" / "repeat.py"
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "pandas", "math-verify")
NEEDED = {"text_match": ("regex",), "forbidden_words": ("regex",), "json_valid": ("regex", "jsonschema"),
          "json_schema": ("regex", "jsonschema")}  # packages that some rewards import
READING: tuple[Place, ...] = (
    ("pipeline.engines.rounding", "round_to"),
    ("pipeline.rewards.answers", "lenient_match"), ("pipeline.rewards.answers", "same_answer"),
    ("pipeline.rewards.base", "Item"), ("pipeline.tags", "TagScheme"), ("pipeline.tags", "extract"),
    ("pipeline.tags", "is_well_formed"))
BY_THE_SCRIPT: tuple[Place, ...] = (("pipeline.rewards.answers", "_math_equal"),)
BEGIN, END = "# begin:", "# end\n"


def problems(recipe: Recipe) -> list[str]:
    """What the script would do differently from the run; empty when it can be written."""
    found = []
    custom = [s.label for s in recipe.rewards.functions if s.enabled and s.kind == "custom" and recipe.grpo.enabled]
    if custom:
        found.append(f"the reward {', '.join(custom)} is your own code, which runs in this app's sandbox alone")
    if recipe.model.processes > 1:
        found.append("it trains on one device")
    if recipe.model.precision == "fp8":
        found.append("it loads the base in 16, 8 or 4 bits, not in fp8")
    return found


def script(recipe: Recipe) -> str:
    """The script's text. Raises RunError when the recipe needs what the script does not have."""
    if found := problems(recipe):
        raise RunError(f"A single script cannot repeat this run: {'; '.join(found)}. "
                       "`python -m pipeline run recipe.yaml` repeats it.")
    scheme = scheme_of(recipe.data.tags)
    template = PLAIN_TEMPLATE if recipe.model.chat_template == "plain" else None
    values = settings(recipe)
    text = _with_functions(TEMPLATE.read_text(encoding="utf-8"), [reward["kind"] for reward in values["rewards"]])
    for name, empty, value in (("RECIPE", "{}", values), ("TAGS", "[]", list(vars(scheme).values())),
                               ("CHAT_TEMPLATE", "null", template)):
        line = f'{name} = json.loads("{empty}")'
        assert text.count(line) == 1, line
        text = text.replace(line, f"{name} = json.loads({json.dumps(value)!r})")
    return text.replace("{requirements}", " ".join(_pins([reward["kind"] for reward in values["rewards"]])), 1)


def _with_functions(template: str, kinds: Sequence[str]) -> str:
    """The template with the functions that it imports from the app in the imports' place."""
    start, end = template.index(BEGIN), template.index(END) + len(END)
    places = {kind: (LIBRARY[kind].score.__module__, LIBRARY[kind].score.__name__) for kind in dict.fromkeys(kinds)}
    imports, source = bundle([*READING, *places.values()], BY_THE_SCRIPT)
    table = ", ".join(f'"{kind}": {name}' for kind, (_, name) in places.items())
    new = [line for line in imports if line not in template[:start].splitlines()]
    return "\n".join([template[:start].rstrip(), "", *new, "", "", source, "", f"KINDS = {{{table}}}", template[end:]])


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


def _pins(kinds: Sequence[str]) -> list[str]:
    """What the script imports, at the versions of this installation."""
    pins = []
    for package in [*PACKAGES, *dict.fromkeys(p for kind in kinds for p in NEEDED.get(kind, ()))]:
        try:
            pins.append(f"{package}=={importlib.metadata.version(package).partition('+')[0]}")
        except importlib.metadata.PackageNotFoundError:
            pins.append(package)
    return pins
