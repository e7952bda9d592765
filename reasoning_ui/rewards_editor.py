"""The editor of one reward: a form made from the parameters' fields, and code with a live check.

The form is one `gr.HTML` with plain inputs, not a component for every parameter of every kind: Gradio's page spends
time on each output of each event, in proportion to all components of the app, and a hundred of them froze it for
seconds.
"""

import time
from collections.abc import Mapping
from html import escape
from typing import Any, get_args, get_origin

import gradio as gr

from pipeline import custom_code
from pipeline.errors import RewardError, StudioError
from pipeline.recipe import RewardSpec, RewardsStep
from pipeline.rewards import LIBRARY
from pipeline.rewards.base import Item
from pipeline.rewards.custom import Check, Custom, check_code
from pipeline.tags import TagScheme, wrap
from reasoning_ui.form import Setting, bounds_in_words
from reasoning_ui.rewards_html import note, signed
from reasoning_ui.rewards_state import changed, own_parameters

HELPERS = ("`tag(text, name)` what the last tag of that name holds, or None · `number(text)` a float or None · "
           "`math_equal(a, b)` · `count_tokens(text)`. `re`, `math` and `json` can be imported; files, network and "
           "other packages cannot.")
SANDBOX = """
The code runs in an interpreter of its own, in a process of its own ([pydantic-monty](
https://github.com/pydantic/monty)).

- **Covered.** It has no files, environment, network, processes, threads or installed packages, and no way into this
  program. Each batch of answers has a time and a memory limit; recursion, prints and calls of the helpers are limited;
  only a finite number is taken back; nothing is kept from one batch to the next. An answer on which it fails gets no
  score and is counted; training goes on, and past 10 % failures the run says so loudly.
- **Not covered.** A reward that pays for nonsense (try mutants and the gaming check below), and the processor time
  within the limits. On a machine with secrets, do not run code of people you do not trust.
"""
SEND = """
const edits = [];  // forms on their way to the server, each as it was when its edit ended
let draft = null;  // the form with what is typed in a field that was not left yet
const read = () => {
  const form = element.querySelector("form"), values = {};
  form?.querySelectorAll("[data-field]").forEach(field => {
    values[field.dataset.field] = field.type === "checkbox" ? field.checked : field.value;
  });
  return {place: form?.dataset.place, kind: form?.dataset.kind, values};
};
const send = form => { draft = null; edits.push(form); trigger("edited"); };
const shown = () => {  // by its place only where it has been renamed since it was drawn: the set may be newer
  const names = window.rewardTurns.names(), {name, place} = element.querySelector("form")?.dataset ?? {};
  return names.includes(name) ? name : names[place];
};
const now = () => ({...read(), name: draft?.name ?? shown()});
window.rewardForm = read;
window.rewardEdit = () => edits.shift();
element.addEventListener("input", event => {
  const {field} = event.target.dataset;
  if (field) draft = {...now(), typed: {...draft?.typed, [field]: event.target.value}};
});
element.addEventListener("change", event => { if (event.target.dataset.field) send(now()); });
element.addEventListener("focusout", () => { if (draft) send(now()); });
element.addEventListener("submit", event => event.preventDefault());
watch("value", () => {
  const form = element.querySelector("form"), field = document.activeElement, typed = draft;
  form?.reset();
  if (!typed) return;
  if (form && [typed.name, window.rewardTurns.label(typed)].includes(form.dataset.name)) {
    const at = field.selectionStart;  // none in a field for numbers
    for (const [name, text] of Object.entries(typed.typed)) form.querySelector(`[data-field="${name}"]`).value = text;
    if (at != null) field.setSelectionRange(at, at);
    if (!form.contains(field)) send(now());
  } else {
    send({...typed, late: true});
    const chosen = `#reward-list input[value="${CSS.escape(form?.dataset.name)}"]`;  // when the list has been drawn
    if (element.contains(field)) setTimeout(() => document.querySelector(chosen)?.focus());
  }
});
"""
# Gradio changes the form that is there into the next reward's; without `reset`, a field would keep what was typed for
# the one before, and without moving the focus, what is typed on would be the next one's


class Editor:
    """The form of the chosen reward, and the code editor, which is there for custom code."""

    def __init__(self, allow_custom: bool) -> None:
        self.allow_custom = allow_custom
        self.form = gr.HTML(elem_id="reward-form", apply_default_css=False, js_on_load=SEND)
        self.form_now = gr.Textbox("", visible="hidden", label="reward-form-now")  # filled by rewards_turns
        self.drawn = gr.Textbox("", visible="hidden", label="reward-drawn")  # the reward that form and code show
        with gr.Group(visible=False) as self.group:
            self.code = gr.Code(language="python", label="score(completion, reference, prompt)", elem_id="reward-code",
                                lines=10, max_lines=30, interactive=allow_custom)  # without, it is never shown
            gr.Markdown(HELPERS, elem_id="code-helpers")
            with gr.Accordion("What the sandbox covers, and what it does not", open=False, elem_id="code-sandbox"):
                gr.Markdown(SANDBOX)
            self.restore = gr.Button("Start again from the template", size="sm", elem_id="code-template")
        self.note = gr.HTML(elem_id="reward-note", apply_default_css=False)

    @property
    def outputs(self) -> list[Any]:
        """What `show` fills."""
        return [self.form, self.group, self.code, self.note, self.drawn]

    def refresh(self, step: RewardsStep, place: int, drawn: str) -> list[Any]:
        """`show`, or nothing where that reward is drawn already: somebody may be typing in it."""
        return [gr.skip()] * len(self.outputs) if drawn == signature(step, place) else self.show(step, place)

    def show(self, step: RewardsStep, place: int) -> list[Any]:
        """Updates that show the reward at a place; an empty set shows nothing."""
        return [*self._parts(step, place), signature(step, place)]

    def _parts(self, step: RewardsStep, place: int) -> list[Any]:
        spec = step.functions[place] if 0 <= place < len(step.functions) else None
        if spec is None or spec.kind not in LIBRARY:
            words = "Add a reward from the library above." if spec is None else f"There is no reward «{spec.kind}»."
            return [note(words), gr.update(visible=False), gr.skip(), ""]
        if spec.kind == "custom" and not self.allow_custom:
            return [note(f"«{spec.label}» is custom code. {custom_code.WHY}", "bad"), gr.update(visible=False),
                    gr.skip(), ""]
        custom = spec.kind == "custom"
        return [form_html(spec, place), gr.update(visible=custom), spec.code or "" if custom else gr.skip(), ""]


def signature(step: RewardsStep, place: int) -> str:
    """The reward at a place as text; only the place where there is none."""
    return f"{place} {step.functions[place].model_dump_json() if 0 <= place < len(step.functions) else ''}"


def with_values(step: RewardsStep, place: int, values: Mapping[str, Any]) -> RewardsStep:
    """The step with what the form holds. Raises RewardError in words."""
    if not 0 <= place < len(step.functions):
        raise RewardError("This reward is no longer there: choose another.")
    spec = step.functions[place]
    fields = LIBRARY[spec.kind].parameters.model_fields
    own = {name: _read(_setting(spec.kind, name), values.get(f"p-{name}")) for name in fields}
    weight = str(values.get("weight", "")).strip()
    return changed(step, place, name=str(values.get("name") or "").strip(), weight=weight or None,
                   enabled=bool(values.get("enabled")), parameters=own_parameters(spec.kind, own))


def form_html(spec: RewardSpec, place: int) -> str:
    """Name, weight, switch and the parameters of a reward as a form."""
    entry = LIBRARY[spec.kind]
    rows = [
        _row("name", "Name", f"Shown in tables and charts. Empty takes «{spec.kind}».",
             f'type="text" maxlength="60" value="{escape(spec.name)}"'),
        _row("weight", "Weight", "The score is multiplied by this; a negative weight turns it round.",
             f'type="number" step="any" value="{spec.weight:g}"'),
        _row("enabled", "On", "Off keeps it, unused.", f'type="checkbox"{" checked" if spec.enabled else ""}')]
    for name, field in entry.parameters.model_fields.items():
        rows.append(_parameter(_setting(spec.kind, name), spec.parameters.get(name, field.default)))
    about = f'<p><b>{escape(entry.title)}.</b> <span class="rs-about">{escape(entry.sentence)}</span></p>'
    drawn = time.monotonic_ns()  # so that the page notices also what looks like what it drew last
    which = f'data-place="{place}" data-name="{escape(spec.label)}" data-kind="{spec.kind}" data-drawn="{drawn}"'
    return f'{about}<form class="r-form" {which}>{"".join(rows)}</form>'


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


# ------------------------------------------------------------------------------------------------------------------


def _check(found: Check, names: list[str]) -> str:
    printed = f"<pre>{escape(found.printed)}</pre>" if found.printed else ""
    if found.problem is not None:
        return note(str(found.problem), "bad") + printed
    marks = "; ".join(f"{name} {signed(value)} ({reason})" for name, (value, reason) in
                      zip(names, found.marks, strict=True))
    return note(f"The code works: {marks}. {found.milliseconds:.0f} ms.", "good") + printed


def _setting(kind: str, name: str) -> Setting:
    return Setting(kind, name, LIBRARY[kind].parameters.model_fields[name])


def _read(setting: Setting, shown: Any) -> Any:
    """A form value as a plain parameter; an empty number is None, which the parameter refuses in words."""
    if get_origin(setting.kind) is list:
        return [line.strip() for line in str(shown or "").splitlines() if line.strip()]
    if setting.kind in (int, float):
        return shown if str(shown or "").strip() else None
    return shown


def _parameter(setting: Setting, value: Any) -> str:
    name, text, kind = f"p-{setting.name}", setting.info.description or "", setting.kind
    extra = setting.info.json_schema_extra
    if kind is bool:
        return _row(name, setting.label, text, f'type="checkbox"{" checked" if value else ""}')
    if get_origin(kind) is not list and setting.choices:
        options = "".join(f'<option{" selected" if c == value else ""}>{escape(c)}</option>' for c in get_args(kind))
        return _row(name, setting.label, text, "", "select", options)
    if get_origin(kind) is list:
        return _row(name, setting.label, text, 'rows="4"', "textarea", escape("\n".join(value)))
    if isinstance(extra, dict) and extra.get("lines"):
        return _row(name, setting.label, text, f'rows="{extra["lines"]}"', "textarea", escape(str(value)))
    if kind in (int, float):
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        return _row(name, setting.label, f"{text} {bounds_in_words(setting)}",
                    f'type="number" step="{1 if kind is int else "any"}" value="{escape(shown)}"')
    return _row(name, setting.label, text, f'type="text" value="{escape(str(value))}"')


def _row(name: str, title: str, text: str, attributes: str, tag: str = "input", inner: str = "") -> str:
    common = f'id="reward-{name}" data-field="{name}" aria-describedby="reward-{name}-help" {attributes}'
    element = f"<{tag} {common}>" + ("" if tag == "input" else f"{inner}</{tag}>")
    wide = ' class="wide"' if tag == "textarea" else ""
    return (f'<div{wide}><label for="reward-{name}">{escape(title)}</label>'
            f'<small id="reward-{name}-help">{escape(text.strip())}</small>{element}</div>')
