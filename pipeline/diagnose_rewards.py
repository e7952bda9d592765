"""The checks of the diagnosis that look at one reward: it fails, or it is the same for every answer."""

from pipeline.diagnose import RECENT, Finding, Trace, mean
from pipeline.rewards.base import ALARMING_FAILURES


def rewards_failing(trace: Trace) -> Finding | None:
    """A reward could not score more than a tenth of the recent answers; said from the first step on."""
    shares = {label: mean(curve.recent()) for label, curve in trace.failed_rewards().items()}
    failing = {label: share for label, share in shares.items() if share > ALARMING_FAILURES}
    if not failing:
        return None
    words = ", ".join(f"«{label}» failed on {share:.0%} of the recent answers" for label, share in failing.items())
    return Finding(
        "rewards_failing", "serious",
        "A reward fails" if len(failing) == 1 else f"{len(failing)} rewards fail",
        f"{words}. Those scores are left out, so the others decide alone what is learned.",
        "Stop the run, try the reward on some answers in the Rewards tab (each failure says why, and on which line), "
        "and start again with it mended or switched off.", trace.look("all", "newest"))


def reward_never_varies(trace: Trace) -> Finding | None:
    """A reward function gave every answer of every step the same mean score."""
    stuck = {label: curve.values[0] for label, curve in trace.raw_rewards().items()
             if len(curve) >= RECENT and max(curve.values) - min(curve.values) < 1e-9}
    if not stuck:
        return None
    words = ", ".join(f"«{label}» always {value:g}" for label, value in stuck.items())
    return Finding(
        "reward_never_varies", "notable",
        "A reward never varies" if len(stuck) == 1 else f"{len(stuck)} rewards never vary",
        f"{words}. A reward that is the same for all answers has no influence on what is learned.",
        "Try it on a few answers in the Rewards tab: it may look for tags or a column that are not there. "
        "If it is always at its best, switch it off.", trace.look("all", "newest"))
