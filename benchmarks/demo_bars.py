"""The demo's numbers: base, SFT and GRPO on held-out problems, and SFT continued for GRPO's time as a control arm.

    python -m benchmarks.demo_bars [--seeds 1 2 3] [--no-control] [--home FOLDER] [--out RAW.json]
    python -m benchmarks.demo_bars --show RAW.json [RAW.json ...]

Runs `python -m pipeline demo --seed N` for each seed as a person would and prints a table with counts, 95 % Wilson
intervals and exact McNemar tests, the wall time, the processor time and the peak memory of all its processes. Exit
code 1 when a bar is missed.

The control arm takes the merged SFT model and a fresh adapter, as GRPO does, and imitates more rows of the same mixed
kind for as long as GRPO took. It is not part of the demo's time.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from pipeline.contestants import Row
from pipeline.demo import demo_recipe
from pipeline.recipe import ModelStep
from pipeline.run_folder import RunReader
from pipeline.statistics import mcnemar, wilson
from pipeline.studio_home import StudioHome

MODELS = ("base", "sft", "grpo", "control")
METRICS = ("format", "exact", "lenient")
LIMIT_SECONDS, LIMIT_MB = 360, 2048


class TreeMeter(threading.Thread):
    """Looks twice a second at every process that works for a home: peak of their memory, and their processor time."""

    def __init__(self, home: Path) -> None:
        super().__init__(daemon=True)
        self.home, self.over = str(home), threading.Event()
        self.peak, self.seconds = 0, {}  # bytes; (pid, start) -> seconds of processor time

    def run(self) -> None:
        """Until `over` is set."""
        while not self.over.wait(0.5):
            self.peak = max(self.peak, sum(map(self._look, psutil.process_iter())))

    def _look(self, process: psutil.Process) -> int:
        """Resident bytes of a process of this home; pages that two processes share count twice."""
        try:
            if process.environ().get("REASONING_STUDIO_HOME") != self.home:
                return 0
            times = process.cpu_times()
            self.seconds[process.pid, process.create_time()] = times.user + times.system
            return process.memory_info().rss
        except (psutil.Error, OSError):
            return 0


def call(home: Path, *arguments: str) -> tuple[dict[str, Any], dict[str, float]]:
    """`python -m pipeline ARGUMENTS --json` in a home: its document, and what it took."""
    meter = TreeMeter(home)
    meter.start()
    load, start = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0, time.monotonic()
    done = subprocess.run([sys.executable, "-m", "pipeline", *arguments, "--json"], stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "REASONING_STUDIO_HOME": str(home)}, check=False)
    wall = time.monotonic() - start
    meter.over.set()
    meter.join()
    if done.returncode:
        raise SystemExit(f"pipeline {' '.join(arguments)} failed: {done.stdout[-500:]}")
    took = {"wall_seconds": wall, "processor_seconds": sum(meter.seconds.values()),
            "peak_mb": meter.peak / 2**20, "load_before": load}
    return json.loads(done.stdout), {name: round(value, 1) for name, value in took.items()}


def stage_seconds(reader: RunReader) -> dict[str, float]:
    """How long each stage took."""
    return {row["name"]: round(row["ended"] - row["started"], 1) for row in reader.stages() if row["ended"]}


def control(home: StudioHome, demo_run: str, seed: int, grpo_seconds: float) -> tuple[str, dict[str, float]]:
    """SFT continued from the merged SFT model for about GRPO's time; the run's id and its stages' seconds."""
    folder, recipe = home.run(demo_run), demo_recipe(seed)
    steps = [row["value"] for row in RunReader(folder).metric("time/step_seconds") if row["stage"] == "sft"]
    count = max(1, round(grpo_seconds / (sum(steps) / len(steps))))
    split = recipe.data.split.model_copy(update={"sft": count * recipe.sft.batch_size})
    recipe = recipe.model_copy(update={
        "name": f"Control (seed {seed})", "model": ModelStep(source=str(folder.model("sft")), max_length=512),
        "data": recipe.data.model_copy(update={"split": split}),
        "grpo": recipe.grpo.model_copy(update={"enabled": False}),
        "evaluate": recipe.evaluate.model_copy(update={"models": ["sft"]}),
    })
    path = home.path / f"control-{seed}.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    run_id = call(home.path, "run", str(path))[0]["run"]
    return run_id, stage_seconds(RunReader(home.run(run_id))) | {"steps": count}


def one_seed(home: StudioHome, seed: int, with_control: bool) -> dict[str, Any]:
    """The demo, and its control arm, for one seed."""
    document, took = call(home.path, "demo", "--seed", str(seed))
    folder = home.run(document["run"])
    answers = rows_of(folder)
    result: dict[str, Any] = {"seed": seed, "took": took, "stages": stage_seconds(RunReader(folder))}
    if with_control:
        run_id, result["control_stages"] = control(home, document["run"], seed, result["stages"]["grpo"])
        answers |= {"control": rows_of(home.run(run_id))["sft"]}
        assert [r["question"] for r in answers["control"]] == [r["question"] for r in answers["grpo"]]
    result["models"] = {model: {metric: wilson(sum(bool(r[metric]) for r in rows), len(rows)).as_dict()
                                for metric in METRICS} for model, rows in answers.items()}
    result["tests"] = [paired(answers, a, b, metric) for a, b in (("sft", "grpo"), ("control", "grpo"))
                       if a in answers for metric in ("exact", "lenient")]
    result["bars"] = bars(result)
    return result


def rows_of(folder: Any) -> dict[str, list[Row]]:
    """Answers by model, in the order of the questions."""
    answers = RunReader(folder).answers("test")
    return {model: [r for r in answers if r["model"] == model] for model in MODELS
            if any(r["model"] == model for r in answers)}


def paired(answers: dict[str, list[Row]], a: str, b: str, metric: str) -> dict[str, Any]:
    """The exact McNemar test between two models on the same questions."""
    pairs = [(bool(x[metric]), bool(y[metric])) for x, y in zip(answers[a], answers[b], strict=True)]
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    return {"a": a, "b": b, "metric": metric, "gained": gained, "lost": lost, "p": mcnemar(gained, lost)}


def bars(result: dict[str, Any]) -> dict[str, bool]:
    """What the demo has to reach, and whether it did."""
    rate = {(m, k): v["rate"] for m, metrics in result["models"].items() for k, v in metrics.items()}
    p = next(t["p"] for t in result["tests"] if (t["a"], t["metric"]) == ("sft", "lenient"))
    better = rate["grpo", "lenient"] > rate["sft", "lenient"]
    return {
        "base format under 5 %": rate["base", "format"] < 0.05,
        "base lenient 15-60 %": 0.15 <= rate["base", "lenient"] <= 0.60,
        "SFT format at least 90 %": rate["sft", "format"] >= 0.90,
        "SFT exact 15-65 %": 0.15 <= rate["sft", "exact"] <= 0.65,
        "GRPO exact 15 points above SFT": rate["grpo", "exact"] - rate["sft", "exact"] >= 0.15,
        "GRPO lenient above SFT, p < 0.01": better and p < 0.01,
        "GRPO format at least 95 %": rate["grpo", "format"] >= 0.95,
        "within 6 minutes": result["took"]["wall_seconds"] <= LIMIT_SECONDS,
        "within 2 GB": result["took"]["peak_mb"] <= LIMIT_MB,
    }


def table(results: list[dict[str, Any]]) -> str:
    """Markdown for people."""
    lines = ["| seed | model | format | exact | lenient |", "|---|---|---|---|---|"]
    for r in results:
        for model, metrics in r["models"].items():
            title = f"SFT continued ({r['control_stages']['steps']} more steps)" if model == "control" else {
                "base": "base", "sft": "SFT", "grpo": "**GRPO**"}[model]
            lines.append(f"| {r['seed']} | {title} | {' | '.join(cell(metrics[m]) for m in METRICS)} |")
    lines += ["", "| seed | GRPO against | measure | gained | lost | exact McNemar p |", "|---|---|---|---|---|---|"]
    lines += [f"| {r['seed']} | {'SFT' if t['a'] == 'sft' else 'SFT continued'} | {t['metric']} | {t['gained']} | "
              f"{t['lost']} | {t['p']:.0e} |" for r in results for t in r["tests"]]
    lines += ["", "| seed | wall time | SFT | GRPO | evaluation | control's SFT | processor time | peak memory "
              "| load before |", "|---|---|---|---|---|---|---|---|---|"]
    for r in results:
        stages, took = r["stages"], r["took"]
        extra = f"{r['control_stages']['sft']:.0f} s" if "control_stages" in r else "-"
        lines.append(f"| {r['seed']} | {took['wall_seconds']:.0f} s | {stages['sft']:.0f} s | {stages['grpo']:.0f} s | "
                     f"{stages['evaluate']:.0f} s | {extra} | {took['processor_seconds']:.0f} s | "
                     f"{took['peak_mb']:,.0f} MB | {took['load_before']:.1f} |")
    missed = [f"seed {r['seed']}: {bar}" for r in results for bar, met in r["bars"].items() if not met]
    return "\n".join([*lines, "", f"Missed: {'; '.join(missed)}." if missed else "All bars are met."])


def cell(rate: dict[str, Any]) -> str:
    """`46.0 % (138/300; 40.4-51.7)`."""
    return (f"{100 * rate['rate']:.1f} % ({rate['count']}/{rate['n']}; {100 * rate['low']:.1f}-"
            f"{100 * rate['high']:.1f})")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--no-control", action="store_true", help="leave out SFT continued for GRPO's time")
    parser.add_argument("--home", type=Path, help="keep the runs in this folder")
    parser.add_argument("--out", type=Path, help="write the raw result here")
    parser.add_argument("--show", type=Path, nargs="+", help="print the table of earlier raw results")
    options = parser.parse_args()
    if options.show:
        results = [seed for path in options.show for seed in json.loads(path.read_text())["seeds"]]
    else:
        with tempfile.TemporaryDirectory() as temporary:
            home = StudioHome((options.home or Path(temporary)).resolve())
            results = [one_seed(home, seed, not options.no_control) for seed in options.seeds]
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        machine = {"date": date.today().isoformat(), "python": platform.python_version(), "cores": os.cpu_count(),
                   **{name: version(name) for name in ("torch", "transformers", "trl", "peft")}}
        options.out.write_text(json.dumps({"machine": machine, "seeds": results}, indent=1) + "\n")
    print(table(results))
    return 0 if all(all(r["bars"].values()) for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
