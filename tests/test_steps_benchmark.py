"""The arithmetic behind the ratios of the benchmarks, and what they keep: the runs themselves are not in the suite."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import answer_check, over_limit, several_gpus
from benchmarks import ratios as raw_ratios
from benchmarks.plain.common import Clock
from benchmarks.steps import HERE, PATHS
from benchmarks.turns import Seen, Side, ratio, ratios, timing, unpaired_ratio
from pipeline.rewards.answers import same_answer, settle


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


def test_a_ratio_of_runs_that_share_nothing_has_welchs_interval() -> None:
    """Logs 1 and 3 against -1 and 1: means 2 apart, each variance 2, so the error is sqrt(2/2 + 2/2) = sqrt 2, with
    2² / (1² + 1²) = 2 degrees of freedom: half width 4.3027 · 1.4142."""
    found = unpaired_ratio([math.e, math.e**3], [1 / math.e, math.e])
    assert math.log(found["ratio"]) == pytest.approx(2.0)
    assert math.log(found["high"]) == pytest.approx(2 + 4.3027 * math.sqrt(2), rel=1e-4)
    assert math.log(found["low"]) == pytest.approx(2 - 4.3027 * math.sqrt(2), rel=1e-4)


def test_the_ratio_of_two_gpus_in_the_docs_is_what_the_command_gives(tmp_path: Path) -> None:
    """From the kept steps; and from outputs of the pipeline benchmark, whose first steps are left out: 100 tokens on
    average times 256 answers in 2 s, against the same on each of two GPUs in 2.5 s, are 1.6 times as many."""
    raw = json.loads((HERE.parent / "docs/results/gpu-several.json").read_text())
    found = several_gpus.compared({gpus: raw[gpus] for gpus in "12"})["over"]["2 over 1"]
    assert found == pytest.approx(raw["two_over_one"])
    runs = {}
    for gpus, seconds in ((1, 2.0), (2, 2.5)):
        metrics = {"grpo: time/step_seconds": [[1, 60.0], [2, 9.0], [3, seconds], [4, seconds * 1.01], [5, 1.0]],
                   "grpo: completion/mean_tokens": [[step, 100.0] for step in (1, 2, 3, 4)]}  # no word of the last one
        file = tmp_path / f"{gpus}.json"
        file.write_text(json.dumps({"metrics": metrics}))
        runs[str(gpus)] = several_gpus.steps_of(file, gpus, 256, 2)
    assert runs["2"] == {"seconds": [2.5, 2.525], "tokens": [51200.0, 51200.0]}
    assert several_gpus.compared(runs)["over"]["2 over 1"]["ratio"] == pytest.approx(1.6)


def test_what_trl_logs_of_vllm_against_the_trainer_is_kept_step_by_step(tmp_path: Path) -> None:
    """Also the weights of whole answers; without vLLM there is nothing of it, and the raw output says so."""
    with_vllm, without = Clock(tmp_path / "with.json", 0.0), Clock(tmp_path / "without.json", 0.0)
    for weight in (0.5, 0.9):
        with_vllm.on_log(None, None, None, {"completions/mean_length": 7.0, "loss": 0.1,
                                            "sampling/importance_sampling_ratio/mean": weight})
        without.on_log(None, None, None, {"completions/mean_length": 7.0})
    found = json.loads((tmp_path / "with.json").read_text())
    assert found["sampling"] == {"sampling/importance_sampling_ratio/mean": [0.5, 0.9]}
    assert json.loads((tmp_path / "without.json").read_text())["sampling"] == {}


def test_the_pairs_of_the_answer_check_need_mathematics_and_are_what_they_say() -> None:
    """Two of each shape, one equal and one not, through math-verify's own process."""
    made = list(answer_check.pairs(2))
    assert len(made) == 2 * len(answer_check.SHAPES) and sum(pair.same for pair in made) == len(made) / 2
    assert all(settle(pair.given, pair.reference) is None for pair in made)
    assert [pair for pair in made if same_answer(pair.given, pair.reference) is not pair.same] == []


def test_every_path_has_its_plain_script() -> None:
    for script, _, _ in PATHS.values():
        assert (HERE / "plain" / script).is_file()


def test_steps_are_told_as_multiples_of_the_limit() -> None:
    """Rounds of 2, 9 and 3 s have the median 3; sampling and learning alone take 1.5 s together."""
    rounds = [{"step_seconds": seconds} for seconds in (2.0, 9.0, 3.0)]
    assert over_limit.over({"sides": {"ours": {"rounds": rounds}}}, {"sum_seconds": 1.5}) == {"ours": 2.0}


def test_pairs_of_several_files_are_put_together_and_engines_that_took_no_turns_are_compared() -> None:
    """Pairs of 2 to 1 and 1 to 2 are even; rounds of 2 and 2.2 s against 4 and 4.4 s are a half."""
    pairs = [{side: {"questions_per_second": q, "tokens_per_second": q} for side, q in (("ours", a), ("plain", b))}
             for a, b in ((2.0, 1.0), (1.0, 2.0))]
    found = raw_ratios.of_pairs([{"pairs": pairs[:1]}, {"pairs": pairs[1:]}])
    assert found["questions_per_second"]["ratio"] == pytest.approx(1.0)
    assert found["tokens_per_second"]["pairs"] == 2
    first, second = ({"sides": {"ours": {"rounds": [
        {"step_seconds": seconds, "tokens_per_second": 1 / seconds} for seconds in (base, 1.1 * base)]}}}
        for base in (2.0, 4.0))
    assert raw_ratios.of_engines([first, second])["step_seconds"]["ratio"] == pytest.approx(0.5)


def test_the_rounds_of_several_sittings_are_put_together_where_both_sides_had_them() -> None:
    """2/4 and 3/6 are both one half; the third round of ours has no other side."""
    def file(ours: list[float], plain: list[float]) -> dict[str, Any]:
        sides = {"ours": ours, "plain": plain}
        return {"sides": {name: {"rounds": [{"step_seconds": s, "tokens_per_second": 1 / s} for s in seconds]}
                          for name, seconds in sides.items()}}

    found = raw_ratios.of_rounds([file([2, 9], [4]), file([3], [6])])
    assert found["step_seconds"]["ratio"] == pytest.approx(0.5) and found["step_seconds"]["pairs"] == 2
    assert found["tokens_per_second"]["ratio"] == pytest.approx(2)
