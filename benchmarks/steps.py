"""The time of a GRPO step: our pipeline through the worker against the plain script, same settings, one sitting.

    python -m benchmarks.steps --path cpu --out docs/results/steps_cpu.json
    python -m benchmarks.steps --path trl-vllm --model FOLDER --data train.jsonl --out docs/results/steps_trl_vllm.json

Plain and ours take turns, each a process of its own, `--repeats` times. Of each process the first steps are left out
(compiling, warming up) and the median of the others counts. Printed: the geometric mean of ours / plain over the pairs
with its 95 % interval (Student's t on the logarithms), for seconds a step and for tokens a second; the latter does not
depend on how long the sampled answers happened to be. Nothing else may use the machine meanwhile.

With `--quickstart N`, in the first N rounds the plain script also runs as its quickstart has it: 8 answers at a time,
accumulated to as many per optimizer step; ours / quickstart is printed too. Ours is the first process of all, so its
first start is the one with cold compile caches.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from pipeline import jobs
from pipeline.recipe import Recipe
from pipeline.run_folder import RunReader
from pipeline.studio_home import StudioHome

HERE = Path(__file__).resolve().parent
PATHS = {  # script, its options, what the recipe's model step says
    "cpu": ("trl_grpo.py", [], {"engine": "trl"}),
    "trl-transformers": ("trl_grpo.py", [], {"engine": "trl", "fast_inference": False}),
    "trl-vllm": ("trl_grpo.py", ["--vllm"], {"engine": "trl"}),
    "unsloth": ("unsloth_grpo.py", ["--small-kernel"], {"engine": "unsloth"}),
}


MEASURES = ("step_seconds", "tokens_per_second")


@dataclass(frozen=True)
class Timing:
    """What one process needed: median seconds a step after the warm-up, tokens a second over the same steps."""

    step_seconds: float
    tokens_per_second: float
    start_seconds: float  # from the start of the process to the end of its first step
    steps: list[float]


def timing(steps: list[float], tokens: list[float], skip: int, start: float) -> Timing:
    """`steps` in seconds, `tokens` per step (all answers), both in order; `skip` first ones are left out."""
    counted = steps[skip:]
    if not counted:
        raise SystemExit(f"only {len(steps)} steps were recorded and {skip} are left out: give --steps a larger number")
    return Timing(statistics.median(counted), sum(tokens[skip:]) / sum(counted), start, [round(s, 3) for s in steps])


def ratio(ours: list[float], plain: list[float]) -> dict[str, float]:
    """Geometric mean of ours / plain over pairs, with its 95 % interval (needs two pairs or more)."""
    logs = [math.log(a / b) for a, b in zip(ours, plain, strict=True)]
    mean = statistics.mean(logs)
    half = (stats.t.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
            if len(logs) > 1 else float("nan"))
    return {"ratio": math.exp(mean), "low": math.exp(mean - half), "high": math.exp(mean + half), "pairs": len(logs)}


def ratios(pairs: list[dict[str, Any]], other: str) -> dict[str, dict[str, float]]:
    """Ours over the other side, for each of MEASURES."""
    return {name: ratio([pair["ours"][name] for pair in pairs], [pair[other][name] for pair in pairs])
            for name in MEASURES}


def quickstart(args: argparse.Namespace, work: Path, number: int) -> Timing:
    """One run of the plain script with 8 answers at a time, as TRL's default has it."""
    return plain(argparse.Namespace(**{**vars(args), "accumulation": args.batch // 8}), work, number, "quickstart")


def plain(args: argparse.Namespace, work: Path, number: int, name: str = "plain") -> Timing:
    """One run of the plain script."""
    script, options, _ = PATHS[args.path]
    out = work / f"{name}-{number}.json"
    command = [sys.executable, str(HERE / "plain" / script), *options, "--model", args.model, "--data", args.data,
               "--out", str(out), "--steps", str(args.steps), "--batch", str(args.batch), "--generations",
               str(args.generations), "--max-tokens", str(args.max_tokens), "--max-length", str(args.max_length),
               "--accumulation", str(args.accumulation), "--vllm-share", str(args.vllm_share), "--rank", str(args.rank)]
    with open(work / f"{name}-{number}.log", "w") as log:
        subprocess.run(command, check=True, cwd=work, stdout=log, stderr=log, timeout=args.limit_seconds)
    found = json.loads(out.read_text())
    answers = args.batch
    return timing(found["step_seconds"], [mean * answers for mean in found["mean_tokens"]], args.skip,
                  found["load_seconds"] + found["step_seconds"][0])


def recipe(args: argparse.Namespace) -> Recipe:
    """GRPO alone on the given model, with what the plain script sets and TRL's defaults for the rest."""
    from benchmarks.plain.common import SYSTEM

    return Recipe.parse({
        "name": f"Steps {args.path}", "seed": 1,
        "model": {"source": args.model, "max_length": args.max_length, "gpu_memory_share": args.vllm_share,
                  **PATHS[args.path][2]},
        "data": {"source": args.data, "system_prompt": SYSTEM,
                 "split": {"sft": 0, "grpo": 900, "validation": 0, "test": 1}},
        "lora": {"rank": args.rank, "alpha": 2 * args.rank, "gradient_checkpointing": True},
        "sft": {"enabled": False}, "evaluate": {"enabled": False},
        "grpo": {"steps": args.steps + 100, "batch_size": args.batch // args.accumulation,
                 "accumulation": args.accumulation, "num_generations": args.generations,
                 "max_completion_tokens": args.max_tokens,
                 "learning_rate": 5e-6, "max_grad_norm": 1.0, "save_every": 10_000}})


def ours(args: argparse.Namespace, work: Path, number: int) -> Timing:
    """One run of our pipeline through the worker, stopped after its last step: what comes after GRPO is not timed."""
    home = StudioHome(work / f"home-{number}")
    run_id = jobs.start(home, recipe(args))
    deadline, asked = time.monotonic() + args.limit_seconds, False
    while (now := jobs.state(home, run_id)).state not in ("finished", "failed", "interrupted", "stopped"):
        if time.monotonic() > deadline:
            jobs.stop(home, run_id)
            raise SystemExit("our pipeline did not finish in time")
        if not asked and now.stage == "grpo" and (now.done or 0) >= args.steps:
            jobs.stop(home, run_id)
            asked = True
        time.sleep(0.2)
    folder = home.run(run_id)
    if now.state not in ("finished", "stopped"):
        raise SystemExit(f"{now.reason} {now.remedy}\n{folder.log.read_text()[-3000:]}")
    reader = RunReader(folder)
    steps = [row for row in reader.metric("time/step_seconds") if row["stage"] == "grpo"][:args.steps]
    means = [row["value"] for row in reader.metric("completion/mean_tokens") if row["stage"] == "grpo"][:args.steps]
    began = next(row["started"] for row in reader.stages() if row["name"] == "grpo")
    return timing([row["value"] for row in steps], [mean * args.batch for mean in means], args.skip,
                  steps[0]["time"] - began)


def demo_rows(folder: Path) -> str:
    """The bundled problems in the shape that both sides read: question, and worked steps with `#### N`."""
    from pipeline.dataset.demo import demo_rows as rows

    out = folder / "demo.jsonl"
    lines = [{"question": row["question"], "answer": f"{row['reasoning']}\n#### {row['answer']}"}
             for row in rows("grpo", 1000, 1)]
    out.write_text("\n".join(map(json.dumps, lines)))
    return str(out)


def main() -> None:
    """Alternate, print the ratios, write everything."""
    args = _arguments()
    work = Path(tempfile.mkdtemp(prefix="steps-"))
    if args.path == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    args.data = str(Path(args.data).resolve()) if args.data else demo_rows(work)
    pairs: list[dict[str, Any]] = []
    for number in range(args.repeats):
        sides = [ours, plain] if number % 2 == 0 else [plain, ours]  # neither always runs on a warmer machine
        sides += [quickstart] * (number < args.quickstart)
        done = {side.__name__: side(args, work, number) for side in sides}
        pairs.append({name: vars(value) for name, value in done.items()})
        for name, value in sorted(done.items()):
            print(f"pair {number + 1}, {name}: {value.step_seconds:.3f} s a step, {value.tokens_per_second:,.0f} "
                  f"tokens/s, first step after {value.start_seconds:.0f} s", flush=True)
        result = {"path": args.path, "settings": vars(args), "pairs": pairs, **ratios(pairs, "plain")}
        if args.quickstart:
            result["against_quickstart"] = ratios(pairs[:args.quickstart], "quickstart")
        if args.out:
            Path(args.out).write_text(json.dumps(result, indent=1))
    for other, found in (("plain", result), ("quickstart", result.get("against_quickstart", {}))):
        for name in MEASURES:
            if name in found:
                print(f"{name}: ours / {other} = {found[name]['ratio']:.3f}, "
                      f"95 % interval {found[name]['low']:.3f} to {found[name]['high']:.3f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--path", choices=list(PATHS), required=True)
    parser.add_argument("--model", default=str(HERE.parent / "assets" / "tiny-reasoner"))
    parser.add_argument("--data", help="JSONL with question and answer as in GSM8K (default: the bundled problems)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--quickstart", type=int, default=0, help="rounds in which the quickstart's batch runs too")
    parser.add_argument("--skip", type=int, default=4)
    parser.add_argument("--batch", type=int, default=64, help="answers per optimizer step")
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--vllm-share", type=float, default=0.3)
    parser.add_argument("--limit-seconds", type=float, default=600)
    parser.add_argument("--out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
