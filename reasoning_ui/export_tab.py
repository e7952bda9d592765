"""Export: walk away with the model in the form that others can load, and with a script that repeats the run."""

import json
import time
from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from pipeline import export
from pipeline.errors import RunError, StudioError
from pipeline.export_card import card, public_recipe
from pipeline.export_script import script
from pipeline.run_folder import RunFolder
from pipeline.studio_home import StudioHome
from pipeline.tags import scheme_of, system_prompt
from reasoning_ui.compare_html import ASSETS, notice
from reasoning_ui.export_hub import build_hub
from reasoning_ui.shared import Shared, guard

CSS = (ASSETS / "compare.css").read_text(encoding="utf-8")
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
PROGRESS = gr.Progress()
TO_RESULT = """() => document.getElementById("export-files").scrollIntoView({block: "nearest", behavior: "smooth"})"""
NO_FILES = """() => { document.querySelector("#export-files .empty")?.setAttribute("role", "img"); }"""
# Gradio's picture of an empty list has a name, and no role that may have one
CODE = """(told, run, stage) => {
  const [of, name, code] = JSON.parse(told);
  return of === run && name === stage ? code : undefined;
}"""  # what comes late is of another run or another of its models
NOTHING = "Nothing to export yet: a run has a model to take away once its SFT or GRPO stage has finished."


Work = Callable[[StudioHome, RunFolder, str, str, gr.Progress], str]  # stage, GGUF kind; what to say


def build(shared: Shared, tab: gr.Tab) -> None:
    """The tab's components and what they do."""
    home = shared.home
    gr.set_static_paths([home.path / "exports"])  # offered for download without being copied first
    status = gr.HTML(css_template=CSS, apply_default_css=False, elem_id="export-status")
    with gr.Column(visible=False) as body:
        stage = gr.Radio([], label="Model", elem_id="export-stage")
        with gr.Row():
            buttons = _files()
            kind, gguf = _gguf_choice()
        said = gr.HTML(css_template=CSS, apply_default_css=False, elem_id="export-said")
        files = gr.Files(label="Ready to download", interactive=False, elem_id="export-files")
        with gr.Accordion("How to use the model", open=False):
            usage = gr.Code(language="python", label="Python", interactive=False, wrap_lines=True,
                            elem_id="export-usage")
        build_hub(shared, stage)

    shown = gr.Textbox("", visible="hidden", label="export-shown")  # the run that the tab shows
    made = gr.Textbox("", visible="hidden", label="export-made", elem_id="export-made")
    gr.on([shared.timer.open_export, shared.timer.changed_export], guard(lambda *a: _refresh(home, *a)),
          [shared.run, shown, stage], [status, body, stage, files, said, usage, shown], trigger_mode="always_last",
          **QUIET).then(None, None, None, js=NO_FILES, **QUIET)
    told = gr.Textbox("", visible="hidden", label="export-code")
    stage.input(guard(lambda run, name: _code(home, run, name)), [shared.run, stage], told, trigger_mode="always_last",
                **QUIET)
    told.change(None, [told, shared.run, stage], usage, js=CODE, **QUIET)
    for button, work in [*buttons, (gguf, _gguf)]:
        button.click(None, None, None, js=TO_RESULT, **QUIET)
        button.click(guard(_handler(home, work)), [shared.run, stage, kind], made, api_visibility="private",
                     show_progress_on=[files, said], concurrency_limit=1, concurrency_id="export").success(
            guard(lambda *a: _told(home, *a)), [shared.run, made], [files, said], **QUIET)


def _files() -> list[tuple[gr.Button, Work]]:
    """The buttons that make a file, or check one, each with what it does."""
    with gr.Column(min_width=300):
        gr.Markdown("### Files")
        made = []
        for pair in zip(FILES[::2], FILES[1::2], strict=True):
            with gr.Row():
                for title, what, work in pair:
                    with gr.Column(min_width=150, elem_classes="rs-step"):
                        made.append((gr.Button(title, variant="secondary" if made else "primary"), work))
                        gr.Markdown(what)
    return made


def _gguf_choice() -> tuple[gr.Radio, gr.Button]:
    with gr.Column(min_width=300):
        gr.Markdown("### GGUF, for llama.cpp, Ollama and LM Studio\nOne file with the model, for programs that run it "
                    "on a laptop.")
        kind = gr.Radio([("f16: exact", "f16"), ("q8_0: half the size, a little less exact", "q8_0")],
                        value="q8_0", label="Format", elem_id="export-gguf-kind")
        return kind, gr.Button("Make the GGUF file")


def _handler(home: StudioHome, work: Work) -> Callable[..., str]:
    """What a button does: the work, and which run it was for, with what to say."""

    def act(run: str, name: str, kind: str, progress: gr.Progress = PROGRESS) -> str:
        return json.dumps([run, work(home, home.run(run), name, kind, progress)])

    return act


def _told(home: StudioHome, run: str, made: str) -> list[Any]:
    """The files that are there now and what to say; nothing where another run is looked at by now."""
    of, text = json.loads(made)
    if of != run:
        return [gr.skip(), gr.skip()]
    return [[str(p) for p in export.existing(home.run(run))] or None, notice(text)]


def _code(home: StudioHome, run: str, name: str) -> str:
    """How to use a model, with whose code it is; always another text, so that the page notices it."""
    return json.dumps([run, name, _usage(home.run(run), name), time.monotonic_ns()])


def _merged(home: StudioHome, folder: RunFolder, stage: str, kind: str, progress: gr.Progress) -> str:
    path = export.model_zip(folder, stage, card(home, folder, stage), lambda share, text: progress(share, text))
    return f"{path.name} is ready. On this machine the model is also the folder {folder.model(stage)}."


def _adapter(home: StudioHome, folder: RunFolder, stage: str, kind: str, progress: gr.Progress) -> str:
    return f"{export.adapter_zip(folder, stage, card(home, folder, stage)).name} is ready."


def _recipe(home: StudioHome, folder: RunFolder, stage: str, kind: str, progress: gr.Progress) -> str:
    export.text_file(folder, "recipe.yaml", public_recipe(folder.recipe()))
    return "recipe.yaml is ready. The Train tab opens it; python -m pipeline run recipe.yaml repeats the run."


def _repeat(home: StudioHome, folder: RunFolder, stage: str, kind: str, progress: gr.Progress) -> str:
    export.text_file(folder, "repeat.py", script(folder.recipe()))
    export.repeat_zip(folder)
    return "repeat.zip holds repeat.py and all that it needs; it uses public libraries alone."


def _card(home: StudioHome, folder: RunFolder, stage: str, kind: str, progress: gr.Progress) -> str:
    export.text_file(folder, f"{stage}-README.md", card(home, folder, stage))
    return "The model card is ready, with results, intervals, recipe and limits."


def _gguf(home: StudioHome, folder: RunFolder, stage: str, kind: str, progress: gr.Progress) -> str:
    path, check = export.gguf_file(folder, stage, kind, lambda share, text: progress(share, text))  # type: ignore[arg-type]
    return f"{path.name} is ready ({path.stat().st_size / 1e6:.1f} MB). {check.sentence if check else ''}"


def _check(home: StudioHome, folder: RunFolder, stage: str, kind: str, progress: gr.Progress) -> str:
    progress(0.1, "Answering 100 questions with the adapter and with the merged model")
    return export.merge_check(folder, stage).sentence


FILES: tuple[tuple[str, str, Work], ...] = (
    ("Merged model (zip)", "The whole model, ready to use. Take this one when in doubt.", _merged),
    ("Adapter (zip)", "Only what was learnt: small, and of use together with the base model.", _adapter),
    ("Recipe (YAML)", "Every setting, to repeat the run in this app.", _recipe),
    ("Script that repeats the run", "With its data, in public libraries alone: without this app.", _repeat),
    ("Model card", "What the model is and how well it did, as a page to publish with it.", _card),
    ("Check the merge", "Do adapter and merged model answer alike? Takes a minute.", _check))


def _refresh(home: StudioHome, run: str, before: str = "", chosen: str | None = None) -> list[Any]:
    """The tab for a run; where it is `before`, the one shown already, the chosen model and the words stay."""
    try:
        folder = home.run(run) if run else None
    except RunError:
        folder = None
    stages = export.exportable(folder) if folder else []
    if folder is None or not stages:
        return [notice(NOTHING), gr.update(visible=False), gr.update(choices=[], value=None), None, "", "", ""]
    choices = [(f"{export.STAGES[s]} ({_size(folder, s)})", s) for s in stages]
    name = escape(folder.recipe().name)
    top = [f"<div class='cmp'><p><b>{name}</b>: choose a model and what to take away.</p></div>",
           gr.update(visible=True)]
    files = [str(p) for p in export.existing(folder)] or None
    if run == before and chosen in stages:
        return [*top, gr.update(choices=choices), files, gr.skip(), gr.skip(), run]
    return [*top, gr.update(choices=choices, value=stages[0]), files, "", _usage(folder, stages[0]), run]


def _size(folder: RunFolder, stage: str) -> str:
    try:
        return f"{sum(p.stat().st_size for p in export.model_files(folder, stage)) / 1e6:.1f} MB"
    except StudioError:  # the buttons say what is wrong with it
        return "not whole"


def _usage(folder: RunFolder, stage: str | None) -> str:
    """Code that loads the merged folder with plain transformers, and the vLLM command."""
    if not stage:
        return ""
    recipe = folder.recipe()
    prompt = recipe.data.system_prompt or system_prompt(scheme_of(recipe.data.tags))
    model = str(folder.model(stage))
    return f"""from transformers import pipeline

generate = pipeline("text-generation", model={model!r})
messages = [
    {{"role": "system", "content": {prompt!r}}},
    {{"role": "user", "content": "Tom has 12 apples and buys 5 more. How many has he now?"}},
]
answer = generate(messages, max_new_tokens={recipe.grpo.max_completion_tokens}, do_sample=False)
print(answer[0]["generated_text"][-1]["content"])

# With vLLM, on a GPU:  vllm serve {model!r}
"""
