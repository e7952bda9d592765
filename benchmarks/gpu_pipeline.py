"""Our pipeline on a GPU through the worker, from SFT to the evaluation: `python -m benchmarks.gpu_pipeline …`.

The recipe is `pipeline.presets.gsm8k_recipe`, with what the options change. `--set SECTION.FIELD=VALUE`
changes any other setting (the value as in YAML). `--stop-after` stops and resumes once in GRPO, `--levels` evaluates
the GRPO model again in 8 and 4 bit, `--samples` asks the SFT and the GRPO model for several answers to each question,
`--aime` adds a file of AIME problems to the comparison. `--less-memory` presses *Try again with less memory* when there
was too little. Writes one JSON file: seconds per stage, every time and reward metric, events, what each failure said
and what was tried again, and of the evaluation counts and right answers to each question, which `benchmarks.seeds`
compares.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import yaml

from pipeline import continuing, jobs
from pipeline.failures import WANT_OF_MEMORY
from pipeline.presets import gsm8k_recipe
from pipeline.recipe import Recipe
from pipeline.run_folder import RunFolder, RunReader
from pipeline.run_state import OVER
from pipeline.studio_home import StudioHome

KEPT = ("time/", "reward/", "completion/", "sft/", "gpu/", "validation", "policy/")


def main() -> None:
    """Run one engine and write what was recorded."""
    args = _arguments()
    home = StudioHome(Path(args.home))
    run_id = jobs.start(home, _recipe(args))
    deadline = time.monotonic() + args.limit_seconds
    failures: list[dict[str, Any]] = []
    further = [{"models": ["sft", "grpo"], "samples": args.samples, "temperature": 0.5}] if args.samples else []
    further += [{"models": ["grpo"], "precisions": args.levels}] if args.levels else []
    try:
        while ((state := _follow(home, run_id, args.stop_after, deadline, args.resumes)) == "failed"
               and len(failures) < args.less_memory and (failed := _try_again(home, run_id))):
            failures.append(failed)
            run_id = failed["run"]
        for request in further:
            if state == "finished":
                jobs.submit(home, "evaluate", run_id, request={"benchmarks": ["test"], **request})
                state = _follow(home, run_id, 0, deadline, args.resumes)
    except KeyboardInterrupt:
        state = "interrupted"
    folder = home.run(run_id)
    found = {"engine": args.engine, "state": state, "failures": failures, **_records(folder)}
    Path(args.out).write_text(json.dumps(found, indent=1))
    print(json.dumps({"engine": args.engine, "state": state, "run": str(folder.path)}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="folder of a model, such as SmolLM2-135M-Instruct")
    parser.add_argument("--train", required=True, help="GSM8K train as JSONL, or gsm8k")
    parser.add_argument("--test", help="GSM8K test as JSONL; without it, that of the Hub")
    parser.add_argument("--engine", choices=["trl", "unsloth"], required=True)
    parser.add_argument("--home", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--sft-rows", type=int, help="0: no SFT")
    parser.add_argument("--sft-epochs", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--learning-rate", type=float, help="of GRPO")
    parser.add_argument("--batch", type=int, help="answers of GRPO learnt from at a time on each GPU")
    parser.add_argument("--accumulation", type=int, help="batches of GRPO per learning step")
    parser.add_argument("--eval-every", type=int, help="steps of GRPO between two looks at the validation part")
    parser.add_argument("--questions", type=int, default=0, help="test questions to answer; 0 is all, -1 none")
    parser.add_argument("--models", nargs="+", default=["base", "sft", "grpo"])
    parser.add_argument("--vllm-share", type=float, default=0.3)
    parser.add_argument("--sleep", action="store_true", help="vLLM sleeps while learning")
    parser.add_argument("--stop-after", type=int, default=0, help="stop and resume once after this GRPO step; 0 never")
    parser.add_argument("--levels", nargs="*", default=[], help="precisions to evaluate the GRPO model in afterwards")
    parser.add_argument("--samples", type=int, default=0, help="answers to each question at temperature 0.5 afterwards")
    parser.add_argument("--aime", help="JSONL of AIME problems to answer too")
    parser.add_argument("--resumes", type=int, default=0, help="how often a failed run is resumed: another job on the "
                        "same GPU that ends while vLLM measures memory makes vLLM give up")
    parser.add_argument("--less-memory", type=int, default=0, help="how often to try again with less memory at most")
    parser.add_argument("--set", nargs="*", default=[], metavar="SECTION.FIELD=VALUE", help="other settings, in YAML")
    parser.add_argument("--limit-seconds", type=float, default=1500)
    return parser.parse_args()


def _recipe(args: argparse.Namespace) -> Recipe:
    values = gsm8k_recipe(args.seed, args.model).model_dump()
    values["model"] |= {"engine": args.engine, "gpus": args.gpus, "gpu_memory_share": args.vllm_share,
                        "vllm_sleep": args.sleep}
    values["data"] |= {"source": args.train, "test_source": args.test}
    values["data"]["split"] |= _given(sft=args.sft_rows)
    values["sft"] |= _given(epochs=args.sft_epochs) | {"enabled": args.sft_rows != 0}
    values["grpo"] |= _given(steps=args.steps, learning_rate=args.learning_rate, batch_size=args.batch,
                             accumulation=args.accumulation, eval_every=args.eval_every)
    values["evaluate"] |= {"models": args.models, "limit": args.questions if args.questions > 0 else None,
                           "benchmarks": ["test" if args.test else "gsm8k", *([args.aime] if args.aime else [])],
                           "enabled": args.questions >= 0}
    for change in args.set:
        path, value = change.split("=", 1)
        *sections, field = path.split(".")
        place = values
        for section in sections:
            place = place[section]
        place[field] = yaml.safe_load(value)
    return Recipe.model_validate(values)


def _given(**values: Any) -> dict[str, Any]:
    """The options that were given; the others stay as the recipe has them."""
    return {name: value for name, value in values.items() if value is not None}


def _follow(home: StudioHome, run_id: str, stop_after: int, deadline: float, resumes: int) -> str:
    """Wait for the end; stop and resume once on the way, and resume after a failure. Gives the last state."""
    while time.monotonic() < deadline:
        time.sleep(1)
        now = jobs.state(home, run_id)
        if stop_after and now.stage == "grpo" and (now.done or 0) >= stop_after:
            print(jobs.stop(home, run_id), flush=True)
            stop_after = 0
        if now.state == "failed":
            print(f"failed: {now.reason} {now.remedy}", flush=True)
        if now.state == "stopped" or (now.state == "failed" and resumes > 0):
            resumes -= now.state == "failed"
            jobs.resume(home, run_id)
        elif now.state in OVER:
            return str(now.state)
    return "ran out of time"


def _try_again(home: StudioHome, run_id: str) -> dict[str, Any] | None:
    """Press *Try again with less memory*: what the failure said, and the new run with its lighter recipe; None for a
    failure of another kind."""
    now = jobs.state(home, run_id)
    if now.failure not in WANT_OF_MEMORY:
        return None
    new, lighter = continuing.try_again(home, run_id)
    print(f"tried again: {'; '.join(lighter.changes)}", flush=True)
    return {"stage": now.stage, "kind": now.failure, "reason": now.reason, "remedy": now.remedy, "run": new,
            "changes": lighter.changes, "parent": home.run(new).recipe().parent.model_dump()}


def _records(folder: RunFolder) -> dict[str, Any]:
    reader = RunReader(folder)
    metrics: dict[str, list[Any]] = {}
    for row in reader.metrics():
        if row["key"].startswith(KEPT) and row["value"] is not None:
            metrics.setdefault(f"{row['stage']}: {row['key']}", []).append([row["step"], round(row["value"], 4)])
    stages = {row["name"]: {"attempt": row["attempt"], "state": row["state"],
                            "seconds": round(row["ended"] - row["started"], 1) if row["ended"] else None}
              for row in reader.stages()}
    return {"stages": stages, "metrics": metrics, "answers": _answers(reader),
            "evaluations": reader.status().get("evaluations"), "events": [row["text"] for row in reader.events()]}


def _answers(reader: RunReader) -> list[dict[str, Any]]:
    """Counts of every model, benchmark and way to ask, and `right`: the right answers to each question, in order."""
    grouped = reader.rows("SELECT model, benchmark, settings, COUNT(*) AS n, SUM(exact) AS exact, SUM(lenient) AS "
                          "lenient, SUM(format) AS format, SUM(truncated) AS truncated, SUM(tokens) AS tokens "
                          "FROM evaluations GROUP BY model, benchmark, settings")
    for row in grouped:
        settings = row.pop("settings")
        right = reader.rows("SELECT SUM(exact) AS exact FROM evaluations WHERE model = ? AND benchmark = ? AND "
                            "settings = ? GROUP BY question_index ORDER BY question_index",
                            (row["model"], row["benchmark"], settings))
        asked = json.loads(settings)
        row |= {name: asked.get(name) for name in ("precision", "samples", "temperature")}
        row["right"] = [one["exact"] for one in right]
    return grouped


if __name__ == "__main__":
    main()
