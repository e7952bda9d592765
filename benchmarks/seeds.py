"""GRPO against SFT over several seeds of one recipe: `python -m benchmarks.seeds seed-1.json seed-2.json …`.

Each file is what `benchmarks.gpu_pipeline` wrote, with the same test questions. For every way to ask that all of them
have: right answers of each seed with 95 % interval, the exact paired test of each seed, and of all seeds together the
mean gain with its interval, as the Compare page has it (`pipeline/seeds.py`). That tells about these seeds on other
questions of the kind; how much seeds differ is seen in their lines.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pipeline.seeds import summed
from pipeline.statistics import clustered_rate, sign_flip

Way = tuple[str, str, int, float]  # benchmark, precision, answers to each question, temperature


def ways_of(answers: list[dict[str, Any]]) -> dict[Way, dict[str, list[int]]]:
    """Right answers to each question by model, for every way to ask."""
    found: dict[Way, dict[str, list[int]]] = {}
    for row in answers:
        if "right" in row:
            way = (row["benchmark"], row["precision"], row["samples"], row["temperature"])
            found.setdefault(way, {})[row["model"]] = row["right"]
    return found


def compared(seeds: list[dict[Way, dict[str, list[int]]]], before: str = "sft", after: str = "grpo"
             ) -> dict[Way, dict[str, Any]]:
    """Of every way that all seeds have with both models: each seed, and all together. Raises ValueError when the seeds
    have answered different numbers of questions."""
    found = {}
    for way in seeds[0]:
        pairs = [(seed[way][before], seed[way][after]) for seed in seeds if {before, after} <= set(seed.get(way, {}))]
        if len(pairs) < len(seeds):
            continue
        if len({len(right) for pair in pairs for right in pair}) > 1:
            raise ValueError("These runs answered different numbers of questions: compare whole evaluations alone.")
        differences = [[b - a for a, b in zip(*pair, strict=True)] for pair in pairs]
        each = [{before: clustered_rate(pair[0], way[2]).as_dict(), after: clustered_rate(pair[1], way[2]).as_dict(),
                 "p": sign_flip(difference)} for pair, difference in zip(pairs, differences, strict=True)]
        whole = summed([dict(enumerate(difference)) for difference in differences], way[2])
        found[way] = {"seeds": each, "together": {"gain": whole.difference, "low": whole.low, "high": whole.high,
                                                  "p": whole.p}}
    return found


def as_text(found: dict[Way, dict[str, Any]]) -> str:
    """The numbers in lines."""
    lines = []
    for (benchmark, precision, samples, temperature), told in found.items():
        lines.append(f"{benchmark}, {precision}, {samples} answer{'s' * (samples > 1)} at temperature {temperature:g}")
        for number, seed in enumerate(told["seeds"], 1):
            rates = [f"{name} {rate['count']} of {rate['n']}: {rate['rate']:.1%} ({rate['low']:.1%} to "
                     f"{rate['high']:.1%})" for name, rate in seed.items() if name != "p"]
            lines.append(f"  seed {number}: {'; '.join(rates)}; p = {seed['p']:.3g}")
        whole = told["together"]
        lines.append(f"  together: {whole['gain']:+.2%} ({whole['low']:+.2%} to {whole['high']:+.2%}); "
                     f"p = {whole['p']:.3g}")
    return "\n".join(lines) or "No way to ask that all files have with both models."


if __name__ == "__main__":
    print(as_text(compared([ways_of(json.loads(Path(name).read_text(encoding="utf-8"))["answers"])
                            for name in sys.argv[1:]])))
