"""Ask: questions from a person to the models of a run, through small files in `ask/` of the run folder.

The page writes `<id>.question.json`, the worker `<id>.answer.json` over and over while it writes; `<id>.stop` ends an
answer early. Every file appears whole (written beside, then renamed), so neither side ever reads half of one. Models
are loaded by a job of kind `ask`, which waits for its device like training and ends after a while without questions.
"""

import json
import os
import secrets
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import RunError
from pipeline.run_folder import RunFolder

MAX_QUESTION_CHARACTERS = 20_000
KEPT_SECONDS = 3600.0


@dataclass(frozen=True)
class Question:
    """What was asked of which models, and how they are to sample."""

    text: str
    models: tuple[str, ...]
    temperature: float = 0.0
    top_p: float = 1.0
    max_completion_tokens: int = 256
    seed: int = 0
    system: str | None = None  # None takes the recipe's
    id: str = field(default_factory=lambda: f"{time.time_ns():x}-{secrets.token_hex(3)}")

    def problem(self) -> str | None:
        """Why it cannot be asked, or None."""
        if not self.text.strip():
            return "Type a question first."
        if len(self.text) > MAX_QUESTION_CHARACTERS:
            return f"A question has at most {MAX_QUESTION_CHARACTERS:,} characters; this one has {len(self.text):,}."
        if not self.models:
            return "Choose at least one model."
        if not (0 <= self.temperature <= 5 and 0 < self.top_p <= 1 and 1 <= self.max_completion_tokens <= 32_768):
            return "Temperature is 0 to 5, top-p 0 to 1, and the longest answer 1 to 32,768 tokens."
        return None


@dataclass
class Answer:
    """The answers so far: model -> text, and its state (waiting, loading, writing, done, stopped, failed)."""

    texts: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether no more will come."""
        return bool(self.states) and all(s in ("done", "stopped", "failed") for s in self.states.values())


def put(folder: RunFolder, question: Question) -> str:
    """Write a question where the worker finds it. Raises RunError when it cannot be asked."""
    if problem := question.problem():
        raise RunError(problem)
    _write(mailbox(folder) / f"{question.id}.question.json", asdict(question))
    return question.id


def answer(folder: RunFolder, question_id: str) -> Answer | None:
    """What was answered so far; None before the worker has seen the question."""
    values = _read(mailbox(folder) / f"{question_id}.answer.json")
    return Answer(**values) if values else None


def stop(folder: RunFolder, question_id: str) -> None:
    """End an answer early."""
    (mailbox(folder) / f"{question_id}.stop").touch()


def stopped(folder: RunFolder, question_id: str) -> bool:
    """Whether an answer is to end."""
    return (mailbox(folder) / f"{question_id}.stop").exists()


def save(folder: RunFolder, question_id: str, so_far: Answer) -> None:
    """The worker's side: what was answered so far."""
    _write(mailbox(folder) / f"{question_id}.answer.json", asdict(so_far))


def waiting(folder: RunFolder) -> list[Question]:
    """Questions without an answer file, oldest first; old files are cleared away."""
    found = []
    for path in sorted(mailbox(folder).glob("*.question.json")):
        question_id = path.name.partition(".")[0]
        if time.time() - path.stat().st_mtime > KEPT_SECONDS:
            for old in mailbox(folder).glob(f"{question_id}.*"):
                old.unlink(missing_ok=True)
        elif not (mailbox(folder) / f"{question_id}.answer.json").exists() and (values := _read(path)):
            found.append(Question(**{**values, "models": tuple(values["models"])}))
    return found


def mailbox(folder: RunFolder) -> Path:
    """The folder of the files."""
    path = folder.path / "ask"
    path.mkdir(exist_ok=True)
    return path


def _write(path: Path, values: dict[str, Any]) -> None:
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_text(json.dumps(values), encoding="utf-8")
    half.replace(path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
