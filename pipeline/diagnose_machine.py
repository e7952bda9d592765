"""The checks of the diagnosis that look at the machinery of a step: how long it takes, and which model samples."""

from statistics import median_high

from pipeline.diagnose import RECENT, Evidence, Finding, Trace, mean


def slow(trace: Trace) -> Finding | None:
    """A step takes more than twice what the dry run promised, or what it took at the start of the run."""
    times = trace.grpo("time/step_seconds")
    expected, against = trace.estimate_seconds, "the dry run's estimate"
    if expected is None:
        expected, against = median_high(times.values[2:RECENT + 2] or [0.0]), "what it was at the start"
    now = median_high(times.recent() or [0.0])
    if len(times) < 2 * RECENT or not expected or now < 2 * expected or now - expected < 0.5:
        return None
    split = {name: mean(trace.grpo(f"time/{name}_seconds").recent()) for name in ("generate", "score", "learn")}
    longest = max(split, key=lambda name: split[name])
    remedy = {"generate": "shorten the longest answer, or switch fast inference on",
              "score": "look for a slow reward in the Rewards tab",
              "learn": "lower the batch size with more accumulation, or end other programs on this device"}[longest]
    return Finding(
        "slow", "notable", "Training is much slower than expected",
        f"A step takes {now:.1f} s, {now / expected:.1f} times {against} ({expected:.1f} s). Most of it is spent to "
        f"{longest} ({split[longest]:.1f} s).", f"To be faster: {remedy}.",
        [Evidence(f"See step {times.last_step}", "grpo", times.last_step)])


def samplers_differ(trace: Trace) -> Finding | None:
    """vLLM and the trainer give the same tokens very different probabilities: vLLM does not hold what is learnt."""
    apart = trace.grpo("policy/sampler_difference")
    if len(apart) < RECENT or (now := median_high(apart.recent())) <= 0.3:
        return None
    return Finding(
        "samplers_differ", "serious", "vLLM samples from another model than the one that learns",
        f"Their log-probabilities of the same tokens are {now:.2f} apart on average; up to 0.1 is usual.",
        "Switch fast inference off and see whether the run goes better; take a 16-bit base, or the versions of "
        "requirements-gpu.txt.", [Evidence(f"See step {apart.last_step}", "grpo", apart.last_step)])
