"""The Train tab: the recipe form made from the recipe's fields, what it will need here, and the start button."""

import json
from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from pipeline import custom_code, jobs
from pipeline.errors import RecipeError, StudioError
from pipeline.fitting import Change, lower_to_fit
from pipeline.hardware import usable
from pipeline.memory import plan_batch
from pipeline.model_check import ModelCheck, check_model
from pipeline.presets import STARTS
from pipeline.recipe import ModelStep, Recipe
from pipeline.suiting import Suiting, suiting
from reasoning_ui import checks, filling, rewards_turns
from reasoning_ui.form import component, in_titles
from reasoning_ui.header import QUIET, data_title
from reasoning_ui.review import SPACE_WARNING, doubts_of, problems_html, review_html
from reasoning_ui.shared import Shared, choices_of, data_step, go_to, guard, model_step, rewards_step
from reasoning_ui.training_form import GOALS, GROUPS, SETTINGS, from_store, stored, values_of

IN_TURN: dict[str, Any] = {"concurrency_id": "form", "concurrency_limit": 1}
# Gradio serves its queues in any order: an edit that overtakes the recipe opened after it would undo a part of that
OFFERS = 3  # buttons that lower one setting to make it fit
NO_SOLUTIONS = ("no row has a worked solution, so SFT has nothing to imitate. Choose the column with the solutions on "
                "the Data tab, or take other data; with a model that writes the tags already, choose GRPO alone.")
INTRO = ("Every setting has a sensible value already: you can start at once. *Advanced* holds what you only need when "
         "you know why. Data and rewards have their own tabs.")


def build(shared: Shared, tab: gr.Tab) -> None:
    """The tab's components, and the two-way link between form and shared choices."""
    gr.Markdown(INTRO)
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            form = _Form()
        with gr.Column(scale=2, min_width=300, elem_id="review"):
            about = gr.HTML(elem_id="review-about", apply_default_css=False)
            problems = gr.HTML(elem_id="review-problems", apply_default_css=False)
            if shared.extras.get("warn_storage"):
                gr.HTML(f'<div class="rs-note rs-warn">{escape(SPACE_WARNING)}</div>', apply_default_css=False)
            start = gr.Button(filling.READY, variant="primary", size="lg", elem_id="start-training")
            with gr.Row():
                offers = [gr.Button(visible=False, size="sm", elem_id=f"offer-{i}") for i in range(OFFERS)]
            suit = gr.Button(visible=False, size="sm", elem_id="suit-settings")
            fill = gr.Button("Choose the batch that fills this machine", size="sm", elem_id="plan-batch")
            review = gr.HTML(elem_id="review-plan", apply_default_css=False)
            with gr.Accordion("The recipe as a file", open=False):
                gr.Markdown("The whole run can be repeated from this text: `python -m pipeline run recipe.yaml`.")
                text = gr.Code("", language="yaml", label="recipe.yaml", interactive=False, wrap_lines=True)
                upload = gr.UploadButton("Open a recipe file", file_types=[".yaml", ".yml"], size="sm")
    _wire(shared, tab, form, start, offers, [suit, fill], upload, [about, problems, review, text, *offers, suit, fill])


class _Form:
    """The components of the form: the goal, and one for each setting, in the order of SETTINGS."""

    def __init__(self) -> None:
        goal, shown = from_store("", "{}")
        values = iter(zip(SETTINGS, shown, strict=True))
        with gr.Group():
            self.goal = gr.Radio(list(GOALS), value=goal, label="What to do", elem_id="goal",
                                 info="GRPO alone is for a model that writes the tags already, such as the SFT model "
                                      "of an earlier run.")
            self.preset = gr.Dropdown(list(STARTS), value=None, label="Start from", elem_id="preset",
                                      info="Sets all fields below; all but the general defaults also set model, data "
                                           "and rewards.")
        self.expect = gr.Markdown(visible=False, elem_id="preset-expect")
        by_step: dict[str, list[Any]] = {}
        made: dict[int, gr.components.Component] = {}
        for i, (setting, value) in enumerate(values):
            by_step.setdefault(setting.step, []).append((i, setting, value))
        with gr.Row():
            for i, setting, value in by_step[""]:
                made[i] = component(setting, value)
        for step, (title, text) in GROUPS.items():
            with gr.Accordion(title, open=step in ("model", "sft", "grpo"), elem_id=f"group-{step}"):
                gr.Markdown(text)
                basic = [item for item in by_step[step] if not item[1].advanced]
                advanced = [item for item in by_step[step] if item[1].advanced]
                with gr.Row():
                    made |= {i: component(setting, value) for i, setting, value in basic}
                if advanced:
                    with gr.Accordion("Advanced", open=False), gr.Row():
                        made |= {i: component(setting, value) for i, setting, value in advanced}
        self.fields = [made[i] for i in range(len(SETTINGS))]

    @property
    def all(self) -> list[gr.components.Component]:
        """Goal and fields, the inputs of every handler."""
        return [self.goal, *self.fields]


def _wire(shared: Shared, tab: gr.Tab, form: _Form, start: gr.Button, offers: list[gr.Button],
          others: list[gr.Button], upload: gr.UploadButton, shown: list[Any]) -> None:
    start_values = json.dumps([ModelStep().model_dump_json(), choices_of(Recipe())[3]])
    sent = gr.Textbox(start_values, visible="hidden", label="form-sent")  # model and training as the form shows them
    choices = [shared.model, shared.data, shared.rewards, shared.training]
    shown_choice = [shared.model, shared.training, sent]
    edits = [event for field in form.all for event in _edits(field)]
    gr.on(edits, lambda goal, *values: _store(goal, values[:-1], values[-1]), [*form.all, sent],
          [shared.model, shared.training, sent], trigger_mode="always_last", js=filling.EDITED, **IN_TURN, **QUIET)
    gr.on([shared.timer.open_train, shared.timer.changed_train], None, shown_choice, None, js=filling.OUTDATED, **QUIET)
    review = {"fn": lambda *a: _review(shared, *a), "inputs": [shared.data, shared.rewards, *form.all],
              "outputs": shown, "trigger_mode": "always_last", **QUIET}
    filled = shared.timer.fill_train(_fill, shown_choice[:2], [*form.all, sent], trigger_mode="always_last", **QUIET)
    filled.then(None, shown_choice, None, js=filling.FILLED, **QUIET)
    filled.then(**review)
    shared.timer.hold_start(None, None, start, js=filling.HOLD, **QUIET)
    shared.timer.free_start(None, None, start, js=filling.FREE, **QUIET)
    gr.on([*edits, shared.timer.review_train], **review)
    start.click(guard(lambda *a: _start(shared, *a)), [shared.data, shared.rewards, *form.all],
                [shared.run, shared.extras["followed"], shared.tabs], js=rewards_turns.settled(1), concurrency_limit=1,
                api_visibility="private")
    whole = [shared.data, shared.rewards, *form.all]
    chosen = [shared.model, shared.training]
    asked = [button.click(guard(lambda *a, n=number: _apply_offer(shared, n, *a)), whole, chosen, js=filling.ASK,
                          api_visibility="private") for number, button in enumerate(offers)]
    asked += [button.click(guard(lambda *a, act=act: act(shared, *a)), whole, chosen, js=filling.ASK,
                           api_visibility="private")
              for button, act in zip(others, (_apply_suiting, _apply_plan), strict=True)]
    asked += [
        form.preset.input(guard(_start_from), [form.preset, *choices], choices, js=filling.ASK, **IN_TURN,
                          **QUIET),
        upload.upload(guard(lambda file: choices_of(Recipe.load(file))), upload, choices, js=filling.ASK,
                      api_visibility="private", **IN_TURN)]
    form.preset.input(_expect, form.preset, form.expect, **QUIET)
    for event in asked:  # a `then` alone would not follow an error
        event.success(None, None, None, js=filling.TAKEN, **QUIET)
        event.failure(None, shown_choice, None, js=filling.REFUSED, **QUIET)


def _edits(field: gr.components.Component) -> list[Any]:
    """The events that tell that a person changed a field; text counts when it is left, not at every letter."""
    return [field.blur, field.submit] if isinstance(field, gr.Textbox) else [field.input]


def _store(goal: str, values: Sequence[Any], late: str) -> tuple[Any, Any, Any]:
    """The choices as the form has them now; left alone by what was sent while an opened recipe was on its way in."""
    if late:
        return gr.skip(), gr.skip(), gr.skip()
    model, training = stored(values_of(goal, values))
    return (gr.skip() if model is None else model), training, json.dumps([model, training])


def _fill(model: str, training: str) -> list[Any]:
    """The form's values after somebody else changed a choice; nothing where none was made yet."""
    if not training:
        return [gr.skip()] * (len(SETTINGS) + 2)
    goal, shown = from_store(model, training)
    return [goal, *shown, json.dumps([model, training])]


def _recipe(data: str, rewards: str, goal: str, values: Sequence[Any]) -> Recipe:
    """The recipe of the form. Raises RecipeError in the words of the form's labels."""
    try:
        recipe = Recipe.parse(values_of(goal, values) | {"data": data_step(data).model_dump(),
                                                         "rewards": rewards_step(rewards).model_dump()})
    except RecipeError as error:
        raise RecipeError(in_titles(str(error))) from error
    custom_code.refuse_if_off(recipe.rewards)
    return recipe


def _review(shared: Shared, data: str, rewards: str, goal: str, *values: Any) -> list[Any]:
    """Everything beside the form; never raises, since it follows each change."""
    hidden = [gr.Button(visible=False)] * (OFFERS + 2)
    about = _about(data, rewards)
    try:
        recipe = _recipe(data, rewards, goal, values)
    except StudioError as error:
        return [about, problems_html(str(error).splitlines()), gr.skip(), gr.skip(), *hidden]
    hardware = checks.hardware_for(shared.home)
    check = checks.model(recipe.model, shared.home.path)
    changes: list[Change] = []
    used = usable(hardware)
    plan = None
    if check.facts is not None:
        changes = lower_to_fit(recipe, check.facts, used)[:OFFERS]
        plan = plan_batch(recipe, check.facts, used) if recipe.grpo.enabled else None
    buttons: list[Any] = [gr.Button(f"Make it fit: {change.label} ({change.total_gib:.1f} GiB)", visible=True)
                          for change in changes]
    same = plan is None or (plan.batch_size, plan.accumulation, plan.gpu_memory_share or recipe.model.gpu_memory_share
                            ) == (recipe.grpo.batch_size, recipe.grpo.accumulation, recipe.model.gpu_memory_share)
    fill = gr.Button(visible=False) if same or changes else gr.Button(f"Fill this machine: {plan.words}", visible=True)
    better = _suiting(recipe, check)
    suit = gr.Button(better.label, visible=True) if better else gr.Button(visible=False)
    doubts = [*doubts_of(recipe, check, hardware, bool(changes)), *(better.doubts if better else ())]
    problems = problems_of(check, recipe)
    return [about, problems_html(problems, doubts), review_html(recipe, check, hardware), recipe.to_yaml(),
            *buttons, *hidden[: OFFERS - len(buttons)], suit, fill]


def problems_of(check: ModelCheck, recipe: Recipe) -> list[str]:
    """What forbids the start: of the model, and of the dataset's file."""
    found = checks.dataset(recipe.data)
    if not found and recipe.sft.enabled and checks.sft_rows(recipe.data, recipe.seed) == 0:
        found = NO_SOLUTIONS
    return [*check.problems, *([f"Dataset: {found}"] if found else [])]


def _about(data: str, rewards: str) -> str:
    """One line on the choices that other tabs make."""
    labels = ", ".join(f.label for f in rewards_step(rewards).functions if f.enabled) or "none"
    return (f'<div class="rs-about"><b>Dataset:</b> {escape(data_title(data_step(data).source))} · <b>Tags:</b> '
            f"{escape(data_step(data).tags.scheme)} · <b>Rewards:</b> {escape(labels)}</div>")


def _start(shared: Shared, data: str, rewards: str, goal: str, *values: Any) -> tuple[str, str, Any]:
    recipe = _recipe(data, rewards, goal, values)
    check = check_model(recipe.model, checks.hardware(), shared.home.path)
    if problems := problems_of(check, recipe):
        raise RecipeError("\n".join(problems))
    run = jobs.start(shared.home, recipe)
    return run, run, go_to("live")


def _changed(recipe: Recipe, changes: dict[tuple[str, str], Any]) -> tuple[str, str]:
    values = recipe.model_dump()
    for (step, name), value in changes.items():
        values[step][name] = value
    model, _, _, training = choices_of(Recipe.parse(values))
    return model, training


def _apply_offer(shared: Shared, number: int, data: str, rewards: str, goal: str, *values: Any) -> tuple[str, str]:
    recipe = _recipe(data, rewards, goal, values)
    check = check_model(recipe.model)
    changes = lower_to_fit(recipe, check.facts, usable(checks.hardware_for(shared.home))) if check.facts else []
    if number >= len(changes):
        raise RecipeError("Everything fits already.")
    return _changed(recipe, changes[number].values)


def _suiting(recipe: Recipe, check: ModelCheck) -> Suiting | None:
    """Settings that suit the model and the number of its worked solutions better, if there are any."""
    if check.facts is None:
        return None
    return suiting(recipe, check.facts.parameters, checks.sft_rows(recipe.data, recipe.seed))


def _apply_suiting(shared: Shared, data: str, rewards: str, goal: str, *values: Any) -> tuple[str, str]:
    recipe = _recipe(data, rewards, goal, values)
    better = _suiting(recipe, check_model(recipe.model))
    if better is None:
        raise RecipeError("The settings suit already.")
    return _changed(recipe, better.values)


def _apply_plan(shared: Shared, data: str, rewards: str, goal: str, *values: Any) -> tuple[str, str]:
    recipe = _recipe(data, rewards, goal, values)
    check = check_model(recipe.model)
    used = usable(checks.hardware_for(shared.home))
    plan = plan_batch(recipe, check.facts, used) if check.facts else None
    if plan is None:
        raise RecipeError("No batch of this recipe fits: lower the answers per question, or the sequence length.")
    changes = {("grpo", "batch_size"): plan.batch_size, ("grpo", "accumulation"): plan.accumulation}
    if plan.gpu_memory_share is not None:
        changes["model", "gpu_memory_share"] = plan.gpu_memory_share
    return _changed(recipe, changes)


def _start_from(name: str, model: str, data: str, rewards: str, training: str) -> tuple[str, str, str, str]:
    """The choices of a recipe to start from; one that is not whole keeps the chosen model, data and rewards."""
    if name not in STARTS:
        return model, data, rewards, training
    recipe = STARTS[name].recipe()
    if STARTS[name].whole:
        return choices_of(recipe)
    kept = {"source": model_step(model).source, "revision": model_step(model).revision}
    return recipe.model.model_copy(update=kept).model_dump_json(), data, rewards, choices_of(recipe)[3]


def _expect(name: str) -> Any:
    """The sentence on what to expect of a recipe to start from."""
    return gr.Markdown(STARTS[name].expect, visible=True) if name in STARTS else gr.Markdown(visible=False)
