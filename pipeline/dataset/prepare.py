"""From any source to the four part files of a run: map, find answers, wrap in tags, filter, split; with a report.

Everything that training, evaluation and the Data tab know about rows comes from here. Deterministic in the seed.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import reach
from pipeline.dataset.chat import ChatTokenizer, tokenise
from pipeline.dataset.demo import demo_rows
from pipeline.dataset.examples import Example, make_example
from pipeline.dataset.files import Broken, Rows
from pipeline.dataset.mapping import SAMPLE, Mapping, guess_mapping
from pipeline.dataset.part_files import read_part, write_part
from pipeline.dataset.quality import (
    choose_and_split,
    describe_lengths,
    leave_out_long_solutions,
    measure,
    notice_rows,
    too_long_to_practise,
)
from pipeline.dataset.report import REASONS, PreparedReport
from pipeline.dataset.saved import Card, card_of
from pipeline.dataset.sources import DATASETS, open_named, open_source
from pipeline.dataset.split import PARTS
from pipeline.errors import DatasetError
from pipeline.recipe import DataStep
from pipeline.run import Stopped
from pipeline.tags import TagScheme, scheme_of, scheme_problems, system_prompt

__all__ = ["DATASETS", "PreparedReport", "load_benchmark", "prepare_parts"]

Progress = Callable[[float, float | None, str], None]  # done, total (None: unknown), what is being done
Stop = Callable[[], bool]
DEMO_ROWS = 3000  # what shares of the demo data are shares of


def prepare_parts(data: DataStep, chat: ChatTokenizer, *, seed: int, max_length: int, max_completion_tokens: int,
                  out: Path, progress: Progress | None = None, should_stop: Stop | None = None) -> PreparedReport:
    """Write `sft`, `grpo`, `validation` and `test.parquet` and `report.json` into `out`, and return the report.

    All parts have `part_files.COLUMNS`; `completion` is the tagged answer or null, `reference` null cannot serve GRPO.
    `progress` is called with (done, total, message). Raises DatasetError in words, and Stopped when a stop was asked
    for.
    """
    started = time.monotonic()
    progress = progress or (lambda done, total, message: None)
    watch = _watcher(should_stop)
    scheme = scheme_of(data.tags)
    if problems := scheme_problems(scheme, chat.special_tokens):
        raise DatasetError("These tags cannot be used: " + " ".join(problems))
    report = PreparedReport(source=data.source)
    if data.source not in DATASETS and (card := card_of(reach.path_of(data.source))):
        return _reuse(card, data, chat, max_length, max_completion_tokens, out)
    if data.source == "demo":
        parts = _demo_parts(data, scheme, seed, report)
        everything = [e for examples in parts.values() for e in examples]
        measure(everything, chat, progress, watch)
        notice_rows(everything, report)
        describe_lengths(everything, report, max_length, max_completion_tokens)
        parts = leave_out_long_solutions(parts, data, report)
    else:
        examples = collect(data, scheme, report, progress, watch)
        parts = choose_and_split(data, examples, chat, report, seed=seed, max_length=max_length,
                                 max_completion_tokens=max_completion_tokens, progress=progress, watch=watch,
                                 test=_separate_test(data, scheme, progress, watch))
    _finish(parts, report, out)
    report.seconds = time.monotonic() - started
    report.save(out / "report.json")
    return report


def collect(data: DataStep, scheme: TagScheme, report: PreparedReport, progress: Progress, watch: Callable[[], None]
            ) -> list[Example]:
    """All rows of the source as examples; broken rows and rows without a question are counted as dropped."""
    return _examples(open_source(data), data, scheme, report, progress, watch)


def mapping_of(data: DataStep, rows: Sequence[dict[str, Any]]) -> Mapping:
    """The mapping of a source: what is known of a built-in set, otherwise guessed from the first rows."""
    known = DATASETS.get(data.source)
    columns = columns_of(rows)
    if known is None or not set(known.mapping.values()) <= set(columns):
        return guess_mapping(columns, rows, data)
    chosen = {role: getattr(data, role) if getattr(data, role) is not None else known.mapping.get(role, "")
              for role in ("question", "reasoning", "answer")}
    rule = known.rule if data.answer_rule == "auto" else data.answer_rule
    mapping = guess_mapping(columns, rows, data.model_copy(update=chosen | {"answer_rule": rule}))
    own = {r: why for r, why in mapping.reasons.items() if getattr(data, r, None) is not None}
    reasons = {role: f"known for {known.title}" for role in ("question", "reasoning", "answer", "rule")
               if mapping.reasons.get(role)}
    return replace(mapping, reasons=mapping.reasons | reasons | own)


def columns_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """All column names in the order of their first appearance."""
    return list(dict.fromkeys(str(c) for row in rows for c in row))


def system_of(data: DataStep) -> str:
    """The system prompt of a DataStep: its own, or the one that names the tags."""
    return data.system_prompt if data.system_prompt is not None else system_prompt(scheme_of(data.tags))


def demo_sizes(data: DataStep) -> dict[str, int]:
    """How many demo problems each part gets; their row numbers go on from part to part."""
    return {part: int(v if v >= 1 else v * (data.limit or DEMO_ROWS)) for part, v in data.split.model_dump().items()}


def load_benchmark(name_or_path: str, limit: int | None = None, unanswered: bool = False) -> list[dict[str, Any]]:
    """Questions for an evaluation, with `question`, `reference` and `subject`: a built-in name, a file or a Hub id.

    `gsm8k` is its test split. Rows without a reference are left out, unless `unanswered` asks for them too (to be
    counted). Raises DatasetError when there is no row with both.
    """
    known = DATASETS.get(name_or_path)
    if name_or_path == "demo":
        rows = demo_rows("test", limit or 300, 0)
        return [{"question": r["question"], "reference": r["answer"], "subject": r["subject"]} for r in rows]
    data = DataStep(source=name_or_path, source_split=known.test_split if known else None, system_prompt="")
    if known and known.test_split is None:
        data = data.model_copy(update={"source_split": known.split})
    source = open_source(data) if known else _benchmark_rows(name_or_path)
    report = PreparedReport(name_or_path)
    examples = _examples(source, data, scheme_of(data.tags), report, lambda *a: None, lambda: None)
    found = [{"question": e.question, "reference": e.reference, "subject": e.subject} for e in examples
             if e.reference or unanswered]
    if not any(row["reference"] for row in found):
        raise DatasetError(f"No row of {name_or_path!r} has both a question and an answer. Check its columns.")
    return found[:limit]


# ------------------------------------------------------------------------------------------------------------------


def _benchmark_rows(name: str) -> Rows:
    """A Hub id or a file: its test split where it has one."""
    try:
        return open_named(name, split="test")
    except DatasetError as error:
        if "split" in str(error):
            return open_named(name)
        raise


def _examples(rows: Rows, data: DataStep, scheme: TagScheme, report: PreparedReport, progress: Progress,
              watch: Callable[[], None]) -> list[Example]:
    head, broken = rows.first(SAMPLE)
    if not head:
        why = f" The first problem: {broken[0].why}." if broken else ""
        raise DatasetError(f"{data.source!r} holds no row that can be read.{why}")
    mapping = mapping_of(data, [row for _, row in head])
    system = system_of(data)
    report.mapping |= {role: getattr(mapping, role) for role in ("question", "reasoning", "answer", "system", "rule")}
    report.reasons |= mapping.reasons
    report.warnings += mapping.warnings
    examples: list[Example] = []
    for item in _chain(broken, head, rows):
        report.rows_in += 1
        if report.rows_in % 500 == 0:
            watch()
            progress(report.rows_in, rows.total, "reading rows")
        if isinstance(item, Broken):
            report.drop("unreadable", item.row, item.why)
            continue
        example = make_example(*item, mapping, scheme, system)
        if example is None:
            report.drop("no_question", item[0])
            continue
        examples.append(example)
        _count_reference(example, report)
    report.notes += rows.notes
    if cleaned := sum(e.cleaned for e in examples):
        report.notes.append(f"Calculator notes such as <<48/2=24>> were taken out of {cleaned} worked solutions.")
    return examples


def _chain(broken: Iterable[Broken], head: Iterable[Any], rows: Rows) -> Iterable[Any]:
    yield from broken
    yield from head
    yield from rows


def _count_reference(example: Example, report: PreparedReport) -> None:
    if example.reference:
        report.references_found += 1
        rule = example.rule or ""
        report.reference_rules[rule] = report.reference_rules.get(rule, 0) + 1
    else:
        report.references_missing += 1


def _separate_test(data: DataStep, scheme: TagScheme, progress: Progress, watch: Callable[[], None]
                   ) -> list[Example] | None:
    if not data.test_source:
        return None
    other = DataStep(source=data.test_source, tags=data.tags, system_prompt=data.system_prompt, system=None)
    known = DATASETS.get(data.test_source)
    other = other.model_copy(update={"source_split": known.test_split if known else None})
    return [e for e in collect(other, scheme, PreparedReport(data.test_source), progress, watch) if e.reference]


def _demo_parts(data: DataStep, scheme: TagScheme, seed: int, report: PreparedReport) -> dict[str, list[Example]]:
    sizes = demo_sizes(data)
    known = DATASETS["demo"]
    mapping = Mapping(**known.mapping, subject="subject", rule="column")
    report.mapping |= {"question": "question", "reasoning": "reasoning", "answer": "answer", "rule": "column"}
    parts: dict[str, list[Example]] = {}
    for part in PARTS:
        made = demo_rows(part, sizes[part], seed) if sizes[part] else []
        system, before = system_of(data), report.rows_in
        numbered = (make_example(before + i, row, mapping, scheme, system) for i, row in enumerate(made, 1))
        parts[part] = [e for e in numbered if e is not None]
        report.rows_in += len(made)
        for example in parts[part]:
            _count_reference(example, report)
    return parts


def _reuse(card: Card, data: DataStep, chat: ChatTokenizer, max_length: int, max_completion_tokens: int,
           out: Path) -> PreparedReport:
    """The parts of a prepared dataset as they are; rows that do not fit this run's lengths are left out and counted."""
    folder = reach.path_of(data.source)
    if card.step.tags != data.tags:
        raise DatasetError(f"{card.name!r} was prepared with the tags {card.step.tags.scheme!r}. Choose those tags, or "
                           "prepare the data again.")
    report = PreparedReport.load(folder / "report.json")
    report.reused = True
    out.mkdir(parents=True, exist_ok=True)
    digest = hashlib.blake2b(digest_size=16)
    for part in PARTS:
        rows = []
        for row in read_part(folder / f"{part}.parquet"):
            example = tokenise(chat, row)
            room = example.completion_tokens if part == "sft" else max_completion_tokens
            if example.prompt_tokens + room > max_length:
                report.drop("too_long", row["row"], row["question"])
            elif part == "grpo" and too_long_to_practise(example.completion_tokens, data):
                report.drop("long_solution", row["row"], row["question"])
            else:
                rows.append(row)
        report.parts[part] = len(rows)
        write_part(out / f"{part}.parquet", rows)
        digest.update((out / f"{part}.parquet").read_bytes())
    report.kept, report.hash = sum(report.parts.values()), digest.hexdigest()
    if not report.kept:
        raise DatasetError(f"No row of {card.name!r} fits a sequence of {max_length} tokens. Raise that length.")
    report.save(out / "report.json")
    return report


def _finish(parts: dict[str, list[Example]], report: PreparedReport, out: Path) -> None:
    report.parts = {part: len(rows) for part, rows in parts.items()}
    report.kept = sum(report.parts.values())
    if not report.kept:
        reasons = "; ".join(f"{r.count} × {REASONS.get(name, name)}" for name, r in report.dropped.items())
        raise DatasetError(f"No usable row is left of {report.rows_in} ({reasons or 'the split asks for none'}). "
                           "Check the columns and the tags on the Data tab, then start again.")
    out.mkdir(parents=True, exist_ok=True)
    digest = hashlib.blake2b(digest_size=16)
    for part in PARTS:
        write_part(out / f"{part}.parquet", [e.record() for e in parts.get(part, [])])
        digest.update((out / f"{part}.parquet").read_bytes())
    report.hash = digest.hexdigest()


def _watcher(should_stop: Stop | None) -> Callable[[], None]:
    def watch() -> None:
        if should_stop and should_stop():
            raise Stopped
    return watch
