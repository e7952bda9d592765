"""Rewards for length and repetition. Lengths are in tokens of the model that is trained."""

from pydantic import Field, model_validator

from pipeline.rewards.base import Example, Item, Mark, Parameters, RewardKind
from pipeline.rewards.formats import GOOD

MAX_WORDS = 100_000


class LengthTarget(Parameters):
    """The wanted range of lengths and how fast the score falls outside of it."""

    shortest: int = Field(20, title="From (tokens)", ge=0, le=1_000_000, description="Shorter answers lose.")
    longest: int = Field(200, title="To (tokens)", ge=1, le=1_000_000, description="Longer answers lose.")
    fade: int = Field(100, title="Falls to nothing over (tokens)", ge=1, le=1_000_000,
        description="The score falls in a straight line over this many tokens outside of the range.")
    best: float = Field(1.0, title="Within the range", ge=-100, le=100, description="Score inside the range.")
    worst: float = Field(0.0, title="Far outside", ge=-100, le=100, description="Score far outside the range.")

    @model_validator(mode="after")
    def _ordered(self) -> "LengthTarget":
        if self.shortest > self.longest:
            raise ValueError(f"the range from {self.shortest} to {self.longest} is empty: exchange the two")
        return self


def length_target(item: Item, p: LengthTarget) -> Mark:
    """Full score inside a range of lengths, falling in a straight line outside."""
    length = item.length
    outside = max(p.shortest - length, length - p.longest, 0)
    share = max(0.0, 1 - outside / p.fade)
    place = "within" if not outside else f"{outside} outside of"
    return p.worst + (p.best - p.worst) * share, f"{length} tokens, {place} {p.shortest} to {p.longest}"


class Overlong(Parameters):
    """The length limit and the stretch before it in which the penalty grows."""

    limit: int = Field(512, title="Limit (tokens)", ge=2, le=1_000_000, description="From here the penalty is full.")
    buffer: int = Field(128, title="Starts before the limit (tokens)", ge=1, le=1_000_000,
        description="The penalty grows over this many tokens up to the limit.")
    worst: float = Field(-1.0, title="Full penalty", ge=-100, le=0, description="At and past the limit, or cut off.")

    @model_validator(mode="after")
    def _fits(self) -> "Overlong":
        if self.buffer >= self.limit:
            raise ValueError(f"the stretch of {self.buffer} tokens does not fit before {self.limit}: set it to "
                             f"{self.limit // 4 or 1}")
        return self


def overlong(item: Item, p: Overlong) -> Mark:
    """Soft overlong punishment (DAPO, https://arxiv.org/abs/2503.14476, eq. 13)."""
    length = item.length
    if item.truncated or length >= p.limit:
        return p.worst, f"{length} tokens: {'cut off' if item.truncated else f'at the limit of {p.limit}'}"
    over = length - (p.limit - p.buffer)
    if over <= 0:
        return 0.0, f"{length} tokens, well under {p.limit}"
    return p.worst * over / p.buffer, f"{length} tokens, {over} into the last {p.buffer} before {p.limit}"


class Repetition(Parameters):
    """Size of the repeated pieces and the penalty."""

    ngram: int = Field(3, title="Words in a piece", ge=1, le=50, description="Pieces of this many words are compared.")
    worst: float = Field(-1.0, title="Everything repeats", ge=-100, le=0, description="Penalty when all pieces repeat.")
    allowed: float = Field(0.2, title="Allowed share", ge=0, lt=1,
        description="Up to this share of repeated pieces costs nothing: worked solutions repeat themselves a little.")


def repetition(item: Item, p: Repetition) -> Mark:
    """Penalty for the share of word pieces that occurred before (after https://arxiv.org/abs/2502.03373)."""
    words = item.text.casefold().split()[:MAX_WORDS]
    total = len(words) - p.ngram + 1
    if total < 2:
        return 0.0, "too short to repeat itself"
    different = len(set(zip(*(words[i:] for i in range(p.ngram)), strict=False)))
    share = 1 - different / total
    over = max(0.0, share - p.allowed) / (1 - p.allowed)
    return p.worst * over, f"{share:.0%} of its {p.ngram}-word pieces repeat"


class ReasoningLength(Parameters):
    """The least reasoning that is wanted."""

    enough: int = Field(50, title="Enough (tokens)", ge=1, le=1_000_000, description="From here the score is full.")
    best: float = Field(1.0, title="Enough reasoning", ge=-100, le=100, description="Score from that length on.")
    none: float = Field(0.0, title="No reasoning", ge=-100, le=100, description="Score without reasoning.")


def reasoning_length(item: Item, p: ReasoningLength) -> Mark:
    """Grows with the length of the reasoning up to a limit, so that thinking is shown but padding is not paid."""
    text = item.reasoning
    if not text:
        return p.none, "there is no reasoning"
    length = item.tokens_of(text)
    return p.none + (p.best - p.none) * min(1.0, length / p.enough), f"{length} tokens of reasoning"


KINDS = (
    RewardKind(
        "length_target", "Length in a range", "Full score for an answer of the wanted length, less outside.",
        LengthTarget, lambda p, s: (min(p.best, p.worst), max(p.best, p.worst)), length_target,
        (Example("x" * 400, None, 1.0), Example("x" * 40, None, 0.9), Example("x" * 1000, None, 0.5)), "Length"),
    RewardKind(
        "overlong", "Soft overlong punishment", "A penalty that grows over the last stretch before the length limit.",
        Overlong, lambda p, s: (p.worst, 0.0), overlong,
        (Example(GOOD, "42", 0.0), Example("x" * 4 * 448, None, -0.5), Example("x" * 4 * 512, None, -1.0)), "Length"),
    RewardKind(
        "repetition", "Repetition penalty", "A penalty for text that says the same over and over.",
        Repetition, lambda p, s: (p.worst, 0.0), repetition,
        (Example(GOOD, "42", 0.0), Example("so it is " * 100, None, -0.9874161073825504)), "Length"),
    RewardKind(
        "reasoning_length", "Reasoning length", "Grows with the length of the reasoning, up to enough.",
        ReasoningLength, lambda p, s: (min(p.best, p.none), max(p.best, p.none)), reasoning_length,
        (Example("<reasoning>" + "x" * 100 + "</reasoning>", None, 0.5), Example("42", "42", 0.0),
         Example("<reasoning>" + "x" * 400 + "</reasoning>", None, 1.0)), "Length"),
)
