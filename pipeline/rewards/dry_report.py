"""What a dry run found, as numbers and as a verdict in words. Pure functions of the sampled groups."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.recipe import GrpoStep
from pipeline.rewards.base import ALARMING_FAILURES
from pipeline.run_folder import GroupRecord

MANY_FLAT, SOME_FLAT, MANY_TRUNCATED = 0.5, 0.25, 0.2
MAX_BARS = 12


@dataclass(frozen=True)
class Distribution:
    """Scores of one reward: how many, mean, range, and how often each value (or band) came."""

    label: str
    weight: float
    scored: int
    failed: int
    mean: float | None
    low: float | None
    high: float | None
    bars: tuple[tuple[str, int], ...]

    @property
    def flat(self) -> bool:
        """Whether every answer got the same score."""
        return self.scored > 0 and self.low == self.high


@dataclass(frozen=True)
class Pace:
    """Seconds of one training step, measured, and of its parts."""

    step_seconds: float
    generate_seconds: float
    score_seconds: float
    learn_seconds: float


@dataclass(frozen=True)
class Times:
    """What was measured for the time of the whole run. None: not wanted, or not measured (`problem` says why)."""

    sampling_seconds: float  # for one answer
    scoring_seconds: float  # for one answer
    grpo: Pace | None = None
    sft: Pace | None = None
    sft_steps: int = 0
    evaluated_answers: int = 0
    problem: str = ""

    @property
    def parts(self) -> dict[str, float | None]:
        """Seconds of each part of the run that takes long; None where it is not known."""
        found: dict[str, float | None] = {}
        if self.sft_steps:
            found["SFT"] = self.sft.step_seconds * self.sft_steps if self.sft else None
        found["GRPO"] = None
        if self.evaluated_answers:
            found["the comparison"] = self.sampling_seconds * self.evaluated_answers
        return found


@dataclass(frozen=True)
class DryReport:
    """The findings of a dry run."""

    model: str
    prompts: int
    answers: int
    group_size: int
    rewards: tuple[Distribution, ...]
    mean_total: float | None
    zero_variance: float
    all_right: float | None
    all_wrong: float | None
    right: float | None
    format_rate: float
    truncated: float
    mean_tokens: float
    sampling_seconds: float
    step_seconds: float | None
    run_seconds: float | None
    pace: Pace | None = None
    parts: Mapping[str, float | None] = field(default_factory=dict)
    time_words: str = ""
    verdict: tuple[str, ...] = ()
    good: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def dry_report(groups: Sequence[GroupRecord], weights: Mapping[str, float], grpo: GrpoStep, *, model: str,
               formatted: int, times: Times) -> DryReport:
    """Summarise the groups. `formatted` counts the well-formed answers."""
    rows = [c for group in groups for c in group.completions]
    n = max(1, len(rows))
    rewards = tuple(distribution(label, weight, [c.rewards.get(label) for c in rows])
                    for label, weight in weights.items())
    totals = [c.total for c in rows if c.total is not None]
    judged = [g for g in groups if g.right is not None]
    step = times.grpo.step_seconds if times.grpo else None
    parts = times.parts | {"GRPO": None if step is None else step * grpo.steps}
    group_size = max((len(g.completions) for g in groups), default=0)
    report = DryReport(
        model, len(groups), len(rows), group_size, rewards, sum(totals) / len(totals) if totals else None,
        sum(is_flat(g) for g in groups) / max(1, len(groups)),
        _share(g.right == len(g.completions) for g in judged), _share(g.right == 0 for g in judged),
        sum(g.right or 0 for g in judged) / max(1, sum(len(g.completions) for g in judged)) if judged else None,
        formatted / n, sum(c.truncated for c in rows) / n, sum(c.tokens for c in rows) / n,
        times.sampling_seconds * len(rows), step,
        None if step is None else sum(s for s in parts.values() if s is not None),
        times.grpo, parts, time_words(times, grpo, parts))
    found, good = verdict(report, grpo)
    return DryReport(**{**vars(report), "verdict": tuple(found), "good": good})


def time_words(times: Times, grpo: GrpoStep, parts: Mapping[str, float | None]) -> str:
    """How the times were found, and what they leave out."""
    sampled = times.sampling_seconds * grpo.completions_per_step / grpo.num_iterations
    if times.grpo is None:
        why = f" ({times.problem})" if times.problem else ""
        return (f"Writing the answers of a step takes about {seconds(sampled)} and scoring them "
                f"{seconds(times.scoring_seconds * grpo.completions_per_step)}. How long learning from them takes was "
                f"not measured{why}.")
    pace, shares = times.grpo, [f"{name} {seconds(value)}" for name, value in parts.items() if value is not None]
    unknown = [name for name, value in parts.items() if value is None]
    return (f"Measured on training steps that were thrown away: writing {seconds(pace.generate_seconds)}, scoring "
            f"{seconds(pace.score_seconds)}, learning {seconds(pace.learn_seconds)} a step. Whole run: "
            f"{', '.join(shares)}. Loading and merging models come on top"
            + (f", and {' and '.join(unknown)}, not measured." if unknown else ".")
            + " It takes longer when answers get longer while the model learns.")


def seconds(value: float) -> str:
    """A duration as people say it: 30 ms, 12 s, 8 min, 3.5 h."""
    if value < 0.0995:
        return f"{1000 * value:.2g} ms"
    if value < 120:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def distribution(label: str, weight: float, scores: Sequence[float | None]) -> Distribution:
    """Mean, range and bars of raw scores; values are counted one by one while there are few, else in bands."""
    real = [s for s in scores if s is not None]
    if not real:
        return Distribution(label, weight, 0, len(scores), None, None, None, ())
    low, high = min(real), max(real)
    counts = Counter(round(s, 6) for s in real)
    if len(counts) <= MAX_BARS:
        bars = [(f"{value:g}", counts[value]) for value in sorted(counts)]
    else:
        width = (high - low) / MAX_BARS
        banded = Counter(min(MAX_BARS - 1, int((s - low) / width)) for s in real)
        bars = [(f"{low + i * width:.2g} to {low + (i + 1) * width:.2g}", banded[i]) for i in range(MAX_BARS)]
    failed, mean = len(scores) - len(real), sum(real) / len(real)
    return Distribution(label, weight, len(real), failed, mean, low, high, tuple(bars))


def is_flat(group: GroupRecord) -> bool:
    """Whether all answers of a group got the same total, so that it teaches nothing."""
    totals = [c.total for c in group.completions if c.total is not None]
    return not totals or max(totals) - min(totals) < 1e-9


def verdict(report: DryReport, grpo: GrpoStep) -> tuple[list[str], bool]:
    """What the numbers mean and what to change, most important first; and whether training makes sense."""
    out: list[str] = []
    flat = f"{report.zero_variance:.0%} of groups get equal rewards"
    cure = _cure(report)
    if report.zero_variance >= MANY_FLAT:
        out.append(f"{flat}, so most steps teach nothing: {cure}.")
    elif report.zero_variance >= SOME_FLAT:
        out.append(f"{flat} and teach nothing; the others do. It can work; to waste less, {cure}.")
    for reward in report.rewards:
        if reward.failed > ALARMING_FAILURES * (reward.failed + reward.scored):
            out.append(f"The reward {reward.label!r} could not score {reward.failed} of "
                       f"{reward.failed + reward.scored} answers: correct it, or the references, before training.")
    idle = [f"{r.label!r} ({r.low:g})" for r in report.rewards if r.flat]
    if idle and report.answers > 1:
        out.append(f"{'These rewards' if len(idle) > 1 else 'This reward'} gave every answer the same score so far: "
                   f"{', '.join(idle)}.")
    if report.truncated >= MANY_TRUNCATED:
        out.append(f"{report.truncated:.0%} of the answers are cut off at {grpo.max_completion_tokens} tokens and "
                   f"cannot be right: allow {2 * grpo.max_completion_tokens} tokens, or warm up longer so that the "
                   "model learns to end.")
    good = report.zero_variance < MANY_FLAT and all(
        r.failed <= ALARMING_FAILURES * (r.failed + r.scored) for r in report.rewards) and report.truncated < 0.5
    if not out:
        out.append(f"The rewards tell the answers of {1 - report.zero_variance:.0%} of the groups apart: training has "
                   "something to learn from.")
    elif good and report.zero_variance < SOME_FLAT:
        out.insert(0, f"Training can work: the rewards tell the answers of {1 - report.zero_variance:.0%} of the "
                   "groups apart. What to look at:")
    return out, good


def _cure(report: DryReport) -> str:
    if report.all_right is not None and report.all_right >= 0.5:
        return "take harder questions (these are too easy for this model)"
    if report.format_rate < 0.2:
        return "add partial credit or warm up longer (the model hardly writes the tags yet)"
    if report.right is not None and report.right < 0.05:
        return "add partial credit, or take easier questions (the model is almost never right)"
    return "raise the temperature or the answers per question, or add partial credit"


def _share(flags: Any) -> float | None:
    values = [bool(flag) for flag in flags]
    return sum(values) / len(values) if values else None
