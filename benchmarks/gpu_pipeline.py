"""Our pipeline on a GPU through the worker, stopped and resumed once in GRPO: `python -m benchmarks.gpu_pipeline …`.

Writes one JSON file: seconds per stage, every time and reward metric, events, and the counts of the evaluation.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from pipeline import jobs
from pipeline.recipe import Recipe
from pipeline.run_folder import RunFolder, RunReader
from pipeline.studio_home import StudioHome

KEPT = ("time/", "reward/", "completion/", "sft/", "gpu/", "validation/reward/total")


def main() -> None:
    """Run one engine and write what was recorded."""
    args = _arguments()
    home = StudioHome(Path(args.home))
    run_id = jobs.start(home, _recipe(args))
    folder = home.run(run_id)
    state = _follow(home, run_id, args.stop_after, time.monotonic() + args.limit_seconds)
    Path(args.out).write_text(json.dumps({"engine": args.engine, "state": state, **_records(folder)}, indent=1))
    print(json.dumps({"engine": args.engine, "state": state, "run": str(folder.path)}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="folder of a model, such as SmolLM2-135M-Instruct")
    parser.add_argument("--train", required=True, help="GSM8K train as JSONL, or gsm8k")
    parser.add_argument("--test", help="GSM8K test as JSONL; with --train gsm8k its own test split is used")
    parser.add_argument("--engine", choices=["trl", "unsloth"], required=True)
    parser.add_argument("--home", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--vllm-share", type=float, default=0.4)
    parser.add_argument("--stop-after", type=int, default=5, help="stop and resume once after this GRPO step; 0 never")
    parser.add_argument("--limit-seconds", type=float, default=1500)
    return parser.parse_args()


def _recipe(args: argparse.Namespace) -> Recipe:
    return Recipe.parse({
        "name": f"GPU {args.engine}", "seed": 1,
        "model": {"source": args.model, "max_length": 1024, "engine": args.engine, "gpus": args.gpus,
                  "gpu_memory_share": args.vllm_share},
        "data": {"source": args.train, "test_source": args.test,
                 "split": {"sft": 1200, "grpo": 700, "validation": 50, "test": 0}},
        "sft": {"batch_size": 32, "learning_rate": 5e-4, "epochs": 2, "save_every": 1000, "eval_every": 40},
        "grpo": {"steps": args.steps, "batch_size": args.batch, "max_completion_tokens": 256, "learning_rate": 5e-5,
                 "save_every": 1000},
        "evaluate": {"limit": args.questions}})


def _follow(home: StudioHome, run_id: str, stop_after: int, deadline: float) -> str:
    """Wait for the end; stop and resume once on the way. Gives the last state."""
    while time.monotonic() < deadline:
        time.sleep(1)
        now = jobs.state(home, run_id)
        if stop_after and now.stage == "grpo" and (now.done or 0) >= stop_after:
            print(jobs.stop(home, run_id), flush=True)
            stop_after = 0
        if now.state == "stopped":
            jobs.resume(home, run_id)
        elif now.state in ("finished", "failed", "interrupted"):
            return str(now.state)
    return "ran out of time"


def _records(folder: RunFolder) -> dict[str, Any]:
    reader = RunReader(folder)
    metrics: dict[str, list[Any]] = {}
    for row in reader.metrics():
        if row["key"].startswith(KEPT) and row["value"] is not None:
            metrics.setdefault(f"{row['stage']}: {row['key']}", []).append([row["step"], round(row["value"], 4)])
    stages = {row["name"]: {"attempt": row["attempt"], "state": row["state"],
                            "seconds": round(row["ended"] - row["started"], 1) if row["ended"] else None}
              for row in reader.stages()}
    answers = reader.rows("SELECT model, COUNT(*) AS n, SUM(exact) AS exact, SUM(lenient) AS lenient, "
                          "SUM(format) AS format FROM evaluations GROUP BY model")
    return {"stages": stages, "metrics": metrics, "answers": answers,
            "events": [row["text"] for row in reader.events()]}


if __name__ == "__main__":
    main()
