"""A form made from pydantic fields: one component per setting, labelled, explained and bounded by its `Field`."""

import contextlib
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

import gradio as gr
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.recipe import Recipe, Step
from pipeline.wrong_values import fields_along, limits


@dataclass(frozen=True)
class Setting:
    """One setting of the recipe. `step` is the part it belongs to, empty for the recipe itself."""

    step: str
    name: str
    info: FieldInfo

    @property
    def optional(self) -> bool:
        """Whether it may be left empty."""
        return type(None) in get_args(self.info.annotation)

    @property
    def kind(self) -> Any:
        """Its type without `None`."""
        kinds = [k for k in get_args(self.info.annotation) if k is not type(None)]
        is_union = get_origin(self.info.annotation) in (Union, types.UnionType)
        return kinds[0] if is_union else self.info.annotation

    @property
    def advanced(self) -> bool:
        """Whether it is shown only under Advanced."""
        extra = self.info.json_schema_extra
        return isinstance(extra, Mapping) and bool(extra.get("advanced"))

    @property
    def tiny_number(self) -> bool:
        """Whether it is a number like 2e-4, which a number field would show as 0.0002."""
        return self.name == "learning_rate"

    @property
    def typed(self) -> bool:
        """Whether it is a number that is typed as text: a gr.Number left empty sends 0 once it was on the screen."""
        return self.tiny_number or (self.optional and self.kind in (int, float))

    @property
    def choices(self) -> list[str]:
        """The allowed values, where they are listed."""
        inner = get_args(self.kind)[0] if get_origin(self.kind) is list else self.kind
        return [str(v) for v in get_args(inner)] if get_origin(inner) is Literal else []

    @property
    def label(self) -> str:
        """Its title."""
        return self.info.title or self.name


def settings(step: str, skip: Sequence[str] = ()) -> list[Setting]:
    """The settings of a step of the recipe, nested steps left out."""
    model = step_class(step)
    return [Setting(step, name, info) for name, info in model.model_fields.items()
            if name not in skip and not _is_step(info.annotation)]


def step_class(step: str) -> type[Step]:
    """The pydantic class of a step by its name in the recipe."""
    kind = Recipe.model_fields[step].annotation if step else Recipe
    assert isinstance(kind, type) and issubclass(kind, Step), kind
    return kind


def component(setting: Setting, value: Any) -> gr.components.Component:
    """The input for one setting, with its help and, for numbers, the range it must be in."""
    common = {"label": setting.label, "elem_id": f"setting-{setting.step or 'recipe'}-{setting.name}"}
    shown, kind = to_form(setting, value), setting.kind
    help_text = setting.info.description or ""
    if kind is bool:
        return gr.Checkbox(shown, info=help_text, **common)
    if setting.choices and get_origin(kind) is list:
        return gr.CheckboxGroup(setting.choices, value=shown, info=help_text, **common)
    if setting.choices:
        return gr.Dropdown(setting.choices, value=shown, info=help_text, **common)
    if setting.tiny_number:
        return gr.Textbox(shown, lines=1, info=f"{help_text} "
                          f"The usual value is {short_number(setting.info.default)}.", **common)
    if kind in (int, float):
        told = {"info": f"{help_text} {bounds_in_words(setting)}".strip(), "min_width": 180, **common}
        if setting.typed:
            return gr.Textbox(shown, placeholder="empty", lines=1, **told)
        return gr.Number(shown, precision=0 if kind is int else None, **told)
    hint = "separated by commas" if get_origin(kind) is list else "empty" if setting.optional else None
    return gr.Textbox(shown, info=help_text, placeholder=hint, lines=1, **common)


def to_form(setting: Setting, value: Any) -> Any:
    """A plain recipe value as its component shows it."""
    if get_origin(setting.kind) is list and not setting.choices:
        return value if isinstance(value, str) else ", ".join(value or [])  # a component may get what is shown already
    if setting.tiny_number and isinstance(value, float):
        return short_number(value)
    if value is None:
        return "" if setting.typed or setting.kind not in (int, float) else None
    return str(value) if setting.typed else value


def from_form(setting: Setting, shown: Any) -> Any:
    """What a component holds as a plain recipe value; an empty optional setting is None."""
    if get_origin(setting.kind) is list and not setting.choices:
        return [part.strip() for part in str(shown or "").split(",") if part.strip()]
    if isinstance(shown, str):
        shown = shown.strip()
    if shown == "" and setting.optional:
        return None
    return _number(shown) if setting.typed and isinstance(shown, str) else shown


def short_number(value: float) -> str:
    """A small number as people write it: 2e-4."""
    scientific = f"{value:e}"
    mantissa, exponent = scientific.split("e")
    return f"{float(mantissa):g}e{int(exponent)}" if 0 < abs(value) < 0.01 else f"{value:g}"


def bounds_in_words(setting: Setting) -> str:
    """The allowed range, such as `1 to 512`, or nothing where there is none worth telling."""
    found = limits(setting.info)
    if not found:
        return ""
    open_low = "gt" in found
    low, high = found.get("ge", found.get("gt")), found.get("le", found.get("lt"))
    if high is None or high > 50_000:
        return f"(more than {low:g})" if open_low else f"({low:g} or more)"
    return f"(above {low:g}, to {high:g})" if open_low else f"({low:g} to {high:,})"


def in_titles(message: str) -> str:
    """A recipe error with the settings' labels instead of their names in the file: `GRPO > Batch size: …`."""
    def swap(match: re.Match[str]) -> str:
        names = match.group(1).split(".")
        fields = fields_along(Recipe, tuple(names))
        titles = (field.title or name for field, name in zip(fields, names, strict=True))
        return " > ".join(titles) + ":" if fields else match.group(0)

    lines = [re.sub(r"^([a-z_]+(?:\.[a-z_0-9]+)*):", swap, line) for line in message.splitlines()]
    return "\n".join(line.removeprefix("recipe: ") for line in lines)


def _number(text: str) -> int | float | str:
    """A number that was typed as text; what is none stays, for the recipe to refuse it in words."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _is_step(annotation: Any) -> bool:
    kinds = [annotation, *get_args(annotation)]
    return any(isinstance(k, type) and issubclass(k, BaseModel) for k in kinds)
