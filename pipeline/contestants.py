"""Stored answers, grouped by who gave them: a contestant is a model at a precision."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

ORDER = {"base": 0, "sft": 1, "grpo": 2}
PRECISIONS = ("16bit", "8bit", "fp8", "4bit")
TITLES = {"base": "Base", "sft": "SFT", "grpo": "GRPO"}

Row = dict[str, Any]


@dataclass
class Contestant:
    """All answers of one model at one precision to one benchmark. `expected` is None when it is not known."""

    key: str
    rows: list[Row]
    settings: dict[str, Any]
    expected: int | None = None
    by_question: dict[int, list[Row]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        groups: dict[int, list[Row]] = defaultdict(list)
        for row in self.rows:
            groups[row["question_index"]].append(row)
        most = max(map(len, groups.values()), default=0)
        self.by_question = {q: rows for q, rows in groups.items() if len(rows) == most}

    @property
    def title(self) -> str:
        """GRPO, or GRPO 4-bit."""
        return title_of(self.key)

    @property
    def precision(self) -> str:
        """16bit, 8bit, 4bit or fp8."""
        return self.settings.get("precision", "16bit")

    @property
    def samples(self) -> int:
        """Answers per question."""
        return len(next(iter(self.by_question.values()), []))

    @property
    def partial(self) -> bool:
        """Whether the evaluation was stopped before all questions were answered."""
        return self.expected is not None and len(self.by_question) < self.expected

    def counts(self, metric: str) -> dict[int, int]:
        """How many answers to each question have the property."""
        return {q: sum(has(row, metric) for row in rows) for q, rows in self.by_question.items()}


def title_of(key: str) -> str:
    """The shown name of a contestant's key (`grpo`, `grpo@4bit`, `owner/model`)."""
    model, _, precision = key.partition("@")
    name = TITLES.get(model, model)
    return f"{name} {precision.replace('bit', '-bit')}" if precision else name


def contestants(rows: Sequence[Row], expected: Sequence[dict[str, Any]] = ()) -> list[Contestant]:
    """The models in `rows` (of one benchmark), base, SFT and GRPO first; the newest settings of each count.

    `expected` is the entry `evaluations` of the run's status: how many questions each evaluation was to have.
    """
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["model"], row["settings"]].append(row)
    totals = {(e["model"], e["settings"]): e["questions"] for e in expected}
    newest: dict[str, tuple[int, Contestant]] = {}
    for (model, settings), answers in groups.items():
        values = _settings(settings)
        precision = values.get("precision", "16bit")
        key = model if precision == "16bit" else f"{model}@{precision}"
        last = max(row.get("id", 0) for row in answers)
        if key not in newest or newest[key][0] < last:
            newest[key] = (last, Contestant(key, answers, values, totals.get((model, settings))))
    return sorted((c for _, c in newest.values()),
                  key=lambda c: (ORDER.get(c.key.partition("@")[0], 9), c.key.partition("@")[0],
                                 PRECISIONS.index(c.precision) if c.precision in PRECISIONS else 9))


def has(row: Row, metric: str) -> bool:
    """Whether one answer has a property: exact, lenient, plausible, format, truncated or extractable."""
    return row["extracted"] is not None if metric == "extractable" else bool(row[metric])


def _settings(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
