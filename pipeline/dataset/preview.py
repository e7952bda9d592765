"""One example as the model will see it: the output of the tokenising function, with what each part of the text is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.dataset.chat import ChatTokenizer, Tokenised, tokenise
from pipeline.tags import TagScheme, parse

MAX_TEXT = 20_000  # characters of a question or completion that are shown

KINDS = {
    "system": "system prompt", "question": "question", "tag": "tags", "reasoning": "reasoning", "answer": "answer",
    "special": "special tokens of the model",
}


@dataclass(frozen=True)
class Preview:
    """`spans` are (start, end, kind) character ranges of `tokenised.text`, in order; `cut`: it was too long to show."""

    tokenised: Tokenised
    spans: list[tuple[int, int, str]]
    cut: bool = False


def preview(chat: ChatTokenizer, row: Mapping[str, Any], scheme: TagScheme) -> Preview:
    """Tokenise a row exactly as training does and mark its parts. Only texts too long to show are cut first."""
    question, full = row["question"], row.get("completion") or ""
    shown = {**row, "question": question[:MAX_TEXT], "completion": full[:MAX_TEXT] or None}
    cut = len(question) > MAX_TEXT or len(full) > MAX_TEXT
    result = tokenise(chat, shown)
    completion = shown["completion"] or ""
    answer_at = len(result.text) - len(completion) - (len(chat.end) if completion else 0)
    spans = _prompt_spans(result.text[:answer_at], shown)
    if completion:
        spans += [(answer_at + s.start, answer_at + s.end, s.kind) for s in parse(scheme, completion).spans]
    return Preview(result, _with_special(result.text, spans, chat), cut)


# ------------------------------------------------------------------------------------------------------------------


def _prompt_spans(prompt: str, row: Mapping[str, Any]) -> list[tuple[int, int, str]]:
    spans = []
    question = row["question"].strip()
    at = prompt.rfind(question)
    system = (row.get("system") or "").strip()
    if system and (start := prompt.find(system)) >= 0:
        spans.append((start, start + len(system), "system"))
    if at >= 0 and (not spans or at >= spans[0][1]):
        spans.append((at, at + len(question), "question"))
    return spans


def _with_special(text: str, spans: list[tuple[int, int, str]], chat: ChatTokenizer) -> list[tuple[int, int, str]]:
    """The special tokens between and inside the other spans, which are cut around them."""
    if not chat.special_tokens:
        return spans
    pattern = re.compile("|".join(re.escape(t) for t in sorted(chat.special_tokens, key=len, reverse=True)))
    special = [(m.start(), m.end()) for m in pattern.finditer(text)]
    out = [(start, end, "special") for start, end in special]
    for start, end, kind in spans:
        for cut_start, cut_end in special:
            if start < cut_end and cut_start < end:
                if cut_start > start:
                    out.append((start, cut_start, kind))
                start = cut_end
        if end > start:
            out.append((start, end, kind))
    return sorted(out)
