"""What is kept of work that ended before it was done, and how a person goes on with it, in words: for what was stopped,
cut off from outside, or failed."""

from dataclasses import dataclass

from pipeline.engines.checkpoints import checkpoint_step, complete_checkpoints
from pipeline.errors import RunError
from pipeline.run_folder import RunFolder, RunReader

EVALUATE_AGAIN = ("The answers so far are kept: press Evaluate on the Compare tab again with the same settings, and "
                  "only what is still open is asked.")


@dataclass(frozen=True)
class Way:
    """How to go on: what to press, within a sentence, and what happens then; no words where it is just asked anew."""

    press: str = "press Resume"
    words: str = ""
    resumes: bool = True  # with Resume, and with what else the Runs tab offers for a run of its own


ANEW = Way("try again", resumes=False)


def way_on(folder: RunFolder) -> Way:
    """How to go on with what a run's worker did last: its own work, or a job beside it, which Resume does not repeat.
    """
    status = RunReader(folder).status()
    job = status.get("job") or {}
    if job.get("state") == "running":
        return Way("press Evaluate again", EVALUATE_AGAIN, False) if job.get("kind") == "evaluate" else ANEW
    if status.get("kind") in ("dry_run", "sample", "ask"):
        return ANEW
    stage = status.get("stage") or ""
    if any(row["name"] == stage and row["state"] == "finished" for row in RunReader(folder).stages()):
        return Way(words="Resume goes on with the next part.")  # it ended between two
    return Way(words=_resume_words(folder, stage))


def _resume_words(folder: RunFolder, stage: str) -> str:
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
