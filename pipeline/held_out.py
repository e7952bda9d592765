"""How far chance goes in what a run measures on its validation part: the intervals around the held-out points."""

from collections.abc import Sequence

from pipeline import tags
from pipeline.run_folder import GroupRecord
from pipeline.statistics import bootstrap_mean, clustered_rate

MEASURED, LOW, HIGH = "validation/", "validation_low/", "validation_high/"


def bounds(groups: Sequence[GroupRecord], scheme: tags.TagScheme) -> dict[str, float]:
    """Metric key -> lowest and highest value of the 95 % interval, of each rate and mean that a chart shows.

    `groups` are the answers to each question, equally many. The question is the unit: with one answer each, a rate has
    Wilson's interval; otherwise, and for means, questions are resampled. What nothing was measured of has no bounds.
    """
    size = max((len(group.completions) for group in groups), default=0)
    formed = [sum(tags.is_well_formed(scheme, c.text) for c in group.completions) for group in groups]
    right = [group.right for group in groups if group.right is not None]
    found = {key: (rate.low, rate.high) for key, counts in (("completion/format_rate", formed),
                                                            ("completion/exact_rate", right))
             if counts for rate in [clustered_rate(counts, size)]}
    tokens = [_mean([c.tokens for c in group.completions]) for group in groups]
    scored = [[c.total for c in group.completions if c.total is not None] for group in groups]
    totals = [_mean(known) for known in scored if known]
    found |= {key: bootstrap_mean(means) for key, means in (("completion/mean_tokens", tokens),
                                                            ("reward/total", totals)) if len(means) > 1}
    return {f"{side}{key}": value for key, both in found.items() for side, value in zip((LOW, HIGH), both, strict=True)}


def keys_of(key: str) -> tuple[str, str] | None:
    """The keys of the bounds of a held-out metric; None for another one."""
    name = key.removeprefix(MEASURED)
    return None if name == key else (LOW + name, HIGH + name)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
