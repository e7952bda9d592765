"""What the preparation found: rows in, kept and dropped by reason, references, lengths, parts; saved as report.json."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REASONS = {
    "unreadable": "The row could not be read",
    "no_question": "There is no question",
    "duplicate": "The question was there before",
    "no_answer": "No answer was found",
    "no_reasoning": "There is neither a worked solution to imitate nor an answer to check",
    "tags": "The text already holds the tags",
    "special": "The text holds a special token of the model",
    "too_long": "Too long for the sequence length",
    "leak": "The question is (nearly) in the separate test data",
    "long_solution": "Its worked solution is longer than those that GRPO practises on",
    "limit": "Beyond the limit of rows",
    "unused": "Not asked for by the split",
}
LISTED = 1000  # rows kept per list


@dataclass
class Rowlist:
    """How many rows have something in common, and the first of them: row number and a few words."""

    count: int = 0
    rows: list[tuple[int, str]] = field(default_factory=list)

    def add(self, row: int, words: str = "") -> None:
        """Count a row; the first LISTED are listed."""
        self.count += 1
        if len(self.rows) < LISTED:
            self.rows.append((row, words[:200]))


@dataclass
class Lengths:
    """Token lengths of prompts or completions: how many there are per bin, and how many pass the limit."""

    count: int = 0
    mean: float = 0.0
    median: int = 0
    p95: int = 0
    longest: int = 0
    limit: int = 0
    over: int = 0  # rows longer than the limit
    edges: list[int] = field(default_factory=list)  # of the bins, one more than bins
    bins: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, values: Iterable[int], limit: int, bins: int = 30) -> "Lengths":
        """Summarise lengths in tokens."""
        lengths = sorted(values)
        if not lengths:
            return cls(limit=limit)
        longest = lengths[-1]
        width = max(1, -(-(longest + 1) // bins))
        counts = [0] * (longest // width + 1)
        for value in lengths:
            counts[value // width] += 1
        at = lambda share: lengths[min(len(lengths) - 1, int(share * len(lengths)))]  # noqa: E731
        return cls(len(lengths), sum(lengths) / len(lengths), at(0.5), at(0.95), longest, limit,
                   sum(v > limit for v in lengths), [i * width for i in range(len(counts) + 1)], counts)


@dataclass
class PreparedReport:
    """The report of one preparation. Row numbers count from 1 in the source."""

    source: str
    rows_in: int = 0
    kept: int = 0
    dropped: dict[str, Rowlist] = field(default_factory=dict)  # by key of REASONS
    noticed: dict[str, Rowlist] = field(default_factory=dict)  # rows that were kept, with something to look at
    references_found: int = 0
    references_missing: int = 0
    reference_rules: dict[str, int] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    mapping: dict[str, str | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)  # why the mapping was chosen, by role
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    prompt: Lengths = field(default_factory=Lengths)
    completion: Lengths = field(default_factory=Lengths)
    suggested_max_completion_tokens: int | None = None
    leakage: dict[str, Rowlist] = field(default_factory=dict)  # by the benchmark that the rows are in
    compared_with: list[str] = field(default_factory=list)  # benchmarks
    not_compared: dict[str, str] = field(default_factory=dict)  # other benchmarks, and why, in words
    reused: bool = False  # of a prepared dataset: row numbers are those of its own source
    hash: str = ""  # of the written parts
    seconds: float = 0.0

    def drop(self, reason: str, row: int, words: str = "") -> None:
        """Count a row that is left out."""
        self.dropped.setdefault(reason, Rowlist()).add(row, words)

    def notice(self, what: str, row: int, words: str = "") -> None:
        """Count a row that is kept, with something to look at."""
        self.noticed.setdefault(what, Rowlist()).add(row, words)

    @property
    def dropped_total(self) -> int:
        """All rows left out."""
        return sum(r.count for r in self.dropped.values())

    def as_dict(self) -> dict[str, Any]:
        """Plain values for `--json`: `rows: {in, kept, dropped}`, `references: {found, missing}`, and the rest."""
        values = asdict(self)
        for name in ("rows_in", "kept", "references_found", "references_missing"):
            values.pop(name)
        return {"rows": {"in": self.rows_in, "kept": self.kept, "dropped": self.dropped_total},
                "references": {"found": self.references_found, "missing": self.references_missing}, **values}

    def save(self, path: Path) -> None:
        """Write the report as JSON."""
        path.write_text(json.dumps(asdict(self), ensure_ascii=False, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "PreparedReport":
        """Read a saved report."""
        values = json.loads(path.read_text(encoding="utf-8"))
        for name in ("dropped", "noticed", "leakage"):
            values[name] = {k: Rowlist(v["count"], [tuple(r) for r in v["rows"]]) for k, v in values[name].items()}
        for name in ("prompt", "completion"):
            values[name] = Lengths(**values[name])
        return cls(**values)
