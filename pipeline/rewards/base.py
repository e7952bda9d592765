"""What a reward is: a kind with a sentence, parameters, a range and an example, and a pure function of one answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline import tags
from pipeline.tags import TagScheme

Mark = tuple[float | None, str]
"""A score and why, in words. None where it could not be scored."""

CountTokens = Callable[[str], int]

ALARMING_FAILURES = 0.1
"""Share of answers that a reward may leave without a score before a person is told to mend it."""


class Parameters(BaseModel):
    """Base of all parameter models: unknown names are errors; scores are plain numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Item:
    """One completion to be scored, with what several rewards need worked out once, when it is first asked for."""

    __slots__ = ("_answers", "_parsed", "count", "prompt", "reference", "scheme", "text", "tokens", "truncated")

    def __init__(self, text: str, reference: str | None, prompt: str, scheme: TagScheme,
                 tokens: int | None = None, truncated: bool | None = None, count: CountTokens | None = None) -> None:
        self.text, self.reference, self.prompt, self.scheme = text, reference, prompt, scheme
        self.tokens, self.truncated, self.count = tokens, truncated, count
        self._answers: list[str] | None = None
        self._parsed: tags.Parsed | None = None

    @property
    def answers(self) -> list[str]:
        """What every closed answer tag holds, as written."""
        if self._answers is None:
            self._answers = tags.answers_in(self.scheme, self.text)
        return self._answers

    @property
    def answer(self) -> str | None:
        """The last answer, stripped; None without one. The same as `tags.extract`."""
        return self.answers[-1].strip() or None if self.answers else None

    @property
    def parsed(self) -> tags.Parsed:
        """Reasoning and format problems, without spans."""
        if self._parsed is None:
            self._parsed = tags.parse(self.scheme, self.text, spans=False)
        return self._parsed

    @property
    def reasoning(self) -> str | None:
        """The reasoning; for a scheme without reasoning tags, what stands before the answer."""
        if self.scheme.reasoning_open:
            return self.parsed.reasoning
        cut = self.text.rfind(self.scheme.answer_open)
        return (self.text[:cut] if cut >= 0 else self.text).strip()

    @property
    def length(self) -> int:
        """Tokens where the sampler counted them, else counted from the text, else estimated at four characters each."""
        return self.tokens if self.tokens is not None else self.tokens_of(self.text)

    def tokens_of(self, text: str) -> int:
        """Tokens of a part of the text."""
        return self.count(text) if self.count is not None else (len(text) + 3) // 4


@dataclass(frozen=True)
class Example:
    """A completion (in the `reasoning` scheme) with the score that the default parameters give it."""

    completion: str
    reference: str | None
    score: float
    parameters: dict[str, Any] | None = None


@dataclass(frozen=True)
class RewardKind:
    """One entry of the library."""

    kind: str
    title: str
    sentence: str
    parameters: type[Parameters]
    bounds: Callable[[Any, TagScheme], tuple[float, float]]
    score: Callable[[Item, Any], Mark]
    examples: tuple[Example, ...]
    family: str = "Answer"

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest score with the default parameters and four tags."""
        return self.bounds(self.parameters(), tags.SCHEMES["reasoning"])

    @property
    def example(self) -> Example:
        """The first example."""
        return self.examples[0]
