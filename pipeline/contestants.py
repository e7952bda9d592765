"""Stored answers, grouped by who gave them: a contestant is a model at a precision."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ORDER = {"base": 0, "sft": 1, "grpo": 2}
PRECISIONS = ("16bit", "8bit", "fp8", "4bit")
TITLES = {"base": "Base", "sft": "SFT", "grpo": "GRPO"}
PROTOCOL = ("data", "max_completion_tokens", "samples", "tags", "temperature", "top_k", "top_p")  # how it is asked

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
    def model(self) -> str:
        """The key without the precision: base, sft, grpo, or a folder, Hub id or checkpoint."""
        return self.key.partition("@")[0]

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
    """The models in `rows` (of one benchmark), base, SFT and GRPO first.

    Who has answered several times counts as asked the way of the newest answers of all, so that like is compared with
    like; who was never asked that way, by its own newest. `expected` is the entry `evaluations` of the run's status:
    how many questions each evaluation was to have.
    """
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["model"], row["settings"]].append(row)
    totals = {(e["model"], e["settings"]): e["questions"] for e in expected}
    last = {group: max(row.get("id", 0) for row in answers) for group, answers in groups.items()}
    newest = max(last, key=lambda group: last[group], default=("", ""))
    newest_way = way_of(settings_of(newest[1]))
    chosen: dict[str, tuple[tuple[bool, int], Contestant]] = {}
    for (model, settings), answers in groups.items():
        values = settings_of(settings)
        precision = values.get("precision", "16bit")
        key = model if precision == "16bit" else f"{model}@{precision}"
        rank = (way_of(values) == newest_way, last[model, settings])
        if key not in chosen or chosen[key][0] < rank:
            chosen[key] = (rank, Contestant(key, answers, values, totals.get((model, settings))))
    return sorted((c for _, c in chosen.values()),
                  key=lambda c: (ORDER.get(c.model, 9), c.model,
                                 PRECISIONS.index(c.precision) if c.precision in PRECISIONS else 9))


def way_of(settings: Mapping[str, Any]) -> str:
    """How a model was asked: what all who are compared should share of their settings, as JSON."""
    return json.dumps({name: settings.get(name) for name in PROTOCOL}, sort_keys=True)


def way_words(ways: Sequence[str]) -> list[str]:
    """Each of the ways of `way_of` in words: answers and temperature, and whatever else they differ in."""
    asked = [json.loads(way) for way in ways]
    differ = [name for name in PROTOCOL if len({json.dumps(values[name]) for values in asked}) > 1]
    found: list[str] = []
    for values in asked:
        samples = values["samples"] or 1
        parts = [f"{samples} answer{'s' * (samples > 1)} each", f"temperature {values['temperature'] or 0:g}"]
        parts += [f"{name} {values[word]}" for word, name in (("top_p", "top-p"), ("top_k", "top-k")) if word in differ]
        if "max_completion_tokens" in differ:
            parts.append(f"at most {values['max_completion_tokens']} tokens")
        parts += ["other tags"] if "tags" in differ and values["tags"] != asked[0]["tags"] else []
        parts += ["other questions"] if "data" in differ and values["data"] != asked[0]["data"] else []
        words = ", ".join(parts)
        found.append(words if words not in found else f"{words} ({len(found) + 1})")
    return found


def has(row: Row, metric: str) -> bool:
    """Whether one answer has a property: exact, lenient, plausible, format, truncated or extractable."""
    return row["extracted"] is not None if metric == "extractable" else bool(row[metric])


def settings_of(text: str) -> dict[str, Any]:
    """The settings that are stored with an answer; empty where they cannot be read."""
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
