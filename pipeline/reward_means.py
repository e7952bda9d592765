"""What the rewards of a recipe give to stored answers: the mean of each reward for every model, with its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.contestants import Contestant, Row
from pipeline.errors import RewardError
from pipeline.recipe import Recipe
from pipeline.rewards import RewardSet
from pipeline.statistics import bootstrap_mean
from pipeline.tags import scheme_of


@dataclass(frozen=True)
class Mean:
    """A mean over `n` answers, and its 95 % interval (questions resampled)."""

    mean: float
    low: float
    high: float
    n: int


def reward_means(recipe: Recipe, contestants: Sequence[Contestant]) -> dict[str, dict[str, Mean]]:
    """Label of a reward -> contestant -> mean before the weight, over the answers that could be scored.

    Lengths are the sampler's token counts; those of a part of an answer are estimated at four characters a token.
    Empty for a recipe without rewards, or with rewards that this installation cannot run.
    """
    out: dict[str, dict[str, Mean]] = {}
    try:
        with RewardSet(recipe.rewards, scheme_of(recipe.data.tags)) as rewards:
            for contestant in contestants:
                questions = list(contestant.by_question.values())
                for label, values in _scores(rewards, [row for rows in questions for row in rows]).items():
                    if (mean := _mean(values, contestant.samples)) is not None:
                        out.setdefault(label, {})[contestant.key] = mean
    except RewardError:
        return {}
    return out


def _scores(rewards: RewardSet, rows: Sequence[Row]) -> dict[str, list[float | None]]:
    return rewards.score([row["completion"] for row in rows], [row["reference"] for row in rows],
                         [row["question"] for row in rows], [row["tokens"] or 0 for row in rows],
                         [bool(row["truncated"]) for row in rows]).raw


def _mean(values: Sequence[float | None], samples: int) -> Mean | None:
    """Over questions: each counts with the mean of its answers that could be scored."""
    known = [[v for v in values[i : i + samples] if v is not None] for i in range(0, len(values), samples)]
    per_question = [math.fsum(group) / len(group) for group in known if group]
    if not per_question:
        return None
    low, high = bootstrap_mean(per_question)
    return Mean(math.fsum(per_question) / len(per_question), low, high, sum(map(len, known)))
