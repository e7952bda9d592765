"""Questions a second of an evaluation through the worker, against plain offline generation of the same prompts.

    python -m benchmarks.evaluation_speed [--model FOLDER --data test.jsonl] [--repeats 3 --passes 3] --out x.json

Ours counts from the first prompt to the last stored answer (scored and written), plain from the first prompt to the
last text; loading is in neither. Both take turns; printed is ours / plain with its 95 % interval. With `--passes` both
answer that many times in each turn, every time with another number before the questions, so that nothing is in a cache.
Nothing else may run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.ratios import of_pairs
from benchmarks.runs import wait_until_finished
from benchmarks.steps import HERE, demo_rows
from pipeline import jobs
from pipeline.recipe import Recipe
from pipeline.run_folder import RunReader
from pipeline.studio_home import StudioHome
from pipeline.tags import SCHEMES, system_prompt


def plain(args: argparse.Namespace, work: Path, number: int) -> dict[str, Any]:
    """Questions and tokens a second of the plain script."""
    out = work / f"plain-{number}.json"
    command = [sys.executable, str(HERE / "plain" / "generate.py"), "--model", args.model, "--data", *args.files,
               "--out", str(out), "--system", system_prompt(SCHEMES["reasoning"]), "--max-tokens",
               str(args.max_tokens), "--max-length", str(args.max_length), "--batch", str(args.batch)]
    with open(work / f"plain-{number}.log", "w") as log:
        subprocess.run(command, check=True, cwd=work, stdout=log, stderr=log, timeout=args.limit_seconds)
    return rates(json.loads(out.read_text())["passes"])


def rates(passes: list[dict[str, float]]) -> dict[str, Any]:
    """Questions and tokens a second over all passes, and the questions a second of each."""
    seconds = sum(one["seconds"] for one in passes)
    return {"questions_per_second": sum(one["questions"] for one in passes) / seconds,
            "tokens_per_second": sum(one["tokens"] for one in passes) / seconds,
            "passes": [round(one["questions"] / one["seconds"], 2) for one in passes]}


def ours(args: argparse.Namespace, work: Path, number: int) -> dict[str, Any]:
    """Questions and tokens a second of the stage."""
    home = StudioHome(work / f"home-{number}")
    recipe = Recipe.parse({
        "name": "Evaluation speed", "model": {"source": args.model, "max_length": args.max_length},
        "evaluate": {"models": ["base"], "benchmarks": args.files, "batch_size": args.batch},
        "grpo": {"max_completion_tokens": args.max_tokens}})
    run_id = jobs.start(home, recipe, "evaluate", {"models": ["base"], "benchmarks": args.files})
    wait_until_finished(home, run_id, args.limit_seconds)
    reader = RunReader(home.run(run_id))
    tokens = {row["benchmark"]: row["n"] for row in
              reader.rows("SELECT benchmark, SUM(tokens) AS n FROM evaluations GROUP BY benchmark")}
    return rates([{"questions": fact["generated"], "seconds": fact["generate_seconds"],
                   "tokens": tokens[fact["benchmark"]]} for fact in reader.status()["evaluations"]])


def numbered(data: str, passes: int, work: Path) -> list[str]:
    """The file, and for each further pass one with that pass's number before every question."""
    files = [data]
    for number in range(2, passes + 1):
        files.append(str(work / f"pass-{number}.jsonl"))
        rows = [json.loads(line) for line in Path(data).read_text().splitlines()]
        Path(files[-1]).write_text("\n".join(json.dumps(row | {"question": f"{number}) {row['question']}"})
                                             for row in rows))
    return files


def main() -> None:
    """Alternate, print, write."""
    args = _arguments()
    work = Path(tempfile.mkdtemp(prefix="evaluation-"))
    args.model = str(Path(args.model).resolve())
    args.data = str(Path(args.data).resolve()) if args.data else demo_rows(work)
    args.files = numbered(args.data, args.passes, work)
    pairs: list[dict[str, Any]] = []
    ratios: dict[str, dict[str, float]] = {}
    for number in range(args.repeats):
        order = (plain, ours) if number % 2 == 0 else (ours, plain)
        pairs.append({side.__name__: side(args, work, number) for side in order})
        print(json.dumps(pairs[-1]), flush=True)
        ratios = of_pairs([{"pairs": pairs}]) if number else {}  # one pair has no interval
        if args.out:  # after each pair, in case time ends it
            result = {"settings": vars(args), "cores": os.cpu_count(), "pairs": pairs, **ratios}
            Path(args.out).write_text(json.dumps(result, indent=1))
    for key, found in ratios.items():
        print(f"{key}: ours / plain = {found['ratio']:.3f}, 95 % interval {found['low']:.3f} to {found['high']:.3f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(HERE.parent / "assets" / "tiny-reasoner"))
    parser.add_argument("--data", help="JSONL with question and answer (default: 1,000 of the bundled problems)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--passes", type=int, default=1, help="how often each side answers in its turn")
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--limit-seconds", type=float, default=600)
    parser.add_argument("--out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
