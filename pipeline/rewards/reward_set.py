"""The reward object: what is tried in the app, sampled in the dry run, trained with and plotted. One code for all."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.errors import RewardError
from pipeline.recipe import RewardSpec, RewardsStep
from pipeline.rewards import combine, math_process
from pipeline.rewards.base import CountTokens, Item, Mark, Parameters, RewardKind
from pipeline.rewards.custom import Custom, CustomReward
from pipeline.rewards.library import kind_of, parameters_of
from pipeline.tags import TagScheme

ASKS_MATHEMATICS = ("answer_exact", "math_equal", "custom")


@dataclass
class Scores:
    """What a batch was given. Lists follow the completions; labels follow the order of the set."""

    raw: dict[str, list[float | None]]
    totals: list[float | None]
    extracted: list[str | None]
    weights: dict[str, float]
    reasons: dict[str, list[str]] = field(repr=False, default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)

    def explain(self, i: int) -> list[tuple[str, float | None, float | None, str]]:
        """(label, raw score, weighted score, why in words) of each reward for completion `i`."""
        out = []
        for label, values in self.raw.items():
            value = values[i]
            weighted = None if value is None else value * self.weights[label]
            out.append((label, value, weighted, self.reasons[label][i]))
        return out


@dataclass(frozen=True)
class _Bound:
    """A reward of the set with its checked parameters."""

    spec: RewardSpec
    kind: RewardKind
    parameters: Parameters
    custom: CustomReward | None = None

    def score(self, items: Sequence[Item]) -> list[Mark]:
        if self.custom is not None:
            return self.custom.score(items)
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> Mark:
        try:
            return self.kind.score(item, self.parameters)
        except Exception as error:  # a reward that raises is data (None and counted), never the end of a run
            return None, f"failed: {type(error).__name__}: {error}"


class RewardSet:
    """The enabled rewards of a step, ready to score completions that use a tag scheme."""

    def __init__(self, step: RewardsStep, scheme: TagScheme, count_tokens: CountTokens | None = None) -> None:
        """Check every reward. Raises RewardError in words for an unknown kind, a wrong parameter or broken code."""
        self.step, self.scheme, self.count_tokens = step, scheme, count_tokens
        self._rewards = [self._bind(spec) for spec in step.functions if spec.enabled]
        self.scored = 0
        self.failed: dict[str, int] = dict.fromkeys(self.labels, 0)

    @property
    def labels(self) -> list[str]:
        """Names of the enabled rewards, in order."""
        return [reward.spec.label for reward in self._rewards]

    @property
    def weights(self) -> dict[str, float]:
        """Weight by label."""
        return {reward.spec.label: reward.spec.weight for reward in self._rewards}

    @property
    def possible_range(self) -> tuple[float, float]:
        """Lowest and highest total that the parameters and weights allow."""
        pairs = [sorted(bound * reward.spec.weight for bound in reward.kind.bounds(reward.parameters, self.scheme))
                 for reward in self._rewards]
        return sum((low for low, _ in pairs), 0.0), sum((high for _, high in pairs), 0.0)

    def score(self, completions: Sequence[str], references: Sequence[str | None], prompts: Sequence[str],
              tokens: Sequence[int] | None = None, truncated: Sequence[bool] | None = None) -> Scores:
        """Score a batch; the lists belong together by position. Never raises for what a completion says."""
        n = len(completions)
        if not len(references) == len(prompts) == n:
            raise RewardError(f"{n} completions, {len(references)} references and {len(prompts)} prompts do not match.")
        counts, cut = tokens or [None] * n, truncated or [None] * n
        items = [Item(text, reference, prompt, self.scheme, count, over, self.count_tokens)
                 for text, reference, prompt, count, over
                 in zip(completions, references, prompts, counts, cut, strict=True)]
        raw: dict[str, list[float | None]] = {}
        reasons: dict[str, list[str]] = {}
        failures: dict[str, list[str]] = {}
        for reward in self._rewards:
            marks, label = reward.score(items), reward.spec.label
            raw[label] = [value for value, _ in marks]
            reasons[label] = [reason for _, reason in marks]
            missed = [reason for value, reason in marks if value is None]
            if missed:
                failures[label] = missed
                self.failed[label] += len(missed)
        self.scored += n
        totals = combine.totals(raw, self.weights) if raw else [None] * n
        return Scores(raw, totals, [item.answer for item in items], self.weights, reasons, failures)

    def advantages(self, scores: Scores, group_size: int) -> list[float]:
        """What training makes of the scores, with the step's way of combining and scaling."""
        if self.step.combine == "normalised":
            return combine.advantages_normalised(scores.raw, self.weights, group_size)
        return combine.advantages(scores.totals, group_size, self.step.scale)

    def close(self) -> None:
        """Give back what was started lazily. The set can still be used afterwards."""

    def __enter__(self) -> "RewardSet":
        if any(reward.kind.kind in ASKS_MATHEMATICS for reward in self._rewards):
            math_process.SHARED.start()  # so that no answer waits while it loads
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _bind(self, spec: RewardSpec) -> _Bound:
        kind, parameters = kind_of(spec), parameters_of(spec)
        if not isinstance(parameters, Custom):
            return _Bound(spec, kind, parameters)
        custom = CustomReward(spec.code, parameters)
        if (problem := custom.problem()) is not None:
            raise RewardError(f"The code of reward {spec.label!r} cannot be used: {problem}.")
        return _Bound(spec, kind, parameters, custom)
