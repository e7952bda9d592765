"""What the test bench scores: typed or pasted text, a row of the dataset, or what a model wrote in a worker."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import jobs
from pipeline.dataset.sample import load_view
from pipeline.errors import DatasetError, RewardError, RunError
from pipeline.evaluation import TRAINED
from pipeline.run_folder import RunReader
from pipeline.studio_home import StudioHome
from pipeline.whole_paths import MODELS, whole_path
from reasoning_ui.data_state import choice_of
from reasoning_ui.shared import Shared

MAX_COMPLETIONS = 64  # scored at once
MAX_RUNS = 30  # whose models are offered
LINE = re.compile(r"^\s*-{3,}\s*$", re.MULTILINE)
STAGE_TITLES = {"sft": "after SFT", "grpo": "after GRPO"}
Choices = list[tuple[str, str]]


@dataclass(frozen=True)
class Given:
    """A question, its right answer, and completions; with their lengths where a model wrote them."""

    question: str
    reference: str | None
    texts: tuple[str, ...]
    tokens: tuple[int, ...] | None = None
    truncated: tuple[bool, ...] | None = None


def typed(question: str, reference: str, text: str) -> Given:
    """What the boxes hold; completions are separated by lines of dashes. Raises RewardError for too many."""
    texts = tuple(part.strip("\n") for part in LINE.split(text or ""))
    if len(texts) > MAX_COMPLETIONS:
        raise RewardError(f"These are {len(texts)} completions; at most {MAX_COMPLETIONS} are scored at once.")
    return Given(question, reference.strip() or None, texts)


def row_of(shared: Shared, data: str, model: str, training: str, number: int) -> tuple[str, str, str]:
    """Question, reference and tagged solution of a row of the dataset. Raises DatasetError."""
    choice = choice_of(shared, data, model, training)
    view = load_view(choice.data, choice.chat, choice.seed)
    if not view.numbers:
        raise DatasetError("The dataset has no row to take.")
    example = view.example(view.nearest(number))
    if example is None:
        raise DatasetError(f"Row {number} has no question; take another.")
    return example.question, example.reference or "", example.completion or ""


def written(home: StudioHome, run: str) -> list[Given]:
    """What a model wrote in a dry run or for the bench, question by question, up to MAX_COMPLETIONS answers.

    Raises RunError when there is nothing yet.
    """
    if not run:
        raise RunError("No model has answered yet: press «Let it answer», or start the dry run in section 4.")
    reader = RunReader(home.run(run))
    found: list[Given] = []
    for row in groups_of(home, run):
        answers = reader.completions_of(row["id"])
        if found and sum(len(g.texts) for g in found) + len(answers) > MAX_COMPLETIONS:
            break
        found.append(Given(row["prompt"], row["reference"], tuple(a["text"] for a in answers),
                           tuple(a["tokens"] for a in answers), tuple(bool(a["truncated"]) for a in answers)))
    if not found:
        raise RunError("The model has not answered a question yet: wait a moment.")
    return found


def groups_of(home: StudioHome, run: str) -> list[dict[str, Any]]:
    """The first groups that a dry run or a sample has stored."""
    return RunReader(home.run(run)).rows(
        "SELECT * FROM groups WHERE stage = 'dry_run' ORDER BY id LIMIT ?", (MAX_COMPLETIONS,))


def model_choices(home: StudioHome) -> Choices:
    """The models that can answer: the chosen one, and those that finished runs made; (words, value)."""
    found: Choices = [("The chosen model, as it is now", "")]
    for card in jobs.list_runs(home)[:MAX_RUNS]:
        found += [(f"«{card.name}» {STAGE_TITLES[stage]}", f"{card.id}/{stage}") for stage in reversed(TRAINED)
                  if _finished(home, card.id, stage)]
    return found


def model_of(home: StudioHome, chosen: str | None) -> str:
    """The chosen model as the dry run's request wants it. Raises RunError for a run that has no such model."""
    name = (chosen or "").strip()
    run, _, stage = name.rpartition("/")
    if stage in TRAINED and run and (home.runs_dir / Path(run).name).is_dir():
        if not _finished(home, run, stage):
            raise RunError(f"Run {run} has no finished model {STAGE_TITLES[stage]}: choose another.")
        return name
    return whole_path(name, MODELS)


def _finished(home: StudioHome, run: str, stage: str) -> bool:
    return (home.run(run).model(stage) / "config.json").is_file()
