"""Custom Python rewards, run in pydantic-monty: an interpreter of its own in a process of its own.

The code is given texts and gives back a number. It has no files, environment, network, imports of installed packages or
way to this process; every batch has a time and a memory limit. What the sandbox does not cover: the score itself (code
can reward nonsense) and the processor time within the limits. See docs/rewards.md.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pydantic_monty as monty
from pydantic import Field

from pipeline.errors import RewardError
from pipeline.rewards.base import CountTokens, Example, Item, Mark, Parameters, RewardKind
from pipeline.rewards.correct import with_answer
from pipeline.rewards.sandbox import MAX_TEXT_CHARS, PRELUDE, Host, Printed, ignore, session

TEMPLATE = '''\
def score(completion, reference, prompt):
    """Called for every sampled answer. Return a number, or a number and a reason."""
    given = tag(completion, "answer")
    if given is None:
        return -1.0, "no answer"
    if math_equal(given, reference):
        return 1.0, "right"
    return 0.0, f"{given} is not {reference}"
'''

RUN = '''\
_scores = []
for _i in range(len(_completions)):
    try:
        _scores.append(score(_completions[_i], _references[_i], _prompts[_i]))
    except Exception as _error:
        _scores.append("" + type(_error).__name__ + ": " + str(_error)[:300])
_scores
'''
ONE = "score(_completions[0], _references[0], _prompts[0])"

CODE_NAME = "<python-input-1>"  # how the sandbox calls what is fed second, after the prelude

class Custom(Parameters):
    """Range and limits of custom code."""

    lowest: float = Field(-1.0, title="Lowest score", ge=-1000, le=1000, description="Lower scores are raised to this.")
    highest: float = Field(1.0, title="Highest score", ge=-1000, le=1000, description="Higher scores are cut to this.")
    seconds: float = Field(1.0, title="Time limit (s)", ge=0.05, le=30, description="For one batch of answers.")
    memory_mb: int = Field(64, title="Memory limit (MB)", ge=8, le=1024, description="For one batch of answers.")


@dataclass(frozen=True)
class Problem:
    """What is wrong with a piece of code: the line (1-based, where known), its text, and the message."""

    message: str
    line: int | None = None
    source: str | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.message}" + (f"  ({self.source.strip()})" if self.source else "")


@dataclass(frozen=True)
class Check:
    """Outcome of a live check: the marks of the sample, what was printed, or the problem."""

    marks: tuple[Mark, ...] = ()
    printed: str = ""
    problem: Problem | None = None
    milliseconds: float = 0.0


def check_code(code: str, items: Sequence[Item], parameters: Custom | None = None) -> Check:
    """Compile the code and score the items with it. Never raises for what the code does."""
    started, out = time.perf_counter(), Printed()
    reward = CustomReward(code, parameters or Custom())
    try:
        problem = reward.problem(out)
        if problem is not None:
            return Check(printed=out.text, problem=problem)
        marks = tuple(reward.score(items, out))
    except RewardError as error:
        return Check(printed=out.text, problem=Problem(str(error)))
    failed = next((i for i, (value, _) in enumerate(marks) if value is None), None)
    spot = reward.locate(items[failed]) if failed is not None else None
    return Check(marks, out.text, spot, 1000 * (time.perf_counter() - started))


class CustomReward:
    """A piece of code that scores batches in the sandbox. Holds no process; the pool is shared and started lazily."""

    def __init__(self, code: str | None, parameters: Custom) -> None:
        self.code, self.parameters = code or "", parameters

    def problem(self, printed: Printed | None = None) -> Problem | None:
        """Why the code cannot be used at all, or None."""
        if not self.code.strip():
            return Problem("there is no code: define score(completion, reference, prompt)")
        try:
            with session(self.parameters.seconds, self.parameters.memory_mb) as box:
                host = Host(None)
                box.feed_run(PRELUDE, print_callback=ignore)
                box.feed_run(self.code, print_callback=printed or ignore, external_lookup=host.functions)
                kind = box.feed_run("type(score).__name__", print_callback=ignore, external_lookup=host.functions)
        except monty.MontyError as error:
            if "score" in str(error) and "not defined" in str(error):
                return Problem("the code must define score(completion, reference, prompt)")
            return _problem(error)
        return None if kind == "function" else Problem("score is no function: def score(completion, reference, prompt)")

    def score(self, items: Sequence[Item], printed: Printed | None = None) -> list[Mark]:
        """Marks of a batch. Rows that fail are None with the message; the other rows are scored all the same."""
        if not items:
            return []
        count = items[0].count
        try:
            values = self._run(items, RUN, self.parameters.seconds, count, printed)
        except monty.MontyError as error:
            return self._row_by_row(items, count, error) if len(items) > 1 else [_failed(error)]
        if not isinstance(values, list) or len(values) != len(items):
            return [(None, "failed: the code changed how it is called")] * len(items)
        return [self._mark(value) for value in values]

    def locate(self, item: Item) -> Problem:
        """The line on which the code fails for this item."""
        try:
            value = self._run([item], ONE, self.parameters.seconds, item.count, None)
        except monty.MontyError as error:
            return _problem(error)
        return Problem(self._mark(value)[1].removeprefix("failed: "))

    def _run(self, items: Sequence[Item], call: str, seconds: float, count: CountTokens | None,
             printed: Printed | None) -> Any:
        inputs = {"_completions": [item.text[:MAX_TEXT_CHARS] for item in items],
                  "_references": [item.reference for item in items], "_prompts": [item.prompt for item in items]}
        host, out = Host(count), printed or ignore
        with session(seconds, self.parameters.memory_mb) as box:
            box.feed_run(PRELUDE, print_callback=ignore)
            box.feed_run(self.code, print_callback=ignore, external_lookup=host.functions)
            return box.feed_run(call, inputs=inputs, print_callback=out, external_lookup=host.functions)

    def _row_by_row(self, items: Sequence[Item], count: CountTokens | None, error: monty.MontyError) -> list[Mark]:
        """After a batch that ended as a whole (time, memory, crash): find the rows to blame, in bounded time."""
        marks: list[Mark] = []
        end = time.monotonic() + 2 * self.parameters.seconds
        for item in items:
            if time.monotonic() > end:
                marks.append((None, f"failed: the batch ran out of time ({_problem(error).message})"))
                continue
            try:
                limit = max(0.05, self.parameters.seconds / 4)
                marks.append(self._mark(self._run([item], ONE, limit, count, None)))
            except monty.MontyError as row_error:
                marks.append(_failed(row_error))
        return marks

    def _mark(self, value: Any) -> Mark:
        """A returned value as a mark: a finite number within the range, maybe with a reason."""
        reason = ""
        if isinstance(value, (tuple, list)) and len(value) == 2 and isinstance(value[1], str):
            value, reason = value[0], value[1][:300]
        if type(value) is str and not reason:
            return None, f"failed: {value[:300]}" if ": " in value else f"failed: returned the text {value[:80]!r}"
        if type(value) not in (int, float, bool):
            return None, f"failed: returned {type(value).__name__}, not a number"
        try:
            number = float(value)
        except OverflowError:
            return None, "failed: returned a number that is too large"
        if number != number or number in (float("inf"), float("-inf")):
            return None, f"failed: returned {number}"
        clipped = min(max(number, self.parameters.lowest), self.parameters.highest)
        note = f" (cut from {number:g} to the range of the reward)" if clipped != number else ""
        return clipped, (reason or "the code says so") + note


def _failed(error: monty.MontyError) -> Mark:
    return None, f"failed: {_problem(error)}"


def _problem(error: monty.MontyError) -> Problem:
    message = str(error)
    if isinstance(error, monty.MontyCrashedError):
        return Problem("the sandbox was ended: the code used too much time or memory")
    if "time limit exceeded" in message:
        return Problem("the time limit was reached")
    if message.startswith("MemoryError"):
        return Problem("the memory limit was reached")
    frames = error.traceback() if isinstance(error, (monty.MontyRuntimeError, monty.MontySyntaxError)) else []
    own = [frame for frame in frames if frame.filename == CODE_NAME]
    if not own:
        return Problem(message[:500])
    return Problem(message[:500], own[-1].line, own[-1].source_line)


KINDS = (
    RewardKind(
        "custom", "Custom Python", "Your own function, in a sandbox with time and memory limits.",
        Custom, lambda p, s: (min(p.lowest, p.highest), max(p.lowest, p.highest)),
        lambda item, p: CustomReward(TEMPLATE, p).score([item])[0],
        (Example(with_answer("42.0"), "42", 1.0), Example(with_answer("7"), "42", 0.0), Example("42", "42", -1.0)),
        "Custom"),
)
