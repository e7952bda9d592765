"""What every tab is given: the home, and the hidden textboxes that hold the choices which the tabs share.

A choice (model, data, rewards, current run) is text in a hidden textbox: any handler may take it as an input,
return a new value for it, or listen to its `change`. Not `gr.State`, which opens a connection per browser tab;
the textboxes are copied into the browser's own storage (`gr.BrowserState`), so a reload finds them again.
"""

import contextlib
import functools
import html
import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import gradio as gr
from pydantic import ValidationError

from pipeline.errors import RecipeError, StudioError
from pipeline.failures import refusal
from pipeline.recipe import DataStep, ModelStep, Recipe, RewardsStep, Step
from reasoning_ui.toasts import FAILED, MEND, titled

if TYPE_CHECKING:
    from pipeline.studio_home import StudioHome

StepType = TypeVar("StepType", bound=Step)

TRAINING_KEYS = ("name", "seed", "lora", "sft", "grpo", "evaluate")
TAB_NAMES = {
    "start": "Start", "data": "Data", "rewards": "Rewards", "train": "Train",
    "live": "Live", "compare": "Compare", "export": "Export", "runs": "Runs",
}


@dataclass
class Shared:
    """The state of one page, and the few facts about this app that tabs depend on."""

    home: "StudioHome"
    demo: gr.Blocks
    run: gr.Textbox  # id of the run that is looked at; empty when there is none
    model: gr.Textbox  # ModelStep as JSON
    data: gr.Textbox  # DataStep as JSON
    rewards: gr.Textbox  # RewardsStep as JSON
    training: gr.Textbox  # the rest of the recipe as JSON: name, seed, lora, sft, grpo, evaluate
    tab: gr.Textbox  # the name of the open tab
    timer: gr.HTML  # `timer.tick` fires when the runs changed (see pulse.py)
    tabs: gr.Tabs | None = None  # set before the tabs are built; go to a tab with `go_to(name)`
    on_space: bool = False
    allow_custom_code: bool = True
    extras: dict[str, Any] = field(default_factory=dict)  # components that one tab offers to another, by name


def hidden_textbox(label: str, value: str = "") -> gr.Textbox:
    """A textbox that nobody sees but whose `change` fires (visible=False would silence it)."""
    return gr.Textbox(value, label=label, visible="hidden", interactive=True, elem_id=f"shared-{label}")


def go_to(tab: str) -> gr.Tabs:
    """The update that, returned for `shared.tabs`, opens a tab: one of TAB_NAMES."""
    return gr.Tabs(selected=tab)


def next_button(shared: Shared, tab: str, words: str) -> None:
    """A button at the end of a long tab that leads to the next one."""
    to_top = "() => { scrollTo(0, 0); }"
    button = gr.Button(words, elem_classes="rs-next")
    button.click(lambda: go_to(tab), None, shared.tabs, api_visibility="private", show_progress="hidden").then(
        None, None, None, js=to_top, api_visibility="private", show_progress="hidden")


def model_step(text: str | None) -> ModelStep:
    """The chosen model from `shared.model`; the default where the text is empty or outdated."""
    return _step(ModelStep, text)


def data_step(text: str | None) -> DataStep:
    """The chosen dataset from `shared.data`; the default where the text is empty or outdated."""
    return _step(DataStep, text)


def rewards_step(text: str | None) -> RewardsStep:
    """The chosen rewards from `shared.rewards`; the default where the text is empty or outdated."""
    return _step(RewardsStep, text)


def training_values(text: str | None) -> dict[str, Any]:
    """The rest of the recipe from `shared.training`, as plain values that may still be wrong."""
    try:
        values = json.loads(text or "{}")
    except ValueError:
        values = {}
    return {key: values[key] for key in TRAINING_KEYS if key in values} if isinstance(values, dict) else {}


def choices_of(recipe: Recipe) -> tuple[str, str, str, str]:
    """A recipe as the values of `shared.model`, `shared.data`, `shared.rewards`, `shared.training`."""
    rest = {key: recipe.model_dump(mode="json")[key] for key in TRAINING_KEYS}
    return (recipe.model.model_dump_json(), recipe.data.model_dump_json(), recipe.rewards.model_dump_json(),
            json.dumps(rest))


def recipe_of(model: str, data: str, rewards: str, training: str) -> Recipe:
    """The recipe that the four choices make. Raises RecipeError with one line per problem."""
    return Recipe.parse(training_values(training) | {
        "model": model_step(model).model_dump(), "data": data_step(data).model_dump(),
        "rewards": rewards_step(rewards).model_dump()})


def guard(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an event handler: a StudioError becomes a message on the page, in its own words; so does a full disk."""
    if inspect.isgeneratorfunction(fn):

        @functools.wraps(fn)
        def stream(*args: Any, **kwargs: Any) -> Any:
            with _told():
                yield from fn(*args, **kwargs)

        return stream

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _told():
            return fn(*args, **kwargs)

    return call


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (StudioError, OSError) as error:
        raise in_words(error) from error


def in_words(error: StudioError | OSError) -> gr.Error:
    """The page's message for an error; its text is data, so it is escaped, and stays until it is read.

    Its title says who has to act: a person, or the machine that failed.
    """
    title = MEND if isinstance(error, StudioError) else FAILED
    return gr.Error(titled(title, words_of(error)), duration=None, title=title, print_exception=False)


def within(label: str, number: float | None, low: int, high: int) -> int:
    """A whole number that was typed into a field. Raises RecipeError where it is none from `low` to `high`."""
    if number is None or not low <= number <= high:
        told = "nothing was written" if number is None else f"{number:g} is not possible"
        raise RecipeError(f"{label}: {told}. Write a number from {low} to {high}.")
    return int(number)


def words_of(error: StudioError | OSError) -> str:
    """What an error tells a person, as safe HTML."""
    words = refusal(error) if isinstance(error, OSError) else str(error)
    return "<br>".join(html.escape(line) for line in words.splitlines())


def _step(step: type[StepType], text: str | None) -> StepType:
    try:
        return step.model_validate_json(text) if text else step()
    except ValidationError:
        return step()
