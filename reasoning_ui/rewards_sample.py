"""A model that answers for the test bench: chosen here, asked in a worker, never in the app's own process."""

from typing import Any

import gradio as gr

from pipeline import jobs
from pipeline.errors import StudioError
from reasoning_ui.header import QUIET
from reasoning_ui.rewards_given import groups_of, model_choices, model_of
from reasoning_ui.rewards_html import note, progress_html
from reasoning_ui.shared import Shared, guard, recipe_of, within

KEPT = 3  # finished samples of the bench; older ones go to the trash
GOING = ("waiting", "running", "stopping")


class ModelAnswers:
    """Which model, how many questions and answers, start and stop, and how far it is."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        with gr.Row(elem_classes="r-end", visible=False) as self.row:
            self.model = gr.Dropdown(model_choices(shared.home), value="", label="Model", elem_id="bench-model",
                                     allow_custom_value=True, min_width=240,
                                     info="The folder of another model can be typed in.")
            self.questions = gr.Number(4, label="Questions", precision=0, min_width=110, info="1 to 32",
                                       elem_id="bench-questions")
            self.answers = gr.Number(4, label="Answers to each", precision=0, min_width=130, info="2 to 16",
                                     elem_id="bench-answers")
            self.start = gr.Button("Let it answer", variant="primary", elem_id="bench-sample", min_width=120)
            self.stop = gr.Button("Stop", visible=False, elem_id="bench-stop", min_width=90)
        self.id = gr.Textbox("", visible="hidden", label="bench-run", interactive=True)
        self.seen = gr.Textbox("", visible="hidden", label="bench-seen")
        self.done = gr.Textbox("", visible="hidden", label="bench-done", interactive=True)  # changes when all is there
        self.timer = gr.Timer(1.0, active=False)  # runs only while a model answers
        self.progress = gr.HTML(elem_id="bench-progress", apply_default_css=False)

    def wire(self) -> None:
        """Connect the buttons and the timer."""
        s = self.shared

        def start(model: str, questions: float, answers: float, *choices: str) -> str:
            request = {"prompts": within("Questions", questions, 1, 32), "model": model_of(s.home, model),
                       "answers": within("Answers to each", answers, 2, 16), "rehearse": False}
            recipe = recipe_of(*choices)
            recipe = recipe.model_copy(update={"name": f"Test bench: {recipe.name}"[:100]})
            run = jobs.submit(s.home, "sample", recipe=recipe, request=request)
            self._tidy()
            return run

        def stop(run: str) -> str:
            return note(jobs.stop(s.home, run)) if run else ""

        asked = [self.model, self.questions, self.answers, s.model, s.data, s.rewards, s.training]
        self.start.click(guard(start), asked, self.id, **QUIET)
        self.stop.click(guard(stop), self.id, self.progress, **QUIET)
        gr.on([self.timer.tick, self.id.change], self.show, [s.tab, self.id, self.seen],
              [self.progress, self.stop, self.timer, self.seen, self.done], trigger_mode="always_last", **QUIET)
        s.timer.open_rewards(lambda: gr.Dropdown(choices=model_choices(s.home)), None, self.model, **QUIET)

    def show(self, here: str, run: str, seen: str) -> list[Any]:
        """Progress, stop button and whether all answers are there; skipped when nothing is new. Never raises."""
        if here != "rewards" or not run:
            return [gr.skip()] * 5
        try:
            state = jobs.state(self.shared.home, run)
        except StudioError as error:
            return [note(str(error), "bad"), gr.Button(visible=False), gr.Timer(active=False), "", gr.skip()]
        now = f"{run} {state.state} {state.words} {state.reason}"
        if now == seen:
            return [gr.skip()] * 5
        going = state.state in GOING
        there = not going and bool(groups_of(self.shared.home, run))
        if state.state == "stopped":
            html = note("Stopped; below is what was written." if there else "Stopped before there was an answer.")
        else:
            html = "" if state.state == "finished" else progress_html(state, "The model")
        return [html, gr.Button(visible=going), gr.Timer(active=going), now, now if there else gr.skip()]

    def _tidy(self) -> None:
        """Put all but the newest finished samples into the trash."""
        home = self.shared.home
        for card in jobs.list_runs(home, ("sample",))[KEPT:]:
            if card.state.state not in GOING:
                jobs.delete(home, card.id)
