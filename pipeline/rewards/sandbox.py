"""The sandbox of custom rewards: sessions of pydantic-monty with limits, and the functions that the code may call.

The interpreter runs in a process of its own. Host functions take text, give back a number or a boolean, and have a
budget of time and calls for each batch.
"""

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pydantic_monty as monty

from pipeline import custom_code
from pipeline.errors import RewardError
from pipeline.rewards import answers
from pipeline.rewards.base import CountTokens
from pipeline.rewards.numbers import number as read_number

# Runs before the code of a person, in the sandbox. What needs no host stays there: a call to the host costs 20 µs.
PRELUDE = '''\
def tag(text, name):
    """What the last <name>…</name> of the text holds, stripped, or None."""
    start = text.rfind("<" + name + ">")
    if start < 0:
        return None
    start += len(name) + 2
    end = text.find("</" + name + ">", start)
    return text[start:end].strip() if end >= 0 else None

def _short_number(text):
    """A short decimal number without the host's help; None for the rest, also for nan and inf, which are no numbers."""
    if len(text) < 16 and "n" not in text and "N" not in text and "_" not in text:
        try:
            return float(text)
        except ValueError:
            pass
    return None

def number(text):
    """The text as a float (units, currency and separators are understood), or None."""
    if text is None:
        return None
    short = _short_number(text)
    return _host_number(text) if short is None else short

def math_equal(a, b):
    """Whether two answers are the same, by value or by mathematics."""
    if a is None or b is None:
        return False
    x, y = _short_number(a), _short_number(b)
    return _host_math_equal(a, b) if x is None or y is None else x == y
'''
HOST_SECONDS = 2.0
MAX_HOST_CALLS = 5000
MAX_TEXT_CHARS = 200_000
MAX_PRINTED_CHARS = 2000


class Printed:
    """Keeps the beginning of what the code prints and drops the rest."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, stream: str, text: str) -> None:
        room = MAX_PRINTED_CHARS - len(self.text)
        if room > 0:
            self.text += text[:room]


def ignore(stream: str, text: str) -> None:
    """Drop what is printed."""


class Host:
    """The functions that run outside the sandbox for one batch, with a budget of time, calls and text."""

    def __init__(self, count: CountTokens | None) -> None:
        self.spent, self._count = 0.0, count
        self.functions: dict[str, Callable[..., Any]] = {
            "_host_number": self._timed(self._number), "_host_math_equal": self._timed(self._math_equal),
            "count_tokens": self._timed(self._count_tokens)}

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*texts: Any) -> Any:
            if self.spent > HOST_SECONDS:
                raise TimeoutError("the time for number, math_equal and count_tokens is used up for this batch")
            for text in texts:
                if not isinstance(text, str):
                    raise TypeError(f"expected text, not {type(text).__name__}")
                if len(text) > MAX_TEXT_CHARS:
                    raise ValueError(f"a text of {len(text)} characters is too long")
            started = time.perf_counter()
            try:
                return function(*texts)
            finally:
                self.spent += time.perf_counter() - started

        return call

    def _number(self, text: str) -> float | None:
        found = read_number(text)
        try:
            return None if found is None else float(found.value)
        except OverflowError:
            return None

    def _math_equal(self, a: str, b: str) -> bool:
        return answers.same_answer(a, b)

    def _count_tokens(self, text: str) -> int:
        return self._count(text) if self._count is not None else (len(text) + 3) // 4


_lock = threading.Lock()
_pool: monty.Monty | None = None
_owner = 0


def session(seconds: float, memory_mb: int) -> monty.MontySession:
    """A fresh session with limits, to be used with `with`. Raises RewardError where custom code is switched off."""
    if custom_code.switched_off():
        raise RewardError(custom_code.WHY)
    return _shared_pool().checkout(limits={
        "max_feed_duration_secs": seconds, "max_memory": memory_mb * 1_000_000, "max_recursion_depth": 200,
        "max_suspensions": MAX_HOST_CALLS, "max_total_sleep_secs": 0.0})


def _shared_pool() -> monty.Monty:
    """The pool of this process (a forked child starts its own)."""
    global _pool, _owner
    with _lock:
        if _pool is None or _owner != os.getpid():
            _pool = monty.Monty(min_processes=1, max_processes=2, checkout_timeout=60, request_timeout=60,
                                feed_duration_limit_grace=0.5)
            _pool.__enter__()
            _owner = os.getpid()
        return _pool


def close_pool() -> None:
    """End the sandbox processes; the next batch starts new ones."""
    global _pool
    with _lock:
        pool, _pool = _pool, None
    if pool is not None and _owner == os.getpid():
        with contextlib.suppress(monty.MontyError, RuntimeError):
            pool.__exit__(None, None, None)


atexit.register(close_pool)
