"""How long runs learn until they first reach a validation reward.

    python -m benchmarks.seconds_to_reward a.json b.json [--reward 1.1]

Each file is what `benchmarks.gpu_pipeline … --eval-every N` wrote. Counted are the seconds of GRPO's steps, without the
start and without the looks at the validation part; between two looks the reward is taken to change in a straight line.
The level is `--reward`, or the highest that every run reaches. The last column is the time of the first file over that
of this one. A look at 200 questions is uncertain by several points, so a single pair of runs says little.
"""

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

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
    """Print a line for each file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--reward", type=float)
    args = parser.parse_args()
    runs = {name: looks(json.loads(Path(name).read_text(encoding="utf-8"))["metrics"]) for name in args.files}
    level = args.reward if args.reward is not None else min(max(r for _, r in found) for found in runs.values())
    first = seconds_to(level, runs[args.files[0]])
    print(f"until the validation reward is {level:.3f}:")
    for name, found in runs.items():
        taken = seconds_to(level, found)
        times = f", first / this {first / taken:.2f}" if first and taken else ""
        print(f"  {Path(name).name}: {'never' if taken is None else f'{taken:.1f} s'}{times}")


if __name__ == "__main__":
    main()
