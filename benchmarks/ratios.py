"""Ratios over raw files that no single run of a benchmark prints.

    python -m benchmarks.ratios pairs EVALUATION.json [EVALUATION.json …]
    python -m benchmarks.ratios rounds STEPS.json [STEPS.json …]
    python -m benchmarks.ratios engines STEPS.json OTHER_STEPS.json

`pairs` puts the pairs of several files of `benchmarks.evaluation_speed` together: ours / plain; `rounds` the rounds of
several files of `benchmarks.steps` that both sides had. `engines` compares our sides of two files of the latter, which
did not take turns: the first over the second. All as geometric mean with its 95 % interval.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.turns import MEASURES, ratio, ratios_of, unpaired_ratio


def of_pairs(files: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Ours / plain over the pairs of all files."""
    pairs = [pair for file in files for pair in file["pairs"]]
    return {key: ratio([pair["ours"][key] for pair in pairs], [pair["plain"][key] for pair in pairs])
            for key in ("questions_per_second", "tokens_per_second")}


def of_rounds(files: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Ours / plain over the rounds of all files."""
    sides = [file["sides"] for file in files]
    return ratios_of([both for side in sides
                      for both in zip(side["ours"]["rounds"], side["plain"]["rounds"], strict=False)])


def of_engines(files: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Our rounds of the first file over those of the second."""
    first, second = (file["sides"]["ours"]["rounds"] for file in files)
    return {key: unpaired_ratio([a[key] for a in first], [b[key] for b in second]) for key in MEASURES}


WAYS = {"pairs": of_pairs, "rounds": of_rounds, "engines": of_engines}


def main() -> None:
    """Print a line for each measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=list(WAYS))
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    files = [json.loads(Path(name).read_text(encoding="utf-8")) for name in args.files]
    for key, found in WAYS[args.what](files).items():
        print(f"{key}: {found['ratio']:.3f}, 95 % interval {found['low']:.3f} to {found['high']:.3f}")


if __name__ == "__main__":
    main()
