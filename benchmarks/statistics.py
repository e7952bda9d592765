"""Coverage of the intervals by simulation: `python -m benchmarks.statistics` prints one table per method.

Wilson: 2,000 draws for every n and rate, and the exact coverage, which sums the probability of every count whose
interval holds the truth: 2,000 draws scatter around it by half a point. Paired bootstrap of a difference: 1,000 draws.
Covering 93-97 % is the bar for n of 100 and more and rates from 0.1 to 0.9; smaller n and more extreme rates are
printed as they are.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy import stats

from pipeline.statistics import bootstrap_mean, wilson

RATES = (0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
SIZES = (20, 50, 100, 300, 1319)
PAIRS = ((0.05, 0.05), (0.10, 0.02), (0.15, 0.05), (0.30, 0.10))  # shares of questions gained and lost


def wilson_coverage(draws: int = 2_000) -> dict[str, float]:
    """Share of intervals that hold the true rate, by n and rate."""
    rng, out = np.random.default_rng(1), {}
    for n in SIZES:
        for p in RATES:
            counts, times = np.unique(rng.binomial(n, p, draws), return_counts=True)
            inside = [wilson(int(c), n).low <= p <= wilson(int(c), n).high for c in counts]
            out[f"n={n} p={p}"] = float(np.average(inside, weights=times))
    return out


def wilson_exact() -> dict[str, float]:
    """The chance that an interval holds the true rate, by n and rate."""
    out = {}
    for n in SIZES:
        rates = [wilson(count, n) for count in range(n + 1)]
        for p in RATES:
            inside = np.array([rate.low <= p <= rate.high for rate in rates])
            out[f"n={n} p={p}"] = float(stats.binom.pmf(np.arange(n + 1), n, p)[inside].sum())
    return out


def bootstrap_coverage(draws: int = 1_000) -> dict[str, float]:
    """Share of paired intervals that hold the true difference, by n and shares gained and lost."""
    rng, out = np.random.default_rng(2), {}
    for n in SIZES:
        for gained, lost in PAIRS:
            hits = 0
            for seed in range(draws):
                d = rng.choice([1, -1, 0], size=n, p=[gained, lost, 1 - gained - lost])
                low, high = bootstrap_mean(d, seed=seed)
                hits += low <= gained - lost <= high
            out[f"n={n} gained={gained} lost={lost}"] = hits / draws
    return out


def main() -> None:
    """Print both, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="also write the numbers here as JSON")
    parser.add_argument("--bootstrap-draws", type=int, default=1_000)
    args = parser.parse_args()
    result = {"wilson": wilson_coverage(), "wilson_exact": wilson_exact(),
              "paired_bootstrap": bootstrap_coverage(args.bootstrap_draws)}
    for method, values in result.items():
        print(f"{method}: share of 95 % intervals that hold the truth")
        for case, share in values.items():
            print(f"  {case:32s} {100 * share:5.1f} %")
    for method in ("wilson", "wilson_exact"):
        required = [v for k, v in result[method].items()
                    if int(k.split()[0][2:]) >= 100 and 0.1 <= float(k.split("p=")[1]) <= 0.9]
        print(f"{method}, n >= 100, rates 0.1 to 0.9: {100 * min(required):.2f} to {100 * max(required):.2f} %")
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
