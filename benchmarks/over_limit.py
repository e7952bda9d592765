"""How far steps are from the limit: `python -m benchmarks.over_limit STEPS.json LIMITS.json` (of one sitting).

The limit is sampling alone plus one forward and backward pass alone (`benchmarks/plain/limits.py`). Printed is the
median over the rounds of a side's seconds a step (`benchmarks.steps`), over the limit.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any


def over(steps: dict[str, Any], limits: dict[str, Any]) -> dict[str, float]:
    """For each side of `steps`, its seconds a step as a multiple of the limit."""
    return {name: statistics.median(found["step_seconds"] for found in side["rounds"]) / limits["sum_seconds"]
            for name, side in steps["sides"].items()}


def main() -> None:
    """Print one line per side."""
    steps, limits = (json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:3])
    print(f"limit {limits['sum_seconds']:.2f} s: sampling {limits['sampling_seconds']:.2f}, "
          f"learning {limits['learning_seconds']:.2f}")
    for name, times in over(steps, limits).items():
        print(f"{name}: {times:.2f} times the limit")


if __name__ == "__main__":
    main()
