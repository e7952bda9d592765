"""Coverage of the intervals by simulation: `python -m benchmarks.statistics` prints one table per method.

The bar: 95 % intervals hold the truth in 93 to 97 % of 2,000 draws, for n of 100 and more and rates from 0.1 to 0.9.
Smaller n, more extreme rates and the intervals of a difference are printed beside it as they are.

2,000 independent draws scatter around the true coverage by half a point, as wide as the room that the bar leaves. So
the draws are stratified: one uniform number from each of 2,000 equal slices of 0 to 1, put through the inverse of the
binomial distribution (a Latin hypercube where a draw needs two numbers: McKay, Beckman and Conover 1979,
https://doi.org/10.2307/1268522). Every draw is still binomial and the share still unbiased, with far less scatter.
Printed beside it: the same with independent draws, and the exact coverage, which sums the probability of every count
whose interval holds the truth.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy import stats

from pipeline.statistics import bootstrap_mean, clustered_rate, wilson

RATES = (0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
SIZES = (20, 50, 100, 300, 1319)
PAIRS = ((0.05, 0.05), (0.10, 0.02), (0.15, 0.05), (0.30, 0.10))  # shares of questions gained and lost
SAMPLES, ALIKE = 4, 0.3  # answers a question, and the correlation of the answers to one question
DRAWS = 2_000
Coverage = dict[str, float]


def stratified(numbers: int, seed: int, draws: int = DRAWS) -> np.ndarray:
    """Uniform numbers (draws, numbers): in each column exactly one from each of `draws` equal slices of 0 to 1."""
    return stats.qmc.LatinHypercube(numbers, rng=np.random.default_rng(seed)).random(draws)


def wilson_stratified() -> Coverage:
    """Share of 2,000 stratified draws whose interval holds the true rate, by n and rate."""
    return {f"n={n} p={p}": _wilson_share(stats.binom.ppf(stratified(1, 1)[:, 0], n, p), n, p)
            for n in SIZES for p in RATES}


def wilson_independent() -> Coverage:
    """The same for 2,000 independent draws."""
    rng = np.random.default_rng(1)
    return {f"n={n} p={p}": _wilson_share(rng.binomial(n, p, DRAWS), n, p) for n in SIZES for p in RATES}


def _wilson_share(counts: np.ndarray, n: int, p: float) -> float:
    found, times = np.unique(counts.astype(int), return_counts=True)
    return float(np.average([_holds(wilson(int(count), n), p) for count in found], weights=times))


def _holds(rate: object, p: float) -> bool:
    return rate.low <= p <= rate.high  # type: ignore[attr-defined]


def wilson_exact() -> Coverage:
    """The chance that an interval holds the true rate, by n and rate."""
    out = {}
    for n in SIZES:
        rates = [wilson(count, n) for count in range(n + 1)]
        for p in RATES:
            inside = np.array([_holds(rate, p) for rate in rates])
            out[f"n={n} p={p}"] = float(stats.binom.pmf(np.arange(n + 1), n, p)[inside].sum())
    return out


def clustered_coverage() -> Coverage:
    """Four answers a question, where the bar holds, by questions and rate: independent draws of n beta-binomial counts.
    """
    rng, spread, out = np.random.default_rng(3), 1 / ALIKE - 1, {}
    for n in SIZES[2:]:
        for p in RATES[2:-1]:
            chances = rng.beta(p * spread, (1 - p) * spread, (DRAWS, n))
            counts = rng.binomial(SAMPLES, chances)
            hits = [_holds(clustered_rate(row.tolist(), SAMPLES, seed), p) for seed, row in enumerate(counts)]
            out[f"n={n} p={p}"] = float(np.mean(hits))
    return out


def bootstrap_coverage() -> Coverage:
    """Share of paired intervals that hold the true difference, by n and shares gained and lost; stratified draws."""
    out = {}
    for n in SIZES:
        for gained, lost in PAIRS:
            chance = stratified(2, 2)
            up = stats.binom.ppf(chance[:, 0], n, gained).astype(int)
            down = stats.binom.ppf(chance[:, 1], n - up, lost / (1 - gained)).astype(int)
            hits = 0
            for seed, (more, fewer) in enumerate(zip(up, down, strict=True)):
                low, high = bootstrap_mean(np.repeat([1, -1, 0], [more, fewer, n - more - fewer]), seed=seed)
                hits += low <= gained - lost <= high
            out[f"n={n} gained={gained} lost={lost}"] = hits / DRAWS
    return out


METHODS = {"wilson": wilson_stratified, "wilson_independent": wilson_independent, "wilson_exact": wilson_exact,
           "clustered": clustered_coverage, "paired_bootstrap": bootstrap_coverage}


def required(values: Coverage) -> Coverage:
    """The cells that the bar is about."""
    cells = {case: dict(part.split("=") for part in case.split()) for case in values}
    return {case: values[case] for case, cell in cells.items()
            if int(cell["n"]) >= 100 and 0.1 <= float(cell.get("p", 0.5)) <= 0.9}


def main() -> None:
    """Print every method, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="also write the numbers here as JSON")
    args = parser.parse_args()
    result = {name: method() for name, method in METHODS.items()}
    for case in result["wilson"]:
        shares = "".join(f"  {name} {100 * result[name][case]:6.2f} %"
                         for name in ("wilson", "wilson_exact", "wilson_independent", "clustered")
                         if case in result[name])
        print(f"{case:14s}{shares}")
    for case, share in result["paired_bootstrap"].items():
        print(f"{case:32s} paired_bootstrap {100 * share:6.2f} %")
    for name, values in result.items():
        cells = required(values)
        below, above = min(cells, key=cells.__getitem__), max(cells, key=cells.__getitem__)
        print(f"{name}, n >= 100, rates 0.1 to 0.9: {100 * cells[below]:.2f} % ({below}) to "
              f"{100 * cells[above]:.2f} % ({above})")
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
