"""The memory estimate of the Train tab against the measured peak of each stage, through the worker.

    python -m benchmarks.memory_peaks --models FOLDER [FOLDER …] --data train.jsonl --out docs/results/memory_peaks.json

Every model with 16-bit and 4-bit base, two sequence lengths and both engines runs a few steps of SFT and GRPO. On an
NVIDIA GPU the peak is what NVML says of the whole device, less what was taken before the start: it counts vLLM and the
CUDA contexts as well. Without one it is the memory of the process that trains. The estimate is for texts that fill the
sequence length, so problems of `--data` are joined until they do. Nothing else may use the device meanwhile, no second
run of ours either: vLLM takes what others allocate while it loads for its own and leaves itself too small a cache.
"""

import argparse
import contextlib
import itertools
import json
import re
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.runs import processes_of
from pipeline import jobs
from pipeline.dataset.chat import ChatTokenizer
from pipeline.errors import StudioError
from pipeline.hardware import GIB, detect
from pipeline.memory import estimates
from pipeline.model_facts import read_facts
from pipeline.recipe import Recipe
from pipeline.run_folder import RunReader
from pipeline.run_state import OVER
from pipeline.studio_home import StudioHome

STAGES = {"SFT": "sft", "GRPO": "grpo"}


class Peaks(threading.Thread):
    """Looks ten times a second at what is taken, and keeps the largest value of each stage of a run."""

    def __init__(self, home: StudioHome, run_id: str, on_gpu: bool) -> None:
        super().__init__(daemon=True)
        self.home, self.run_id, self.on_gpu = home, run_id, on_gpu
        self.before = self._taken()
        self.peaks: dict[str, float] = {}
        self.done = threading.Event()

    def run(self) -> None:
        """Until `done` is set."""
        while not self.done.wait(0.1):
            stage = jobs.state(self.home, self.run_id).stage
            self.peaks[stage] = max(self.peaks.get(stage, 0.0), self._taken() - self.before)

    def _taken(self) -> float:
        return _gpu_gib() if self.on_gpu else _processes_gib(self.home)


def _gpu_gib() -> float:
    import pynvml

    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(detect().gpus[0].index)).used / GIB


def _processes_gib(home: StudioHome) -> float:
    """The largest process of the run: the one that trains; the keeper and the reward processes are not estimated."""
    sizes = [0]
    for process in processes_of(home):
        with contextlib.suppress(psutil.Error):
            sizes.append(process.memory_info().rss)
    return max(sizes) / GIB


def filled(data: str, model: str, length: int, folder: Path) -> str:
    """A JSONL whose questions and solutions each take nearly half of the length, made by joining problems of `data`."""
    chat = ChatTokenizer.load(model)
    given = [json.loads(line) for line in Path(data).read_text().splitlines()]
    parts = [(row["question"].split(". "), re.sub("<<.*?>>", "", row["answer"].split("####")[0]).strip().split("\n"))
             for row in given]
    half, rows = length // 2, []
    for number in range(220):
        taken = parts[number * 7 % len(parts):] + parts
        rows.append({"question": _joined(chat, ". ", (s for q, _ in taken for s in q), half - 50),
                     "answer": _joined(chat, "\n", (s for _, a in taken for s in a), half - 60) + f"\n#### {number}"})
    out = folder / f"filled-{length}.jsonl"
    out.write_text("\n".join(map(json.dumps, rows)))
    return str(out)


def _joined(chat: ChatTokenizer, between: str, texts: Iterable[str], tokens: int) -> str:
    """As many of the texts as have at most this many tokens together."""
    taken, used = [], 0
    for text in texts:
        used += chat.count(text) + 1
        if used > tokens:
            break
        taken.append(text)
    return between.join(taken)


def recipe(args: argparse.Namespace, engine: str, model: str, precision: str, length: int, data: str) -> Recipe:
    """A few steps of the stages with texts that may fill the length."""
    return Recipe.parse({
        "name": f"Memory {precision} {length}", "seed": 1,
        "model": {"source": model, "engine": engine, "precision": precision, "max_length": length,
                  "gpu_memory_share": args.vllm_share, "vllm_sleep": args.sleep},
        "data": {"source": data, "split": {"sft": 160, "grpo": 40, "validation": 0, "test": 1}},
        "sft": {"enabled": "SFT" in args.stages, "batch_size": args.batch, "max_steps": args.steps, "epochs": 10,
                "save_every": 1000, "eval_every": 1000},
        "grpo": {"enabled": "GRPO" in args.stages, "steps": args.steps, "batch_size": args.batch, "num_generations": 8,
                 "max_completion_tokens": length // 2, "save_every": 1000},
        "evaluate": {"enabled": False}})


def measure(wanted: Recipe, limit_seconds: float) -> list[dict[str, Any]]:
    """One run up to its last merge; a row per stage with the estimate, the peak of the device and torch's own."""
    hardware = detect()
    home = StudioHome(Path(tempfile.mkdtemp(prefix="memory-")))
    expected = {e.stage: e for e in estimates(wanted, read_facts(wanted.model.source), hardware)}
    run_id = jobs.start(home, wanted)
    peaks = Peaks(home, run_id, hardware.has_gpu)
    peaks.start()
    deadline = time.monotonic() + limit_seconds
    last = "merge_grpo" if wanted.grpo.enabled else "merge_sft"
    while (now := jobs.state(home, run_id)).state not in OVER and now.stage != last:
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    peaks.done.set()
    peaks.join()
    for process in processes_of(home):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    reader = RunReader(home.run(run_id))
    done = {row["name"]: row["state"] for row in reader.stages()}
    own = {stage: max((row["value"] for row in reader.metric("gpu/own_peak_gib") if row["stage"] == stage), default=0.0)
           for stage in STAGES.values()}
    rows = []
    for title, of_stage in expected.items():
        stage, estimate = STAGES[title], of_stage.total_gib
        peak = peaks.peaks.get(stage, 0.0)
        rows.append({"stage": title, "state": done.get(stage), "estimate_gib": round(estimate, 2),
                     "peak_gib": round(peak, 3), "ratio": round(peak / estimate, 3), "own_gib": round(own[stage], 3),
                     "bars": {bar.name: round(bar.gib, 3) for bar in of_stage.bars},
                     "reason": now.reason if now.state in OVER else ""})
    return rows


def combinations(args: argparse.Namespace) -> list[tuple[str, str, str, int]]:
    """Model, engine, precision, length: all, or with `--half` those in which every pair of values still meets."""
    sides = (args.models, args.precisions, args.lengths)
    return [(model, engine, precision, length) for engine in args.engines
            for model, precision, length in itertools.product(*sides)
            if not args.half or sum(side.index(value) for side, value in
                                    zip(sides, (model, precision, length), strict=True)) % 2 == 0]


def main() -> None:
    """All combinations, printed as they come."""
    args = _arguments()
    rows: list[dict[str, Any]] = []
    work = Path(tempfile.mkdtemp(prefix="memory-"))
    for model, engine, precision, length in combinations(args):
        about = {"model": Path(model).name, "engine": engine, "precision": precision, "length": length}
        data = args.data if args.data == "demo" else filled(args.data, model, length, work)
        try:
            found = measure(recipe(args, engine, model, precision, length, data), args.limit_seconds)
        except StudioError as error:
            found = [{"stage": "", "state": "refused", "reason": str(error)}]
        for row in found:
            rows.append(about | row)
            print(json.dumps({k: v for k, v in rows[-1].items() if k != "bars"}), flush=True)
        if args.out:
            Path(args.out).write_text(json.dumps({"settings": vars(args), "rows": rows}, indent=1))
    measured = [row["ratio"] for row in rows if row["state"] == "finished"]
    print(f"{len(measured)} stages measured; {sum(0.85 <= r <= 1.15 for r in measured)} within 15 % of the estimate")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", required=True, help="folders of models")
    parser.add_argument("--data", required=True, help="GSM8K train as JSONL, or demo")
    parser.add_argument("--engines", nargs="+", default=["trl", "unsloth"])
    parser.add_argument("--precisions", nargs="+", default=["16bit", "4bit"])
    parser.add_argument("--lengths", nargs="+", type=int, default=[1024, 2048])
    parser.add_argument("--half", action="store_true", help="half of the combinations, chosen evenly")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES))
    parser.add_argument("--sleep", action="store_true", help="vLLM sleeps while learning")
    parser.add_argument("--vllm-share", type=float, default=0.3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--limit-seconds", type=float, default=180)
    parser.add_argument("--out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
