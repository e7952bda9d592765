"""Rewards for what a text says: a match with a text or a pattern, words that must not appear, JSON and its schema."""

import json
from functools import lru_cache
from typing import Annotated, Any, Literal

import regex
from pydantic import AfterValidator, Field, model_validator

from pipeline.rewards.base import Example, Item, Mark, Parameters, RewardKind
from pipeline.rewards.correct import score_bounds, short, with_answer
from pipeline.rewards.formats import GOOD
from pipeline.rewards.schema import REGEX_SECONDS, check_schema, compiled, misfit, valid_pattern

MAX_JSON_CHARS = 20_000

Where = Literal["answer", "reasoning", "completion"]
WHERE = Field("answer", title="Where", description="The last answer tag, the reasoning, or all of the completion.")


def part(item: Item, where: Where) -> str | None:
    """The part of a completion that a reward looks at."""
    return item.answer if where == "answer" else item.reasoning if where == "reasoning" else item.text


class TextMatch(Parameters):
    """What is looked for, where, and the scores."""

    mode: Literal["exact", "contains", "regex"] = Field("exact", title="Match",
        description="exact: the same text; contains: the text appears; regex: the pattern is found.")
    expected: str = Field("", title="Text or pattern", max_length=500, description="Empty takes the reference answer.")
    where: Where = WHERE
    ignore_case: bool = Field(True, title="Ignore case", description="Capital and small letters are alike.")
    found: float = Field(1.0, title="Found", ge=-100, le=100, description="Score of a match.")
    absent: float = Field(0.0, title="Not found", ge=-100, le=100, description="Score without a match.")

    @model_validator(mode="after")
    def _pattern(self) -> "TextMatch":
        if self.mode == "regex":
            valid_pattern(self.expected)
        return self


def text_match(item: Item, p: TextMatch) -> Mark:
    """The text is equal to, contains, or matches what is expected."""
    text = part(item, p.where)
    expected = p.expected or item.reference
    if expected is None:
        return None, "there is no reference answer"
    if text is None:
        return p.absent, f"there is no {p.where}"
    if p.mode == "regex":
        try:
            hit = compiled(valid_pattern(expected), p.ignore_case).search(text, timeout=REGEX_SECONDS) is not None
        except TimeoutError:
            return None, f"the pattern {short(expected)} took longer than {REGEX_SECONDS} s"
    else:
        a, b = (text.strip(), expected.strip())
        if p.ignore_case:
            a, b = a.casefold(), b.casefold()
        hit = a == b if p.mode == "exact" else b in a
    return (p.found if hit else p.absent), f"{short(expected)} {'found' if hit else 'not found'} in the {p.where}"


class ForbiddenWords(Parameters):
    """Words, the penalty for each time one appears, and the most that is taken away."""

    words: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(
        ["I cannot", "as an AI"], title="Words", min_length=1, max_length=200, description="One word or phrase a line.")
    penalty: float = Field(-0.5, title="Penalty each", ge=-100, le=0, description="For each time one of them appears.")
    worst: float = Field(-2.0, title="Worst", ge=-1000, le=0, description="The penalties add up to this at most.")
    where: Where = Field("completion", title="Where", description="The answer tag, the reasoning, or everything.")


@lru_cache(maxsize=64)
def _words(words: tuple[str, ...]) -> "regex.Pattern[str]":
    choices = "|".join(regex.escape(word) for word in sorted(words, key=len, reverse=True))
    return regex.compile(rf"(?<!\w)(?:{choices})(?!\w)", regex.IGNORECASE)


def forbidden_words(item: Item, p: ForbiddenWords) -> Mark:
    """A penalty for every occurrence of a listed word, as a whole word in any case."""
    found = [match.group() for match in _words(tuple(p.words)).finditer(part(item, p.where) or "")]
    if not found:
        return 0.0, "none of the words appears"
    return max(p.worst, p.penalty * len(found)), f"{len(found)} found: {', '.join(map(short, found[:3]))}"


class JsonValid(Parameters):
    """Where the JSON is expected, and the scores."""

    where: Where = WHERE
    right: float = Field(1.0, title="Valid", ge=-100, le=100, description="The text is one JSON document.")
    wrong: float = Field(0.0, title="Not valid", ge=-100, le=100, description="Anything else, or no such part.")
    objects_only: bool = Field(True, title="Objects and lists only",
        description="A bare number or word is valid JSON too; this refuses it.")


def json_valid(item: Item, p: JsonValid) -> Mark:
    """The text parses as JSON."""
    value, problem = _json(part(item, p.where), p.where)
    if problem is None and p.objects_only and not isinstance(value, (dict, list)):
        problem = f"it is {type(value).__name__}, not an object or a list"
    return (p.right, "valid JSON") if problem is None else (p.wrong, problem)


class JsonSchema(Parameters):
    """The schema, where the document is expected, and the scores."""

    schema_text: Annotated[str, AfterValidator(check_schema)] = Field(
        '{"type": "object"}', title="JSON Schema", max_length=20_000, json_schema_extra={"lines": 8},
        description="Draft 2020-12, patterns too. References to other documents are refused.")
    where: Where = WHERE
    right: float = Field(1.0, title="Fits", ge=-100, le=100, description="The document fits the schema.")
    partial: float = Field(0.0, title="JSON that does not fit", ge=-100, le=100, description="Valid JSON, other shape.")
    wrong: float = Field(0.0, title="Not JSON", ge=-100, le=100, description="Anything else, or no such part.")


def json_schema(item: Item, p: JsonSchema) -> Mark:
    """The text is JSON that fits the schema."""
    value, problem = _json(part(item, p.where), p.where)
    if problem is not None:
        return p.wrong, problem
    try:
        why_not = misfit(p.schema_text, value)
    except TimeoutError as error:
        return None, str(error) or "a pattern of the schema took too long"
    return (p.right, "fits the schema") if why_not is None else (p.partial, f"does not fit the schema {why_not[:150]}")


def _json(text: str | None, where: Where) -> tuple[Any, str | None]:
    if text is None:
        return None, f"there is no {where}"
    text = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
    if len(text) > MAX_JSON_CHARS:
        return None, f"longer than {MAX_JSON_CHARS} characters"
    try:
        return json.loads(text), None
    except ValueError as error:
        return None, f"not valid JSON: {error}"
    except RecursionError:
        return None, "not valid JSON: nested too deeply"


PERSON = '{"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}'

KINDS = (
    RewardKind(
        "text_match", "Text match", "The answer is, contains or matches a text: the reference, or one of your own.",
        TextMatch, lambda p, s: score_bounds(p, ("found", "absent")), text_match,
        (Example(with_answer("Paris"), "paris", 1.0), Example(with_answer("Lyon"), "Paris", 0.0),
         Example(GOOD, "42", 1.0, {"mode": "contains", "where": "reasoning"}),
         Example(GOOD, "42", 1.0, {"mode": "regex", "expected": r"^\d+$"})), "Text"),
    RewardKind(
        "forbidden_words", "Forbidden words", "A penalty for every listed word or phrase that appears.",
        ForbiddenWords, lambda p, s: (p.worst, 0.0), forbidden_words,
        (Example("As an AI, I cannot say.", None, -1.0), Example(GOOD, "42", 0.0)), "Text"),
    RewardKind(
        "json_valid", "Valid JSON", "The answer is one JSON document.",
        JsonValid, lambda p, s: score_bounds(p, ("right", "wrong")), json_valid,
        (Example(with_answer('{"name": "Ada"}'), None, 1.0), Example(with_answer("{name: Ada}"), None, 0.0),
         Example(GOOD, None, 0.0)), "Structure"),
    RewardKind(
        "json_schema", "JSON Schema", "The answer is JSON of the shape that a schema describes.",
        JsonSchema, lambda p, s: score_bounds(p, ("right", "partial", "wrong")), json_schema,
        (Example(with_answer('{"name": "Ada"}'), None, 1.0, {"schema_text": PERSON}),
         Example(with_answer('{"age": 36}'), None, 0.5, {"schema_text": PERSON, "partial": 0.5}),
         Example(with_answer("Ada"), None, 0.0)), "Structure"),
)
