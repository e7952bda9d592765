"""The Data tab: choose questions, see the columns and tags, look at what is trained, check and split.

The chosen data lives in `shared.data`; every section writes it and is redrawn when it changes.
"""

from typing import Any

import gradio as gr

from pipeline.dataset import gym
from pipeline.dataset.answers import RULE_NAMES
from pipeline.dataset.gym import GymTask
from pipeline.dataset.mapping import Mapping
from pipeline.dataset.prepare import mapping_of
from pipeline.dataset.sample import Sample, load_sample
from pipeline.dataset.sources import DATASETS
from pipeline.errors import StudioError
from pipeline.recipe import DataStep, Tags
from pipeline.tags import TagScheme, scheme_of, scheme_problems, system_prompt
from reasoning_ui import data_edits, drafts
from reasoning_ui.data_check import CheckSection
from reasoning_ui.data_edits import GUESS
from reasoning_ui.data_html import note, reasons_html, rows_html, source_html, tags_html
from reasoning_ui.data_prepared import PreparedSection
from reasoning_ui.data_preview import PreviewSection
from reasoning_ui.data_source import build_source
from reasoning_ui.data_state import Choice, choice_of
from reasoning_ui.header import QUIET
from reasoning_ui.shared import Shared, data_step, next_button

ROLES = {"question": "Question", "reasoning": "Worked solution (reasoning)", "answer": "Answer",
         "system": "System prompt"}
SCHEMES = [("<reasoning> … <answer>", "reasoning"), ("<think> … <answer>", "think"),
           ("<start_working_out> … <SOLUTION>", "solution"), (r"\boxed{…}", "boxed"), ("Your own", "custom")]
CUSTOM = ("reasoning_open", "reasoning_close", "answer_open", "answer_close")


def build(shared: Shared, tab: gr.Tab) -> None:
    """The tab's components, and the link between them and the shared choice."""
    build_source(shared)
    chosen = gr.HTML(elem_id="data-chosen", apply_default_css=False)
    gr.Markdown("### 2. Which column is which")
    with gr.Row(elem_id="data-mapping"):
        roles = [gr.Dropdown([("Guess", GUESS)], value=GUESS, label=title, elem_id=f"column-{role}", min_width=150)
                 for role, title in ROLES.items()]
        rule = gr.Dropdown([("Choose automatically", "auto"), *((w, r) for r, w in RULE_NAMES.items())], value="auto",
                           label="How the answer is found", elem_id="answer-rule", min_width=180)
    mapping = gr.HTML(elem_id="data-reasons", apply_default_css=False)
    tags = _TagSection()
    view = PreviewSection(shared)
    check = CheckSection(shared)
    prepared = PreparedSection(shared)
    next_button(shared, "rewards", "Next: say what a good answer is")
    view.wire()
    check.wire(view, prepared)
    prepared.wire()
    columns = [*roles, rule]
    arrived = shared.extras["arrived"]
    arrived.change(None, [arrived, shared.data], shared.data, js=data_edits.ARRIVED, **QUIET)
    for name, field in zip((*ROLES, "answer_rule"), columns, strict=True):
        field.input(None, [shared.data, field], shared.data, js=data_edits.column(name), **QUIET)
    tags.wire(shared)

    def refresh(data: str, model: str, training: str, row: float, how: str) -> list[Any]:
        return _refresh(shared, view, "data", data, model, training, row, how)

    gr.on([shared.timer.open_data, shared.timer.changed_data], refresh,
          [shared.data, shared.model, shared.training, view.row, view.view],
          [chosen, mapping, *columns, tags.told, tags.info, view.html, view.row], trigger_mode="always_last", **QUIET)


class _TagSection:
    """Section 3: tag scheme and system prompt."""

    def __init__(self) -> None:
        gr.Markdown("### 3. How the model marks its answer\nThe model is taught to write its reasoning and its answer "
                    "between tags, so that the answer can be found and checked.")
        with gr.Row():
            self.scheme = gr.Radio(SCHEMES, value="reasoning", label="Tags", elem_id="tag-scheme", min_width=280)
            self.system = gr.Textbox(label="System prompt", lines=2, max_lines=6, min_width=280,
                                     elem_id="system-prompt", elem_classes=drafts.KEEP, interactive=True,
                                     info="Told to the model before each question. Empty it to have none.")
        with gr.Row(visible=False, elem_id="custom-tags") as self.custom_row:
            self.custom = [gr.Textbox(label=Tags.model_fields[n].title, max_length=50, elem_id=f"tag-{n}",
                                      elem_classes=drafts.KEEP, interactive=True, min_width=120) for n in CUSTOM]
        self.usual = gr.Button("Use the usual system prompt for these tags", size="sm", elem_id="usual-system")
        self.told = gr.Textbox("", visible="hidden", label="data-told")  # see data_edits.told
        self.info = gr.HTML(elem_id="tag-info", apply_default_css=False)

    def wire(self, shared: Shared) -> None:
        """Store what is changed, and show the choice."""
        s = shared
        self.scheme.input(None, [s.data, self.scheme], s.data, js=data_edits.SCHEME, **QUIET)
        for box in (self.system, *self.custom):
            box.blur(None, s.data, s.data, js=data_edits.box(box.elem_id), **QUIET)
        self.usual.click(None, s.data, s.data, js=data_edits.USUAL, **QUIET)
        self.told.change(None, [self.told, s.data], self.system, js=data_edits.SYSTEM, **QUIET)
        shown = [self.scheme, self.system, self.custom_row, *self.custom]
        gr.on([s.timer.open_data, s.timer.changed_data], None, s.data, shown,
              js=data_edits.fill(*(part.elem_id for part in shown)), **QUIET)


def _refresh(shared: Shared, view: PreviewSection, here: str, data: str, model: str, training: str, row: float,
             how: str) -> list[Any]:
    """All outputs; skipped while another tab is open. Never raises, since it follows every change."""
    if here != "data":
        return [gr.skip()] * (2 + len(ROLES) + 1 + 4)
    step = data_step(data)
    try:
        choice = choice_of(shared, data, model, training)
        sample = load_sample(step, choice.seed)
    except StudioError as error:
        return [note(str(error), "bad"), "", *[gr.skip()] * (len(ROLES) + 1), *_tag_updates(data, step, None), "", 1]
    try:
        found: Mapping | None = mapping_of(step, [r for _, r in sample.rows])
        reasons = reasons_html(found)
    except StudioError as error:
        found, reasons = None, note(str(error), "bad")
    html, number = view.show(data, model, training, row, how)
    return [_chosen(step, sample, found), reasons, *_column_updates(step, sample, found),
            *_tag_updates(data, step, choice, sample), html, number]


def _chosen(step: DataStep, sample: Sample, found: Mapping | None) -> str:
    known = DATASETS.get(step.source)
    title = known.title if known else step.source.rsplit("/", 1)[-1] if step.source.startswith("/") else step.source
    if step.source.startswith(gym.PREFIX):
        title = GymTask.parse(step.source).name.replace("_", " ")
    return source_html(title, known.sentence if known else "", sample) + rows_html(sample, found)


def _column_updates(step: DataStep, sample: Sample, found: Mapping | None) -> list[Any]:
    updates: list[Any] = []
    for role in ROLES:
        guessed = getattr(found, role) if found and getattr(step, role) is None else None
        first = (f"Guess: {guessed}" if guessed else "Guess", GUESS)
        value = getattr(step, role)
        choices = [first, ("None", ""), *((c[:80], c) for c in sample.columns[:500])]
        updates.append(gr.Dropdown(choices=choices, value=GUESS if value is None else value))
    automatic = "Choose automatically"
    if found and step.answer_rule == "auto":
        automatic = f"Automatic: {RULE_NAMES[found.rule]}"
    updates.append(gr.Dropdown(choices=[(automatic, "auto"), *((w, r) for r, w in RULE_NAMES.items())],
                               value=step.answer_rule))
    return updates


def _tag_updates(data: str, step: DataStep, choice: Choice | None, sample: Sample | None = None) -> list[Any]:
    scheme = _scheme(step.tags)
    info = ""
    if choice is not None:
        texts = [v for _, row in (sample.rows[:300] if sample else []) for v in row.values() if isinstance(v, str)]
        problems = scheme_problems(scheme, choice.chat.special_tokens, texts)
        counts = {t: choice.chat.count(t) for t in dict.fromkeys(scheme.tags)}
        info = tags_html(counts, problems, choice.tokenizer)
    return [data_edits.told(data, step, system_prompt(scheme)), info]


def _scheme(tags: Tags) -> TagScheme:
    try:
        return scheme_of(tags)
    except StudioError:
        return TagScheme("custom", *(getattr(tags, n) for n in CUSTOM))
