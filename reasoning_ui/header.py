"""Above all tabs: choose the model, the dataset and the current run; see what is missing and what to do next."""

import json
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline import jobs
from pipeline.dataset import gym
from pipeline.errors import StudioError
from pipeline.recipe import DataStep
from pipeline.run_folder import RunReader
from pipeline.run_state import RunCard, RunState
from pipeline.studio_home import StudioHome
from reasoning_ui import checks
from reasoning_ui.compare_calls import LOOKED
from reasoning_ui.data_edits import choosing
from reasoning_ui.next_step import BUSY, NextStep, missing_parts, next_step, unattended
from reasoning_ui.runs_cards import sign, tone_of
from reasoning_ui.shared import Shared, data_step, go_to, guard, model_step, rewards_step

MODELS = [("Bundled tiny model (demo)", "tiny"),
          *((name, name) for name in ("HuggingFaceTB/SmolLM2-135M-Instruct", "Qwen/Qwen2.5-0.5B-Instruct",
                                      "Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-3B-Instruct"))]
DATASETS = [("Demo: arithmetic word problems", "demo"), ("GSM8K: school mathematics", "gsm8k"),
            ("LIMO: hard mathematics, long solutions", "limo"), ("OpenR1: mathematics, long reasoning", "openr1")]
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
RESUME = "resume"  # in place of a tab: resume the run, then open Live
# `shown_in` for the run, without the server: its answer might come after a run was chosen elsewhere
CHOSEN_RUN = """(run, seen) => (run || "") === (seen ? JSON.parse(seen)[4] : "") ? undefined : run || ''"""
OTHER_RUN = "target => target.split(' ')[1]"  # as above: the run that the button chooses, if it does


class Header:
    """The header's components; built above the tabs, wired once the shared choices exist."""

    def __init__(self) -> None:
        with gr.Row(elem_id="header-choices", equal_height=True):
            self.model = gr.Dropdown(MODELS, value="tiny", label="Model", allow_custom_value=True, min_width=200,
                                     elem_id="header-model")
            self.data = gr.Dropdown(DATASETS, value="demo", label="Dataset", allow_custom_value=True, min_width=200,
                                    elem_id="header-data")
            self.run = gr.Dropdown([("No run yet", "")], value="", label="Current run", min_width=200,
                                   elem_id="header-run", allow_custom_value=True)
        with gr.Row(elem_id="header-next", equal_height=True):
            self.status = gr.HTML(elem_id="header-status", apply_default_css=False)
            self.go = gr.Button("Start", variant="secondary", size="sm", scale=0, min_width=170, elem_id="header-go")

    def wire(self, shared: Shared) -> None:
        """Connect the header with the shared choices, the timer and the tabs."""
        target = gr.Textbox("start", visible="hidden", label="next-tab")
        seen = gr.Textbox("", visible="hidden", label="header-seen")
        home = shared.home
        self.model.input(guard(chosen_model), [self.model, shared.model, seen], shared.model, **QUIET)
        choosing(self.data.input, shared, lambda source, seen, now: chosen_data(source, now, seen), [self.data, seen])
        self.run.input(None, [self.run, seen], shared.run, js=CHOSEN_RUN, **QUIET)

        def show(run: str, model: str, data: str, rewards: str, before: str) -> list[Any]:
            return _updates(home, run, model, data, rewards, before)

        inputs = [shared.run, shared.model, shared.data, shared.rewards, seen]
        outputs = [self.model, self.data, self.run, self.status, self.go, target, seen]
        triggers = [shared.demo.load, shared.timer.tick, shared.run.change, shared.model.change, shared.data.change,
                    shared.rewards.change]
        gr.on(triggers, show, inputs, outputs, trigger_mode="always_last", **QUIET)
        self.go.click(None, target, shared.run, js=OTHER_RUN, **QUIET)
        self.go.click(guard(lambda run, to: gone(home, run, to)), [shared.run, target], shared.tabs, **QUIET)


def gone(home: StudioHome, run: str, target: str) -> gr.Tabs:
    """The tab that the button leads to; with RESUME it resumes the run first. Raises RunError when that is refused."""
    if target == RESUME:
        jobs.resume(home, run)
        return go_to("live")
    return go_to(target.partition(" ")[0])


def shown_in(seen: str) -> tuple[str, str, str]:
    """Model, dataset and run as the header showed them last; `seen` is its own note of that, empty at first.

    A dropdown that is left with Tab sends its value as if it had been chosen. What was shown already is no choice: the
    dropdown may not have heard yet of a run or a dataset that was opened elsewhere.
    """
    model, data, run = json.loads(seen)[2:] if seen else ("tiny", "demo", "")
    return model, data, run


def chosen_model(source: str | None, now: str, seen: str) -> Any:
    """The model choice with another source; the revision belongs to the old one."""
    source = (source or "").strip() or "tiny"
    if source == shown_in(seen)[0]:
        return gr.skip()
    return model_step(now).model_copy(update={"source": source, "revision": None}).model_dump_json()


def chosen_data(source: str | None, now: str, seen: str) -> Any:
    """The dataset choice with another source; tags stay, columns and splits belong to the old one."""
    source = (source or "").strip() or "demo"
    if source == shown_in(seen)[1]:
        return gr.skip()
    old = data_step(now)
    return DataStep(source=source, tags=old.tags, system_prompt=old.system_prompt).model_dump_json()


def data_title(source: str) -> str:
    """A dataset's name for people: a file without its folder."""
    return next((title for title, known in data_choices(source) if known == source), source)


def data_choices(source: str) -> list[tuple[str, str]]:
    """The bundled and well-known sets, and the chosen one under a name for people: a file without its folder."""
    if source in (known for _, known in DATASETS):
        return DATASETS
    if source.startswith(gym.PREFIX):
        return [*DATASETS, (f"Reasoning Gym: {source[len(gym.PREFIX):].partition('?')[0].replace('_', ' ')}", source)]
    return [*DATASETS, (Path(source).name, source)] if Path(source).is_absolute() else DATASETS


def model_choices(cards: list[RunCard], home: StudioHome) -> list[tuple[str, str]]:
    """Models to choose from: a few by name, and what earlier runs made."""
    found = []
    for card in cards[:50]:
        for stage, title in (("grpo", "GRPO"), ("sft", "SFT")):
            folder = home.run(card.id).model(stage)
            if (folder / "config.json").is_file():
                found.append((f"{title} model of {card.name}", str(folder)))
    return MODELS + found


def status_html(step: NextStep, name: str, state: RunState | None) -> str:
    """The status line: the run, a progress bar while it works, what is missing, the next step.

    `data-next` is read by the style sheet, which hides the button that leads to the tab that is open already (one that
    chooses a run does more); on Live, which tells the same every second, it hides how far the run has got.
    """
    parts = ['<h1 class="rs-unseen">Reasoning Studio</h1>']
    if state is not None:
        parts.append(f'<span class="rs-chip rs-{tone_of(state)}">{escape(sign(state))}</span> '
                     f"<b>{escape(name)}</b>")
    if step.missing:
        parts.append(f'<span class="rs-bad-text"><b>Missing:</b> {escape(" ".join(step.missing))}</span>')
    when = "Now" if state is not None and state.state in BUSY else "Next"
    going = ' class="rs-going"' if when == "Now" else ""
    parts.append(f"<span{going}><b>{when}:</b> {escape(step.words)}</span>")
    bar = ""
    if state is not None and state.alive and state.total:
        share = min(max(100 * state.done / state.total, 0), 100)
        bar = f'<progress value="{share:.1f}" max="100" aria-label="Progress of this stage">{share:.0f} %</progress>'
    leads = "" if step.run else step.tab
    return f'<div class="rs-status" data-next="{escape(leads)}">{" ".join(parts)}{bar}</div>'


def _updates(home: StudioHome, run: str, model: str, data: str, rewards: str, before: str) -> list[Any]:
    """All outputs of the header, or skips where nothing is new; never raises, since the timer calls it."""
    try:
        jobs.tend(home)
        cards = jobs.list_runs(home)
    except (StudioError, OSError):
        cards = []
    card = next((c for c in cards if c.id == run), None)
    check = checks.model(model_step(model), home.path)
    missing = missing_parts(check, checks.dataset(data_step(data)), rewards_step(rewards))
    newcomer = not cards and (model_step(model).source, data_step(data).source) == ("tiny", "demo")
    step = next_step(missing, card.state if card else None, newcomer, card is not None and _to_compare(home, card),
                     None if card else _other(home, cards))
    status = status_html(step, card.name if card else "", card.state if card else None)
    runs = [("Choose a run" if cards else "No run yet", ""),
            *((f"{c.name} · {sign(c.state)}", c.id) for c in cards)]
    rows = data_step(data).source
    key = json.dumps([status, runs, model_step(model).source, rows, run if card else ""])
    if key == before:
        return [gr.skip()] * 7
    button = gr.Button(step.button, variant="primary" if step.tab in ("compare", "live") else "secondary")
    chosen = ((model_choices(cards, home), model_step(model).source), (data_choices(rows), rows),
              (runs, run if card else ""))
    target = RESUME if step.resumes else f"{step.tab} {step.run}".strip()
    return [*(gr.Dropdown(choices=choices, value=value, allow_custom_value=True) for choices, value in chosen),
            status, button, target, key]


def _other(home: StudioHome, cards: list[RunCard]) -> RunCard | None:
    """The run to tell of where none is chosen."""
    with suppress(StudioError):  # deleted this moment
        return unattended(cards, lambda card: not home.trusted or not home.about(card.id)["owner"])
    return None


def _to_compare(home: StudioHome, card: RunCard) -> bool:
    """Whether there is a comparison that nobody has looked at yet."""
    evaluated = any(stage["name"] == "evaluate" and stage["state"] == "finished"
                    for stage in RunReader(home.run(card.id)).stages())
    return evaluated and LOOKED not in home.votes(card.id)
