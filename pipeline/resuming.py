"""What is kept of work that was cut off in a stage, and what Resume does then, in words."""

from pipeline.engines.checkpoints import checkpoint_step, complete_checkpoints
from pipeline.errors import RunError
from pipeline.run_folder import RunFolder, RunReader

EVALUATE_AGAIN = ("The answers so far are kept: press Evaluate on the Compare tab again with the same settings, and "
                  "only what is still open is asked.")


def way_on(folder: RunFolder) -> str:
    """A sentence on how to go on with what a run's worker was doing when it ended; empty where it is just asked anew.
    """
    status = RunReader(folder).status()
    job = status.get("job") or {}
    if job.get("state") == "running":  # a job beside the run's own work, which Resume does not repeat
        return EVALUATE_AGAIN if job.get("kind") == "evaluate" else ""
    return resume_words(folder, status.get("stage") or "")


def resume_words(folder: RunFolder, stage: str) -> str:
    """A sentence on Resume for a run whose work ended in `stage` (empty: before the first one)."""
    if stage in ("sft", "grpo"):
        usable = complete_checkpoints(folder.checkpoints(stage))
        if usable:
            return f"Resume goes on from the last checkpoint (step {checkpoint_step(usable[-1]):,})."
        return f"Resume begins {stage.upper()} again: it had no checkpoint yet."
    if stage == "evaluate":
        return f"{kept_answers(folder)} Resume asks only the questions that are still open."
    if stage in ("merge_sft", "merge_grpo"):
        return "Resume merges again; the trained adapter is kept."
    return "Resume begins this part again."


def kept_answers(folder: RunFolder) -> str:
    """How many answers of evaluations a run has stored, in a sentence that ends before what follows from it."""
    try:
        count = RunReader(folder).rows("SELECT COUNT(*) AS n FROM evaluations")[0]["n"]
    except (RunError, IndexError):
        count = 0
    return f"The models are kept, and so {'is' if count == 1 else 'are'} {_answers(count)}." if count else (
        "The models are kept; no answer was stored yet.")


def _answers(count: int) -> str:
    return "the one answer that was stored" if count == 1 else f"the {count:,} answers that were stored"
