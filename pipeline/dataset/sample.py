"""The first rows of a source, read once and shared by everything that the Data tab shows before a full check."""

import bisect
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.dataset import gym
from pipeline.dataset.chat import ChatTokenizer
from pipeline.dataset.demo import demo_rows
from pipeline.dataset.examples import Example, make_example
from pipeline.dataset.files import Broken
from pipeline.dataset.mapping import SAMPLE
from pipeline.dataset.prepare import columns_of, mapping_of, system_of
from pipeline.dataset.quality import measure
from pipeline.dataset.sources import open_source
from pipeline.errors import DatasetError
from pipeline.recipe import DataStep
from pipeline.tags import scheme_of

ROWS = 20_000
MADE_ROWS = 200  # of a task that makes its rows, which may take a while each
MAX_CHARACTERS = 24_000_000  # of all texts of a sample
_lock = threading.Lock()
_samples: dict[tuple[Any, ...], "Sample"] = {}
_views: dict[tuple[Any, ...], "View"] = {}


@dataclass(frozen=True)
class Sample:
    """Up to ROWS first rows with their numbers, the broken ones between them, and what was noticed while reading."""

    rows: list[tuple[int, dict[str, Any]]]
    broken: list[Broken]
    columns: list[str]
    kind: str
    notes: list[str]
    total: int | None  # rows of the whole source, where it is known
    complete: bool


class View:
    """The sample's rows as examples under one DataStep; made when they are asked for."""

    def __init__(self, data: DataStep, chat: ChatTokenizer, sample: Sample) -> None:
        self.sample, self._chat = sample, chat
        self.mapping = mapping_of(data, [row for _, row in sample.rows[:SAMPLE]])
        self._scheme, self._system = scheme_of(data.tags), system_of(data)
        self.numbers = [number for number, _ in sample.rows]
        self._index = {number: i for i, number in enumerate(self.numbers)}
        self._lock = threading.Lock()
        self._all: list[Example] | None = None
        self._measured = False

    def example(self, number: int) -> Example | None:
        """The example of a row; None when the row has no question."""
        row = self.sample.rows[self._index[number]][1]
        return make_example(number, row, self.mapping, self._scheme, self._system)

    def nearest(self, number: int) -> int:
        """The row itself, or the next one that was read."""
        at = bisect.bisect_left(self.numbers, number)
        return self.numbers[min(at, len(self.numbers) - 1)]

    def examples(self, measured: bool = False) -> list[Example]:
        """All examples of the sample, with their token lengths if asked for."""
        with self._lock:
            if self._all is None:
                made = (self.example(n) for n in self.numbers)
                self._all = [e for e in made if e is not None]
            if measured and not self._measured:
                measure(self._all, self._chat, lambda *a: None, lambda: None)
                self._measured = True
            return self._all

    def search(self, text: str) -> list[int]:
        """Numbers of the rows whose question, reasoning or answer holds a text, in any case."""
        wanted = text.lower()
        return [e.row for e in self.examples()
                if wanted in f"{e.question}\n{e.reasoning or ''}\n{e.reference or ''}".lower()]

    def rows_of(self, kind: str, max_length: int, max_completion_tokens: int) -> list[int]:
        """Row numbers: `longest` and `shortest` first, `truncated`, `broken`, `no_reference`."""
        if kind in ("longest", "shortest"):
            ordered = sorted(self.examples(True), key=_size, reverse=kind == "longest")
            return [e.row for e in ordered[:1000]]
        if kind == "truncated":
            return [e.row for e in self.examples(True)
                    if _size(e) > max_length or e.completion_tokens > max_completion_tokens]
        if kind == "no_reference":
            return [e.row for e in self.examples() if not e.reference]
        made = {e.row: e for e in self.examples()}
        return [n for n in self.numbers if n not in made or made[n].problem]


def load_sample(data: DataStep) -> Sample:
    """The sample of a source; cached until its file changes. Raises DatasetError in words."""
    key = (data.source, data.config, data.source_split, data.revision, _stamp(data.source))
    with _lock:
        if key in _samples:
            return _samples[key]
    sample = _read(data)
    with _lock:
        _keep(_samples, key, sample, 4)
    return sample


def load_view(data: DataStep, chat: ChatTokenizer) -> View:
    """The sample's examples; cached by the DataStep and the tokenizer."""
    key = (data.model_copy(update={"split": DataStep().split}).model_dump_json(), _stamp(data.source), id(chat))
    with _lock:
        if key in _views:
            return _views[key]
    view = View(data, chat, load_sample(data))
    with _lock:
        _keep(_views, key, view, 4)
    return view


# ------------------------------------------------------------------------------------------------------------------


def _read(data: DataStep) -> Sample:
    if data.source == "demo":
        rows: list[tuple[int, dict[str, Any]]] = list(enumerate(demo_rows("sft", 300, 1), 1))
        note = "These 300 problems show what the demo trains on; a run makes its own from its seed."
        return Sample(rows, [], columns_of([r for _, r in rows[:1]]), "made here", [note], None, False)
    source = open_source(data)
    rows, broken, size = [], [], 0
    complete, most = True, MADE_ROWS if data.source.startswith(gym.PREFIX) else ROWS
    for item in source:
        if isinstance(item, Broken):
            broken.append(item)
        else:
            rows.append(item)
            size += sum(len(v) if isinstance(v, str) else 50 for v in item[1].values())
        if len(rows) >= most or len(broken) >= ROWS or size > MAX_CHARACTERS:
            complete = False
            break
    if not rows:
        why = f" The first problem: {broken[0].why}." if broken else ""
        raise DatasetError(f"{Path(data.source).name!r} holds no row that can be read.{why}")
    columns = columns_of([r for _, r in rows[:2000]])
    return Sample(rows, broken, columns, source.kind, source.notes, source.total, complete)


def _size(example: Example) -> int:
    return example.prompt_tokens + example.completion_tokens


def _stamp(source: str) -> int:
    path = Path(source).expanduser()
    try:
        return path.stat().st_mtime_ns if path.is_file() else 0
    except OSError:
        return 0


def _keep(cache: dict[Any, Any], key: Any, value: Any, most: int) -> None:
    while len(cache) >= most:
        cache.pop(next(iter(cache)))
    cache[key] = value
