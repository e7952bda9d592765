"""Ask: one question, the models' answers side by side as they are written; blind if wanted, with votes and a tally."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from pipeline import ask as box
from pipeline import jobs
from pipeline.contestants import title_of
from pipeline.errors import RunError
from pipeline.evaluation import TRAINED
from pipeline.run_folder import RunFolder
from pipeline.studio_home import StudioHome
from pipeline.tags import TagScheme, extract, scheme_of
from reasoning_ui.compare_html import ASSETS, notice
from reasoning_ui.highlight import completion_html
from reasoning_ui.shared import Shared, guard

POLL_SECONDS = 0.25
PATIENCE_SECONDS = 900.0  # for a device that is busy, and for loading
LETTERS = "ABC"
STATES = {"waiting": "waits", "loading": "is loaded", "writing": "writes", "done": "", "stopped": "stopped",
          "failed": "failed"}
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
AGAIN = '() => ({interactive: true, __type__: "update"})'


def build_ask(shared: Shared) -> None:
    """The accordion with question, sampling, answers and votes."""
    with gr.Accordion("Ask the models", open=False, elem_id="compare-ask"):
        parts = _Parts()
    home, run, votes = shared.home, shared.run, [parts.shown, parts.votes, parts.tally]
    asked = parts.ask.click(guard(partial(_ask, home)), [run, *parts.request],
                            [parts.ask, parts.shown, parts.asked, parts.votes], concurrency_limit=4, **QUIET)
    for over in (asked.success, asked.failure):  # until then a click would be lost
        over(None, None, parts.ask, js=AGAIN, **QUIET)
    parts.stop.click(guard(lambda run, q: box.stop(_folder(home, run), q) if q else None), [run, parts.asked], None,
                     **QUIET)
    for letter, button in zip([*LETTERS, ""], parts.letters, strict=True):
        button.click(guard(lambda *a, letter=letter: _vote(home, letter, *a)), [run, parts.asked, parts.question],
                     votes, **QUIET)
    gr.on([shared.timer.open_compare, shared.timer.changed_compare],
          guard(lambda run: tally_html(home.votes(run)) if run else ""), run, parts.tally,
          trigger_mode="always_last", **QUIET)


class _Parts:
    """The accordion's components; `request` are those that make up a question, `letters` the buttons of the vote."""

    def __init__(self) -> None:
        css = (ASSETS / "compare.css").read_text(encoding="utf-8")
        gr.Markdown("The models are loaded for the first question, which takes some seconds, and unloaded after two "
                    "minutes without one.")
        self.question = gr.Textbox(label="Question", lines=2, placeholder="Zoe has 49 marbles. Leo brings 38 more. How "
                                                                          "many marbles does Zoe have now?")
        with gr.Row():
            self.ask = gr.Button("Ask", variant="primary", min_width=120)
            self.stop = gr.Button("Stop", min_width=120)
            blind = gr.Checkbox(False, label="Blind: hide which model is which until I have voted", min_width=220)
        with gr.Accordion("Sampling", open=False), gr.Row():
            temperature = gr.Slider(0, 2, 0, step=0.1, label="Temperature (0: always the likeliest)", min_width=180)
            top_p = gr.Slider(0.05, 1, 1, step=0.05, label="Top-p", min_width=180)
            longest = gr.Slider(16, 4096, 256, step=16, label="Longest answer (tokens)", min_width=180)
        self.request = [self.question, temperature, top_p, longest, blind]
        self.shown = gr.HTML(css_template=css, apply_default_css=False, elem_id="compare-ask-answers")
        self.asked = gr.Textbox("", visible="hidden", label="compare-asked")
        with gr.Row(visible=False) as self.votes:
            best = [gr.Button(f"{letter} is best", size="sm", min_width=90) for letter in LETTERS]
            self.letters = [*best, gr.Button("None is good", size="sm", min_width=90)]
        self.tally = gr.HTML(css_template=css, apply_default_css=False, elem_id="compare-ask-tally")


def _ask(home: StudioHome, run: str, text: str, warmth: float, top_p: float, longest: float, blind: bool,
         ) -> Iterator[list[Any]]:
    """While it is answered, Ask cannot be pressed again."""
    folder, seed = _folder(home, run), random.getrandbits(30)
    question = box.Question(text, models_of(folder), float(warmth), float(top_p), int(longest), seed)
    busy: Any = gr.update(interactive=False)
    for shown in _stream(home, run, folder, question, blind):
        yield [busy, *shown]
        busy = gr.skip()


def _vote(home: StudioHome, letter: str, run: str, question_id: str, text: str) -> list[Any]:
    """Keep the vote and show which model was which."""
    folder = _folder(home, run)
    order = order_of(question_id, models_of(folder))
    winner = order[LETTERS.index(letter)] if letter else ""
    home.set_vote(run, f"ask-{question_id}", {"winner": winner, "question": text[:500]})
    found = box.answer(folder, question_id)
    scheme = scheme_of(folder.recipe().data.tags)
    return [answers_html(found, order, scheme, hidden=False) if found else "", gr.update(visible=False),
            tally_html(home.votes(run))]


def models_of(folder: RunFolder) -> tuple[str, ...]:
    """Base, and the trained models that exist."""
    return ("base", *(stage for stage in TRAINED if (folder.model(stage) / "config.json").exists()))


def order_of(question_id: str, models: tuple[str, ...]) -> list[str]:
    """The models in an order that only the question decides, so that a blind vote can be resolved later."""
    order = list(models)
    random.Random(question_id).shuffle(order)
    return order


def _stream(home: StudioHome, run: str, folder: RunFolder, question: box.Question, blind: bool) -> Iterator[list[Any]]:
    """Put the question, see to it that a worker runs, and follow the answers."""
    scheme = scheme_of(folder.recipe().data.tags)
    order = order_of(question.id, question.models) if blind else list(question.models)
    box.put(folder, question)
    yield [notice("Waiting for the models …"), question.id, gr.update(visible=False)]
    deadline, before = time.monotonic() + PATIENCE_SECONDS, None
    while time.monotonic() < deadline:
        found = box.answer(folder, question.id)
        if found is None and box.stopped(folder, question.id):
            yield [notice("Stopped before a model answered."), question.id, gr.skip()]
            return
        if found is None:
            yield [notice(_see_to_worker(home, run)), question.id, gr.skip()]
        elif found != before:
            before = found
            yield [answers_html(found, order, scheme, blind), question.id, gr.skip()]
            if found.over:
                break
        time.sleep(POLL_SECONDS)
    else:
        box.stop(folder, question.id)
        raise RunError("No answer came in time: another job may hold the device. Ask again when it has finished.")
    yield [gr.skip(), question.id, gr.update(visible=blind)]


def _see_to_worker(home: StudioHome, run: str) -> str:
    """Start the job that answers, unless it runs or waits; says what is being waited for."""
    state = jobs.state(home, run)
    if state.alive and state.kind != "ask":
        raise RunError("This run is busy with its own work: ask when it has finished, or stop it first.")
    if state.alive:
        return "Loading the models …"
    if state.state == "waiting" or state.position is not None:
        return "Waiting for the device: another job uses it."
    jobs.submit(home, "ask", run)
    return "Starting …"


def answers_html(found: box.Answer, order: list[str], scheme: TagScheme, hidden: bool) -> str:
    """The answers as columns, with tags marked; `hidden` names them A, B, C."""
    columns = []
    for letter, name in zip(LETTERS, order, strict=False):
        title = letter if hidden else title_of(name)
        state, text = found.states.get(name, "waiting"), found.texts.get(name, "")
        facts = [STATES[state]] if STATES[state] else []
        if not hidden and name in found.tokens:
            facts.append(f"{found.tokens[name]} tokens in {found.seconds[name]:.1f} s")
        if state in ("done", "stopped") and (given := extract(scheme, text)):
            facts.append(f"answer {given}")
        columns.append(f"<div class='col'><h4>{escape(title)}</h4><p class='facts'>{escape(' · '.join(facts))}</p>"
                       f"<div class='text-of'>{completion_html(text, scheme)}</div></div>")
    return f"<div class='cmp'><div class='cols'>{''.join(columns)}</div></div>"


def tally_html(votes: dict[str, Any]) -> str:
    """How often each model was voted best."""
    wins = Counter(v["winner"] for k, v in votes.items() if k.startswith("ask-") and isinstance(v, dict))
    if not wins:
        return ""
    parts = [f"{title_of(name) if name else 'none'} {count}" for name, count in wins.most_common()]
    return notice(f"Votes so far: {', '.join(parts)}.")


def _folder(home: StudioHome, run: str) -> RunFolder:
    if not run:
        raise RunError("Choose a run first: its models answer.")
    return home.run(run)
