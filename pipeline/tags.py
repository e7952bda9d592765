"""Tag schemes: how a completion marks its reasoning and its answer; wrap, parse, extract and check in one place.

The data preparation wraps with these functions, the rewards parse with them, the evaluation extracts with them and
the page colours with them, so all four mean the same by "format".
"""

import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from pipeline.errors import RecipeError

if TYPE_CHECKING:
    from pipeline.recipe import Tags

SpanKind = Literal["reasoning", "answer", "tag"]


@dataclass(frozen=True)
class TagScheme:
    """The pair of tags around the reasoning and the pair around the answer.

    A scheme with empty reasoning tags (`boxed`) lets the reasoning be free text before the answer. `answer_open`
    of `\\boxed{` is closed by its matching brace.
    """

    name: str
    reasoning_open: str
    reasoning_close: str
    answer_open: str
    answer_close: str

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that are not empty, in the order in which they should appear."""
        return tuple(t for t in (self.reasoning_open, self.reasoning_close, self.answer_open, self.answer_close) if t)

    @property
    def is_boxed(self) -> bool:
        """Whether the answer stands in LaTeX `\\boxed{…}`, closed by the matching brace."""
        return self.answer_open == r"\boxed{"


SCHEMES: dict[str, TagScheme] = {
    scheme.name: scheme
    for scheme in (
        TagScheme("reasoning", "<reasoning>", "</reasoning>", "<answer>", "</answer>"),
        TagScheme("think", "<think>", "</think>", "<answer>", "</answer>"),
        TagScheme("solution", "<start_working_out>", "<end_working_out>", "<SOLUTION>", "</SOLUTION>"),
        TagScheme("boxed", "", "", r"\boxed{", "}"),
    )
}


def scheme_of(tags: "Tags") -> TagScheme:
    """The scheme that a recipe names: one of SCHEMES, or the custom one. Raises RecipeError when it cannot work."""
    if tags.scheme != "custom":
        return SCHEMES[tags.scheme]
    scheme = TagScheme("custom", tags.reasoning_open, tags.reasoning_close, tags.answer_open, tags.answer_close)
    if problems := scheme_problems(scheme):
        raise RecipeError("The custom tags cannot be used: " + " ".join(problems))
    return scheme


@dataclass(frozen=True)
class Span:
    """A marked piece `text[start:end]` (character offsets) of a completion."""

    kind: SpanKind
    start: int
    end: int


@dataclass(frozen=True)
class Parsed:
    """What a completion holds under a scheme. `problems` is empty exactly when the format is right."""

    reasoning: str | None
    answer: str | None
    problems: tuple[str, ...]
    spans: tuple[Span, ...] = field(repr=False, default=())

    @property
    def well_formed(self) -> bool:
        """Every tag once, in order, nothing but white space outside the two blocks (before the box, for `boxed`)."""
        return not self.problems


def wrap(scheme: TagScheme, reasoning: str, answer: str) -> str:
    """The assistant's message that the scheme asks for, ending with the answer's closing tag."""
    reasoning, answer = reasoning.strip(), answer.strip()
    if scheme.is_boxed:
        return f"{reasoning}\n{scheme.answer_open}{answer}{scheme.answer_close}".lstrip("\n")
    return (
        f"{scheme.reasoning_open}\n{reasoning}\n{scheme.reasoning_close}\n"
        f"{scheme.answer_open}{answer}{scheme.answer_close}"
    )


def tags_in(scheme: TagScheme, text: str) -> list[str]:
    """The scheme's tags that already occur in a text which should be free of them."""
    return [tag for tag in scheme.tags if tag in text and not (scheme.is_boxed and tag == "}")]


def extract(scheme: TagScheme, text: str) -> str | None:
    """The answer: what the last closed answer tag holds; None without one or when it is empty."""
    blocks = _answer_blocks(scheme, text)
    return text[slice(*blocks[-1])].strip() or None if blocks else None


def answers_in(scheme: TagScheme, text: str) -> list[str]:
    """What every closed answer tag holds, as written (not stripped), in order."""
    return [text[start:end] for start, end in _answer_blocks(scheme, text)]


def parse(scheme: TagScheme, text: str, spans: bool = True) -> Parsed:
    """Reasoning, answer, the list of format problems in words, and the spans to colour unless they are not wanted.

    Linear in the text's length, apart from sorting its tags.
    """
    problems = list(_count_problems(scheme, text))
    reasoning_block = _reasoning_block(scheme, text)
    answer_blocks = _answer_blocks(scheme, text)
    answer = text[slice(*answer_blocks[-1])].strip() or None if answer_blocks else None
    if not problems:
        problems += _layout_problems(scheme, text, reasoning_block, answer_blocks)
    reasoning = text[slice(*reasoning_block)].strip() if reasoning_block else None
    coloured = _spans(scheme, text, reasoning_block, answer_blocks) if spans else ()
    return Parsed(reasoning, answer, tuple(problems), coloured)


def is_well_formed(scheme: TagScheme, text: str) -> bool:
    """`parse(scheme, text).well_formed`, without building the words and the spans."""
    if next(iter(_count_problems(scheme, text)), None):
        return False
    return not _layout_problems(scheme, text, _reasoning_block(scheme, text), _answer_blocks(scheme, text))


def system_prompt(scheme: TagScheme) -> str:
    """The default instruction that names the tags; people can edit it."""
    if scheme.is_boxed:
        return r"Think step by step, then give the final answer in \boxed{}."
    return (
        f"Think step by step between {scheme.reasoning_open} and {scheme.reasoning_close}. "
        f"Then give only the final answer between {scheme.answer_open} and {scheme.answer_close}."
    )


def scheme_problems(scheme: TagScheme, special_tokens: Iterable[str] = (), sample: Iterable[str] = ()) -> list[str]:
    """What is wrong with a custom scheme: empty, equal or nested tags, special tokens, tags already in the data."""
    tags, problems = scheme.tags, []
    if not scheme.answer_open.strip() or not scheme.answer_close.strip():
        problems.append("The answer needs an opening and a closing tag.")
    if bool(scheme.reasoning_open.strip()) != bool(scheme.reasoning_close.strip()):
        problems.append("Give both reasoning tags, or neither.")
    for i, tag in enumerate(tags):
        for other in tags[i + 1 :]:
            if tag == other:
                problems.append(f"The tag {tag!r} is used twice; every tag must be different.")
            elif (tag in other or other in tag) and not scheme.is_boxed:
                problems.append(f"The tag {min(tag, other, key=len)!r} is inside {max(tag, other, key=len)!r}.")
    special = set(special_tokens)
    problems += [f"The tag {t!r} is a special token of this model; choose another." for t in tags if t in special]
    texts = list(sample)
    for tag in tags if not scheme.is_boxed else (scheme.answer_open,):
        count = sum(tag in text for text in texts)
        if count:
            problems.append(f"The tag {tag!r} already occurs in {count} of {len(texts)} texts of the data.")
    return problems


# ------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _pattern(tag: str) -> re.Pattern[str]:
    return re.compile(re.escape(tag))


def _count_problems(scheme: TagScheme, text: str) -> Iterable[str]:
    for tag in (scheme.answer_open,) if scheme.is_boxed else scheme.tags:
        count = text.count(tag)
        if count == 0:
            yield f"{tag} is missing"
        elif count > 1:
            yield f"{tag} appears {count} times"


def _layout_problems(
    scheme: TagScheme, text: str, reasoning: tuple[int, int] | None, answers: list[tuple[int, int]]
) -> list[str]:
    if not answers:
        return ["the answer is not closed"]
    start, end = answers[-1]
    if not text[start:end].strip():
        return ["the answer is empty"]
    problems = []
    if scheme.reasoning_open:
        if reasoning is None or reasoning[1] > start:
            return ["the tags are out of order"]
        if not text[slice(*reasoning)].strip():
            problems.append("the reasoning is empty")
        if text[: reasoning[0] - len(scheme.reasoning_open)].strip():
            problems.append("there is text before the reasoning")
        if text[reasoning[1] + len(scheme.reasoning_close) : start - len(scheme.answer_open)].strip():
            problems.append("there is text between the reasoning and the answer")
    if text[end + len(scheme.answer_close) :].strip(" \t\r\n.$" if scheme.is_boxed else None):
        problems.append("there is text after the answer")
    return problems


def _reasoning_block(scheme: TagScheme, text: str) -> tuple[int, int] | None:
    if not scheme.reasoning_open or (opened := text.find(scheme.reasoning_open)) < 0:
        return None
    start = opened + len(scheme.reasoning_open)
    end = text.find(scheme.reasoning_close, start)
    return (start, end) if end >= 0 else None


def _answer_blocks(scheme: TagScheme, text: str) -> list[tuple[int, int]]:
    """Start and end (character offsets) of what each closed answer tag holds."""
    if scheme.is_boxed:
        return _boxed_blocks(text)
    blocks, opened = [], text.find(scheme.answer_open)
    while opened >= 0:
        start = opened + len(scheme.answer_open)
        opened = text.find(scheme.answer_open, start)
        end = text.find(scheme.answer_close, start, opened if opened >= 0 else len(text))
        if end >= 0:
            blocks.append((start, end))
    return blocks


def _boxed_blocks(text: str) -> list[tuple[int, int]]:
    """Every `\\boxed{…}` with its matching brace (`\\{` and `\\}` do not count), innermost included. One pass."""
    opens: list[tuple[int, bool]] = []
    blocks = []
    for match in re.finditer(r"\\boxed\{|\\[{}\\]|[{}]", text):
        token = match.group()
        if token in (r"\boxed{", "{"):
            opens.append((match.end(), token != "{"))
        elif token == "}" and opens:
            start, boxed = opens.pop()
            if boxed:
                blocks.append((start, match.start()))
    return sorted(blocks)


def _spans(
    scheme: TagScheme, text: str, reasoning: tuple[int, int] | None, answers: list[tuple[int, int]]
) -> tuple[Span, ...]:
    if scheme.is_boxed:
        if not answers:
            return (Span("reasoning", 0, len(text)),) if text else ()
        start, end = answers[-1]
        opened = start - len(scheme.answer_open)
        spans = [Span("reasoning", 0, opened), Span("tag", opened, start), Span("answer", start, end)]
        return tuple(s for s in [*spans, Span("tag", end, end + 1)] if s.end > s.start)
    tag_spans = [Span("tag", m.start(), m.end()) for tag in scheme.tags for m in _pattern(tag).finditer(text)]
    blocks = [("reasoning", reasoning)] if reasoning else []
    blocks += [("answer", block) for block in answers]
    spans = list(tag_spans)
    ordered = sorted((s.start, s.end) for s in tag_spans)
    for kind, (start, end) in blocks:
        inside = ordered[bisect_left(ordered, (start, start)) : bisect_left(ordered, (end, end))]
        for tag_start, tag_end in [*(tag for tag in inside if tag[1] <= end), (end, end)]:
            if tag_start > start:
                spans.append(Span(kind, start, tag_start))
            start = max(start, tag_end)
    return tuple(_without_overlap(spans))


def _without_overlap(spans: list[Span]) -> Iterable[Span]:
    covered = 0
    for span in sorted(spans, key=lambda s: (s.start, s.end)):
        if span.end > covered:
            yield Span(span.kind, max(span.start, covered), span.end)
            covered = span.end
