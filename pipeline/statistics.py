"""The statistics behind every claim: intervals of a rate, paired tests, corrections, sample sizes.

- Interval of a rate: Wilson's score interval (1927), as in Newcombe 1998, Statistics in Medicine 17:857.
- Two models, one answer a question: exact McNemar (Fay 2010, https://doi.org/10.1093/biostatistics/kxp050).
- Two models, several answers: exact sign-flip permutation test over questions (Fisher 1935, chapter 3).
- Interval of a difference: paired bootstrap over questions, percentiles (Efron 1979).
- Several comparisons: Holm 1979, https://www.jstor.org/stable/4615733.
- pass@k: 1 - C(n-c, k) / C(n, k) (Chen et al. 2021, https://arxiv.org/abs/2107.03374).
- majority@k: mean over all k-subsets of the n answers (the vote of Wang et al. 2022,
  https://arxiv.org/abs/2203.11171, as a U-statistic).
- Questions needed: McNemar's test, normal approximation (Connor 1987, https://doi.org/10.2307/2531961).

Ours differs from the papers in one thing: where the answers to a question are several, the question stays the
unit, so
answers to the same question are never counted as independent.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 9_999


@dataclass(frozen=True)
class Rate:
    """`count` of `n`, and the interval in which the true rate lies with 95 % confidence. `rate` is None for n
    = 0."""

    count: int
    n: int
    rate: float | None
    low: float
    high: float

    def as_dict(self) -> dict[str, float | int | None]:
        """The five numbers, as in the JSON output."""
        return asdict(self)


def wilson(count: int, n: int, confidence: float = CONFIDENCE) -> Rate:
    """Wilson's score interval of `count` of `n` independent yes-or-no outcomes; 0 to 1 when there are
    none."""
    if not 0 <= count <= n:
        raise ValueError(f"count {count} must lie between 0 and n = {n}")
    if n == 0:
        return Rate(0, 0, None, 0.0, 1.0)
    interval = _stats().binomtest(count, n).proportion_ci(confidence, method="wilson")
    # At 0 and n the bound is exactly 0 or 1; rounding leaves 1e-17 there.
    low = 0.0 if count == 0 else float(interval.low)
    high = 1.0 if count == n else float(interval.high)
    return Rate(count, n, count / n, low, high)


def clustered_rate(counts: Sequence[int], samples: int, seed: int = 0) -> Rate:
    """A rate over several answers a question: `counts[q]` right ones of `samples`; the interval resamples
    questions.

    With one answer a question this is `wilson`, and so it is when all questions agree (nothing to resample).
    """
    total, n = int(sum(counts)), samples * len(counts)
    if samples == 1 or len(set(counts)) < 2:
        return wilson(total, n)
    low, high = bootstrap_mean(np.asarray(counts) / samples, seed=seed)
    return Rate(total, n, total / n, max(0.0, low), min(1.0, high))


def bootstrap_mean(
    values: Sequence[float], confidence: float = CONFIDENCE, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean; for paired differences, the paired bootstrap.

    Resampling n values with replacement draws multinomial counts of the distinct values, so 9,999 resamples
    of
    1,319 questions take a millisecond. Two numbers with few or equal values may coincide.
    """
    return bootstrap_ratio(values, [1] * len(values), confidence, seed)


def bootstrap_ratio(
    values: Sequence[float], weights: Sequence[int], confidence: float = CONFIDENCE, seed: int = 0
) -> tuple[float, float]:
    """As `bootstrap_mean`, of sum(values) / sum(weights): where a question was asked `weights[q]` times and
    `values[q]` is
    the sum of what came out."""
    if len(values) == 0:
        return math.nan, math.nan
    pairs = np.stack([np.asarray(values, dtype=float), np.asarray(weights, dtype=float)], axis=1)
    distinct, counts = np.unique(pairs, axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(pairs), counts / len(pairs), size=RESAMPLES)
    sums = drawn @ distinct
    tail = (1 - confidence) / 2
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [tail, 1 - tail])
    return float(low), float(high)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided McNemar p-value: under chance, gains and losses are equally likely."""
    return float(_stats().binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def sign_flip(differences: Sequence[int]) -> float:
    """Exact two-sided p-value of the permutation test that swaps the two models' answers question by
    question.

    `differences[q]` is an integer (right answers of one model minus the other's). The null distribution of
    the sum of
    ±d is the convolution of one scaled binomial per distinct |d|; with |d| = 1 throughout this is `mcnemar`.
    """
    sizes = Counter(abs(int(d)) for d in differences if d)
    observed = abs(int(sum(differences)))
    total = sum(size * count for size, count in sizes.items())
    if total == 0:
        return 1.0
    null = np.ones(1)
    for size, count in sizes.items():
        steps = np.zeros(2 * size * count + 1)
        steps[:: 2 * size] = _stats().binom.pmf(np.arange(count + 1), count, 0.5)
        null = np.convolve(null, steps)
    sums = np.arange(-total, total + 1)
    return float(min(1.0, null[np.abs(sums) >= observed].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values in the given order: together they are wrong at most as often as one test would
    be."""
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, (len(p_values) - rank) * p_values[i])
        adjusted[i] = min(1.0, running)
    return adjusted


def pass_at_k(n: int, right: int, k: int) -> float:
    """Chance that at least one of `k` answers drawn from `n`, of which `right` are right, is right.
    Unbiased."""
    if not 0 <= right <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs 1 <= k <= n and 0 <= right <= n, not n = {n}, right = {right}")
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def majority_at_k(answers: Sequence[Hashable | None], right: Sequence[bool], k: int) -> float:
    """Chance that the commonest answer among `k` drawn from all n is right; ties are drawn by lot. Unbiased.

    All right answers count as one (1/2 is 0.5); None, an answer that could not be read, has no vote, and
    where nobody
    votes the result is wrong.
    """
    wrong = Counter(a for a, r in zip(answers, right, strict=True) if not r and a is not None)
    abstain = sum(a is None and not r for a, r in zip(answers, right, strict=True))
    if not 1 <= k <= len(answers):
        raise ValueError(f"majority@{k} needs 1 <= k <= n = {len(answers)}")
    return _majority(sum(right), tuple(sorted(wrong.values())), abstain, k)


@lru_cache(maxsize=20_000)
def _majority(right: int, wrong: tuple[int, ...], abstain: int, k: int) -> float:
    """Sum over the size m of the winning vote; `ways[t, x]` counts draws of x wrong votes with t other groups
    at m."""
    total, wins = math.comb(right + sum(wrong) + abstain, k), 0.0
    for m in range(1, min(right, k) + 1):
        ways = np.zeros((k // m, k - m + 1))
        ways[0, 0] = 1.0
        for count in wrong:
            ways = _with_group(ways, count, m)
        silent = np.array([math.comb(abstain, k - m - x) for x in range(k - m + 1)], dtype=float)
        ties = 1.0 / np.arange(1, ways.shape[0] + 1)
        wins += math.comb(right, m) * float(ties @ (ways @ silent))
    return wins / total


def _with_group(ways: np.ndarray, count: int, m: int) -> np.ndarray:
    out = ways.copy()
    for votes in range(1, min(count, m, ways.shape[1] - 1) + 1):
        shifted = math.comb(count, votes) * ways[:, : ways.shape[1] - votes]
        if votes < m:
            out[:, votes:] += shifted
        else:
            out[1:, votes:] += shifted[:-1]
    return out


def questions_needed(gain: float, discordant: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Questions after which McNemar's test finds a `gain` (0.03 = 3 points) with the given power.

    `discordant` is the share of questions on which the two models differ; it cannot be below the gain.
    """
    if not 0 < gain <= 1:
        raise ValueError(f"the gain must lie between 0 and 1, not {gain}")
    discordant = min(1.0, max(discordant, gain))
    reach = _stats().norm.isf(alpha / 2) * math.sqrt(discordant)
    reach += _stats().norm.isf(1 - power) * math.sqrt(discordant - gain**2)
    return math.ceil((reach / gain) ** 2)


def _stats() -> Any:
    """scipy.stats, imported when the first interval is asked for: half a second that the app need not start with."""
    from scipy import stats

    return stats
