"""What is missing and what to do next, worked out from the choices and the current run. No components here."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.model_check import ModelCheck
from pipeline.recipe import RewardsStep
from pipeline.run_state import RunCard, RunState

BUSY = ("running", "stopping", "waiting")


@dataclass(frozen=True)
class NextStep:
    """The header's lines: what is missing (may be empty), the next step in words, and the tab that does it, or that
    shows what the button itself has done: with `resumes` it resumes the run, with `run` it makes that the current one.
    """

    missing: tuple[str, ...]
    words: str
    button: str
    tab: str
    resumes: bool = False
    run: str = ""


def missing_parts(check: ModelCheck, dataset: str, rewards: RewardsStep) -> tuple[tuple[str, str], ...]:
    """Each missing thing as (sentence, tab where it is mended). `dataset`: why its rows cannot be read, or empty."""
    found = [(f"Model: {check.problems[0]}", "train")] if check.problems else []
    if dataset:
        found.append((f"Dataset: {dataset}", "data"))
    if not any(f.enabled and f.weight for f in rewards.functions):
        found.append(("Rewards: none is switched on, so GRPO has nothing to learn from.", "rewards"))
    return tuple(found)


def next_step(missing: tuple[tuple[str, str], ...], state: RunState | None, newcomer: bool,
              to_compare: bool, other: RunCard | None = None) -> NextStep:
    """The one thing to do now. A running job comes first, then a finished one's result, then what is missing.

    `newcomer`: there is no run yet, and neither model nor data of one's own were chosen. `other`: where no run is
    chosen, as in a browser that was never here, one that wants attention (see `unattended`).
    """
    lines = tuple(text for text, _ in missing)
    if state is not None:
        known = _of_run(state, to_compare)
        if known is not None:
            return NextStep(lines, *known)
    elif other is not None and (other.state.state in BUSY or not missing):
        return _of_other(lines, other)
    if missing:
        return NextStep(lines, "Mend what is missing.", "Show it", missing[0][1])
    if newcomer:
        return NextStep((), "New here? Train the demo: one click, a few minutes.", "Start", "start")
    return NextStep((), "Look over the settings, then start training.", "Train", "train")


def unattended(cards: list[RunCard], mine: Callable[[RunCard], bool]) -> RunCard | None:
    """The run that a browser which has chosen none should hear of: one that trains or waits, else the newest where it
    was interrupted. `mine`: whether a run was started by the one who looks; the owner of a Space sees others too."""
    busy = next((card for card in cards if card.state.state in BUSY and card.state.kind != "ask" and mine(card)), None)
    if busy is not None:
        return busy
    newest = next(filter(mine, cards), None)
    return newest if newest is not None and newest.state.state == "interrupted" else None


def _of_other(missing: tuple[str, ...], other: RunCard) -> NextStep:
    if other.state.state == "waiting":
        return NextStep(missing, f"«{other.name}» waits for its turn.", "See the queue", "runs", run=other.id)
    if other.state.state in BUSY:
        return NextStep(missing, f"«{other.name}» is at work.", "Watch it live", "live", run=other.id)
    return NextStep(missing, f"«{other.name}» was interrupted; what it did so far is kept.", "Look at it", "live",
                    run=other.id)


def _of_run(state: RunState, to_compare: bool) -> tuple[str, str, str] | tuple[str, str, str, bool] | None:
    if state.state == "running" and state.kind == "ask":
        return "Its models are loaded and answer your questions.", "Ask them", "compare"
    if state.state == "running" or state.state == "stopping":
        return state.reason or f"{state.words or 'Starting'}.", "Watch it live", "live"
    if state.state == "waiting":
        return state.reason or "Waiting for its turn.", "See the queue", "runs"
    if state.state == "finished" and to_compare:
        return "The run is finished: see whether the model got better.", "See the comparison", "compare"
    if state.state == "finished":
        return "The run is finished: take the model with you.", "Export", "export"
    if state.state in ("stopped", "interrupted"):
        return f"The run was {state.state}; what it did so far is kept.", "Resume it", "live", True
    if state.state == "failed":
        return f"The run failed: {state.reason} {state.remedy}".strip(), "See what happened", "runs"
    return None
