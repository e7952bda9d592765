"""Ask for more answers: evaluations of other models, benchmarks, precisions and samplings, as jobs of a run."""

import time
from collections.abc import Mapping
from typing import Any

import gradio as gr

from pipeline import jobs
from pipeline.errors import RunError
from pipeline.evaluation import EvaluationRequest, checkpoints
from pipeline.run_folder import RunFolder, RunReader
from pipeline.run_state import duration
from pipeline.studio_home import StudioHome
from pipeline.tags import SCHEMES
from reasoning_ui.compare_ask import build_ask
from reasoning_ui.compare_html import notice
from reasoning_ui.data_state import keep_upload
from reasoning_ui.shared import Shared, guard

BENCHMARKS = [("Held-out test of this run", "test"), ("GSM8K test", "gsm8k"), ("MATH-500", "math500"),
              ("AIME 2024", "aime2024"), ("AIME 2025", "aime2025")]
PRECISIONS = [("16-bit", "16bit"), ("8-bit", "8bit"), ("4-bit", "4bit")]
NUMBERS = ("limit", "samples", "max_completion_tokens", "plausible_tolerance", "temperature", "top_p", "top_k", "seed")
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
LIVE_KINDS = ("evaluate",)
STOPPED = "Stopped; the answers so far are kept. To go on, press Evaluate again with the same settings."
ASK_ENDS_SECONDS = 20.0


def build_more(shared: Shared, tab: gr.Tab) -> None:
    """The accordions Ask and Evaluate more."""
    build_ask(shared)
    with gr.Accordion("Evaluate more", open=False, elem_id="compare-more"):
        gr.Markdown("Other models, questions or precisions. Answers that were given before are not asked for again.")
        models = gr.Dropdown(["base", "sft", "grpo"], value=["grpo"], multiselect=True, allow_custom_value=True,
                             label="Models (also a folder or a Hub id)", elem_id="more-models")
        with gr.Row():
            names = gr.Dropdown(BENCHMARKS, value=["test"], multiselect=True, allow_custom_value=True,
                                label="Questions (also a file or a Hub id)", min_width=240)
            upload = gr.UploadButton("Upload a file of questions", file_types=[".csv", ".jsonl", ".json", ".parquet"],
                                     size="sm", min_width=160)
        precisions = gr.CheckboxGroup(PRECISIONS, value=["16bit"], label="Precisions")
        numbers = _numbers()
        with gr.Row():
            tags = gr.Dropdown([("The recipe's", ""), *((name, name) for name in SCHEMES)], value="", label="Tags",
                               min_width=160)
            system = gr.Textbox(label="System prompt", placeholder="Empty takes the recipe's, or one for other tags.",
                                lines=2, min_width=320)
        with gr.Row():
            go = gr.Button("Evaluate", variant="primary", min_width=120)
            stop = gr.Button("Stop", min_width=120)
        state = gr.HTML(elem_id="more-state", apply_default_css=False)
    form = [models, names, precisions, *numbers, tags, system]
    _wire(shared, form, go, stop, upload, state)


def _numbers() -> list[gr.Textbox]:
    """The sampling settings of NUMBERS with the labels and help of the request. Text: an empty gr.Number would be 0."""
    made = []
    for names in (NUMBERS[:4], NUMBERS[4:]):
        with gr.Row():
            for name in names:
                field = EvaluationRequest.model_fields[name]
                made.append(gr.Textbox("" if field.default is None else f"{field.default:g}", label=field.title,
                                       info=field.description, max_lines=1, min_width=150, elem_id=f"more-{name}"))
    return made


def _wire(shared: Shared, form: list[Any], go: gr.Button, stop: gr.Button, upload: gr.UploadButton,
          state: gr.HTML) -> None:
    home, (models, names) = shared.home, form[:2]

    def start(run: str, *values: Any) -> str:
        folder = _folder(home, run)
        request = request_of(folder, *values)
        _end_ask(home, run)
        jobs.submit(home, "evaluate", run, request=request)
        return notice("The evaluation is queued. The table fills as answers come in.")

    go.click(guard(start), [shared.run, *form], state, api_visibility="private")
    stop.click(guard(lambda run: notice(jobs.stop(home, _folder(home, run).id))), shared.run, state, **QUIET)
    upload.upload(guard(lambda path, now: [*(now or []), str(keep_upload(home.private, path))]), [upload, names], names,
                  **QUIET)
    shared.timer.open_compare(guard(lambda run: _choices(home, run)), shared.run, models,
                              trigger_mode="always_last", **QUIET)

    def tick(shown: str, run: str) -> Any:
        if shown != "compare" or not run:
            return gr.skip()
        try:
            return job_words(home, run) or gr.skip()
        except Exception:  # a tick must never raise
            return gr.skip()

    shared.timer.tick_compare(tick, [shared.tab, shared.run], state, **QUIET)


def _end_ask(home: StudioHome, run: str) -> None:
    """Models that only wait for a question give way."""
    now = jobs.state(home, run)
    if now.alive and now.kind == "ask":
        jobs.stop(home, run)
        end = time.monotonic() + ASK_ENDS_SECONDS
        while jobs.state(home, run).alive and time.monotonic() < end:
            time.sleep(0.1)


def request_of(folder: RunFolder, models: list[str], names: list[str], precisions: list[str], *rest: Any
               ) -> dict[str, Any]:
    """The form's values as a request, checked before it is queued. Raises RecipeError in words."""
    *numbers, tags, system = rest
    request: dict[str, Any] = {"models": models, "benchmarks": names, "precisions": precisions,
                               "system_prompt": system.strip() or None, "tags": {"scheme": tags} if tags else None}
    request |= {name: text.strip() for name, text in zip(NUMBERS, numbers, strict=True) if text.strip()}
    asked = EvaluationRequest.of(folder.recipe(), request).model_dump(mode="json")
    return {name: asked[name] for name in request}


def job_words(home: StudioHome, run: str) -> str:
    """What the form says of the run's evaluation, as HTML; empty when there was none."""
    now = jobs.state(home, run)
    if now.paused and now.kind in LIVE_KINDS:
        return notice(now.reason, warn=True)
    if now.alive and now.kind in LIVE_KINDS:
        stage = next((s for s in RunReader(home.run(run)).rows("SELECT * FROM stages WHERE name = 'evaluate'")), {})
        return notice(progress_words(stage))
    if now.job and now.job.get("kind") == "evaluate" and now.job.get("state") == "running":  # and not alive
        return notice(f"{now.reason} {now.remedy}", warn=True)
    if now.job and now.job.get("kind") == "evaluate" and now.job.get("state") == "stopped":
        return notice(STOPPED, warn=True)
    if now.job and now.job.get("kind") == "evaluate" and now.job.get("state") == "failed":
        return notice(f"{now.job.get('reason', '')} {now.job.get('remedy', '')}".strip(), warn=True)
    if now.job and now.job.get("kind") == "evaluate" and now.job.get("state") == "finished":
        return notice("The evaluation is finished.")
    return ""


def progress_words(stage: Mapping[str, Any]) -> str:
    """grpo (8bit) answers test: 120 of 900 answers, about 40 s left. All precisions and models of the job together."""
    total = f" of {stage['total']:.0f}" if stage.get("total") else ""
    left = f", about {duration(stage['seconds_left'])} left" if stage.get("seconds_left") else ""
    doing = (stage.get("message") or "Evaluating").rstrip(".")
    return f"{doing}: {stage.get('done') or 0:.0f}{total} answers{left}."


def _choices(home: StudioHome, run: str) -> Any:
    try:
        folder = home.run(run)
    except RunError:
        return gr.skip()
    return gr.update(choices=["base", "sft", "grpo", *checkpoints(folder)])


def _folder(home: StudioHome, run: str) -> RunFolder:
    if not run:
        raise RunError("Choose a run first.")
    return home.run(run)
