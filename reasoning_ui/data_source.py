"""Section 1 of the Data tab: where the rows come from."""

import gradio as gr

from pipeline import reach
from pipeline.dataset import gym
from pipeline.dataset.sources import DATASETS, looks_like_hub_id
from pipeline.errors import DatasetError
from pipeline.recipe import DataStep, Split
from reasoning_ui.data_edits import choosing
from reasoning_ui.data_state import check_path, keep_text, keep_upload
from reasoning_ui.header import QUIET
from reasoning_ui.shared import Shared, data_step, guard

FILE_TYPES = [".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".gz", ".zip", ".txt"]
PASTE = "question,answer\nWhat is 2 + 3?,5\nWhat is 4 x 6?,24"


def build_source(shared: Shared) -> None:
    """Built-in sets, an upload, pasted rows, the Hub, Reasoning Gym, and a file of this machine (not on a Space)."""
    gr.Markdown("### 1. Choose the questions\nEach row needs a question and its right answer; a worked solution helps. "
                "Nothing leaves this machine.")
    with gr.Tabs(elem_id="data-sources", overflow_behavior="wrap"):
        with gr.Tab("Ready-made"), gr.Row(elem_id="data-built-in"):
            for name, known in DATASETS.items():
                with gr.Column(min_width=140, elem_classes="rs-step"):
                    button = gr.Button(known.title, size="sm", elem_id=f"use-{name}")
                    gr.Markdown(f"{known.sentence} Licence: {known.licence}.")
                    choosing(button.click, shared, lambda now, n=name: new_source(now, n), [])
        with gr.Tab("Upload a file"):
            upload = gr.File(label="CSV, TSV, JSON, JSONL or Parquet; also packed as .gz or .zip", height=140,
                             file_types=FILE_TYPES, type="filepath", elem_id="data-upload")
            choosing(upload.upload, shared, lambda path, now: _uploaded(shared, path, now), [upload])
        with gr.Tab("Paste rows"):
            text = gr.Textbox(label="Rows", placeholder=PASTE, lines=5, max_lines=12, elem_id="data-paste",
                              info="CSV with a heading, or one JSON object per line.", max_length=2_000_000)
            use = gr.Button("Use these rows", size="sm", elem_id="use-pasted")
            choosing(use.click, shared, lambda pasted, now: _pasted(shared, pasted, now), [text])
        with gr.Tab("Hugging Face"):
            _hub(shared)
        with gr.Tab("Reasoning Gym") as tab:
            _gym(shared, tab)
        if not shared.on_space:
            with gr.Tab("File on this machine"):
                path = gr.Textbox(label="Path", placeholder="/home/me/questions.jsonl", elem_id="data-path",
                                  info="Read where it is; large files need no copy.")
                use = gr.Button("Use this file", size="sm", elem_id="use-path")
                choosing(use.click, shared, lambda value, now: _path(shared, value, now), [path])


def new_source(now: str, source: str, config: str | None = None, split: str | None = None,
               revision: str | None = None) -> str:
    """The data choice with another source: tags, system prompt and shares stay, columns belong to the old one."""
    old = data_step(now)
    kept = max(old.split.model_dump().values()) < 1 and not old.source.startswith(gym.PREFIX)
    shares = old.split if kept else DataStep().split
    if source.startswith(gym.PREFIX):
        shares = Split(sft=0, grpo=0.8, validation=0.1, test=0.1)  # there are no worked solutions to imitate
    return DataStep(source=source, config=config, source_split=split, revision=revision, tags=old.tags,
                    system_prompt=old.system_prompt, split=shares).model_dump_json()


# ------------------------------------------------------------------------------------------------------------------


def _hub(shared: Shared) -> None:
    gr.Markdown("Private and gated sets use the login of this machine: `hf auth login`.")
    with gr.Row():
        repo = gr.Textbox(label="Dataset", placeholder="openai/gsm8k", elem_id="hub-id", min_width=180)
        config = gr.Textbox(label="Configuration", placeholder="main", elem_id="hub-config", min_width=120)
        split = gr.Textbox(label="Split", placeholder="train", elem_id="hub-split", min_width=120)
        revision = gr.Textbox(label="Revision", placeholder="newest", elem_id="hub-revision", min_width=120)
    use = gr.Button("Use this dataset", size="sm", elem_id="use-hub")
    choosing(use.click, shared, _from_hub, [repo, config, split, revision])


def _gym(shared: Shared, tab: gr.Tab) -> None:
    gr.Markdown("Puzzles and problems made without end by [Reasoning Gym](https://github.com/open-thought/reasoning-gym)"
                ", each with an answer that can be checked. For practice (GRPO): there are no worked solutions.")
    if not gym.is_installed():
        gr.Markdown(gym.MISSING, elem_id="gym-missing")
        return
    with gr.Row():
        task = gr.Dropdown([], label="Task", elem_id="gym-task", min_width=200)
        size = gr.Number(1000, label="Questions", precision=0, elem_id="gym-size", min_width=110)
        seed = gr.Number(1, label="Seed", precision=0, elem_id="gym-seed", min_width=90)
        level = gr.Slider(0, gym.HARDEST, 0, step=1, label="Difficulty", elem_id="gym-difficulty", min_width=180,
                          info="0 is the easiest; each task has its own hardest level.")
    use = gr.Button("Use this task", size="sm", elem_id="use-gym")
    tab.select(guard(_tasks), task, task, **QUIET)
    choosing(use.click, shared, _from_gym, [task, size, seed, level])


def _tasks(now: str | None) -> gr.Dropdown:
    """The tasks to choose from; asked for when they are looked at, as their import takes a second."""
    return gr.Dropdown(choices=[(name.replace("_", " "), name) for name in gym.task_names()], value=now or "chain_sum")


def _from_gym(task: str | None, size: float | None, seed: float | None, level: float, now: str) -> str:
    made = gym.GymTask(task or "chain_sum", int(size or 0), int(seed or 0), int(level))
    return new_source(now, gym.GymTask.parse(made.source).source)


def _from_hub(repo: str, config: str, split: str, revision: str, now: str) -> str:
    name = (repo or "").strip().removeprefix("https://huggingface.co/datasets/").strip("/")
    if not name:
        raise DatasetError("Write the name of a dataset first: owner/name, for example openai/gsm8k.")
    if not looks_like_hub_id(name):
        raise DatasetError(f"{name!r} is not a dataset's name. It looks like owner/name, for example openai/gsm8k.")
    return new_source(now, name, *((v or "").strip() or None for v in (config, split, revision)))


def _uploaded(shared: Shared, path: str | None, now: str) -> str:
    if not path:
        raise DatasetError("The upload did not arrive. Choose the file again.")
    return new_source(now, str(keep_upload(shared.home.private, path)))


def _pasted(shared: Shared, text: str, now: str) -> str:
    from pipeline.dataset.files import read_text

    good, broken = read_text(text or "").first(1)
    if not good:
        raise DatasetError("No row could be read from the pasted text" + (f": {broken[0].why}." if broken else
                           ". The first line must be a heading such as question,answer."))
    return new_source(now, str(keep_text(shared.home.private, text, "pasted-rows.txt")))


def _path(shared: Shared, value: str, now: str) -> str:
    named = (value or "").strip()
    if not named:
        raise DatasetError("Write the full path of a file first.")
    path = reach.path_of(named)
    if not path.is_file():
        raise DatasetError(f"There is no file {str(path)!r} on this machine. Give its full path.")
    check_path(shared, DataStep(source=str(path)))
    return new_source(now, str(path.absolute()))
