"""The first rows of a source, read once and shared by everything that the Data tab shows before a full check."""

import bisect
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import reach
from pipeline.dataset import gym
from pipeline.dataset.chat import ChatTokenizer
from pipeline.dataset.demo import demo_rows
from pipeline.dataset.examples import Example, make_example
from pipeline.dataset.files import Broken
from pipeline.dataset.mapping import SAMPLE
from pipeline.dataset.prepare import columns_of, demo_sizes, mapping_of, system_of
from pipeline.dataset.quality import measure
from pipeline.dataset.sources import local_file_of, open_source
from pipeline.errors import DatasetError, StudioError
from pipeline.recipe import DataStep
from pipeline.tags import scheme_of

ROWS = 20_000
FIRST_ROWS = 10
FIRST_SECONDS = 1.0  # that the first rows of a dataset on the Hub are waited for
HUB = "Hub dataset"
DEMO_ROWS = 300
MADE_ROWS = 200  # of a task that makes its rows, which may take a while each
MAX_CHARACTERS = 24_000_000  # of all texts of a sample
_lock = threading.Lock()
_samples: dict[tuple[Any, ...], tuple["_Reader | None", "Sample"]] = {}
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
    loading: bool = False  # more rows of the sample are on their way


class View:
    """The sample's rows as examples under one DataStep; made when they are asked for."""

    def __init__(self, data: DataStep, chat: ChatTokenizer, sample: Sample, seed: int = 1) -> None:
        self.sample, self._chat, self._data, self._seed = sample, chat, data, seed
        self.mapping = mapping_of(data, [row for _, row in sample.rows[:SAMPLE]])
        self._scheme, self._system = scheme_of(data.tags), system_of(data)
        self.numbers = [number for number, _ in sample.rows]
        self._index = {number: i for i, number in enumerate(self.numbers)}
        self._far: dict[int, dict[str, Any]] = {}  # rows beyond the sample that were asked for
        self._lock = threading.Lock()
        self._all: list[Example] | None = None
        self._measured = False

    def example(self, number: int) -> Example | None:
        """The example of a row that `nearest` gave; None when the row has no question."""
        row = self._far[number] if number in self._far else self.sample.rows[self._index[number]][1]
        return make_example(number, row, self.mapping, self._scheme, self._system)

    def nearest(self, number: int) -> int:
        """The row itself, read now where it is beyond the sample, or the next one that can be read."""
        if number > self.numbers[-1] and not self.sample.complete:
            if number not in self._far and (row := _row_at(self._data, number, self._seed)) is not None:
                _keep(self._far, number, row, 50)
            if number in self._far:
                return number
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


def load_sample(data: DataStep, seed: int = 1) -> Sample:
    """The sample of a source; cached until its file changes. `seed` is the run's, which the demo's rows are made from.

    Raises DatasetError in words.
    """
    made = (seed, data.split.model_dump_json(), data.limit) if data.source == "demo" else None
    key = (data.source, data.config, data.source_split, data.revision, _stamp(data.source), made)
    with _lock:
        reader, sample = _samples.get(key, (None, None))
    if sample and not (reader and sample.loading and reader.has_more_than(sample)):
        return sample
    reader = reader or (None if made else _Reader(data))
    sample = _demo(data, seed) if reader is None else reader.sample() if sample else reader.first()
    with _lock:
        _samples.pop(key, None)
        _keep(_samples, key, (reader, sample), 4)
    return sample


def load_view(data: DataStep, chat: ChatTokenizer, seed: int = 1) -> View:
    """The sample's examples; cached by the DataStep and the tokenizer."""
    usual = {} if data.source == "demo" else {"split": DataStep().split}
    key = (data.model_copy(update=usual).model_dump_json(), _stamp(data.source), id(chat), seed)
    sample = load_sample(data, seed)
    with _lock:
        if key in _views and _views[key].sample is sample:
            return _views[key]
    view = View(data, chat, sample, seed)
    with _lock:
        _keep(_views, key, view, 4)
    return view


# ------------------------------------------------------------------------------------------------------------------


def _demo(data: DataStep, seed: int) -> Sample:
    """The first problems that a run with this seed makes, numbered as in its report."""
    rows: list[tuple[int, dict[str, Any]]] = []
    before = 0
    for part, size in demo_sizes(data).items():
        count = min(size, DEMO_ROWS - len(rows))
        rows += enumerate(demo_rows(part, count, seed) if count > 0 else [], before + 1)  # type: ignore[arg-type]
        before += size
    if not rows:
        raise DatasetError("The split asks for no row at all. Raise one of its four numbers.")
    note = f"These problems are made from the seed {seed}, and a run with that seed makes the same."
    return Sample(rows, [], columns_of([r for _, r in rows[:1]]), "made here", [note], None, False)


def _row_at(data: DataStep, number: int, seed: int) -> dict[str, Any] | None:
    """A row far into a file, or of the demo; None for one that is not there or cannot be read."""
    if data.source == "demo":
        before = 0
        for part, size in demo_sizes(data).items():
            if before < number <= before + size:
                return demo_rows(part, number - before, seed)[-1]  # type: ignore[arg-type]
            before += size
        return None
    if not reach.path_of(data.source).exists() and local_file_of(data) is None:
        return None  # on the Hub: all rows before it would have to be fetched
    for item in open_source(data):
        at = item.row if isinstance(item, Broken) else item[0]
        if at >= number:
            return item[1] if at == number and not isinstance(item, Broken) else None
    return None


class _Reader:
    """Reads a sample: at once, or, from the Hub, in a thread while its first rows are looked at."""

    def __init__(self, data: DataStep) -> None:
        self._source, self._name = open_source(data), Path(data.source).name
        self._most = MADE_ROWS if data.source.startswith(gym.PREFIX) else ROWS
        self._rows: list[tuple[int, dict[str, Any]]] = []
        self._broken: list[Broken] = []
        self._done, self._complete = threading.Event(), False
        self._error: StudioError | None = None

    def first(self) -> "Sample":
        """The whole sample; of the Hub what comes in FIRST_SECONDS, and at least FIRST_ROWS."""
        if not self._source.kind.startswith(HUB):
            self._read()
            return self.sample()
        threading.Thread(target=self._read, daemon=True).start()
        self._done.wait(FIRST_SECONDS)
        while len(self._rows) < FIRST_ROWS and not self._done.wait(0.05):
            pass
        return self.sample()

    def has_more_than(self, sample: "Sample") -> bool:
        """Whether something came since a sample was taken."""
        return self._done.is_set() or len(self._rows) > len(sample.rows)

    def sample(self) -> "Sample":
        """What was read until now. Raises DatasetError when that is nothing."""
        loading, rows, broken = not self._done.is_set(), list(self._rows), list(self._broken)
        if not rows:
            if self._error:
                raise self._error
            why = f" The first problem: {broken[0].why}." if broken else ""
            raise DatasetError(f"{self._name!r} holds no row that can be read.{why}")
        notes = [*self._source.notes, *([f"Reading ended early: {self._error}"] if self._error else [])]
        return Sample(rows, broken, columns_of([r for _, r in rows[:2000]]), self._source.kind, notes,
                      self._source.total, self._complete, loading)

    def _read(self) -> None:
        size = 0
        try:
            for item in self._source:
                if isinstance(item, Broken):
                    self._broken.append(item)
                else:
                    self._rows.append(item)
                    size += sum(len(v) if isinstance(v, str) else 50 for v in item[1].values())
                if max(len(self._rows), len(self._broken)) >= self._most or size > MAX_CHARACTERS:
                    return
            self._complete = True
        except StudioError as error:
            self._error = error
        finally:
            self._done.set()


def _size(example: Example) -> int:
    return example.prompt_tokens + example.completion_tokens


def _stamp(source: str) -> int:
    path = reach.path_of(source)
    try:
        return path.stat().st_mtime_ns if path.is_file() else 0
    except OSError:
        return 0


def _keep(cache: dict[Any, Any], key: Any, value: Any, most: int) -> None:
    while len(cache) >= most:
        cache.pop(next(iter(cache)))
    cache[key] = value
