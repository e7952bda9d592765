"""The dry run on the page: start it, follow it, read its verdict."""

from typing import Any

import gradio as gr

from pipeline import jobs
from pipeline.errors import StudioError
from pipeline.run_folder import RunReader
from reasoning_ui import rewards_turns
from reasoning_ui.header import QUIET
from reasoning_ui.rewards_given import model_choices, model_of
from reasoning_ui.rewards_html import note, progress_html, report_html
from reasoning_ui.shared import Shared, guard, recipe_of, within

INTRO = """### 4. Dry run: will it teach anything?
A model answers a few questions of the dataset as it would in training. You see how often all answers of a question get
the same reward (such a group teaches nothing), how the scores are spread, and how long the whole run will take: for
that, a few training steps are tried and thrown away. It waits for the same device as training.
"""


class DryRun:
    """Number of questions, which model, start and stop, and what was found."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        gr.Markdown(INTRO)
        with gr.Row(elem_classes="r-end"):
            self.prompts = gr.Number(8, label="Questions", precision=0, elem_id="dry-prompts",
                                     min_width=120, info="1 to 256")
            self.model = gr.Dropdown(model_choices(shared.home), value="", label="Who answers", elem_id="dry-model",
                                     allow_custom_value=True, min_width=240,
                                     info="GRPO usually begins with the model after SFT.")
            self.start = gr.Button("Start the dry run", variant="primary", elem_id="dry-start", min_width=140)
            self.stop = gr.Button("Stop", visible=False, elem_id="dry-stop", min_width=90)
        self.id = gr.Textbox("", visible="hidden", label="dry-run", interactive=True)
        self.seen = gr.Textbox("", visible="hidden", label="dry-run-seen")
        self.timer = gr.Timer(1.5, active=False)  # runs only while a dry run does
        self.report = gr.HTML(elem_id="dry-report", apply_default_css=False)

    def wire(self) -> None:
        """Connect the buttons and the timer."""
        s = self.shared
        outputs = [self.report, self.stop, self.timer, self.seen]

        def start(prompts: float, who: str, *choices: str) -> str:
            request = {"prompts": within("Questions", prompts, 1, 256), "model": model_of(s.home, who)}
            recipe = recipe_of(*choices)
            recipe = recipe.model_copy(update={"name": f"Dry run: {recipe.name}"[:100]})
            return jobs.submit(s.home, "dry_run", recipe=recipe, request=request)

        def stop(run: str) -> str:
            return note(jobs.stop(s.home, run)) if run else ""

        def show(here: str, run: str, seen: str) -> list[Any]:
            return [gr.skip()] * 4 if here != "rewards" or not run else self.show(run, seen)

        asked = [self.prompts, self.model, s.model, s.data, s.rewards, s.training]
        self.start.click(guard(start), asked, self.id, js=rewards_turns.settled(asked.index(s.rewards)), **QUIET)
        self.stop.click(guard(stop), self.id, self.report, **QUIET)
        gr.on([self.timer.tick, self.id.change], show, [s.tab, self.id, self.seen], outputs,
              trigger_mode="always_last", **QUIET)
        s.timer.open_rewards(self.newest, [s.tab, self.id], self.id, **QUIET)
        s.timer.open_rewards(lambda: gr.Dropdown(choices=model_choices(s.home)), None, self.model, **QUIET)

    def newest(self, here: str, run: str) -> Any:
        """The newest dry run of the home, when none is looked at yet; on a Space everybody starts with their own."""
        if here != "rewards" or run or self.shared.on_space:
            return gr.skip()
        cards = jobs.list_runs(self.shared.home, ("dry_run",))
        return cards[0].id if cards else gr.skip()

    def show(self, run: str, seen: str) -> list[Any]:
        """Progress, report and stop button; skipped when nothing is new. Never raises."""
        try:
            state = jobs.state(self.shared.home, run)
            report = RunReader(self.shared.home.run(run)).status().get("dry_run") if state.state == "finished" else None
        except StudioError as error:
            return [note(str(error), "bad"), gr.Button(visible=False), gr.Timer(active=False), ""]
        now = f"{run} {state.state} {state.words} {state.reason} {bool(report)}"
        if now == seen:
            return [gr.skip()] * 4
        going = state.state in ("waiting", "running", "stopping")
        html = report_html(report) if report else progress_html(state, "The dry run")
        return [html, gr.Button(visible=going), gr.Timer(active=going), now]
