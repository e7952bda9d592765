"""The Rewards tab: compose rewards, see what they can add up to, try them, and know before training what they teach.

The chosen rewards live in `shared.rewards`; every section writes it and is redrawn when it changes.
"""

import contextlib
import json
from html import escape
from typing import Any

import gradio as gr

from pipeline import custom_code
from pipeline.errors import RewardError
from pipeline.recipe import RewardsStep
from pipeline.rewards import LIBRARY
from pipeline.rewards.custom import TEMPLATE
from pipeline.rewards.presets import PRESETS
from reasoning_ui import rewards_state as state
from reasoning_ui import rewards_turns
from reasoning_ui.form import component, settings
from reasoning_ui.header import QUIET
from reasoning_ui.rewards_bench import Bench
from reasoning_ui.rewards_dry import DryRun
from reasoning_ui.rewards_editor import Editor, check_html, signature, with_values
from reasoning_ui.rewards_files import SetFiles
from reasoning_ui.rewards_html import note, set_html
from reasoning_ui.shared import Shared, data_step, guard, next_button, rewards_step

INTRO = """### 1. What counts as good
Every sampled answer is scored by each reward that is on; the scores times their weights make its total. Training then
prefers the answers of a question that got more than the others. The set below suits questions with one right answer:
nothing has to be changed before training.
"""
COMBINE = """### 2. How scores become one
Both may stay as they are.

**sum** adds the weighted scores: a reward with large scores counts for more. **normalised** first puts each reward on
the same scale within the answers to one question, so that weights alone decide (GDPO).

**Scaling** by the *group* makes every question count alike; by the *batch*, questions with a wide spread count more;
*none* leaves the differences as they are, which avoids a bias towards very easy and very hard questions (Dr. GRPO).
With *normalised*, scaling is always by the batch.
"""


def build(shared: Shared, tab: gr.Tab) -> None:
    """The tab's components, and the link between them and the shared choice."""
    builder = _Builder(shared)
    bench = Bench(shared)
    dry = DryRun(shared)
    files = SetFiles(shared, builder)
    next_button(shared, "train", "Next: look over the settings and train")
    builder.wire()
    bench.wire(dry.id)
    dry.wire()
    files.wire()


class _Builder:
    """Presets, the list of rewards with its buttons, the editor, and how scores are combined."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        gr.Markdown(INTRO)
        if not shared.allow_custom_code:
            gr.HTML(note(custom_code.WHY), elem_id="custom-off", apply_default_css=False)
        with gr.Row(elem_classes="r-end"):
            self.preset = gr.Dropdown([(p.title, name) for name, p in PRESETS.items()], value="seed",
                                      label="Ready-made sets", elem_id="reward-preset", min_width=200)
            self.use = gr.Button("Use this set", elem_id="reward-use", min_width=120)
            self.kind = gr.Dropdown(_kinds(shared.allow_custom_code), value="format_exact", label="Library",
                                    elem_id="reward-kind", min_width=220)
            self.add = gr.Button("Add", elem_id="reward-add", min_width=90)
        self.about = gr.HTML(_about("seed", "format_exact"), elem_id="reward-choice", apply_default_css=False)
        self.table = gr.HTML(elem_id="reward-set", apply_default_css=False)
        with gr.Row():
            with gr.Column(scale=1, min_width=260):
                # a textbox, because a Radio refuses a stale value; no event takes the list, so it is told to be active
                self.place = gr.Textbox("0", visible="hidden", label="reward-place", elem_id="reward-place")
                self.list = gr.Radio([], label="Rewards", elem_id="reward-list", info="Choose one to change it.",
                                     interactive=True)
                with gr.Row():
                    self.up = gr.Button("Up", size="sm", elem_id="reward-up", min_width=60)
                    self.down = gr.Button("Down", size="sm", elem_id="reward-down", min_width=60)
                    self.remove = gr.Button("Remove", size="sm", elem_id="reward-remove", min_width=80)
            with gr.Column(scale=3, min_width=300):
                self.editor = Editor(shared.allow_custom_code)
        gr.Markdown(COMBINE)
        with gr.Row():
            step = RewardsStep()
            self.combining = [component(s, getattr(step, s.name)) for s in settings("rewards", skip=("functions",))]

    def wire(self) -> None:
        """Connect everything."""
        s, editor = self.shared, self.editor
        shown = [s.rewards, self.list, self.place, *editor.outputs]
        gr.on([self.preset.change, self.kind.change], _about, [self.preset, self.kind], self.about, **QUIET)
        turn: dict[str, Any] = {"trigger_mode": "multiple", **QUIET}
        in_turn = {"concurrency_id": "reward-editor", "concurrency_limit": 1, **QUIET}  # the later answer knows more
        stored = [s.rewards, editor.note, editor.drawn]
        acts = ((self.remove, state.without), (self.up, lambda t, i: state.moved(t, i, -1)),
                (self.down, lambda t, i: state.moved(t, i, 1)))
        changes = [
            *(button.click(guard(self._acting(act)), [s.rewards, self.place], shown, js=rewards_turns.PLACE, **turn)
              for button, act in acts),
            self.use.click(guard(lambda now, name: self._chosen(PRESETS[name].step, 0)), [s.rewards, self.preset],
                           shown, js=rewards_turns.SET, **turn),
            self.add.click(guard(self._added), [s.rewards, self.kind], shown, js=rewards_turns.SET, **turn),
            self.list.input(self._picked, [s.rewards, self.place], [self.list, self.place, *editor.outputs],
                            js=rewards_turns.CHOSEN, **turn),
            editor.form.edited(_store_form, [s.rewards, editor.code, editor.form_now, self.place], [*stored, self.list],
                               js=rewards_turns.FORM, trigger_mode="multiple", **in_turn),
            gr.on([c.input for c in self.combining], _store_combining, [s.rewards, *self.combining], s.rewards,
                  js=rewards_turns.SET, **turn)]
        for change in changes:
            rewards_turns.ends(change)
        coded = [s.rewards, s.data, self.place, editor.code, editor.form_now], stored
        written = editor.code.input(_store_code, *coded, js=rewards_turns.CODE, trigger_mode="always_last", **in_turn)
        restored = editor.restore.click(lambda: TEMPLATE, None, editor.code, **QUIET).then(
            _store_code, *coded, js=rewards_turns.CODE, **in_turn)
        for change in (written, restored):
            rewards_turns.ends(change, rewards_turns.CODED)
        gr.on([s.timer.changed_rewards], self._redraw, [s.tab, s.rewards, s.data], self.table,
              trigger_mode="always_last", **QUIET)
        rewards_turns.ends(s.timer.open_rewards(
            self.reload, [s.tab, s.rewards, s.data, self.place, editor.drawn], self.outputs, js=rewards_turns.OPENED,
            trigger_mode="always_last", **QUIET))

    def _allowed(self, kind: str) -> str:
        if kind == "custom" and not self.shared.allow_custom_code:
            raise RewardError(custom_code.WHY)
        return kind

    def _added(self, now: str, kind: str) -> list[Any]:
        return self._chosen(*state.with_new(rewards_step(now), self._allowed(kind)))

    def _picked(self, now: str, place: str | None) -> list[Any]:
        step = rewards_step(now)
        return [_listed(step, _place(place)), place, *self.editor.show(step, _place(place))]

    def _acting(self, act: Any) -> Any:
        def handler(now: str, place: str | None) -> list[Any]:
            step = rewards_step(now)
            if not step.functions:
                raise RewardError("There is no reward to change: add one first.")
            return self._chosen(*act(step, min(_place(place), len(step.functions) - 1)))

        return handler

    def _chosen(self, step: RewardsStep, place: int) -> list[Any]:
        """A new set with the reward at a place open in the editor."""
        return [step.model_dump_json(), _listed(step, place), str(place), *self.editor.show(step, place)]

    def _redraw(self, here: str, now: str, data: str) -> Any:
        """The table. The list is drawn by what takes a turn, since an answer to this may be older than the set."""
        if here != "rewards":
            return gr.skip()
        step, scheme = rewards_step(now), state.scheme_for(data_step(data))
        return set_html(step, scheme, state.problem_of(step, scheme))

    @property
    def outputs(self) -> list[Any]:
        """What `reload` fills."""
        return [self.table, self.list, *self.combining, *self.editor.outputs]

    def reload(self, here: str, now: str, data: str, place: str | None, drawn: str = "") -> list[Any]:
        """What other tabs changed, drawn again from the shared choice; skipped while another tab is open."""
        if here != "rewards":
            return [gr.skip()] * len(self.outputs)
        step = rewards_step(now)
        chosen = min(_place(place), max(0, len(step.functions) - 1))
        return [self._redraw(here, now, data), _listed(step, chosen), step.combine, step.scale,
                *self.editor.refresh(step, chosen, drawn)]


def _kinds(allow_custom: bool) -> list[tuple[str, str]]:
    return [(f"{k.family}: {k.title}", k.kind) for k in LIBRARY.values() if allow_custom or k.kind != "custom"]


def _about(preset: str, kind: str) -> str:
    chosen, entry = PRESETS.get(preset or "seed"), LIBRARY.get(kind or "")
    words = [f"<b>{escape(chosen.title)}:</b> {escape(chosen.sentence)}"] if chosen else []
    words += [f"<b>{escape(entry.title)}:</b> {escape(entry.sentence)}"] if entry else []
    return f'<p class="rs-about">{"<br>".join(words)}</p>'


def _place(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def _listed(step: RewardsStep, place: int) -> gr.Radio:
    """The list of rewards with the one at a place chosen."""
    choices = state.choices_of(step)
    return gr.Radio(choices=choices, value=choices[place][1] if place < len(choices) else None)


def _store_form(now: str, code: str, form: str, chosen: str | None) -> list[Any]:
    """What the form holds, when it is right; otherwise why not, beside it. What was typed in a form that has made room
    for another reward's since comes late: it is stored too, or dropped when its reward was removed."""
    sent = json.loads(form or "{}")
    step, place, late = rewards_step(now), _place(sent.get("place")), bool(sent.get("late"))
    if late and not sent.get("place"):
        return [gr.skip()] * 4
    try:
        if not sent.get("place"):
            raise RewardError("this reward is no longer there. Choose another.")
        new = with_values(step, place, dict(sent.get("values") or {}))
        if new.functions[place].kind == "custom" and not late:
            new = state.changed(new, place, code=code)
    except RewardError as error:
        of = f" for «{step.functions[place].label}»" if late else ""
        return [gr.skip(), note(f"Not taken over{of}: {error}", "bad"), gr.skip(), gr.skip()]
    stored = new.model_dump_json() if new != step else gr.skip()
    listed = _listed(new, _place(chosen)) if state.choices_of(new) != state.choices_of(step) else gr.skip()
    return [stored, gr.skip(), gr.skip(), listed] if late else [stored, "", signature(new, place), listed]


def _store_code(now: str, data: str, place: str | None, code: str, form: str) -> list[Any]:
    """The code as it is typed, and what the check says about it. A form that is wrong says so itself."""
    step, i = rewards_step(now), _place(place)
    if not place or i >= len(step.functions) or step.functions[i].kind != "custom":
        return [gr.skip()] * 3
    sent = json.loads(form or "{}")
    try:
        if sent.get("place") == str(i):
            with contextlib.suppress(RewardError):
                step = with_values(step, i, dict(sent.get("values") or {}))
        new = state.changed(step, i, code=code)
    except RewardError as error:
        return [gr.skip(), note(f"Not taken over: {error}", "bad"), gr.skip()]
    checked = check_html(new.functions[i], state.scheme_for(data_step(data)))
    return [new.model_dump_json(), checked, signature(new, i)]


def _store_combining(now: str, combine: str, scale: str) -> str:
    return rewards_step(now).model_copy(update={"combine": combine, "scale": scale}).model_dump_json()
