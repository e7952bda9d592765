"""Stages: write the plain 16-bit model folders that follow SFT and GRPO."""

from pipeline.engines.choose import engine_for
from pipeline.run import Run
from pipeline.stages.process import in_own_process_on_gpu


@in_own_process_on_gpu
def merge_sft(run: Run) -> None:
    """`models/sft` from the base and `adapters/sft`. GRPO starts on it with a fresh adapter."""
    _merge(run, "sft")


@in_own_process_on_gpu
def merge_grpo(run: Run) -> None:
    """`models/grpo` from the model that GRPO started on and `adapters/grpo`."""
    _merge(run, "grpo")


def _merge(run: Run, stage: str) -> None:
    run.progress(0, 1, "models", "Merging the adapter into a 16-bit model")
    run.check_stop()
    engine_for(run.recipe.model).merge(run, run.model_before(stage), run.folder.adapter(stage), run.folder.model(stage))
    run.progress(1, 1, "models", "The merged model is ready")
