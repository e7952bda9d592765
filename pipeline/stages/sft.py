"""Stage: supervised fine-tuning on worked solutions, so that the model learns the tags and the layout."""

from pipeline.engines.choose import engine_for
from pipeline.run import Run
from pipeline.stages.process import in_own_process_on_gpu


@in_own_process_on_gpu
def sft(run: Run) -> None:
    """Train `adapters/sft`. Raises Stopped, DatasetError, EngineError."""
    engine_for(run.recipe).train_sft(run, run.model_before("sft"))
