"""Stage: Group Relative Policy Optimization from the merged SFT model (or from the base when SFT is off)."""

from pipeline.engines.choose import engine_for
from pipeline.run import Run
from pipeline.stages.process import in_own_process_on_gpu


@in_own_process_on_gpu
def grpo(run: Run) -> None:
    """Train `adapters/grpo`. Raises Stopped, DatasetError, EngineError."""
    engine_for(run.recipe).train_grpo(run, run.model_before("grpo"))
