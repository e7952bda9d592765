"""What is wrong with a setting's value, in words: pydantic finds it, this says what would be right."""

from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

NUMBER = ("float_", "finite_number", "greater_than", "less_than")
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
MAX_SHOWN = 80


def wrong_value(error: Any, model: type[BaseModel]) -> str:
    """One of pydantic's errors about `model` without the setting's name: `must be a number from 0 to 1 (it is 3)`."""
    field, kind = next(iter(reversed(fields_along(model, error["loc"]))), None), error["type"]
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    if kind == "missing":
        return "is missing"
    return f"{_wanted(error, field)} (it is {_shown(error['input'])})"


def setting_name(error: Any, nothing: str) -> str:
    """The setting's name with those that it belongs to: `grpo.steps`; `nothing` where no single one is wrong."""
    return ".".join(map(str, error["loc"])) or nothing


def fields_along(model: type[BaseModel], location: tuple[Any, ...]) -> list[FieldInfo]:
    """The field at a place after those that it lies in; a place in a list is that of the list. Empty for none."""
    fields: list[FieldInfo] = []
    for name in (part for part in location if not isinstance(part, int)):
        inside = settings_of(fields[-1]) if fields else model
        if inside is None or name not in inside.model_fields:
            return []
        fields.append(inside.model_fields[name])
    return fields


def settings_of(field: FieldInfo) -> type[BaseModel] | None:
    """The group of settings that a field holds, one or a list of them; None for a plain value."""
    return next((kind for kind in _kinds(field) if issubclass(kind, BaseModel)), None)


def limits(field: FieldInfo) -> dict[str, float]:
    """The bounds of a number by their names in `BOUNDS`; those that it does not have are missing."""
    return {name: getattr(bound, name) for bound in field.metadata for name in BOUNDS
            if getattr(bound, name, None) is not None}


def _wanted(error: Any, field: FieldInfo | None) -> str:
    kind, context = error["type"], error.get("ctx", {})
    whole = kind.startswith("int_") or (kind.startswith(NUMBER) and int in _kinds(field) and float not in _kinds(field))
    if whole or kind.startswith(NUMBER):
        return f"must be a {'whole ' if whole else ''}number{_range(field)}"
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind in ("string_too_short", "too_short"):
        return f"must have at least {context['min_length']} {'character' if kind != 'too_short' else 'of them'}"
    if kind == "string_too_long":
        return f"may have at most {context['max_length']} characters"
    plain = {"bool": "must be true or false", "string": "must be text", "list": "must be a list",
             "model": "must be settings, each with a name and a value",
             "dict": "must be settings, each with a name and a value"}
    return plain.get(kind.split("_")[0]) or str(error["msg"])


def _range(field: FieldInfo | None) -> str:
    found = limits(field) if field else {}
    if {"ge", "le"} <= found.keys():
        return f" from {_number(found['ge'])} to {_number(found['le'])}"
    told = " and ".join(f"{BOUNDS[name]} {_number(value)}" for name, value in found.items())
    return told and f" {'of ' * told.startswith('at ')}{told}"


def _number(value: float) -> str:
    return f"{int(value):,}" if float(value).is_integer() else f"{value:g}"


def _shown(value: Any) -> str:
    return "empty" if value is None or value == "" else repr(value)[:MAX_SHOWN]


def _kinds(field: FieldInfo | None) -> set[Any]:
    """Every type that a field's annotation names, however deep."""
    found, open_ = set(), [field.annotation] if field else []
    while open_:
        kind = open_.pop()
        found.add(kind)
        open_ += get_args(kind)
    return {kind for kind in found if isinstance(kind, type)}
