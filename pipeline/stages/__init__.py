"""The stages of a run, one function each: `stage(run)`."""

import importlib
from collections.abc import Callable

from pipeline.run import Run

# stage name -> module and function; imported when the stage starts, since most of them import torch
STAGE_WORK = {
    "prepare": ("prepare", "prepare"), "sft": ("sft", "sft"), "merge_sft": ("merge", "merge_sft"),
    "grpo": ("grpo", "grpo"), "merge_grpo": ("merge", "merge_grpo"), "evaluate": ("evaluate", "evaluate"),
    "dry_run": ("dry_run", "dry_run"), "ask": ("ask", "ask"),
}


def stage_work(name: str) -> Callable[[Run], None]:
    """The function of a stage."""
    module, function = STAGE_WORK[name]
    return getattr(importlib.import_module(f"pipeline.stages.{module}"), function)  # type: ignore[no-any-return]
