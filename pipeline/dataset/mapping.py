"""Which columns hold the question, the reasoning, the answer and the system prompt: guessed, with the reason in words.

Names are looked at first, then the contents: a swapped question and answer, or an answer column that holds the whole
worked solution, shows in the texts and is said.
"""

import json
import re
from collections.abc import Mapping as Row
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.dataset.answers import FINDERS, RULE_NAMES, plain_ends, text_of
from pipeline.errors import DatasetError
from pipeline.recipe import DataStep

SAMPLE = 300  # rows that a guess looks at
CHAT_NAMES = ("messages", "conversations", "conversation", "chat", "dialog", "dialogue")
NAMES = {
    "question": ("question", "problem", "prompt", "instruction", "query", "task", "puzzle", "input", "q", "text"),
    "reasoning": ("reasoning", "solution", "rationale", "explanation", "cot", "chain_of_thought", "thinking", "thought",
                  "work", "steps", "working", "trace", "response", "completion", "output", "assistant", "generation",
                  "generations", "deepseek_thinking_trajectory"),
    "answer": ("answer", "final_answer", "expected_answer", "ground_truth", "groundtruth", "target", "label", "gold",
               "reference", "result", "correct_answer", "a"),
    "system": ("system", "system_prompt"),
    "subject": ("subject", "topic", "category", "type", "problem_type"),
}
SHORTEST = "holds the shortest texts"  # the reason of a guess that may well be wrong
LONG = 120  # characters; a final answer is shorter, a worked solution longer
ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "prompter": "user"}


@dataclass(frozen=True)
class Mapping:
    """Column names by role (None where there is none), how the answer is found, and why, in words, by role."""

    question: str | None
    reasoning: str | None
    answer: str | None
    system: str | None = None
    subject: str | None = None
    context: str | None = None  # Alpaca's `input`, added to the question
    rule: str = "column"
    reasons: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def chat_of(value: Any) -> list[tuple[str, str]] | None:
    """A cell that holds a chat (`messages`, ShareGPT, or JSON text of one) as (role, text) pairs; otherwise None."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, list | tuple) or not value:
        return None
    turns = []
    for turn in value:
        if not isinstance(turn, dict):
            return None
        role, content = turn.get("role") or turn.get("from"), turn.get("content", turn.get("value"))
        if isinstance(content, list):  # [{"type": "text", "text": …}]
            content = "".join(str(c.get("text", "")) for c in content if isinstance(c, dict))
        if not isinstance(role, str) or not (content is None or isinstance(content, str)):
            return None
        turns.append((ROLES.get(role.lower(), role.lower()), plain_ends(content or "")))
    return turns


def guess_mapping(columns: Sequence[str], rows: Sequence[Row[str, Any]], data: DataStep | None = None) -> Mapping:
    """The mapping of a sample of rows. Columns that `data` names are taken; an empty name there means none.

    Raises DatasetError for a named column that does not exist, or when no question can be found.
    """
    data = data or DataStep()
    rows = rows[:SAMPLE]
    chosen = {role: getattr(data, role) for role in ("question", "reasoning", "answer", "system")}
    for role, name in chosen.items():
        if name and name not in columns:
            raise DatasetError(f"There is no column {name!r} for the {role}. Columns here: {_listed(columns)}.")
    found, reasons = _guess(columns, rows)
    found, reasons = _check_contents(found, reasons, rows)
    for role, name in chosen.items():
        if name is not None:
            found[role] = name or None
            reasons[role] = "chosen by you" if name else "switched off by you"
    if not found.get("question"):
        raise DatasetError(f"No column looks like a question. Columns here: {_listed(columns)}. "
                           "Name the one that holds the questions under 'Question column'.")
    rule, why = _rule(found, rows, data.answer_rule)
    reasons["rule"] = why
    warnings = (*_doubts(found, reasons), *_warnings(found, chosen, rows))
    return Mapping(**found, rule=rule, reasons=reasons, warnings=warnings)


# ------------------------------------------------------------------------------------------------------------------


def _guess(columns: Sequence[str], rows: Sequence[Row[str, Any]]) -> tuple[dict[str, str | None], dict[str, str]]:
    found: dict[str, str | None] = dict.fromkeys((*NAMES, "context"))
    reasons: dict[str, str] = {}
    chats = [c for c in columns if _share(rows, c, chat_of) > 0.5]
    for role in NAMES:
        taken = {v for v in found.values() if v}
        if name := _by_name(columns, NAMES[role], taken):
            found[role], reasons[role] = name, f"the column is called {name!r}"
    chat = next((c for c in chats if c.lower() in CHAT_NAMES), None)
    if not chat and chats and not found["question"]:
        chat = chats[0]
    has_prompt = found["question"] in chats and found["reasoning"]
    if chat and not has_prompt and (found["question"] is None or found["reasoning"] is None or chat in CHAT_NAMES):
        other = found["answer"] if found["answer"] != chat else None
        found |= {"question": chat, "reasoning": chat, "answer": other or chat}
        reasons |= {"question": f"{chat!r} holds chats: the first user message", "reasoning": "the reply in the chat"}
        if not other:
            reasons["answer"] = "found inside the reply"
    lowered = {c.lower(): c for c in columns}
    if (found["question"] or "").lower() == "instruction" and "input" in lowered:
        found["context"] = lowered["input"]
        reasons["question"] += f", with {lowered['input']!r} added where it is not empty (Alpaca)"
    if not found["question"]:
        _by_content(columns, rows, found, reasons)
    if found["reasoning"] and not found["answer"]:
        found["answer"], reasons["answer"] = found["reasoning"], "no answer column: found inside the worked solution"
    return found, reasons


def _by_name(columns: Sequence[str], names: Sequence[str], taken: set[str]) -> str | None:
    lowered = {re.sub(r"[\s\-]+", "_", c.strip().lower()): c for c in reversed(columns) if c not in taken}
    return next((lowered[n] for n in names if n in lowered), None)


def _by_content(columns: Sequence[str], rows: Sequence[Row[str, Any]], found: dict[str, str | None],
                reasons: dict[str, str]) -> None:
    """No name helps: the question is what ends in question marks, the answer is short, the reasoning long."""
    lengths = {c: _mean_length(rows, c) for c in columns if _mean_length(rows, c) > 0}
    marks = {c: _share(rows, c, lambda v: isinstance(v, str) and "?" in v) for c in lengths}
    best = max(marks, key=lambda c: marks[c], default=None)
    if best is None or (marks[best] < 0.3 and len(lengths) > 1):
        return
    if marks[best] < 0.3:
        return
    found["question"], reasons["question"] = best, f"{marks[best]:.0%} of the texts in {best!r} hold a question mark"
    rest = [c for c in lengths if c != best and c not in found.values()]
    telling = [c for c in rest if not _says_nothing(rows, c)]
    rest = telling if len(telling) > 1 else rest
    if rest and not found["answer"]:
        short = min(rest, key=lambda c: lengths[c])
        found["answer"], reasons["answer"] = short, f"{short!r} {SHORTEST}"
        rest.remove(short)
    if rest and not found["reasoning"]:
        long = max(rest, key=lambda c: lengths[c])
        found["reasoning"], reasons["reasoning"] = long, f"{long!r} holds the longest texts"


def _says_nothing(rows: Sequence[Row[str, Any]], column: str) -> bool:
    """A column that counts its rows, has one value for all of them, or is empty in most."""
    texts = [text_of(r.get(column)) for r in rows[:50]]
    there = [t for t in texts if t]
    counts = all(t.isdecimal() and len(t) < 19 for t in there) and len(there) > 2 and len(
        {int(t) - i for i, t in enumerate(texts) if t}) == 1
    return counts or (len(there) > 2 and len(set(there)) == 1) or len(there) < 0.5 * len(texts)


def _check_contents(found: dict[str, str | None], reasons: dict[str, str],
                    rows: Sequence[Row[str, Any]]) -> tuple[dict[str, str | None], dict[str, str]]:
    question, answer = found["question"], found["answer"]
    if question and answer and question != answer and _swapped(rows, question, answer):
        found |= {"question": answer, "answer": question}
        reasons |= {"question": f"{answer!r} and {question!r} look swapped: the questions are in {answer!r}",
                    "answer": f"the short answers are in {question!r}"}
        answer = question
    if answer and not found["reasoning"] and answer != found["question"] and _is_work(rows, answer):
        found["reasoning"] = answer
        reasons["reasoning"] = f"the texts in {answer!r} are long: the worked solution with the answer inside"
    return found, reasons


def _rule(found: dict[str, str | None], rows: Sequence[Row[str, Any]], wanted: str) -> tuple[str, str]:
    if wanted != "auto":
        return wanted, f"chosen by you: {RULE_NAMES[wanted]}"
    answer = found["answer"]
    if not answer:
        return "column", "there is no answer column"
    texts = [t for t in (response_of(r.get(answer)) for r in rows) if t]
    counts = {rule: sum(FINDERS[rule](t) is not None for t in texts) for rule in ("hash", "tag", "boxed")}
    best = max(counts, key=lambda r: counts[r])
    if texts and counts[best] >= 0.5 * len(texts):
        return best, f"{RULE_NAMES[best]}, found in {counts[best]} of the first {len(texts)} rows"
    if answer != found["reasoning"]:
        return "column", f"{RULE_NAMES['column']}: {answer!r} is separate from the worked solution"
    numbers = sum(FINDERS["last_number"](t[-160:]) is not None for t in texts)
    if texts and numbers >= 0.6 * len(texts):
        return "last_number", f"{RULE_NAMES['last_number']}: no ####, box or tags; {numbers} of {len(texts)} end in one"
    return "tag", "no ####, box, tags or closing numbers: the answers are prose that rewards cannot check"


def response_of(value: Any) -> str | None:
    """The text of a cell, or the first assistant turn where the cell is a chat."""
    chat = chat_of(value)
    if chat is not None:
        return next((text for role, text in chat if role == "assistant"), None)
    if isinstance(value, list | tuple):
        return next((t for t in map(text_of, value) if t), None)  # several generations: the first
    return text_of(value)


def _doubts(found: dict[str, str | None], reasons: dict[str, str]) -> list[str]:
    if not reasons.get("answer", "").endswith(SHORTEST):
        return []
    return [f"No column's name tells where the answers are: {found['answer']!r} was guessed from the length of its "
            "texts alone. Look at the rows, and choose another column if that is wrong."]


def _warnings(found: dict[str, str | None], chosen: dict[str, str | None], rows: Sequence[Row[str, Any]]) -> list[str]:
    question, answer, reasoning = found["question"], found["answer"], found["reasoning"]
    problems = []
    if question and answer and question != answer and _swapped(rows, question, answer):
        problems.append(f"Question and answer look swapped: {answer!r} holds the questions. Exchange the two columns.")
    if chosen["answer"] and answer and answer != reasoning and _is_work(rows, answer):
        problems.append(f"The answer column {answer!r} holds long texts, which look like the reasoning. "
                        "Choose it as the reasoning column too, and let the answer be found inside it.")
    if question and question == reasoning and not any(chat_of(r.get(question)) for r in rows[:50]):
        problems.append(f"The question and the reasoning are the same column {question!r}. Choose two columns.")
    return problems


def _swapped(rows: Sequence[Row[str, Any]], question: str, answer: str) -> bool:
    def asks(v: Any) -> bool:
        return isinstance(v, str) and v.rstrip().endswith(("?", "?\"", "."))  # the question ends in a sentence

    if any(chat_of(r.get(question)) for r in rows[:20]):
        return False
    short = _mean_length(rows, question) * 3 < _mean_length(rows, answer) and _mean_length(rows, question) < 30
    marked = _share(rows, answer, lambda v: isinstance(v, str) and v.rstrip().endswith("?"))
    return short and marked > 0.3 and _share(rows, question, asks) < 0.2


def _is_work(rows: Sequence[Row[str, Any]], column: str) -> bool:
    texts = [t for t in (response_of(r.get(column)) for r in rows) if t]
    long = sum(len(t) > LONG or "\n" in t or "####" in t for t in texts)
    return bool(texts) and long > 0.5 * len(texts)


def _share(rows: Sequence[Row[str, Any]], column: str, test: Any) -> float:
    values = [r.get(column) for r in rows[:50]]
    values = [v for v in values if v is not None]
    return sum(bool(test(v)) for v in values) / len(values) if values else 0.0


def _mean_length(rows: Sequence[Row[str, Any]], column: str) -> float:
    texts = [t for t in (text_of(r.get(column)) for r in rows[:50]) if t]
    return sum(map(len, texts)) / len(texts) if texts else 0.0


def _listed(columns: Sequence[str], most: int = 20) -> str:
    more = f" and {len(columns) - most} more" if len(columns) > most else ""
    return ", ".join(repr(c[:60]) for c in columns[:most]) + more
