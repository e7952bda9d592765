"""Questions with every contestant's answers: what the side-by-side view filters, searches, sorts and pages.

Right or wrong of a question with several answers is that of the majority of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pipeline.contestants import Contestant, Row, contestants, title_of
from pipeline.errors import RunError

PAGE_SIZE = 50
SORTS = {"number": "Question number", "longest": "Longest answer first", "shortest": "Shortest answer first",
         "widest": "Largest difference in length first"}


@dataclass(frozen=True)
class Question:
    """One question and the answers of those who answered it: contestant -> rows."""

    index: int
    question: str
    reference: str
    subject: str | None
    answers: dict[str, list[Row]]


@dataclass(frozen=True)
class Filter:
    """A named choice of questions and how many there are."""

    name: str
    title: str
    count: int


class QuestionTable:
    """The questions of one benchmark. Selecting works on arrays, so it is quick for thousands of questions."""

    def __init__(self, rows: Sequence[Row], expected: Sequence[dict[str, Any]] = ()) -> None:
        self.contestants: list[Contestant] = contestants(rows, expected)
        self.keys = [c.key for c in self.contestants]
        self.questions = _questions(self.contestants)
        self.position = {q.index: i for i, q in enumerate(self.questions)}
        self._right = {c.key: self._majority(c, "exact") for c in self.contestants}
        self._format = {c.key: self._majority(c, "format") for c in self.contestants}
        self._answered = {c.key: np.array([q.index in c.by_question for q in self.questions], dtype=bool)
                          for c in self.contestants}
        self._tokens = self._token_matrix()
        self._text = [_searchable(q) for q in self.questions]
        self._masks = self._named_masks()

    def filters(self) -> list[Filter]:
        """The filters that make sense for these contestants, each with its count."""
        return [Filter(name, title, int(mask.sum())) for name, (title, mask) in self._masks.items()]

    def matrix(self, a: str, b: str) -> dict[tuple[bool, bool], int]:
        """Questions by (a right, b right), of those that both answered."""
        return {(x, y): int(self._transition(a, b, x, y).sum()) for x in (True, False) for y in (True, False)}

    def select(self, name: str = "all", search: str = "", sort: str = "number") -> list[int]:
        """Positions of the questions that pass a filter and contain the text. `#12` finds question number 12.

        `name` is that of a filter, or a cell of a matrix as `base>grpo:wrong>right`.
        """
        search = search.strip()
        if search.startswith("#") and search[1:].isdigit():
            found = self.position.get(int(search[1:]) - 1)
            return [] if found is None else [found]
        chosen = np.flatnonzero(self._mask(name)).tolist()
        if search:
            wanted = search.casefold()
            chosen = [i for i in chosen if wanted in self._text[i]]
        if sort != "number" and chosen:
            low, high = self._tokens.min(axis=0), self._tokens.max(axis=0)
            key = {"longest": -high, "shortest": low, "widest": low - high}[sort]
            chosen.sort(key=lambda i: (key[i], i))
        return chosen

    def right(self, key: str, position: int) -> bool | None:
        """Whether a contestant got a question right; None when it has not answered it."""
        return bool(self._right[key][position]) if self._answered[key][position] else None

    def _majority(self, c: Contestant, metric: str) -> np.ndarray:
        counts = c.counts(metric)
        return np.array([2 * counts.get(q.index, 0) > c.samples for q in self.questions], dtype=bool)

    def _token_matrix(self) -> np.ndarray:
        """Mean tokens of the answers, (contestants, questions); where one is missing, another's stands in."""
        table = [[_mean_tokens(q.answers.get(key)) for q in self.questions] for key in self.keys]
        values = np.array(table, dtype=float).reshape(len(self.keys), len(self.questions))
        return np.where(np.isnan(values), np.nanmax(values, axis=0), values) if values.size else values

    def _transition(self, a: str, b: str, was: bool, now: bool) -> np.ndarray:
        both = self._answered[a] & self._answered[b]
        return both & (self._right[a] == was) & (self._right[b] == now)

    def _named_masks(self) -> dict[str, tuple[str, np.ndarray]]:
        everyone = np.ones(len(self.questions), dtype=bool)
        masks = {"all": ("All questions", everyone)}
        chain = [key for key in ("base", "sft", "grpo") if key in self.keys]
        for before, after in pairwise(chain):
            masks[f"fixed_{after}"] = (f"Fixed by {title_of(after)}", self._transition(before, after, False, True))
            masks[f"broken_{after}"] = (f"Broken by {title_of(after)}", self._transition(before, after, True, False))
        if not self.keys:
            return masks
        right, answered = np.array(list(self._right.values())), np.array(list(self._answered.values()))
        masks["all_wrong"] = ("All wrong", ~(right & answered).any(axis=0))
        masks["all_right"] = ("All right", (right & answered).all(axis=0))
        lost = np.zeros(len(self.questions), dtype=bool)
        for before, after in pairwise(chain):
            lost |= self._format[before] & ~self._format[after] & self._answered[after]
        masks["format_lost"] = ("Format lost", lost)
        return masks

    def _mask(self, name: str) -> np.ndarray:
        if name in self._masks:
            return self._masks[name][1]
        pair, _, cell = name.partition(":")
        a, _, b = pair.partition(">")
        was, _, now = cell.partition(">")
        if a not in self.keys or b not in self.keys or {was, now} - {"right", "wrong"}:
            raise RunError(f"There is no filter {name!r} here. Choose one of: {', '.join(self._masks)}.")
        return self._transition(a, b, was == "right", now == "right")


def _questions(found: Sequence[Contestant]) -> list[Question]:
    answers: dict[int, dict[str, list[Row]]] = {}
    for contestant in found:
        for index, rows in contestant.by_question.items():
            answers.setdefault(index, {})[contestant.key] = rows
    out = []
    for index in sorted(answers):
        first = next(iter(answers[index].values()))[0]
        out.append(Question(index, first["question"], first["reference"] or "", first["subject"], answers[index]))
    return out


def _mean_tokens(rows: list[Row] | None) -> float:
    return sum(row["tokens"] or 0 for row in rows) / len(rows) if rows else float("nan")


def _searchable(question: Question) -> str:
    texts = [question.question, question.reference, question.subject or ""]
    texts += [row["completion"] for rows in question.answers.values() for row in rows]
    return "\n".join(texts).casefold()
