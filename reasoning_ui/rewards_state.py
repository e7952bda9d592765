"""Changes to a reward set and its YAML, as pure functions; no components here."""

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from pipeline import custom_code
from pipeline.errors import RewardError, StudioError
from pipeline.recipe import DataStep, Recipe, RewardSpec, RewardsStep
from pipeline.rewards import LIBRARY, RewardSet
from pipeline.rewards.custom import TEMPLATE
from pipeline.tags import SCHEMES, TagScheme, scheme_of
from pipeline.wrong_values import fields_along, wrong_value

MAX_YAML_CHARS = 500_000


def scheme_for(data: DataStep) -> TagScheme:
    """The chosen tags; the usual ones while custom tags are incomplete."""
    try:
        return scheme_of(data.tags)
    except StudioError:
        return SCHEMES["reasoning"]


def with_new(step: RewardsStep, kind: str) -> tuple[RewardsStep, int]:
    """The step with one more reward, and its place."""
    if kind not in LIBRARY:
        raise RewardError("Choose a reward to add.")
    spec = RewardSpec(kind=kind, name=_free_name(step, kind), code=TEMPLATE if kind == "custom" else None)
    return _with(step, [*step.functions, spec]), len(step.functions)


def without(step: RewardsStep, place: int) -> tuple[RewardsStep, int]:
    """The step without the reward at a place, and the place to look at next."""
    left = [f for i, f in enumerate(step.functions) if i != place]
    return _with(step, left), max(0, min(place, len(left) - 1))


def moved(step: RewardsStep, place: int, by: int) -> tuple[RewardsStep, int]:
    """The step with a reward moved up (-1) or down (+1), and its new place."""
    to = min(max(place + by, 0), len(step.functions) - 1)
    order = list(step.functions)
    order.insert(to, order.pop(place))
    return _with(step, order), to


def changed(step: RewardsStep, place: int, **values: Any) -> RewardsStep:
    """The step with other values of one reward. Raises RewardError in words for a wrong value or a name used twice."""
    try:
        spec = RewardSpec.model_validate(step.functions[place].model_dump() | values)
        return _with(step, [spec if i == place else f for i, f in enumerate(step.functions)])
    except ValidationError as error:
        raise _told(error, RewardSpec, "Name") from error


def own_parameters(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Checked parameters without those that are the defaults. Raises RewardError that names the parameter."""
    model = LIBRARY[kind].parameters
    try:
        found = model.model_validate(dict(values))
    except ValidationError as error:
        raise _told(error, model, "Parameters") from error
    return found.model_dump(exclude_defaults=True)


def _told(error: ValidationError, model: type[BaseModel], whole: str) -> RewardError:
    """The first thing that is wrong, by its setting's title, or `whole` where it is no single one."""
    first = error.errors()[0]
    fields = fields_along(model, first["loc"][:1])
    return RewardError(f"{fields[0].title if fields else whole}: {wrong_value(first, model)}")


def to_yaml(step: RewardsStep) -> str:
    """The reward set as YAML; what is left at its default is left out."""
    rows = []
    for spec in step.functions:
        row = {"kind": spec.kind, **spec.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})}
        rows.append(row)
    values = {"rewards": {"combine": step.combine, "scale": step.scale, "functions": rows}}
    return yaml.dump(values, Dumper=_Readable, sort_keys=False, allow_unicode=True, width=100)


def from_yaml(text: str, allow_custom: bool = True) -> RewardsStep:
    """A reward set from YAML: `rewards` of a recipe, a whole recipe, or a list of functions. Raises RewardError."""
    if len(text) > MAX_YAML_CHARS:
        raise RewardError(f"The file has {len(text):,} characters; a reward set has at most {MAX_YAML_CHARS:,}.")
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise RewardError(f"This is not valid YAML: {error}") from error
    if isinstance(values, list):
        values = {"functions": values}
    if isinstance(values, dict) and "rewards" in values:
        values = values["rewards"]
    if not isinstance(values, dict):
        raise RewardError("This holds no reward set: it needs `rewards` with a list of `functions`.")
    step = Recipe.parse({"rewards": values, "grpo": {"enabled": False}}).rewards
    if not allow_custom and any(spec.kind == "custom" for spec in step.functions):
        raise RewardError(f"This set has custom code. {custom_code.WHY}")
    if (words := problem_of(step, SCHEMES["reasoning"])) is not None:
        raise RewardError(words)
    return step


def problem_of(step: RewardsStep, scheme: TagScheme) -> str | None:
    """Why the set cannot be used, in words; None when it can."""
    if not any(f.enabled for f in step.functions):
        return "No reward is switched on: add one, or switch one on."
    try:
        RewardSet(step, scheme).close()
    except StudioError as error:
        return str(error)
    return None


def choices_of(step: RewardsStep) -> list[tuple[str, str]]:
    """The rewards for a list of choices: (words, name)."""
    return [(f"{i}. {f.label}" + ("" if f.enabled else " (off)"), f.label) for i, f in enumerate(step.functions, 1)]


# ------------------------------------------------------------------------------------------------------------------


class _Readable(yaml.SafeDumper):
    """Writes code and other texts of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _text)


def _with(step: RewardsStep, functions: list[RewardSpec]) -> RewardsStep:
    return RewardsStep.model_validate(step.model_dump() | {"functions": [f.model_dump() for f in functions]})


def _free_name(step: RewardsStep, kind: str) -> str:
    taken = {f.label for f in step.functions}
    if kind not in taken:
        return ""
    return next(name for n in range(2, 1000) if (name := f"{kind} {n}") not in taken)
