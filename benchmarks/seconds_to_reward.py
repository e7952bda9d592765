"""How long runs learn until they first reach a validation reward.

    python -m benchmarks.seconds_to_reward a-1.json b-1.json [a-2.json b-2.json …] [--reward 1.0 1.04]

Each file is what `benchmarks.gpu_pipeline … --eval-every N` wrote; they come in pairs, such as two ways with one seed.
Counted are the seconds of GRPO's steps, without the start and without the looks at the validation part; between two
looks the reward is taken to change in a straight line. The levels are `--reward`, or the highest that every run
reaches; the seconds until the last look follow. The last column is the second of a pair over the first; with two pairs
or more their geometric mean follows, with its 95 % interval. A look at 200 questions is uncertain by several points, so
a single pair says little.
"""

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

from benchmarks.turns import ratio

REWARD, SECONDS = "grpo: validation/reward/total", "grpo: time/step_seconds"


def looks(metrics: dict[str, Any]) -> list[tuple[float, float]]:
    """(seconds learnt, validation reward) at every look of one run. Raises ValueError without any."""
    if not metrics.get(REWARD):
        raise ValueError("This run never looked at its validation part: run it with --eval-every.")
    ends = dict(zip((step for step, _ in metrics[SECONDS]),
                    itertools.accumulate(seconds for _, seconds in metrics[SECONDS]), strict=True))
    return [(ends[step], reward) for step, reward in metrics[REWARD] if step in ends]


def seconds_to(level: float, found: list[tuple[float, float]]) -> float | None:
    """Seconds until the reward is first at `level`; None if never. At the first look it may have been there before."""
    before: tuple[float, float] | None = None
    for at, reward in found:
        if reward >= level:
            if before is None:
                return at
            return before[0] + (at - before[0]) * (level - before[1]) / (reward - before[1])
        before = at, reward
    return None


def main() -> None:
    """Print a line for each pair and level."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--reward", type=float, nargs="+")
    args = parser.parse_args()
    runs = [looks(json.loads(Path(name).read_text(encoding="utf-8"))["metrics"]) for name in args.files]
    if len(runs) % 2:
        parser.error("the files come in pairs")
    for level in args.reward or [min(max(reward for _, reward in found) for found in runs)]:
        print(f"until the validation reward is {level:.3f}:")
        _print_pairs(args.files, [seconds_to(level, found) for found in runs])
    print("until the last look:")
    _print_pairs(args.files, [found[-1][0] for found in runs])


def _print_pairs(files: list[str], taken: list[float | None]) -> None:
    pairs = list(zip(taken[::2], taken[1::2], strict=True))
    for number, (first, second) in enumerate(pairs):
        names = [Path(name).name for name in files[2 * number:2 * number + 2]]
        times = f", {second / first:.2f}" if first and second else ""
        print(f"  {names[0]} {_told(first)}, {names[1]} {_told(second)}{times}")
    both = [(first, second) for first, second in pairs if first and second]
    if len(both) > 1:
        mean = ratio([second for _, second in both], [first for first, _ in both])
        print(f"  second / first {mean['ratio']:.2f}, 95 % interval {mean['low']:.2f} to {mean['high']:.2f}")


def _told(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"


if __name__ == "__main__":
    main()
