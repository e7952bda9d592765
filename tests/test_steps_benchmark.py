"""The arithmetic behind the ratios of `make bench`: the runs themselves are not part of the suite."""

import math

import pytest

from benchmarks.steps import HERE, PATHS
from benchmarks.turns import Seen, Side, ratio, ratios, timing


def test_the_step_in_which_a_side_waited_does_not_count() -> None:
    """Two steps were done, the third was stopped in the middle; the next three take 1, 3 and 2 s: median 2 s; their
    60 + 90 + 30 tokens in 6 s are 30 a second."""
    seen = Seen([10.0, 19.0, 119.0, 120.0, 123.0, 125.0], [7.0, 500.0, 8.0, 60.0, 90.0, 30.0], 12.0)
    assert timing(seen, 2, 3) == {"step_seconds": 2.0, "tokens_per_second": 30.0}


def test_a_side_that_joins_some_rounds_is_compared_in_those() -> None:
    def side(*seconds: float) -> Side:
        return Side("", lambda: None, list, lambda: None,
                    [{"step_seconds": s, "tokens_per_second": 60 / s} for s in seconds])

    found = ratios(side(1.0, 1.0, 9.0), side(2.0, 2.0))
    assert (found["step_seconds"]["ratio"], found["step_seconds"]["pairs"]) == (pytest.approx(0.5), 2)
    assert found["tokens_per_second"]["ratio"] == pytest.approx(2.0)


def test_a_side_that_ended_is_told_at_once() -> None:
    with pytest.raises(SystemExit, match="plain: no such model"):
        Side("plain", lambda: None, list, lambda: "no such model").reach(1, deadline=math.inf)


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
