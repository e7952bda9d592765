"""The time of a GRPO step: our pipeline through the worker against the plain script, same settings, one sitting.

    python -m benchmarks.steps --path cpu --out docs/results/steps_cpu.json
    python -m benchmarks.steps --path trl-vllm --model FOLDER --data train.jsonl --out docs/results/steps_trl_vllm.json

Both are started, one after the other, and run their first steps (compiling, warming up), which do not count. Then they
take turns of a few steps, `--repeats` times: all processes of the side that waits are stopped by a signal, so that it
holds its memory and does nothing. The step in which a side was stopped does not count. A step lasts from the end of the
one before to its own end. The plain script gets the rows that our run prepared, in their order, and both shuffle with
the same seed, so that the same steps of both ask the same questions. Printed: the geometric mean of ours / plain over
the rounds with its 95 % interval (Student's t on the logarithms), for the median seconds a step and for tokens a
second. Nothing else may use the machine meanwhile.

With `--quickstart N`, in the first N rounds the plain script also runs as its quickstart has it: 8 answers at a time,
accumulated to as many per optimizer step; ours / quickstart is printed too. With `--quickstart-alone` that is the only
other side. Ours is started first of all, so its start is the one with cold compile caches; with `--again` it is started
once more at the end, with warm ones.

Where vLLM samples, also printed and kept: how far it and the trainer are apart in each step, and what TRL multiplies
each answer's loss with for that (the plain script's log, `sampling/importance_sampling_ratio/…`).
"""

import argparse
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.runs import processes_of
from benchmarks.turns import Seen, Side, TimeUp, ratios
from pipeline import jobs
from pipeline.dataset.part_files import read_part
from pipeline.recipe import Recipe
from pipeline.run_folder import RunFolder, RunReader
from pipeline.run_state import OVER
from pipeline.studio_home import StudioHome

HERE = Path(__file__).resolve().parent
PATHS = {  # script, its options, what the recipe's model step says
    "cpu": ("trl_grpo.py", [], {"engine": "trl"}),
    "trl-transformers": ("trl_grpo.py", [], {"engine": "trl", "fast_inference": False}),
    "trl-vllm": ("trl_grpo.py", ["--vllm"], {"engine": "trl"}),
    "unsloth": ("unsloth_grpo.py", ["--small-kernel"], {"engine": "unsloth"}),
}

DIFFERENCE = "policy/sampler_difference"  # our name of what TRL logs as sampling/sampling_logp_difference/mean


def plain(args: argparse.Namespace, work: Path, name: str = "plain") -> Side:
    """The plain script, started; as `quickstart` with 8 answers at a time, as TRL's default has it."""
    script, options, _ = PATHS[args.path]
    out, log = work / f"{name}.json", work / f"{name}.log"
    accumulation = args.batch // 8 if name == "quickstart" else args.accumulation
    command = [sys.executable, str(HERE / "plain" / script), *options, "--model", args.model, "--data", args.data,
               "--out", str(out), "--steps", "1000", "--batch", str(args.batch), "--generations",
               str(args.generations), "--max-tokens", str(args.max_tokens), "--max-length", str(args.max_length),
               "--accumulation", str(accumulation), "--vllm-share", str(args.vllm_share), "--rank", str(args.rank)]
    with open(log, "w") as file:
        running = subprocess.Popen(command, cwd=work, stdout=file, stderr=file)

    def look() -> Seen | None:
        if not out.exists():
            return None
        found = json.loads(out.read_text())
        return Seen(found["ends"], [mean * args.batch for mean in found["mean_tokens"]],
                    found["load_seconds"] + found["step_seconds"][0], found["sampling"] or None)

    def processes() -> list[psutil.Process]:
        return [whole := psutil.Process(running.pid), *whole.children(recursive=True)]

    return Side(name, look, processes, lambda: log.read_text()[-3000:] if running.poll() is not None else None)


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
        "grpo": {"steps": 1000, "batch_size": args.batch // args.accumulation,
                 "accumulation": args.accumulation, "num_generations": args.generations,
                 "max_completion_tokens": args.max_tokens,
                 "learning_rate": 5e-6, "max_grad_norm": 1.0, "save_every": 10_000}})


def ours(args: argparse.Namespace, work: Path, name: str = "ours") -> Side:
    """Our pipeline through the worker, started."""
    home = StudioHome(work / f"home-{name}")
    run_id = jobs.start(home, recipe(args))

    def look() -> Seen | None:
        reader = RunReader(home.run(run_id))
        means = [row["value"] for row in reader.metric("completion/mean_tokens") if row["stage"] == "grpo"]
        ends = [row["time"] for row in reader.metric("time/step_seconds") if row["stage"] == "grpo"][:len(means)]
        began = [row["started"] for row in reader.stages() if row["name"] == "grpo"]
        apart = [row["value"] for row in reader.metric(DIFFERENCE)]
        if not ends:
            return None
        split = {part: [row["value"] for row in reader.metric(f"time/{part}_seconds") if row["stage"] == "grpo"]
                 for part in ("generate", "score", "learn")}
        parts = next((json.loads(row["data"]) for row in reader.events()
                      if row["stage"] == "grpo" and row["text"].startswith("Ready to train")), None)
        return Seen(ends, [mean * args.batch for mean in means], ends[0] - began[0],
                    {DIFFERENCE: apart} if apart else None, split, parts)

    def problem() -> str | None:
        now = jobs.state(home, run_id)
        return f"{now.reason} {now.remedy}\n{home.run(run_id).log.read_text()[-3000:]}" if now.state in OVER else None

    return Side(name, look, lambda: processes_of(home), problem)


def prepared_rows(work: Path) -> str:
    """What our run trains on, in its order, in the shape that the plain scripts read."""
    home = StudioHome(work / "home-ours")
    rows = read_part(RunFolder(next(home.runs_dir.iterdir())).data("grpo"))
    out = work / "prepared.jsonl"
    out.write_text("\n".join(json.dumps({"question": row["question"], "answer": f"#### {row['reference']}"})
                             for row in rows if row["reference"] is not None))
    return str(out)


def demo_rows(folder: Path) -> str:
    """The bundled problems in the shape that both sides read: question, and worked steps with `#### N`."""
    from pipeline.dataset.demo import demo_rows as rows

    out = folder / "demo.jsonl"
    lines = [{"question": row["question"], "answer": f"{row['reasoning']}\n#### {row['answer']}"}
             for row in rows("grpo", 1000, 1)]
    out.write_text("\n".join(map(json.dumps, lines)))
    return str(out)


def main() -> None:
    """Start, take turns, print the ratios, write everything after each round."""
    args = _arguments()
    work = Path(tempfile.mkdtemp(prefix="steps-"))
    if args.path == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    args.data = str(Path(args.data).resolve()) if args.data else demo_rows(work)
    deadline = time.monotonic() + args.limit_seconds
    sides: list[Side] = []
    given = args.data
    result: dict[str, Any] = {"path": args.path, "settings": dict(vars(args)), "sides": {}}
    try:
        others = [*([] if args.quickstart_alone else ["plain"]), *(["quickstart"] if args.quickstart else [])]
        for name in ("ours", *others):
            sides.append(_started(args, work, name, deadline))
            sides[-1].signal(signal.SIGSTOP)
            args.data = args.data if name != "ours" else prepared_rows(work)
        for number in range(args.repeats):
            taking = sides[:2] if number % 2 == 0 else sides[1::-1]  # neither always runs on a warmer machine
            for side in taking + sides[2:] * (number < args.quickstart):
                side.turn(args.steps, deadline)
                print(f"round {number + 1}, {side.name}: " + _words(side.rounds[-1]), flush=True)
            result |= _found(sides)
            _write(args, result)
    except TimeUp as words:
        print(words, flush=True)
    finally:
        for side in sides:
            side.end()
    for name, told in result["sides"].items():
        if told.get("split"):
            print(f"{name}: " + ", ".join(f"{part} {statistics.median(values):.3f} s"
                                          for part, values in told["split"].items() if values) + " (medians)")
        for key, values in (told.get("sampling") or {}).items():
            print(f"{name}: {key} {statistics.mean(values):.3f} on average, {min(values):.3f} to {max(values):.3f} by "
                  "step")
    for other, measures in result.get("ours_over", {}).items():
        for name, found in measures.items():
            print(f"{name}: ours / {other} = {found['ratio']:.3f}, 95 % interval {found['low']:.3f} to "
                  f"{found['high']:.3f}")
    if args.again:
        args.data = given
        again = _started(args, work, "again", deadline, 1)
        seen = again.reach(1, deadline)
        result |= {"start_seconds_again": seen.start_seconds, "start_again": seen.start}
        again.end()
        _write(args, result)


def _started(args: argparse.Namespace, work: Path, name: str, deadline: float, steps: int | None = None) -> Side:
    """A side that has done its first steps."""
    side = ours(args, work, name) if name in ("ours", "again") else plain(args, work, name)
    try:
        seen = side.reach(steps or args.skip, deadline)
    except SystemExit:
        side.end()
        raise
    steps_taken = [seen.start_seconds, *(after - before for before, after in itertools.pairwise(seen.ends))]
    print(f"{name}: first step after {steps_taken[0]:.0f} s, then {[round(s, 1) for s in steps_taken[1:]]}"
          + (f"; before it {seen.start}" if seen.start else ""), flush=True)
    return side


def _found(sides: list[Side]) -> dict[str, Any]:
    """All that was measured so far, as it is written."""
    told = {}
    for side in sides:
        seen = side.look()
        told[side.name] = {"rounds": side.rounds, **(seen._asdict() if seen else {})}
    return {"sides": told, "ours_over": {other.name: ratios(sides[0], other) for other in sides[1:]}}


def _words(found: dict[str, float]) -> str:
    return f"{found['step_seconds']:.3f} s a step, {found['tokens_per_second']:,.0f} tokens/s"


def _write(args: argparse.Namespace, result: dict[str, Any]) -> None:
    if args.out:
        Path(args.out).write_text(json.dumps(result, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--path", choices=list(PATHS), required=True)
    parser.add_argument("--model", default=str(HERE.parent / "assets" / "tiny-reasoner"))
    parser.add_argument("--data", help="JSONL with question and answer as in GSM8K (default: the bundled problems)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps that count in each turn")
    parser.add_argument("--again", action="store_true", help="start ours once more, with warm caches")
    parser.add_argument("--quickstart", type=int, default=0, help="rounds in which the quickstart's batch runs too")
    parser.add_argument("--quickstart-alone", action="store_true", help="no plain script with our batch beside it")
    parser.add_argument("--skip", type=int, default=4, help="first steps of each side, which do not count")
    parser.add_argument("--batch", type=int, default=64, help="answers per optimizer step")
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--vllm-share", type=float, default=0.3)
    parser.add_argument("--limit-seconds", type=float, default=3600, help="for everything")
    parser.add_argument("--out")
    args = parser.parse_args()
    args.quickstart = args.repeats if args.quickstart_alone else args.quickstart
    return args


if __name__ == "__main__":
    main()
