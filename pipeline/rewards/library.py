"""The reward library: every kind by its name."""

from typing import Any

from pydantic import ValidationError

from pipeline.errors import RewardError
from pipeline.recipe import RewardSpec
from pipeline.rewards import arithmetic, correct, custom, formats, lengths, maths, texts
from pipeline.rewards.base import Parameters, RewardKind
from pipeline.wrong_values import setting_name, wrong_value

FAMILIES = (formats, correct, maths, arithmetic, texts, lengths, custom)
LIBRARY: dict[str, RewardKind] = {kind.kind: kind for family in FAMILIES for kind in family.KINDS}


def kind_of(spec: RewardSpec) -> RewardKind:
    """The library entry of a spec. Raises RewardError for an unknown one."""
    if spec.kind not in LIBRARY:
        raise RewardError(f"There is no reward {spec.kind!r}. Known are: {', '.join(LIBRARY)}.")
    return LIBRARY[spec.kind]


def parameters_of(spec: RewardSpec) -> Parameters:
    """The checked parameters of a spec. Raises RewardError that names the parameter and what is wrong."""
    kind = kind_of(spec)
    try:
        return kind.parameters.model_validate(spec.parameters)
    except ValidationError as error:
        raise RewardError(f"Reward {spec.label!r}: " + "; ".join(_in_words(kind, e) for e in error.errors())) from error


def _in_words(kind: RewardKind, error: Any) -> str:
    name = setting_name(error, "")
    if error["type"] == "extra_forbidden":
        return f"there is no parameter {name!r}; known are {', '.join(kind.parameters.model_fields) or 'none'}"
    return f"{name}{': ' if name else ''}{wrong_value(error, kind.parameters)}"
