"""How long GRPO takes without a GPU, to an order of magnitude: said before the start, so that nobody waits in vain.

A token costs about 10 operations for each parameter: 2 to sample it, 2 for its log-probability, 6 to learn from it. A
processor core does some 5 billion of them a second in this work (the bundled model reaches more; one of 135 million
parameters, whose weights do not stay in the cache, less).
"""

from pipeline.hardware import Hardware
from pipeline.recipe import Recipe

OPERATIONS = 10
CORE_SPEED = 5e9  # operations a second
MOST_CORES = 16  # more do not make it faster: the memory is the limit
HOUR, DAY = 3600.0, 86400.0


def grpo_seconds(recipe: Recipe, parameters: int, cores: int) -> float:
    """About how long all GRPO steps take on a processor, where answers are as long as they may be."""
    tokens = recipe.grpo.steps * recipe.grpo.completions_per_step * recipe.grpo.max_completion_tokens
    return OPERATIONS * parameters * tokens / (CORE_SPEED * min(max(cores, 1), MOST_CORES))


def processor_doubt(recipe: Recipe, parameters: int, hardware: Hardware) -> str | None:
    """A sentence where GRPO would take hours or longer because there is no GPU, with what works instead."""
    if hardware.gpus or not recipe.grpo.enabled:
        return None
    seconds = grpo_seconds(recipe, parameters, hardware.cpus)
    if seconds < 2 * HOUR:
        return None
    span = "hours" if seconds < 2 * DAY else "days" if seconds < 14 * DAY else "weeks"
    return (f"There is no GPU, and GRPO with a model of {parameters / 1e6:,.0f} million parameters takes {span} on "
            f"this processor (a rough estimate for {recipe.grpo.steps:,} steps of {recipe.grpo.completions_per_step:,} "
            "answers). What takes minutes here: the bundled model with «The demo's settings», under Start from.")
