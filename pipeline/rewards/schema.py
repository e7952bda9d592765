"""JSON Schema (draft 2020-12) on text from a model: `jsonschema`, with a bound on the time that one document may take.

Differs from the library where a document could hold up the run: patterns are searched with a library that has a
time-out, equal items are found by a canonical form instead of pair by pair, and before each keyword the clock is
looked at, which also bounds schemas that refer to themselves. References to other documents are refused.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import jsonschema
import referencing
import regex

SECONDS = 0.08  # processor time for one document
REGEX_SECONDS = 0.05  # for one search

Keyword = Callable[[Any, Any, Any, Any], Iterator[jsonschema.ValidationError] | None]
_clock = threading.local()


def check_schema(text: str) -> str:
    """The text, when it is a schema that can be used. Raises ValueError in words."""
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the schema is not valid JSON: {error}") from error
    if not isinstance(schema, dict):
        raise ValueError("the schema must be a JSON object")
    try:
        jsonschema.Draft202012Validator.check_schema(schema, jsonschema.FormatChecker(()))
    except jsonschema.SchemaError as error:
        raise ValueError(f"the schema is wrong: {error.message[:200]}") from error
    patterns, keys = _patterns_and_keys(schema)
    for pattern in patterns:
        valid_pattern(pattern)
    if {"patternProperties", "unevaluatedProperties"} <= keys:
        raise ValueError("patternProperties and unevaluatedProperties cannot be used together here, since the patterns "
                         "would be searched without a time limit: write additionalProperties instead")
    return text


def misfit(schema_text: str, value: Any) -> str | None:
    """Where and why a document does not fit, or None when it fits. Raises TimeoutError when it takes too long."""
    _clock.end = time.thread_time() + SECONDS
    error = next(_validator(schema_text).iter_errors(value), None)
    return None if error is None else f"at {error.json_path}: {error.message}"


def valid_pattern(pattern: str) -> str:
    """The pattern, when it is a regular expression. Raises ValueError in words."""
    try:
        compiled(pattern, False)
    except (regex.error, RecursionError, OverflowError) as error:
        raise ValueError(f"the pattern {pattern[:80]!r} is not a regular expression: {error}") from error
    return pattern


@lru_cache(maxsize=256)
def compiled(pattern: str, ignore_case: bool) -> "regex.Pattern[str]":
    """A pattern, ready to be searched with a time-out."""
    return regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)


# ------------------------------------------------------------------------------------------------------------------


def _left() -> float:
    """Seconds left for this document. Raises TimeoutError when there are none."""
    left = _clock.end - time.thread_time()
    if left <= 0:
        raise TimeoutError(f"checking it against the schema took longer than {SECONDS} s")
    return left


def _found(pattern: str, text: str) -> bool:
    return compiled(pattern, False).search(text, timeout=min(REGEX_SECONDS, _left())) is not None


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    if isinstance(value, str) and not _found(pattern, value):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: dict[str, Any], value: Any, schema: Any
                        ) -> Iterator[jsonschema.ValidationError]:
    if isinstance(value, dict):
        for pattern, part in patterns.items():
            for name in value:
                if _found(pattern, name):
                    yield from validator.descend(value[name], part, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, value: Any, schema: Any
                           ) -> Iterator[jsonschema.ValidationError]:
    if not isinstance(value, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name in value:
        if name in known or any(_found(pattern, name) for pattern in patterns):
            continue
        if allowed is False:
            yield jsonschema.ValidationError(f"{name!r} is not allowed")
        else:
            yield from validator.descend(value[name], allowed, path=name)


def _unique_items(validator: Any, wanted: bool, value: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    if wanted and isinstance(value, list) and len({_canonical(item) for item in value}) < len(value):
        yield jsonschema.ValidationError(f"{value!r} has equal items")


def _canonical(value: Any) -> Any:
    """Equal for equal JSON values and hashable: 1 and 1.0 are alike, 1 and true are not."""
    if isinstance(value, dict):
        return "object", frozenset((name, _canonical(part)) for name, part in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_canonical, value))
    return isinstance(value, bool), value


def _timed(keyword: Keyword) -> Keyword:
    def check(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
        _left()
        yield from keyword(validator, wanted, value, schema) or ()

    return check


_OWN: dict[str, Keyword] = {"pattern": _pattern, "patternProperties": _pattern_properties,
                            "additionalProperties": _additional_properties, "uniqueItems": _unique_items}
_Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {
    name: _timed(keyword) for name, keyword in (jsonschema.Draft202012Validator.VALIDATORS | _OWN).items()})


@lru_cache(maxsize=32)
def _validator(schema_text: str) -> Any:
    return _Validator(json.loads(schema_text), registry=referencing.Registry())  # an empty registry fetches nothing


def _patterns_and_keys(schema: Any) -> tuple[list[str], set[str]]:
    """Every pattern of a schema, and every key anywhere in it."""
    patterns: list[str] = []
    keys: set[str] = set()
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            keys |= part.keys()
            named = part.get("patternProperties")
            patterns += list(named) if isinstance(named, dict) else []
            patterns += [part["pattern"]] if isinstance(part.get("pattern"), str) else []
            left += part.values()
        elif isinstance(part, list):
            left += part
    return patterns, keys
