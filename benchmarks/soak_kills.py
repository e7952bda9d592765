"""Kill the worker with SIGKILL at random moments of SFT and GRPO and resume, until 30 kills are done.

    python -m benchmarks.soak_kills [--kills 30] [--seed 1] [--out docs/results/soak_kills.json]

After every kill: the run shows as interrupted within 3 s, no process of it is left after 5 s, and Resume goes on. At
the end of every run: each training step has its metrics exactly once, and the GRPO weights are bit-equal to those of
a run that was never disturbed (same recipe, same seed, on the CPU).
"""

import argparse
import hashlib
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")


from benchmarks.runs import processes_of, wait_until_finished
from pipeline import jobs, locks
from pipeline.recipe import Recipe
from pipeline.run_folder import RunReader
from pipeline.studio_home import StudioHome


def recipe(sft_steps: int = 20, grpo_steps: int = 40) -> Recipe:
    """A short run of the bundled model with frequent checkpoints."""
    return Recipe.parse({
        "name": "Soak", "seed": 3, "model": {"max_length": 512},
        "data": {"source": "demo", "split": {"sft": 64, "grpo": 64, "validation": 8, "test": 8}},
        "sft": {"max_steps": sft_steps, "epochs": 10, "batch_size": 4, "save_every": 3, "learning_rate": 1e-3},
        "grpo": {"steps": grpo_steps, "batch_size": 8, "num_generations": 4, "max_completion_tokens": 24,
                 "save_every": 2, "learning_rate": 5e-4},
        "evaluate": {"enabled": False}})


def weights(home: StudioHome, run_id: str) -> dict[str, str]:
    """SHA-256 of the adapters and merged models of both stages."""
    folder = home.run(run_id)
    files = [file for stage in ("sft", "grpo") for part in (folder.adapter(stage), folder.model(stage))
             for file in sorted(part.glob("*.safetensors"))]
    return {str(file.relative_to(folder.path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def steps_once(home: StudioHome, run_id: str) -> bool:
    """Whether every step of both stages has its time recorded exactly once."""
    folder = home.run(run_id)
    rows, made = RunReader(folder).metric("time/step_seconds"), folder.recipe()
    return all(sorted(row["step"] for row in rows if row["stage"] == stage) == list(range(1, (count or 0) + 1))
               for stage, count in (("sft", made.sft.max_steps), ("grpo", made.grpo.steps)))


def last_step(home: StudioHome, run_id: str) -> tuple[str, int]:
    """The stage and step that were recorded last; ("", 0) before the first."""
    rows = RunReader(home.run(run_id)).rows(
        "SELECT stage, step FROM metrics WHERE key = 'time/step_seconds' ORDER BY id DESC LIMIT 1")
    return (rows[0]["stage"], rows[0]["step"]) if rows else ("", 0)


def wait_for_moment(home: StudioHome, run_id: str, randomness: random.Random, longest: float) -> bool:
    """Wait for a random moment: one in three anywhere, otherwise while steps are made. False when the run is over."""
    anywhere = randomness.random() < 1 / 3
    wait = randomness.uniform(0.2, longest) if anywhere else randomness.uniform(0.0, 4.0)
    start, until = last_step(home, run_id), time.monotonic() + (wait if anywhere else 600)
    while time.monotonic() < until:
        if jobs.state(home, run_id).state == "finished":
            return False
        if not anywhere and last_step(home, run_id) != start:
            anywhere, until = True, time.monotonic() + wait
        time.sleep(0.02)
    return True


def kill_once(home: StudioHome, run_id: str) -> dict[str, Any] | None:
    """Kill the worker; gives what was seen, or None when it had just ended."""
    pid = locks.holder(home.run(run_id).lock)
    if not pid:
        return None
    before, step = jobs.state(home, run_id), last_step(home, run_id)
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    while jobs.state(home, run_id).state != "interrupted":
        assert time.monotonic() - killed < 3, jobs.state(home, run_id)
        time.sleep(0.01)
    told = time.monotonic() - killed
    while processes_of(home, run_id):
        assert time.monotonic() - killed < 5, processes_of(home, run_id)
        time.sleep(0.05)
    making_steps = before.stage == step[0] and before.unit == "steps" and before.done > 0
    moment = "making steps" if making_steps else "loading or between stages"
    return {"stage": before.stage, "last_step": step[1], "while": moment,
            "told_seconds": round(told, 3), "clean_seconds": round(time.monotonic() - killed, 3)}


def soak(home: StudioHome, kills: int, seed: int) -> dict[str, Any]:
    """Run undisturbed once, then with kills; gives the result."""
    randomness = random.Random(seed)
    began = time.monotonic()
    reference = jobs.start(home, recipe())
    wait_until_finished(home, reference)
    undisturbed, expected = time.monotonic() - began, weights(home, reference)
    seen: list[dict[str, Any]] = []
    runs = 0
    while len(seen) < kills:
        run_id = jobs.start(home, recipe())
        runs += 1
        while len(seen) < kills:
            if not wait_for_moment(home, run_id, randomness, 0.5 * undisturbed):
                break
            found = kill_once(home, run_id)
            if found is None:
                break
            seen.append(found)
            print(f"kill {len(seen)}: {found}", flush=True)
            jobs.resume(home, run_id)
        wait_until_finished(home, run_id)
        assert steps_once(home, run_id), "a step is missing or double"
        differing = [file for file, value in weights(home, run_id).items() if expected.get(file) != value]
        assert not differing, f"these differ from the undisturbed run: {differing}"
    stages = Counter(f"{item['stage'] or 'starting'}, {item['while']}" for item in seen)
    return {"kills": len(seen), "runs": runs, "by_moment": dict(stages), "weights_bit_equal": True,
            "steps_recorded_once": True, "slowest_told_seconds": max(item["told_seconds"] for item in seen),
            "slowest_clean_seconds": max(item["clean_seconds"] for item in seen),
            "undisturbed_seconds": round(undisturbed, 1), "seconds": round(time.monotonic() - began, 1)}


def main() -> None:
    """Parse, soak, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--home", type=Path, help="keep the runs here (default: a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        result = soak(StudioHome(options.home or Path(folder) / "home"), options.kills, options.seed)
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
