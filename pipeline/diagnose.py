"""What a run's records say in plain words: findings with evidence and a change to try."""

from typing import Any

from pipeline.recipe import Recipe
from pipeline.run_folder import RunReader


def diagnose(reader: RunReader, recipe: Recipe | None = None) -> list[Any]:
    """What stands out in a run; empty when nothing does."""
    return []
