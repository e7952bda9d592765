"""The first rows of a source, read once and shared by everything that the Data tab shows before a full check."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.dataset.chat import ChatTokenizer
from pipeline.dataset.demo import demo_rows
from pipeline.dataset.examples import Example, make_example
from pipeline.dataset.files import Broken
from pipeline.dataset.mapping import Mapping
from pipeline.dataset.prepare import columns_of, mapping_of, system_of
from pipeline.dataset.quality import measure
from pipeline.dataset.sources import open_source
from pipeline.errors import DatasetError
from pipeline.recipe import DataStep
from pipeline.tags import scheme_of

ROWS = 1000
MAX_CHARACTERS = 16_000_000  # of all texts of a sample
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


@dataclass(frozen=True)
class View:
    """The sample as examples under one DataStep: mapping, examples with token lengths, rows without a question."""

    mapping: Mapping
    examples: list[Example]
    without_question: list[int]
    by_row: dict[int, Example] = field(repr=False, default_factory=dict)


def load_sample(data: DataStep) -> Sample:
    """The sample of a source; cached until its file changes. Raises DatasetError in words."""
    key = (data.source, data.config, data.source_split, data.revision, _stamp(data.source))
    with _lock:
        if key in _samples:
            return _samples[key]
    sample = _read(data)
    with _lock:
        _keep(_samples, key, sample, 8)
    return sample


def load_view(data: DataStep, chat: ChatTokenizer) -> View:
    """The sample's examples with token lengths; cached by the DataStep and the tokenizer."""
    key = (data.model_copy(update={"split": DataStep().split}).model_dump_json(), _stamp(data.source), id(chat))
    with _lock:
        if key in _views:
            return _views[key]
    view = _view(data, chat, load_sample(data))
    with _lock:
        _keep(_views, key, view, 8)
    return view


def search(view: View, text: str) -> list[int]:
    """Numbers of the rows whose question, reasoning or answer holds a text, in any case."""
    wanted = text.lower()
    return [e.row for e in view.examples if wanted in f"{e.question}\n{e.reasoning or ''}\n{e.reference or ''}".lower()]


# ------------------------------------------------------------------------------------------------------------------


def _read(data: DataStep) -> Sample:
    if data.source == "demo":
        rows = list(enumerate(demo_rows("sft", 300, 1), 1))
        note = "These 300 problems show what the demo trains on; a run makes its own from its seed."
        return Sample(rows, [], columns_of([r for _, r in rows[:1]]), "made here", [note], None, False)
    source = open_source(data)
    rows, broken, size = [], [], 0
    complete = True
    for item in source:
        if isinstance(item, Broken):
            broken.append(item)
        else:
            rows.append(item)
            size += sum(len(v) if isinstance(v, str) else 50 for v in item[1].values())
        if len(rows) >= ROWS or len(broken) >= ROWS or size > MAX_CHARACTERS:
            complete = False
            break
    if not rows:
        why = f" The first problem: {broken[0].why}." if broken else ""
        raise DatasetError(f"{Path(data.source).name!r} holds no row that can be read.{why}")
    columns = columns_of([r for _, r in rows])
    return Sample(rows, broken, columns, source.kind, source.notes, source.total, complete)


def _view(data: DataStep, chat: ChatTokenizer, sample: Sample) -> View:
    mapping = mapping_of(data, [row for _, row in sample.rows])
    scheme, system = scheme_of(data.tags), system_of(data)
    examples: list[Example] = []
    without = []
    for number, row in sample.rows:
        example = make_example(number, row, mapping, scheme, system)
        if example is None:
            without.append(number)
        else:
            examples.append(example)
    short = [e for e in examples if len(e.question) + len(e.completion or "") < 200_000]
    measure(short, chat, lambda *a: None, lambda: None)
    for e in examples:
        if not e.prompt_tokens:  # enormous cells: a lower bound is enough to call them too long
            e.prompt_tokens = len(e.question) // chat.longest_token
            e.completion_tokens = len(e.completion or "") // chat.longest_token
    return View(mapping, examples, without, {e.row: e for e in examples})


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


def numbers(view: View, kind: str, max_length: int, max_completion_tokens: int) -> list[int]:
    """Row numbers of a kind: longest and shortest (first of the list), too long, broken, without a reference."""
    def size(e: Example) -> int:
        return e.prompt_tokens + e.completion_tokens

    ordered: Sequence[Example] = sorted(view.examples, key=size)
    if kind == "longest":
        return [e.row for e in reversed(ordered)]
    if kind == "shortest":
        return [e.row for e in ordered]
    if kind == "truncated":
        return [e.row for e in view.examples if size(e) > max_length or e.completion_tokens > max_completion_tokens]
    if kind == "no_reference":
        return [e.row for e in view.examples if not e.reference]
    return sorted([e.row for e in view.examples if e.problem] + view.without_question)
