"""The test bench: completions scored by the very object that trains, with mutants and the gaming check."""

import re

import gradio as gr

from pipeline.dataset.sample import load_view
from pipeline.errors import DatasetError, RewardError, RunError
from pipeline.recipe import RewardsStep
from pipeline.rewards import RewardSet
from pipeline.rewards.mutants import bench
from pipeline.rewards.probes import gaming_check
from pipeline.run_folder import RunReader
from pipeline.tags import TagScheme
from reasoning_ui.data_state import choice_of
from reasoning_ui.header import QUIET
from reasoning_ui.rewards_html import bench_html, note, notes
from reasoning_ui.rewards_state import scheme_for
from reasoning_ui.shared import Shared, data_step, guard, rewards_step

MAX_COMPLETIONS, MAX_CHARS = 64, 200_000
SOURCES = [("The dataset's solution", "data"), ("A group of the dry run", "dry")]
LINE = re.compile(r"^\s*-{3,}\s*$", re.MULTILINE)
INTRO = """### 3. Try it
Scores below come from the same code that trains. Write or paste answers, take one from the dataset, or take a group
that a model wrote in the dry run.
"""


class Bench:
    """Question, reference, completions; three buttons; a table."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        gr.Markdown(INTRO)
        with gr.Row(elem_classes="r-end"):
            self.source = gr.Radio(SOURCES, value="data", label="Take answers from", elem_id="bench-source",
                                   min_width=260)
            self.number = gr.Number(1, label="Row or group", precision=0, minimum=1, elem_id="bench-number",
                                    min_width=120)
            self.take = gr.Button("Take it", elem_id="bench-take", min_width=100)
        with gr.Row():
            self.question = gr.Textbox("What is 6 x 7?", label="Question", lines=2, elem_id="bench-question",
                                       min_width=240, max_length=50_000)
            self.reference = gr.Textbox("42", label="Right answer (reference)", elem_id="bench-reference",
                                        min_width=160, max_length=5000)
        self.texts = gr.Textbox(
            "<reasoning>\n6 x 7 = 42\n</reasoning>\n<answer>42</answer>", label="Completions", lines=6, max_lines=24,
            elem_id="bench-texts", max_length=MAX_CHARS, info="Several are separated by a line with three dashes.")
        with gr.Row():
            self.score = gr.Button("Score", variant="primary", elem_id="bench-score")
            self.mutate = gr.Button("Score with mutants", elem_id="bench-mutants")
            self.game = gr.Button("Gaming check", elem_id="bench-gaming")
        self.result = gr.HTML(elem_id="bench-result", apply_default_css=False)

    def wire(self, dry: gr.Textbox) -> None:
        """Connect the buttons; `dry` holds the id of the dry run that is looked at."""
        s = self.shared
        given = [s.rewards, s.data, self.question, self.reference, self.texts]
        self.score.click(guard(_score), given, self.result, **QUIET)
        self.mutate.click(guard(_mutants), given, self.result, **QUIET)
        self.game.click(guard(_gaming), given, self.result, **QUIET)

        def take(source: str, number: float, run: str, data: str, model: str, training: str) -> tuple[str, str, str]:
            if source == "dry":
                return group_of(s, run, int(number or 1))
            return row_of(s, data, model, training, int(number or 1))

        self.take.click(guard(take), [self.source, self.number, dry, s.data, s.model, s.training],
                        [self.question, self.reference, self.texts], **QUIET)


def row_of(shared: Shared, data: str, model: str, training: str, number: int) -> tuple[str, str, str]:
    """Question, reference and tagged solution of a row of the dataset. Raises DatasetError."""
    choice = choice_of(shared, data, model, training)
    view = load_view(choice.data, choice.chat)
    if not view.numbers:
        raise DatasetError("The dataset has no row to take.")
    example = view.example(view.nearest(number))
    if example is None:
        raise DatasetError(f"Row {number} has no question; take another.")
    return example.question, example.reference or "", example.completion or ""


def group_of(shared: Shared, run: str, number: int) -> tuple[str, str, str]:
    """Question, reference and answers of a group of a dry run, counted from 1. Raises RunError."""
    if not run:
        raise RunError("There is no dry run yet: start one in section 4.")
    reader = RunReader(shared.home.run(run))
    rows = reader.rows("SELECT * FROM groups WHERE stage = 'dry_run' ORDER BY id LIMIT 1 OFFSET ?", (number - 1,))
    if not rows:
        raise RunError(f"The dry run has no group {number} (yet).")
    texts = [c["text"] for c in reader.completions_of(rows[0]["id"])]
    return rows[0]["prompt"], rows[0]["reference"] or "", "\n---\n".join(texts)


def split_texts(text: str) -> list[str]:
    """The completions of the box. Raises RewardError for too many."""
    texts = [part.strip("\n") for part in LINE.split(text or "")]
    if len(texts) > MAX_COMPLETIONS:
        raise RewardError(f"These are {len(texts)} completions; at most {MAX_COMPLETIONS} are scored at once.")
    return texts


def _open(rewards: str, data: str) -> tuple[RewardsStep, RewardSet, TagScheme]:
    step, scheme = rewards_step(rewards), scheme_for(data_step(data))
    if not any(f.enabled for f in step.functions):
        raise RewardError("No reward is switched on: add one, or switch one on.")
    return step, RewardSet(step, scheme), scheme


def _score(rewards: str, data: str, question: str, reference: str, text: str) -> str:
    _, found, scheme = _open(rewards, data)
    texts = split_texts(text)
    with found:
        scores = found.score(texts, [reference.strip() or None] * len(texts), [question] * len(texts))
        advantages = found.advantages(scores, len(texts))
    return bench_html([f"completion {i}" for i in range(1, len(texts) + 1)], texts, scores, advantages, scheme)


def _mutants(rewards: str, data: str, question: str, reference: str, text: str) -> str:
    _, found, scheme = _open(rewards, data)
    with found:
        result = bench(found, split_texts(text)[0], reference.strip() or None, question)
        advantages = found.advantages(result.scores, len(result.mutants))
    words = notes(result.sentences) if result.sentences else note(
        f"All {len(result.mutants) - 1} mutants score less than the original.", "good")
    table = bench_html([m.name for m in result.mutants], [m.text for m in result.mutants], result.scores, advantages,
                       scheme, [m.name for m in result.gaps])
    return words + table


def _gaming(rewards: str, data: str, question: str, reference: str, text: str) -> str:
    if not reference.strip():
        raise RewardError("The gaming check needs the right answer: fill in the reference.")
    _, found, scheme = _open(rewards, data)
    with found:
        result = gaming_check(found, question, reference.strip())
        advantages = found.advantages(result.scores, len(result.probes))
    words = notes(result.warnings) if result.warnings else note(
        "No probe is paid like an honest answer, and none beats a wrong answer in perfect format.", "good")
    warned = [p.name for p in result.probes if any(p.name in w for w in result.warnings)]
    return words + bench_html([p.name for p in result.probes], [p.text for p in result.probes], result.scores,
                              advantages, scheme, warned)


