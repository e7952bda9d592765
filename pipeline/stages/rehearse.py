"""How long training takes here, found by training: a few steps of a stage in a scratch folder that is thrown away.

The engine's own trainer does them, with the recipe's batch, lengths, rewards and sampler, and its own record of the
seconds is read; so what is promised is what was measured, on every engine.
"""

import shutil
import statistics
from pathlib import Path

from pipeline.engines.base import Engine
from pipeline.recipe import Recipe
from pipeline.rewards.dry_report import Pace
from pipeline.run import Run
from pipeline.run_folder import RunFolder, RunReader, RunWriter

STEPS = {"grpo": 3, "sft": 4}  # the first step, which warms up, does not count


def rehearse(run: Run, engine: Engine, stage: str, model: str | Path) -> Pace:
    """The seconds of a step of `sft` or `grpo` from a model. Raises Stopped, and whatever training would raise."""
    folder = RunFolder(run.folder.path / "rehearsal")
    shutil.rmtree(folder.path, ignore_errors=True)
    try:
        folder.data(stage).parent.mkdir(parents=True)
        for part in (stage, "validation"):
            shutil.copy(run.folder.data(part), folder.data(part))
        writer = RunWriter(folder)
        try:
            probe = Run(folder, short(run.recipe), writer, run.stop_requested)
            probe.begin(stage, 1)
            train = engine.train_grpo if stage == "grpo" else engine.train_sft
            train(probe, model)
        finally:
            writer.close()
        return pace_of(RunReader(folder))
    finally:
        shutil.rmtree(folder.path, ignore_errors=True)


def short(recipe: Recipe) -> Recipe:
    """The recipe with a few steps, no checkpoints in between and nothing held out."""
    sft = recipe.sft.model_copy(update={"max_steps": STEPS["sft"], "save_every": 10**6, "eval_every": 10**6})
    grpo = recipe.grpo.model_copy(update={"steps": STEPS["grpo"], "save_every": 10**6, "eval_every": 0})
    return recipe.model_copy(update={"sft": sft, "grpo": grpo})


def pace_of(reader: RunReader) -> Pace:
    """The median seconds of the steps after the first; parts that were not recorded are 0."""
    def median(name: str) -> float:
        values = [row["value"] for row in reader.metric(f"time/{name}_seconds") if row["value"] is not None]
        return statistics.median(values[1:] or values or [0.0])

    return Pace(median("step"), median("generate"), median("score"), median("learn"))
