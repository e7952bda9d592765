"""Whether GRPO learns the same on several GPUs as on one: the demo's recipe, with as many answers a step on each.

    python -m benchmarks.same_curve --gpus 1 2 --seeds 1 2 --out docs/results/same_curve.json

SFT runs once, on one device; then each number of GPUs and each seed trains GRPO from that model, with so many answers
on each GPU that a step has the demo's 64 in all. Printed for each third of the steps: the right answers of each run,
and how much the mean over the seeds differs between the numbers of GPUs, with the 95 % interval of Welch's t-test on
the steps' shares (B. L. Welch 1947, https://doi.org/10.1093/biomet/34.1-2.28). `--source` takes a model after SFT,
`--beside` the curves of an earlier call, so that they may run at different times. `--gpus 0` tries it on the CPU.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.runs import wait_until_finished
from pipeline import jobs
from pipeline.demo import GRPO_ANSWERS, demo_recipe
from pipeline.recipe import Recipe
from pipeline.run_folder import RunFolder, RunReader
from pipeline.studio_home import StudioHome

RIGHT = "completion/exact_rate"


def recipe(seed: int, gpus: int, source: str | None, steps: int, share: float) -> Recipe:
    """The demo's SFT without a `source`, otherwise its GRPO from there."""
    values = demo_recipe(seed).model_dump()
    values["evaluate"]["enabled"] = False
    values["sft"]["enabled"], values["grpo"]["enabled"] = source is None, source is not None
    values["model"] |= {"engine": "trl", "gpu_memory_share": share, "gpus": max(gpus, 1)}
    if source:
        values["model"]["source"] = source
        values["grpo"] |= {"steps": steps, "batch_size": GRPO_ANSWERS // max(gpus, 1)}
    return Recipe.model_validate(values)


def run(home: StudioHome, wanted: Recipe, limit_seconds: float) -> RunFolder:
    """The finished run's folder."""
    run_id = jobs.start(home, wanted)
    wait_until_finished(home, run_id, limit_seconds)
    return home.run(run_id)


def thirds(curves: dict[str, dict[str, list[float]]]) -> list[dict[str, Any]]:
    """For each third of the steps: the mean of each run, and the difference of each number of GPUs to the first."""
    steps = min(len(curve) for runs in curves.values() for curve in runs.values())
    found = []
    for part in np.array_split(np.arange(steps), 3):
        cut = {gpus: np.concatenate([np.array(curve)[part] for curve in runs.values()])
               for gpus, runs in curves.items()}
        first, *others = cut
        found.append({
            "steps": [int(part[0]) + 1, int(part[-1]) + 1],
            "right": {gpus: {seed: float(np.mean(np.array(curve)[part])) for seed, curve in runs.items()}
                      for gpus, runs in curves.items()},
            "differences": {f"{gpus} - {first}": _difference(cut[gpus], cut[first]) for gpus in others}})
    return found


def _difference(several: Any, one: Any) -> dict[str, float]:
    test = stats.ttest_ind(several, one, equal_var=False)
    low, high = test.confidence_interval(0.95)
    return {"difference": float(several.mean() - one.mean()), "low": float(low), "high": float(high),
            "p": float(test.pvalue)}


def main() -> None:
    """Train, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gpus", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--vllm-share", type=float, default=0.05)
    parser.add_argument("--limit-seconds", type=float, default=600)
    parser.add_argument("--home")
    parser.add_argument("--source", help="folder of a model after the demo's SFT")
    parser.add_argument("--beside", help="what an earlier call wrote")
    parser.add_argument("--out")
    args = parser.parse_args()
    home = StudioHome(Path(args.home or tempfile.mkdtemp(prefix="curves-")))
    source = args.source or str(run(home, recipe(1, 1, None, 0, args.vllm_share), args.limit_seconds).model("sft"))
    print("SFT model:", source, flush=True)
    curves: dict[str, dict[str, list[float]]] = {}
    if args.beside:
        curves = json.loads(Path(args.beside).read_text())["curves"]
    for gpus in args.gpus:
        for seed in args.seeds:
            folder = run(home, recipe(seed, gpus, source, args.steps, args.vllm_share), args.limit_seconds)
            curves.setdefault(str(gpus), {})[str(seed)] = [row["value"] for row in RunReader(folder).metric(RIGHT)]
            found = {"settings": vars(args), "curves": curves, "thirds": thirds(curves)}
            if args.out:
                Path(args.out).write_text(json.dumps(found, indent=1))
    for part in found["thirds"]:
        print(json.dumps(part))


if __name__ == "__main__":
    main()
