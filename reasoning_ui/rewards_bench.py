"""The test bench: completions scored by the very object that trains, with mutants and the gaming check."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import gradio as gr

from pipeline.errors import RewardError, StudioError
from pipeline.recipe import RewardsStep
from pipeline.rewards import RewardSet, Scores, same_answer
from pipeline.rewards.mutants import bench
from pipeline.rewards.probes import REASONING, gaming_check
from pipeline.tags import wrap
from reasoning_ui import rewards_turns
from reasoning_ui.data_state import choice_of
from reasoning_ui.header import QUIET
from reasoning_ui.rewards_given import Given, row_of, typed, written
from reasoning_ui.rewards_html import bench_html, note, notes
from reasoning_ui.rewards_sample import ModelAnswers
from reasoning_ui.rewards_state import scheme_for
from reasoning_ui.shared import Shared, data_step, guard, rewards_step, words_of

MAX_CHARS = 200_000
OLD = "() => { document.querySelector('#bench-result')?.classList.add('r-before'); }"
NEW = "() => { document.querySelector('#bench-result')?.classList.remove('r-before'); }"
"""Mark the scores shown as those of before a change, and as new."""
COUNT_TOKENS = ("length_target", "overlong", "reasoning_length", "custom")
TYPED, DATA, MODEL, DRY = "typed", "data", "model", "dry"
SOURCES = [("What I type", TYPED), ("The dataset's solutions", DATA), ("A model", MODEL), ("The dry run", DRY)]
INTRO = """### 3. Try it
Does the set pay what you mean? Scores below come from the same code that trains: on answers that you write or paste, on
the dataset's own solutions, or on what a model answers now. «Score with mutants» damages a good answer in known ways
and points out what nobody would notice; the «gaming check» tries to be paid without knowing anything.
"""


class Bench:
    """Where completions come from; question, reference, completions; three buttons; a table."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        gr.Markdown(INTRO)
        self.source = gr.Radio(SOURCES, value=TYPED, label="Answers from", elem_id="bench-source")
        with gr.Row(elem_classes="r-end", visible=False) as self.rows:
            self.number = gr.Number(1, label="Row", precision=0, elem_id="bench-number", min_width=120)
            self.take = gr.Button("Take it", elem_id="bench-take", min_width=100)
        self.asked = ModelAnswers(shared)
        with gr.Column() as self.boxes:
            with gr.Row():
                self.question = gr.Textbox("What is 6 x 7?", label="Question", lines=2, elem_id="bench-question",
                                           min_width=240, max_length=50_000)
                self.reference = gr.Textbox("42", label="Right answer (reference)", elem_id="bench-reference",
                                            min_width=160, max_length=5000)
            self.texts = gr.Textbox(
                "<reasoning>\n6 x 7 = 42\n</reasoning>\n<answer>42</answer>", label="Completions", lines=6,
                max_lines=24, elem_id="bench-texts", max_length=MAX_CHARS,
                info="Several are separated by a line with three dashes.")
        with gr.Row():
            self.score = gr.Button("Score", variant="primary", elem_id="bench-score")
            self.mutate = gr.Button("Score with mutants", elem_id="bench-mutants")
            self.game = gr.Button("Gaming check", elem_id="bench-gaming")
        self.result = gr.HTML(elem_id="bench-result", apply_default_css=False)

    def wire(self, dry: gr.Textbox) -> None:
        """Connect the buttons; `dry` holds the id of the dry run that is looked at."""
        s = self.shared
        self.asked.wire()
        self.source.input(lambda source: [gr.Row(visible=source == DATA), gr.Row(visible=source == MODEL),
                                          gr.Column(visible=source in (TYPED, DATA)), ""],
                          self.source, [self.rows, self.asked.row, self.boxes, self.result], **QUIET)
        self.take.click(guard(lambda number, *choices: row_of(s, *choices, int(number or 1))),
                        [self.number, s.data, s.model, s.training], [self.question, self.reference, self.texts],
                        **QUIET)
        inputs = [s.rewards, s.data, s.model, s.training, self.source, self.asked.id, dry, self.question,
                  self.reference, self.texts]
        for button, act in ((self.score, scored), (self.mutate, mutated), (self.game, gamed)):
            button.click(self._acting(act), inputs, self.result, js=rewards_turns.settled(0), **QUIET).then(
                None, js=NEW)
        self.asked.done.change(self._acting(scored), inputs, self.result, **QUIET).then(None, js=NEW)
        gr.on([box.change for box in (self.question, self.reference, self.texts, s.rewards, s.data)], None, js=OLD)

    def _acting(self, act: Callable[["Trial"], str]) -> Callable[..., str]:
        def work(rewards: str, data: str, model: str, training: str, source: str, sampled: str, dry: str,
                 question: str, reference: str, text: str) -> str:
            step = rewards_step(rewards)
            if not any(f.enabled for f in step.functions):
                raise RewardError("No reward is switched on: add one, or switch one on.")
            run = sampled if source == MODEL else dry
            given = written(self.shared.home, run) if source in (MODEL, DRY) else [typed(question, reference, text)]
            counts = any(f.enabled and f.kind in COUNT_TOKENS for f in step.functions)
            chat = choice_of(self.shared, data, model, training).chat if counts else None
            with RewardSet(step, scheme_for(data_step(data)), chat.count if chat else None) as found:
                return act(Trial(step, found, given))

        def handler(*asked: str) -> str:
            try:
                return work(*asked)
            except (StudioError, OSError) as error:  # in place of the scores of before, which would pass for these
                return f'<div class="rs-note rs-bad" role="alert">{words_of(error)}</div>'

        return handler


@dataclass(frozen=True)
class Trial:
    """A reward set and what it is tried on; all groups are of one size unless there is only one."""

    step: RewardsStep
    rewards: RewardSet
    given: list[Given]

    @property
    def texts(self) -> list[str]:
        """All completions, group after group."""
        return [text for group in self.given for text in group.texts]

    def score(self) -> Scores:
        """The scores of all completions, with their true lengths where a model wrote them."""
        asked = [(group.reference, group.question) for group in self.given for _ in group.texts]
        known = all(group.tokens is not None and group.truncated is not None for group in self.given)
        return self.rewards.score(
            self.texts, [reference for reference, _ in asked], [question for _, question in asked],
            tokens=list(chain(*(g.tokens or () for g in self.given))) if known else None,
            truncated=list(chain(*(g.truncated or () for g in self.given))) if known else None)


def scored(trial: Trial) -> str:
    """The table of completions and rewards; with several questions, under each its answers."""
    scores, size = trial.score(), len(trial.given[0].texts)
    advantages = trial.rewards.advantages(scores, size)
    several = len(trial.given) > 1
    word = "answer" if several or trial.given[0].tokens else "completion"
    names = [f"{word} {i}" for group in trial.given for i in range(1, len(group.texts) + 1)]
    heads = {size * i: f"{i + 1}. {g.question}  (right: {g.reference})" for i, g in enumerate(trial.given)}
    return bench_html(names, trial.texts, scores, advantages, trial.rewards.scheme, heads=heads if several else {})


def mutated(trial: Trial) -> str:
    """A good completion and its mutants, with what nobody notices. Of typed ones it is the first; of a model's the best
    that is right, and where none is, an answer made up from the reference."""
    group, text, said = _good(trial)
    result = bench(trial.rewards, text, group.reference, group.question)
    advantages = trial.rewards.advantages(result.scores, len(result.mutants))
    words = notes(result.sentences) if result.sentences else note(
        f"All {len(result.mutants) - 1} mutants score less than the original.", "good")
    return said + words + bench_html([m.name for m in result.mutants], [m.text for m in result.mutants], result.scores,
                              advantages, trial.rewards.scheme, [m.name for m in result.gaps])


def gamed(trial: Trial) -> str:
    """Answers that know nothing, on the first question, with warnings about those that are paid for it."""
    group = trial.given[0]
    if not group.reference:
        raise RewardError("The gaming check needs the right answer: fill in the reference.")
    result = gaming_check(trial.rewards, group.question, group.reference)
    advantages = trial.rewards.advantages(result.scores, len(result.probes))
    words = notes(result.warnings) if result.warnings else note(
        "No probe is paid like an honest answer, and none beats a wrong answer in perfect format.", "good")
    warned = [p.name for p in result.probes if any(p.name in w for w in result.warnings)]
    return words + bench_html([p.name for p in result.probes], [p.text for p in result.probes], result.scores,
                              advantages, trial.rewards.scheme, warned)


def _good(trial: Trial) -> tuple[Given, str, str]:
    """The completion to damage, its group, and what to say about it."""
    first, scheme = trial.given[0], trial.rewards.scheme
    if first.tokens is None:
        return first, first.texts[0], ""
    scores, groups = trial.score(), [group for group in trial.given for _ in group.texts]
    right = [i for i, group in enumerate(groups) if same_answer(scores.extracted[i], group.reference)]
    if not right:
        said = note("No answer of the model is right yet, so the original below is made up from the right answer.")
        return first, wrap(scheme, REASONING, first.reference or ""), said
    best = max(right, key=lambda i: (scores.totals[i] is not None, scores.totals[i] or 0.0))
    return groups[best], trial.texts[best], ""
