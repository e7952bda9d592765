"""What a run takes on disk, its checkpoints, which of them did best on held-out questions, and pruning."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline import held_out, locks
from pipeline.disk import folder_bytes
from pipeline.engines.checkpoints import checkpoint_step, complete_checkpoints
from pipeline.errors import RunError
from pipeline.run_folder import RunFolder, RunReader

HELD_OUT = ("validation/reward/total", "validation/completion/exact_rate")


@dataclass(frozen=True)
class Checkpoint:
    """A usable checkpoint of a stage. `best` marks the highest held-out reward among those kept; `between` is the 95 %
    interval of that reward, where it was recorded; the best is `certain` where no other kept one lies in it."""

    stage: str
    step: int
    path: Path
    size: int
    held_out: float | None = None
    best: bool = False
    between: tuple[float, float] | None = None
    certain: bool = True


def checkpoints(folder: RunFolder) -> list[Checkpoint]:
    """The usable checkpoints, oldest first; the best by held-out reward is marked, where it was measured."""
    found = []
    for stage in ("sft", "grpo"):
        scores, intervals = _held_out(folder, stage)
        paths = complete_checkpoints(folder.checkpoints(stage))
        known = sorted(scores[checkpoint_step(path)] for path in paths if checkpoint_step(path) in scores)
        for path in paths:
            step = checkpoint_step(path)
            score, between = scores.get(step), intervals.get(step)
            best = score is not None and score == known[-1]
            certain = not best or between is None or len(known) < 2 or known[-2] < between[0]
            found.append(Checkpoint(stage, step, path, folder_bytes(path), score, best, between, certain))
    return found


def use(folder: RunFolder) -> dict[str, int]:
    """Bytes by part: data, checkpoints, adapters, models, records (run.db), the rest, and all together."""
    parts = {name: folder_bytes(folder.path / name) for name in ("data", "checkpoints", "adapters", "models")}
    parts["records"] = sum(file.stat().st_blocks * 512 for file in folder.path.glob("run.db*"))
    total = folder_bytes(folder.path)
    return parts | {"other": max(0, total - sum(parts.values())), "all": total}


def prune(folder: RunFolder) -> tuple[int, int]:
    """Delete checkpoints but the newest and the best of each stage; gives (how many, bytes freed).

    What is left of half-written ones goes too. Raises RunError while the run is alive.
    """
    if locks.is_held(folder.lock):
        raise RunError("The run is working: its own limit of checkpoints applies. Prune it when it is over.")
    count = freed = 0
    usable = checkpoints(folder)
    newest = {checkpoint.stage: checkpoint.step for checkpoint in usable}
    keep = {c.path for c in usable if c.best or newest[c.stage] == c.step}
    for stage in ("sft", "grpo"):
        for path in folder.checkpoints(stage).glob("*"):
            if path not in keep:
                freed += folder_bytes(path) if path.is_dir() else path.stat().st_size
                count += 1
                (path / "complete").unlink(missing_ok=True) if path.is_dir() else path.unlink()
                shutil.rmtree(path, ignore_errors=True)
    return count, freed


def _held_out(folder: RunFolder, stage: str) -> tuple[dict[int, float], dict[int, tuple[float, float]]]:
    """Step -> held-out reward (or right answers, without any), and step -> its 95 % interval."""
    reader = RunReader(folder)

    def by_step(key: str) -> dict[int, float]:
        return {row["step"]: row["value"] for row in reader.metric(key)
                if row["stage"] == stage and row["value"] is not None}

    for key in HELD_OUT:
        if values := by_step(key):
            low, high = (by_step(bound) for bound in held_out.keys_of(key))
            return values, {step: (low[step], high[step]) for step in low.keys() & high.keys()}
    return {}, {}
