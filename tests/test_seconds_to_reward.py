"""The time to a validation reward, from what a benchmark wrote."""

import pytest

from benchmarks.seconds_to_reward import REWARD, SECONDS, looks, seconds_to


def test_only_learning_counts_and_a_look_between_is_interpolated():
    """Steps of 2 s; looks at steps 2, 4, 6 say 0.4, 0.8, 0.6: 0.6 is first reached half way from 4 to 8 s."""
    found = looks({SECONDS: [[step, 2.0] for step in range(1, 7)], REWARD: [[2, 0.4], [4, 0.8], [6, 0.6]]})
    assert found == [(4.0, 0.4), (8.0, 0.8), (12.0, 0.6)]
    assert seconds_to(0.6, found) == pytest.approx(6.0)
    assert seconds_to(0.3, found) == 4.0
    assert seconds_to(0.9, found) is None


def test_a_run_that_never_looked_is_refused():
    with pytest.raises(ValueError, match="--eval-every"):
        looks({SECONDS: [[1, 2.0]]})
