"""Which examples can be used, and for what: token lengths, duplicates, suspicious rows, leakage; then the split."""

import random
import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from pipeline.dataset.answers import boxed_answer, last_number
from pipeline.dataset.chat import ChatTokenizer, prompt_text
from pipeline.dataset.duplicates import near_groups, shingles_of
from pipeline.dataset.examples import Example, question_key
from pipeline.dataset.leakage import all_benchmarks, leaks
from pipeline.dataset.report import Lengths, PreparedReport, Rowlist
from pipeline.dataset.separators import notice_separators
from pipeline.dataset.split import PARTS, part_sizes, share_out
from pipeline.errors import DatasetError
from pipeline.recipe import DataStep
from pipeline.rewards.numbers import number, same_number

Progress = Callable[[float, float | None, str], None]
Watch = Callable[[], None]
BATCH = 512  # texts encoded at a time
TINY_REASONING = 20  # characters
ENDING = 200  # characters at the end of a reasoning where its result stands
ENORMOUS = 4_000_000  # characters of one example
_MARK = "QUESTION7MARK"


def measure(examples: Sequence[Example], chat: ChatTokenizer, progress: Progress, watch: Watch) -> None:
    """Set the token lengths of prompts and completions (the end token included), batch by batch."""
    around: dict[str, _Around] = {}
    enormous = [e for e in examples if _characters(e) > ENORMOUS]
    for e in enormous:  # no need to count exactly what is far too long
        e.prompt_tokens = len(e.question) // chat.longest_token
        e.completion_tokens = len(e.completion or "") // chat.longest_token
    if enormous:
        examples = [e for e in examples if _characters(e) <= ENORMOUS]
    for start in range(0, len(examples), BATCH):
        watch()
        progress(start, len(examples), "counting tokens")
        batch = examples[start : start + BATCH]
        if len(around) > 1000:
            around.clear()
        for example in batch:
            if example.system not in around:
                around[example.system] = _Around(chat, example.system, [e.question for e in batch[:20]])
        counts = chat.counts([around[e.system].text(e.question) for e in batch])
        for example, count in zip(batch, counts, strict=True):
            example.prompt_tokens = count
        with_answer = [e for e in batch if e.completion]
        counts = chat.counts([e.completion + chat.end for e in with_answer if e.completion])
        for example, count in zip(with_answer, counts, strict=True):
            example.completion_tokens = count


def choose_and_split(data: DataStep, examples: list[Example], chat: ChatTokenizer, report: PreparedReport, *, seed: int,
                     max_length: int, max_completion_tokens: int, progress: Progress, watch: Watch,
                     test: list[Example] | None = None) -> dict[str, list[Example]]:
    """Drop what cannot be used, each with its reason, and share the rest out into the parts of the split."""
    examples = _without_unusable(examples, chat, report)
    if data.drop_duplicates:
        examples = _without_duplicates(examples, report)
    measure(examples + (test or []), chat, progress, watch)
    can_sft, can_grpo = _abilities(examples, report, max_length, max_completion_tokens)
    usable = [i for i in range(len(examples)) if can_sft[i] or can_grpo[i]]
    if data.limit and len(usable) > data.limit:
        chosen = set(random.Random(f"limit-{seed}").sample(usable, data.limit))
        for i in usable:
            if i not in chosen:
                report.drop("limit", examples[i].row, examples[i].question)
        usable = [i for i in usable if i in chosen]
    notice_rows([examples[i] for i in usable], report)
    notice_separators([examples[i] for i in usable], report)
    describe_lengths([examples[i] for i in usable], report, max_length, max_completion_tokens)
    if not usable:
        return {part: [] for part in PARTS}
    parts = _split(data, examples, usable, can_sft, can_grpo, report, seed, progress, watch, test)
    return leave_out_long_solutions(parts, data, report)


def leave_out_long_solutions(parts: dict[str, list[Example]], data: DataStep, report: PreparedReport
                             ) -> dict[str, list[Example]]:
    """The parts without the GRPO questions whose worked solution has more than `data.grpo_longest` tokens.

    The other parts stay as they are: what is held out shows all kinds of questions. One without a solution stays.
    """
    if data.grpo_longest is None or not parts.get("grpo"):
        return parts
    short = [e for e in parts["grpo"] if not too_long_to_practise(e.completion_tokens, data)]
    for e in parts["grpo"]:
        if too_long_to_practise(e.completion_tokens, data):
            report.drop("long_solution", e.row, f"{e.completion_tokens} tokens: {e.question}")
    if not short:
        report.warnings.append(f"The grpo part is empty: every worked solution in it has more than {data.grpo_longest} "
                               "tokens. Raise the longest solution for GRPO.")
    return parts | {"grpo": short}


def too_long_to_practise(completion_tokens: int, data: DataStep) -> bool:
    """Whether a worked solution is longer than those that GRPO is to practise on."""
    return data.grpo_longest is not None and completion_tokens > data.grpo_longest


def describe_lengths(examples: Sequence[Example], report: PreparedReport, max_length: int,
                     max_completion_tokens: int) -> None:
    """Histograms of token lengths with the limits; the completion limit that the data suggests (95th percentile)."""
    for e in examples:
        if e.completion and e.completion_tokens > max_completion_tokens:
            report.notice("over_limit", e.row, f"{e.completion_tokens:,} tokens: {e.question}")
    report.prompt = Lengths.of((e.prompt_tokens for e in examples), max_length - max_completion_tokens)
    report.completion = Lengths.of((e.completion_tokens for e in examples if e.completion), max_completion_tokens)
    if report.completion.count:
        report.suggested_max_completion_tokens = max(8, -(-report.completion.p95 // 8) * 8)


def notice_rows(examples: Sequence[Example], report: PreparedReport) -> None:
    """List the kept rows that deserve a look: longer chats, no answer to check, no or short reasoning, one that
    ends in another number."""
    for e in examples:
        if e.turns > 1:
            report.notice("multi_turn", e.row, f"{e.turns} questions, the first: {e.question}")
        if not e.reference:
            report.notice("no_reference", e.row, e.question)
        if not e.reasoning:
            report.notice("no_reasoning", e.row, e.question)
        elif len(e.reasoning) < TINY_REASONING:
            report.notice("tiny_reasoning", e.row, e.reasoning)
        if e.reasoning and e.reference and disagrees(e.reasoning, e.reference):
            words = f"{last_number(e.reasoning)} in the reasoning, {e.reference} as the answer"
            report.notice("disagrees", e.row, words)


# ------------------------------------------------------------------------------------------------------------------


class _Around:
    """The rendered prompt around a question, so that it is rendered once for each system prompt.

    Where a trial shows that a template does more than put the question in its place, every prompt is rendered.
    """

    def __init__(self, chat: ChatTokenizer, system: str, trial: Sequence[str]) -> None:
        self._chat, self._system = chat, system
        self._before, found, self._after = self._whole(_MARK).partition(_MARK)
        self._fits = bool(found) and all(self._before + q + self._after == self._whole(q) for q in trial)

    def text(self, question: str) -> str:
        """The prompt of a question."""
        return self._before + question + self._after if self._fits else self._whole(question)

    def _whole(self, question: str) -> str:
        return prompt_text(self._chat, {"system": self._system, "question": question})


def _characters(example: Example) -> int:
    return len(example.question) + len(example.completion or "")


def _without_unusable(examples: list[Example], chat: ChatTokenizer, report: PreparedReport) -> list[Example]:
    kept = []
    for example in examples:
        text = f"{example.question}\n{example.completion or ''}"
        if special := [t for t in chat.special_tokens if t in text]:
            report.drop("special", example.row, ", ".join(special))
        elif example.problem == "tags" and not example.reference:
            report.drop("tags", example.row, example.detail)
        elif not example.completion and not example.reference:
            report.drop(example.problem or "no_answer", example.row, example.question)
        else:
            if example.problem == "tags":
                report.notice("tags", example.row, example.detail)
            kept.append(example)
    return kept


def _without_duplicates(examples: list[Example], report: PreparedReport) -> list[Example]:
    seen: dict[str, int] = {}
    kept = []
    for example in examples:
        first = seen.setdefault(question_key(example.question), example.row)
        if first == example.row:
            kept.append(example)
        else:
            report.drop("duplicate", example.row, f"as row {first}: {example.question}")
    return kept


def _abilities(examples: Sequence[Example], report: PreparedReport, max_length: int, max_completion_tokens: int
               ) -> tuple[list[bool], list[bool]]:
    """Whether each example fits for SFT (prompt and completion) and for GRPO (prompt and the longest answer)."""
    can_sft, can_grpo = [], []
    for e in examples:
        can_sft.append(e.completion is not None and e.prompt_tokens + e.completion_tokens <= max_length)
        can_grpo.append(e.reference is not None and e.prompt_tokens + max_completion_tokens <= max_length)
        words = f"{e.prompt_tokens} + {e.completion_tokens} tokens: {e.question}"
        if not can_sft[-1] and not can_grpo[-1]:
            report.drop("too_long", e.row, words)
        elif e.completion and not can_sft[-1]:
            report.notice("long_sft", e.row, words)
        elif e.reference and not can_grpo[-1]:
            report.notice("long_grpo", e.row, words)
    return can_sft, can_grpo


def disagrees(reasoning: str, reference: str) -> bool:
    """Whether a numeric reference is not the reasoning's last number (or box), nor any number near its end."""
    found = number(boxed_answer(reasoning) or last_number(reasoning) or "")
    given = number(reference)
    if found is None or given is None or same_number(found, given) or _near(found.value, given.value):
        return False
    tail = reasoning[-ENDING:].replace(",", "")
    return not any(_near(Fraction(n), abs(given.value)) for n in re.findall(r"\d+(?:\.\d+)?|\.\d+", tail))


def _near(a: int | Fraction, b: int | Fraction) -> bool:
    return abs(a - b) * 10**6 <= max(1, abs(b))


def _split(data: DataStep, examples: list[Example], usable: list[int], can_sft: list[bool], can_grpo: list[bool],
           report: PreparedReport, seed: int, progress: Progress, watch: Watch, test: list[Example] | None
           ) -> dict[str, list[Example]]:
    everything = [examples[i] for i in usable] + (test or [])
    shingles = [shingles_of(e.question) for e in everything]
    count = len(usable)
    benchmarks = all_benchmarks()
    report.compared_with, report.not_compared = benchmarks.titles, benchmarks.missing
    for name, i in leaks(shingles[:count], progress, watch, benchmarks):
        report.leakage.setdefault(name, Rowlist()).add(everything[i].row, everything[i].question)
    groups = near_groups([e.question for e in everything], report, progress, watch, shingles)
    for group in groups:
        for i in group[1:]:
            if i < count:
                report.notice("near_duplicate", everything[i].row, f"like row {everything[group[0]].row}: "
                              f"{everything[i].question}")
    if test is not None:
        kept_groups = []
        for group in groups:
            rows = [i for i in group if i < count]
            if len(rows) < len(group):
                for i in rows:
                    report.drop("leak", everything[i].row, everything[i].question)
            elif rows:
                kept_groups.append(rows)
        groups = kept_groups
    names = PARTS if test is None else PARTS[:-1]
    available = sum(map(len, groups))
    sizes = part_sizes(data.split, available, names)
    parts = share_out(groups, [can_sft[i] for i in usable], [can_grpo[i] for i in usable], sizes, seed)
    used = {i for rows in parts.values() for i in rows}
    for i in (i for group in groups for i in group):
        if i not in used:
            report.drop("unused", everything[i].row, everything[i].question)
    _say_shortfall(parts, sizes, report)
    shared = {part: [everything[i] for i in rows] for part, rows in parts.items()}
    for rows in shared.values():
        random.Random(f"order-{seed}").shuffle(rows)
    return shared | ({"test": list(test)} if test is not None else {})


def _say_shortfall(parts: dict[str, list[int]], sizes: dict[str, int], report: PreparedReport) -> None:
    for part, size in sizes.items():
        got = len(parts[part])
        need = "a worked solution" if part == "sft" else "an answer that can be checked"
        if size and not got:
            report.warnings.append(f"The {part} part is empty: no row has {need} and fits the lengths.")
        elif got < 0.9 * size:
            report.warnings.append(f"The {part} part got {got} of {size} rows: no other row that is left has {need} "
                                   "and fits the lengths.")
    if all(not rows for rows in parts.values()):
        raise DatasetError("The split leaves every part empty. Raise the shares of the split.")
