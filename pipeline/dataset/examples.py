"""One row of a dataset as a training example: question, reasoning, answer, and the tagged completion."""

import hashlib
import re
from collections.abc import Mapping as Row
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.dataset.answers import find_reference, last_written, text_of
from pipeline.dataset.mapping import Mapping, chat_of, response_of
from pipeline.tags import TagScheme, is_well_formed, parse, tags_in, wrap

TRACES = (("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<reasoning>", "</reasoning>"),
          ("<start_working_out>", "<end_working_out>"), ("<|begin_of_thought|>", "<|end_of_thought|>"))
_CALCULATOR = re.compile(r"<<[^<>\n]*=[^<>\n]*>>")
_ANSWER_TAGS = re.compile(r"</?(?:answer|SOLUTION)>|<\|(?:begin|end)_of_solution\|>")


@dataclass(slots=True)
class Example:
    """A mapped row. `reference` None cannot serve GRPO; `completion` None cannot serve SFT (`problem` says why)."""

    row: int  # number in the source, from 1
    question: str
    system: str
    reasoning: str | None
    reference: str | None
    completion: str | None
    subject: str | None = None
    rule: str | None = None  # which rule found the reference
    problem: str | None = None  # a key of report.REASONS: why there is no completion
    detail: str = ""  # the tags found, for the list of rows
    cleaned: bool = False  # calculator notes were taken out
    written: str = ""  # the number of which the rule of the last number took the reference, where it is not the same
    turns: int = 1  # questions of the chat that the row holds; the first one is used
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def record(self) -> dict[str, Any]:
        """The columns of a part file."""
        return {"id": f"{self.row}-{question_key(self.question)[:8]}", "row": self.row, "system": self.system,
                "question": self.question, "reasoning": self.reasoning, "reference": self.reference,
                "completion": self.completion, "subject": self.subject}


def question_key(question: str) -> str:
    """Equal for questions that differ in case and white space alone."""
    return hashlib.blake2b(" ".join(question.lower().split()).encode("utf-8", "replace"), digest_size=12).hexdigest()


def make_example(number: int, row: Row[str, Any], mapping: Mapping, scheme: TagScheme, system: str) -> Example | None:
    """Map one row; None when it has no question."""
    question, own_system = _question(row, mapping)
    if not question:
        return None
    if mapping.system and (named := text_of(row.get(mapping.system))):
        own_system = named
    work = _work(row, mapping)
    cell = _cell(row.get(mapping.answer)) if mapping.answer else None
    trace, rest = split_trace(work) if work else (None, None)
    separate = mapping.answer != mapping.reasoning
    texts = [cell if separate else rest, work, cell]
    reference, rule = find_reference(mapping.rule, texts)
    if separate and mapping.rule == "column" and not cell:
        reference, rule = None, None  # an empty cell has no answer, whatever the worked solution shows
    answer = reference or (cell if separate else _answer_text(rest) if trace else None)
    reasoning = trace if trace else _before_hash(work) if work else None
    if reasoning and not answer:
        reasoning, answer = _last_line(reasoning)
    example = Example(number, question, own_system or system, reasoning, reference, None, rule=rule,
                      subject=text_of(row.get(mapping.subject)) if mapping.subject else None,
                      written=_written(reference, texts) if (rule or mapping.rule) == "last_number" else "",
                      turns=_turns(row, mapping))
    _complete(example, answer, scheme)
    return example


def split_trace(text: str) -> tuple[str | None, str]:
    """The thoughts between known thinking tags, and what follows them; (None, text) where there are none."""
    for opened, closed in TRACES:
        if closed in text:
            before, _, after = text.partition(closed)
            return before.rpartition(opened)[2].strip(), after.strip()
    return None, text


# ------------------------------------------------------------------------------------------------------------------


def _question(row: Row[str, Any], mapping: Mapping) -> tuple[str | None, str | None]:
    value = row.get(mapping.question)
    chat = chat_of(value)
    if chat is not None:
        system = next((text for role, text in chat if role == "system"), None)
        return next((text.strip() for role, text in chat if role == "user" and text.strip()), None), system
    question = text_of(value)
    context = text_of(row.get(mapping.context)) if mapping.context else None
    return (f"{question}\n\n{context}" if question and context else question), None


def _turns(row: Row[str, Any], mapping: Mapping) -> int:
    chats = [chat_of(row.get(column)) for column in {mapping.question, mapping.reasoning} if column]
    return max([1, *(sum(role == "user" and bool(text.strip()) for role, text in chat) for chat in chats if chat)])


def _work(row: Row[str, Any], mapping: Mapping) -> str | None:
    return response_of(row.get(mapping.reasoning)) if mapping.reasoning else None


def _cell(value: Any) -> str | None:
    return response_of(value) if chat_of(value) is not None else text_of(value)


def _written(reference: str | None, texts: Sequence[str | None]) -> str:
    """The number in the first text with one, as it is written; empty where the reference says the same."""
    text = next((found for text in texts if text and (found := last_written(text))), "")
    return "" if text.replace(",", "") == (reference or "").lstrip("+-") else text


def _before_hash(text: str) -> str:
    head, found, _ = text.rpartition("####")
    return (head if found else text).strip()


def _answer_text(text: str) -> str | None:
    return _ANSWER_TAGS.sub("", text).strip() or None


def _last_line(text: str) -> tuple[str, str | None]:
    """Prose without a short answer: its last line, or else its last sentence, stands in the answer's tags."""
    head, found, tail = text.rpartition("\n")
    if found and head.strip() and tail.strip():
        return head.strip(), tail.strip()
    sentences = re.split(r"(?<=[.!?])\s+", text.strip())
    return (" ".join(sentences[:-1]), sentences[-1]) if len(sentences) > 1 else (text, None)


def _complete(example: Example, answer: str | None, scheme: TagScheme) -> None:
    """Clean the reasoning and write the completion, or say in `problem` why there is none."""
    reasoning = example.reasoning
    if reasoning:
        cleaned = _CALCULATOR.sub("", reasoning)
        example.cleaned = cleaned != reasoning
        reasoning = _unboxed(cleaned) if scheme.is_boxed else cleaned
    example.reasoning = reasoning or None
    if not reasoning:
        example.problem = "no_reasoning"
    elif not answer:
        example.problem = "no_answer"
    elif tags := tags_in(scheme, reasoning) + tags_in(scheme, answer):
        example.problem, example.detail = "tags", ", ".join(dict.fromkeys(tags))
    else:
        completion = wrap(scheme, reasoning, answer)
        if is_well_formed(scheme, completion):
            example.completion = completion
        else:
            example.problem, example.detail = "tags", "; ".join(parse(scheme, completion).problems)


def _unboxed(text: str) -> str:
    """`\\boxed{x}` as `x`, so that the box that the scheme asks for is the only one."""
    while (start := text.rfind("\\boxed{")) >= 0:
        depth, at = 1, start + 7
        while at < len(text) and depth:
            step = 2 if text[at] == "\\" else 1
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += step
        inner = text[start + 7 : at - 1 if not depth else at]
        text = text[:start] + inner + text[at:]
    return text
