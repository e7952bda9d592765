"""Tokens a second of several GPUs over one: the ratio of runs of `benchmarks.gpu_pipeline`, with its interval.

    python -m benchmarks.several_gpus docs/results/gpu-several.json
    python -m benchmarks.several_gpus 1=one.json 2=two.json 4=four.json --out docs/results/gpu-several.json

A run is named by its number of GPUs and the output of the pipeline benchmark, whose recipe is the same but for that
number. A step's tokens are its mean tokens times its answers (`--answers` on each GPU). The first two steps, in which
kernels are compiled, are left out. The steps of two runs have nothing in common, so the interval is Welch's, on the
logarithms of each step's tokens a second. One file without a number is what `--out` wrote: its steps are kept.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.turns import unpaired_ratio


def steps_of(file: Path, gpus: int, answers: int, skip: int) -> dict[str, list[float]]:
    """Seconds and tokens of each step of a run after the first ones."""
    metrics = json.loads(file.read_text(encoding="utf-8"))["metrics"]
    seconds, means = (dict(metrics[f"grpo: {key}"]) for key in ("time/step_seconds", "completion/mean_tokens"))
    kept = sorted(step for step in seconds if step in means)[skip:]
    return {"seconds": [seconds[step] for step in kept], "tokens": [means[step] * answers * gpus for step in kept]}


def compared(runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Tokens a second of each run, and the ratio of each to the one with the fewest GPUs."""
    rates = {gpus: [tokens / seconds for tokens, seconds in zip(run["tokens"], run["seconds"], strict=True)]
             for gpus, run in sorted(runs.items(), key=lambda item: int(item[0]))}
    fewest, *others = rates
    return {"tokens_per_second": {gpus: sum(runs[gpus]["tokens"]) / sum(runs[gpus]["seconds"]) for gpus in rates},
            "steps": {gpus: len(rate) for gpus, rate in rates.items()},
            "over": {f"{gpus} over {fewest}": unpaired_ratio(rates[gpus], rates[fewest]) for gpus in others}}


def as_text(found: dict[str, Any]) -> str:
    """The numbers in lines."""
    lines = [f"{gpus} GPU{'s' * (gpus != '1')}: {rate:,.0f} tokens/s over {found['steps'][gpus]} steps"
             for gpus, rate in found["tokens_per_second"].items()]
    lines += [f"{pair}: {ratio['ratio']:.2f}, 95 % interval {ratio['low']:.2f} to {ratio['high']:.2f}"
              for pair, ratio in found["over"].items()]
    return "\n".join(lines)


def main() -> None:
    """Read, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="GPUS=FILE", help="outputs of the pipeline benchmark, or one FILE")
    parser.add_argument("--answers", type=int, default=256, help="answers of a step on each GPU")
    parser.add_argument("--skip", type=int, default=2, help="first steps that do not count")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if len(options.runs) == 1 and "=" not in options.runs[0]:
        raw = json.loads(Path(options.runs[0]).read_text(encoding="utf-8"))
        runs = {gpus: run for gpus, run in raw.items() if gpus.isdigit()}
    else:
        named = dict(run.split("=", 1) for run in options.runs)
        runs = {gpus: steps_of(Path(file), int(gpus), options.answers, options.skip) for gpus, file in named.items()}
    found = compared(runs)
    print(as_text(found))
    if options.out:
        options.out.write_text(json.dumps(runs | found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
