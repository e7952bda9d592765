"""Where a stage runs: in the worker itself on a CPU, in a process of its own on a GPU."""

import functools
from collections.abc import Callable

from pipeline.engines.choose import check_gpus, gpu_count
from pipeline.machines import run_on_machines
from pipeline.run import Run
from pipeline.stage_process import IS_CHILD, run_in_child, run_on_gpus

TRAINING = ("sft", "grpo")


def in_own_process_on_gpu(stage: Callable[[Run], None]) -> Callable[[Run], None]:
    """A stage that loads a model: on a GPU it runs in a child process, training on several GPUs in one for each, and on
    several machines in one for each of theirs."""

    @functools.wraps(stage)
    def start(run: Run) -> None:
        model = run.recipe.model
        check_gpus(model)
        if not IS_CHILD and model.machines > 1 and run.stage in TRAINING:
            run_on_machines(run, model.gpus)
        elif IS_CHILD or gpu_count() == 0:
            stage(run)
        elif model.gpus > 1 and run.stage in TRAINING:
            run_on_gpus(run, model.gpus)
        else:
            run_in_child(run)

    return start
