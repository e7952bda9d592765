"""The editor of one reward: name, weight, switch, its parameters as a form, and code with a live check."""

from html import escape
from typing import Any, get_origin

import gradio as gr

from pipeline.errors import StudioError
from pipeline.recipe import RewardSpec, RewardsStep
from pipeline.rewards import LIBRARY
from pipeline.rewards.base import Item
from pipeline.rewards.custom import TEMPLATE, Check, Custom, check_code
from pipeline.tags import TagScheme, wrap
from reasoning_ui.form import Setting, component, from_form, to_form
from reasoning_ui.rewards_html import note, signed
from reasoning_ui.rewards_state import changed, own_parameters

HELPERS = ("`tag(text, name)` what the last tag of that name holds, or None · `number(text)` a float or None · "
           "`math_equal(a, b)` · `count_tokens(text)`. `re`, `math` and `json` can be imported; files, network and "
           "other packages cannot.")


class Editor:
    """Components for one reward of any kind; the parameters of every kind are there, and one kind's are shown."""

    def __init__(self, allow_custom: bool) -> None:
        self.about = gr.HTML(elem_id="reward-about", apply_default_css=False)
        with gr.Row():
            self.name = gr.Textbox(label="Name", max_length=60, elem_id="reward-name", min_width=140,
                                   info="Shown in tables and charts. Empty takes the kind.")
            self.weight = gr.Number(label="Weight", elem_id="reward-weight", min_width=110,
                                    info="The score is multiplied by this; a negative weight turns it round.")
            self.enabled = gr.Checkbox(label="On", elem_id="reward-on", min_width=80,
                                       info="Off keeps it, unused.")
        self.groups: dict[str, gr.Group] = {}
        self.parameters: dict[str, list[tuple[Setting, gr.components.Component]]] = {}
        for kind, entry in LIBRARY.items():
            with gr.Group(visible=False) as self.groups[kind]:
                self.parameters[kind] = []
                found = [Setting(f"reward-{kind}", n, f) for n, f in entry.parameters.model_fields.items()]
                for start in range(0, len(found), 3):
                    with gr.Row():
                        for setting in found[start : start + 3]:
                            self.parameters[kind].append((setting, _component(setting)))
        with gr.Group(visible=False) as self.code_group:
            self.code = gr.Code(language="python", label="score(completion, reference, prompt)", elem_id="reward-code",
                                lines=12, max_lines=30, interactive=allow_custom)
            gr.Markdown(HELPERS)
            self.restore = gr.Button("Start again from the template", size="sm", elem_id="code-template")
        self.check = gr.HTML(elem_id="code-check", apply_default_css=False)
        self.note = gr.HTML(elem_id="reward-note", apply_default_css=False)

    @property
    def values(self) -> list[gr.components.Component]:
        """Everything a person edits, as inputs."""
        own = [c for pairs in self.parameters.values() for _, c in pairs]
        return [self.name, self.weight, self.enabled, self.code, *own]

    @property
    def outputs(self) -> list[Any]:
        """What `show` fills."""
        return [self.about, *self.values, *self.groups.values(), self.code_group, self.check, self.note]

    @property
    def edits(self) -> list[Any]:
        """The events that mean something was edited."""
        events: list[Any] = [self.name.blur, self.name.submit, self.weight.blur, self.weight.submit, self.enabled.input,
                             self.code.input]
        for pairs in self.parameters.values():
            for _, c in pairs:
                events += [c.blur, c.submit] if isinstance(c, (gr.Number, gr.Textbox)) else [c.input]
        return events

    def show(self, step: RewardsStep, place: int) -> list[Any]:
        """Updates that show the reward at a place; an empty set shows nothing."""
        spec = step.functions[place] if 0 <= place < len(step.functions) else None
        entry = LIBRARY.get(spec.kind) if spec else None
        if spec is None or entry is None:
            words = "Add a reward from the library above." if spec is None else f"There is no reward «{spec.kind}»."
            hidden = [gr.update(visible=False)] * (len(self.groups) + 1)
            return [note(words), *[gr.skip()] * len(self.values), *hidden, "", ""]
        return [_about(spec), spec.name, spec.weight, spec.enabled, spec.code or "", *self._shown(spec),
                *[gr.update(visible=kind == spec.kind and bool(self.parameters[kind])) for kind in self.groups],
                gr.update(visible=spec.kind == "custom"), "", ""]

    def store(self, step: RewardsStep, place: int, values: list[Any]) -> RewardsStep:
        """The step with what the components hold. Raises RewardError in words."""
        spec = step.functions[place]
        name, weight, enabled, code, *rest = values
        own: dict[str, Any] = {}
        at = 0
        for kind, pairs in self.parameters.items():
            if kind == spec.kind:
                own = {s.name: from_form(s, v) for (s, _), v in zip(pairs, rest[at : at + len(pairs)], strict=True)}
            at += len(pairs)
        found = own_parameters(spec.kind, own)
        return changed(step, place, name=(name or "").strip(), weight=weight, enabled=enabled, parameters=found,
                       code=code if spec.kind == "custom" else None)

    def _shown(self, spec: RewardSpec) -> list[Any]:
        out: list[Any] = []
        for kind, pairs in self.parameters.items():
            for setting, _ in pairs:
                value = spec.parameters.get(setting.name, setting.info.default) if kind == spec.kind else None
                out.append(to_form(setting, value) if kind == spec.kind else gr.skip())
        return out


def check_html(spec: RewardSpec, scheme: TagScheme) -> str:
    """The live check of custom code on a right, a wrong and an empty answer."""
    texts = {"a right answer": wrap(scheme, "6 x 7 = 42", "42"), "a wrong answer": wrap(scheme, "6 x 7 = 41", "41"),
             "an empty text": ""}
    items = [Item(text, "42", "What is 6 x 7?", scheme) for text in texts.values()]
    try:
        found = check_code(spec.code or "", items, Custom.model_validate(spec.parameters))
    except (StudioError, ValueError) as error:
        return note(str(error), "bad")
    return _check(found, list(texts))


def _check(found: Check, names: list[str]) -> str:
    printed = f"<pre>{escape(found.printed)}</pre>" if found.printed else ""
    if found.problem is not None:
        return note(str(found.problem), "bad") + printed
    marks = "; ".join(f"{name} {signed(value)} ({reason})" for name, (value, reason) in
                      zip(names, found.marks, strict=True))
    return note(f"The code works: {marks}. {found.milliseconds:.0f} ms.", "good") + printed


def template() -> str:
    """The code that a new custom reward starts with."""
    return TEMPLATE


def _about(spec: RewardSpec) -> str:
    entry = LIBRARY[spec.kind]
    return f'<p><b>{escape(entry.title)}.</b> <span class="rs-about">{escape(entry.sentence)}</span></p>'


def _component(setting: Setting) -> gr.components.Component:
    extra = setting.info.json_schema_extra
    default = setting.info.default
    if isinstance(extra, dict) and extra.get("lines"):
        return gr.Textbox(default, label=setting.label, info=setting.info.description, lines=int(str(extra["lines"])),
                          elem_id=f"setting-{setting.step}-{setting.name}")
    if get_origin(setting.kind) is list:
        default = list(default)
    return component(setting, default)
