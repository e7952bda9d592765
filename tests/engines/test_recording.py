"""The numbers that each training step puts on record."""

import pytest

from pipeline import tags
from pipeline.engines.recording import summarise
from pipeline.run_folder import CompletionRecord, GroupRecord

SCHEME = tags.SCHEMES["reasoning"]
GOOD = tags.wrap(SCHEME, "1 + 1 = 2", "2")


def _completion(text: str, total: float | None, tokens: int = 10, truncated: bool = False) -> CompletionRecord:
    return CompletionRecord(text, tokens, truncated, {"format": total}, total, 0.0, tags.extract(SCHEME, text))


def test_the_metrics_of_a_step_follow_from_its_groups():
    """Two groups of two: totals 3, 1 and 2, 2. Mean 2; spread sqrt((1 + 1 + 0 + 0) / 4) = 0.7071; one group of two is
    flat; one of four is cut off; two of four are well formed; three of four answers are right; lengths 10, 20, 30, 40.
    The weighted mean is the weight 2 times the raw mean 2."""
    groups = [
        GroupRecord("a", "2", [_completion(GOOD, 3.0), _completion("2", 1.0, 20)], right=1),
        GroupRecord("b", "2", [_completion(GOOD, 2.0, 30), _completion("…", 2.0, 40, truncated=True)], right=2),
    ]
    values = summarise(groups, {"format": 2.0}, SCHEME)
    assert values["reward/total"] == 2.0
    assert values["reward/std"] == pytest.approx(0.70711, abs=1e-5)
    assert values["groups/zero_variance"] == 0.5
    assert values["completion/truncated"] == 0.25
    assert values["completion/format_rate"] == 0.5
    assert values["completion/exact_rate"] == 0.75
    assert values["completion/mean_tokens"] == 25.0
    assert values["reward_raw/format"] == 2.0
    assert values["reward_weighted/format"] == 4.0


def test_scores_that_failed_are_left_out_and_not_counted_as_zero():
    """Totals 4 and None: the mean is 4, and a group with one score has no spread."""
    values = summarise([GroupRecord("a", None, [_completion(GOOD, 4.0), _completion(GOOD, None)])],
                       {"format": 1.0}, SCHEME)
    assert values["reward/total"] == 4.0
    assert values["groups/zero_variance"] == 1.0
    assert "completion/exact_rate" not in values
