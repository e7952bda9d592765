"""The arithmetic behind the ratios of `make bench`: the runs themselves are not part of the suite."""

import math

import pytest

from benchmarks.steps import HERE, PATHS, ratio, timing


def test_the_first_steps_are_left_out_and_tokens_count_over_the_same_steps() -> None:
    """Steps 9, 1, 3, 2 s without the first: median 2 s; 60 + 90 + 30 tokens in 6 s are 30 a second."""
    found = timing([9.0, 1.0, 3.0, 2.0], [500.0, 60.0, 90.0, 30.0], skip=1, start=12.0)
    assert (found.step_seconds, found.tokens_per_second, found.start_seconds) == (2.0, 30.0, 12.0)
    with pytest.raises(SystemExit, match="only 4 steps"):
        timing([9.0, 1.0, 3.0, 2.0], [1.0] * 4, skip=4, start=0.0)


def test_the_ratio_is_a_geometric_mean_with_students_interval() -> None:
    """Pairs 2/1 and 1/2: logs ±ln 2, mean 0, deviation √2·ln 2, half width t(0.975; 1) · ln 2 = 12.706 · 0.6931."""
    found = ratio([2.0, 1.0], [1.0, 2.0])
    assert found["ratio"] == pytest.approx(1.0) and found["pairs"] == 2
    assert math.log(found["high"]) == pytest.approx(12.7062 * math.log(2), rel=1e-4)
    assert found["low"] * found["high"] == pytest.approx(1.0)
    same = ratio([3.0, 6.0, 9.0], [1.0, 2.0, 3.0])
    assert same["ratio"] == same["low"] == same["high"] == pytest.approx(3.0)


def test_every_path_has_its_plain_script() -> None:
    for script, _, _ in PATHS.values():
        assert (HERE / "plain" / script).is_file()
