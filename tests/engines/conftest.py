"""A small run folder with demo problems in its four parts, for tests that train the bundled model for a few steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline import tags
from pipeline.dataset.demo import demo_rows
from pipeline.recipe import Recipe
from pipeline.run import Run
from pipeline.run_folder import RunFolder, RunWriter
from pipeline.studio_home import StudioHome

SETTINGS: dict[str, Any] = {
    "model": {"source": "tiny", "max_length": 256},
    "lora": {"rank": 4, "gradient_checkpointing": False},
    "sft": {"batch_size": 4, "max_steps": 4, "eval_every": 2, "save_every": 2, "learning_rate": 1e-3},
    "grpo": {"steps": 4, "batch_size": 8, "num_generations": 4, "max_completion_tokens": 12, "learning_rate": 1e-3,
             "save_every": 2},
}


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """`make_run(id, grpo={…}, …)`: a run in its own home, its data prepared, its settings changed as named."""

    def make(run_id: str = "a-small-run", **changes: dict[str, Any]) -> Run:
        settings = {step: {**SETTINGS.get(step, {}), **changes.get(step, {})} for step in {*SETTINGS, *changes}}
        folder = RunFolder(StudioHome(tmp_path / "home").runs_dir / run_id)
        (folder.path / "data").mkdir(parents=True)
        recipe = Recipe.parse(settings)
        folder.recipe_file.write_text(recipe.to_yaml(), encoding="utf-8")
        for part, count in (("sft", 24), ("grpo", 24), ("validation", 8), ("test", 8)):
            pd.DataFrame([_row(i, row) for i, row in enumerate(demo_rows(part, count, 1))]).to_parquet(
                folder.data(part))
        return Run(folder, recipe, RunWriter(folder))

    return make


def _row(index: int, row: dict[str, Any]) -> dict[str, Any]:
    scheme = tags.SCHEMES["reasoning"]
    return {"id": str(index), "row": index, "system": tags.system_prompt(scheme), "question": row["question"],
            "reasoning": row["reasoning"], "reference": row["answer"], "subject": None,
            "completion": tags.wrap(scheme, row["reasoning"], row["answer"])}
