"""The Start tab: what the app does, the demo in one click, and the way from there to one's own model."""

import contextlib
from html import escape

import gradio as gr

from pipeline import jobs
from pipeline.demo import demo_recipe
from pipeline.errors import StudioError
from pipeline.studio_home import StudioHome
from reasoning_ui.header import QUIET
from reasoning_ui.review import SPACE_WARNING
from reasoning_ui.shared import Shared, choices_of, go_to, guard

WELCOME = """
# Teach a small language model to reason

First the model **imitates** worked solutions (supervised fine-tuning, *SFT*); then it **practises** on questions,
and answers that earn more reward become likelier (*GRPO*). At the end you see, with honest statistics, whether it got
better.
"""
DEMO = """
## Try it now
The demo takes a tiny model through all of it on this machine's processor, in a few minutes. Nothing is downloaded, and
you can close this page meanwhile.
"""
OWN = """
## Then use your own
"""
TO_COMPARE = """(run, here) => run && ["live", "start"].includes(here)
  ? {selected: "compare", __type__: "update"} : undefined"""
"""Opens Compare for whoever still watches, once for each run: two ticks may both find that it has ended."""

STEPS = (("data", "1. Data", "Choose questions with answers, or upload a file. See them as the model will."),
         ("rewards", "2. Rewards", "Say what a good answer is, and try it on a text."),
         ("train", "3. Train", "Choose a model, look over the settings, start."),
         ("live", "4. Live", "Watch it learn, and read what it writes."),
         ("compare", "5. Compare", "Base, SFT and GRPO side by side on held-out questions."),
         ("export", "6. Export", "Download the model, or publish it."))


def build(shared: Shared, tab: gr.Tab) -> None:
    """The tab's components. The demo's click starts a run and opens Live; when it ends, Compare opens."""
    gr.Markdown(WELCOME, elem_id="welcome")
    if shared.extras.get("warn_storage"):
        gr.HTML(f'<div class="rs-note rs-warn">{escape(SPACE_WARNING)}</div>')
    with gr.Column(elem_id="demo-card"):
        gr.Markdown(DEMO)
        start = gr.Button("Train the demo", variant="primary", size="lg", elem_id="train-demo")
    gr.Markdown(OWN, elem_id="own-steps")
    with gr.Row(elem_id="steps"):
        for name, title, text in STEPS:
            with gr.Column(min_width=150, elem_classes="rs-step"):
                gr.Button(title, size="sm").click(lambda name=name: go_to(name), None, shared.tabs, **QUIET)
                gr.Markdown(text)
    followed = shared.extras["followed"]
    outputs = [shared.run, followed, shared.tabs, shared.model, shared.data, shared.rewards, shared.training]
    start.click(guard(lambda: start_demo(shared)), None, outputs, concurrency_limit=1, api_visibility="private")
    arrived = gr.Textbox("", visible="hidden", label="arrived", interactive=True)  # the last run that was followed home
    shared.timer.tick(lambda run: finish(shared, run), followed, [followed, arrived], **QUIET)
    arrived.change(None, [arrived, shared.tab], shared.tabs, js=TO_COMPARE, **QUIET)


def start_demo(shared: Shared) -> tuple[object, ...]:
    """Start the demo, or go to the one that is running already; its settings become the page's choices."""
    run = demo_in(shared.home)
    if run is not None:
        gr.Info("The demo runs or waits already: here it is.")
    run = run or jobs.start(shared.home, demo_recipe(1))
    return (run, run, go_to("live"), *choices_of(demo_recipe(1)))


def demo_in(home: StudioHome) -> str | None:
    """The id of a run that trains, or waits to train, the demo's very recipe, not only the same model and data."""
    for card in jobs.list_runs(home):
        if card.state.alive or card.state.state == "waiting":
            with contextlib.suppress(StudioError):  # its folder went away just now, or its recipe is damaged
                if home.run(card.id).recipe().model_copy(update={"provenance": None}) == demo_recipe(1):
                    return card.id
    return None


def finish(shared: Shared, run: str) -> tuple[object, object]:
    """When the run that this page started is done, stopped and resumed or not: nothing to follow, and its id."""
    if not run:
        return gr.skip(), gr.skip()
    try:
        state = jobs.state(shared.home, run).state
    except StudioError:
        return "", gr.skip()
    return ("", run) if state == "finished" else (gr.skip(), gr.skip())
