"""The diagnosis: each problem is named on a trace that has it, and healthy traces stay silent."""

import dataclasses
import json
from pathlib import Path

import pytest

from pipeline.diagnose import Curve, Trace, diagnose
from pipeline.diagnose_checks import CHECKS, findings
from pipeline.recipe import Recipe
from pipeline.run_folder import RunFolder, RunReader
from tests.live.synthetic import Synthetic, constant, curves_of, rising, write_run

RECIPE = Recipe()


def trace_of(grpo: dict | None = None, sft: dict | None = None, steps: int = 120, seed: int = 1,
             **more: object) -> Trace:
    """A healthy run with some curves replaced; None leaves a key out."""
    plan = Synthetic(grpo_steps=steps, grpo=grpo or {}, sft=sft or {}, seed=seed)
    curves = {stage: {k: Curve(*v) for k, v in found.items()} for stage, found in curves_of(plan).items()}
    return Trace(curves, RECIPE, **more)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("steps", [1, 5, 12, 40, 120, 400])
def test_a_healthy_run_is_not_commented_on(steps: int, seed: int) -> None:
    """Noise of other seeds, and beginnings of any length, give no finding."""
    assert findings(trace_of(steps=steps, seed=seed)) == []


def test_a_run_without_records_is_not_commented_on(tmp_path: Path) -> None:
    """A waiting run, and traces with missing keys."""
    assert diagnose(RunReader(RunFolder(tmp_path / "none"))) == []
    assert findings(Trace({})) == []
    assert findings(Trace({"grpo": {"reward/total": Curve([1], [None])}})) == []


NO_REWARD = {"reward/total": constant(0.0), "reward_raw/format_exact": constant(0.0),
             "reward_raw/answer_exact": constant(0.0), "groups/zero_variance": constant(1.0)}
ACCURACY_FLAT = {"completion/exact_rate": constant(0.3, 0.03), "reward_raw/answer_exact": constant(0.3, 0.03)}
PROBLEMS = {
    "rewards_zero": NO_REWARD,
    "tags_missing": {"completion/format_rate": constant(0.01), "reward_raw/format_exact": constant(0.0)},
    "groups_equal": {"groups/zero_variance": rising(0.3, 0.98, 0.01)},
    "truncated": {"completion/truncated": rising(0.1, 0.45, 0.03)},
    "accuracy_flat": ACCURACY_FLAT,
    "gaming": {"validation/completion/exact_rate":
               lambda step, t, rng: 0.5 - 0.3 * t + rng.gauss(0, 0.02) if step % 10 == 0 else None},
    "length_creeping": {"completion/mean_tokens": rising(200, 470, 10)},
    "kl_exploding": {"policy/kl": lambda step, t, rng: 0.02 if t < 0.9 else 40 * (t - 0.85)},
    "gradient_exploding": {"optim/grad_norm": lambda step, t, rng: 0.1 if t < 0.9 else 12.0},
    "samplers_differ": {"policy/sampler_difference": rising(0.05, 0.6, 0.02)},
    "entropy_collapsed": {"policy/entropy": rising(0.8, 0.01, 0.001), "reward_raw/answer_exact": rising(0.2, 0.5)},
    "rate_too_high": {"reward/total":
                      lambda step, t, rng: (5 * t if t < 0.5 else 5 - 8 * (t - 0.5)) + rng.gauss(0, 0.2)},
    "rate_too_low": {"reward/total": constant(2.0, 0.2), "policy/kl": constant(1e-5),
                     "policy/entropy": constant(0.8, 0.01), **ACCURACY_FLAT},
    "rewards_failing": {"reward_failed/mine": constant(0.3, 0.02)},
    "reward_never_varies": {"reward_raw/format_exact": constant(0.0)},
    "slow": {"time/step_seconds": lambda step, t, rng: 2.0 if t < 0.5 else 7.0,
             "time/generate_seconds": lambda step, t, rng: 1.2 if t < 0.5 else 6.2},
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", PROBLEMS)
def test_each_problem_is_named_alone(kind: str, seed: int) -> None:
    """The finding that belongs to the trace, and no other, with words, a change to try and a place to look."""
    found = findings(trace_of(PROBLEMS[kind], seed=seed))
    assert [f.kind for f in found] == [kind]
    assert found[0].what and found[0].change and found[0].evidence


def test_sft_overfitting_is_named_with_the_step_of_the_turn() -> None:
    """The held-out loss is lowest at step 30 of 60 and rises from 1.0 to 1.3."""
    held = {"sft/eval_loss": lambda step, t, rng: 1.0 + abs(t - 0.5) * 0.6 if step % 10 == 0 else None}
    (finding,) = findings(trace_of(sft=held))
    assert finding.kind == "sft_overfitting" and "step 30" in finding.what and "about 30 steps" in finding.change


def test_a_rising_sft_loss_is_named() -> None:
    """From 1 to 3 over 60 steps, the held-out loss with it."""
    up = {"sft/loss": rising(1.0, 3.0, 0.05), "sft/eval_loss": None}
    assert [f.kind for f in findings(trace_of(sft=up))] == ["sft_unstable"]


def test_a_gradient_that_is_not_a_number_is_named() -> None:
    """Stored as NULL, since it is not finite."""
    trace = trace_of()
    norm = trace.curves["grpo"]["optim/grad_norm"]
    trace.curves["grpo"]["optim/grad_norm"] = Curve(norm.steps, [*norm.raw[:-2], None, None])
    assert [f.kind for f in findings(trace)] == ["gradient_exploding"]


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "traces").glob("*.json")), ids=lambda p: p.stem)
def test_recorded_runs_are_judged_as_people_judged_them(path: Path) -> None:
    """Curves of real runs of the bundled model, each stored with the findings that fit it."""
    recorded = json.loads(path.read_text())
    curves = {stage: {k: Curve(*v) for k, v in found.items()} for stage, found in recorded["curves"].items()}
    assert [f.kind for f in findings(Trace(curves, RECIPE))] == recorded["findings"]


def test_a_failing_reward_is_named_from_the_first_step_on_once_more_than_a_tenth_fails() -> None:
    """One of several rewards, on 11 % of the answers of the only step; a tenth is no finding."""
    shares = {"reward_failed/mine": Curve([1], [0.11]), "reward_raw/mine": Curve([1], [1.0])}
    (finding,) = findings(Trace({"grpo": shares}))
    assert finding.kind == "rewards_failing" and finding.level == "serious" and "«mine» failed on 11%" in finding.what
    assert findings(Trace({"grpo": shares | {"reward_failed/mine": Curve([1, 2], [0.2, 0.0])}})) == []


def test_tags_that_are_not_learnt_are_told_with_the_steps_that_sft_took() -> None:
    """Nothing before 20 steps, since GRPO may yet teach them; without SFT it is said so."""
    missing = {"completion/format_rate": constant(0.0)}
    assert findings(trace_of(missing, steps=19)) == []
    (finding,) = findings(trace_of(missing))
    assert f"after {trace_of().sft('sft/loss').last_step} steps of SFT" in finding.what
    alone = trace_of(missing)
    (finding,) = findings(dataclasses.replace(alone, curves={"grpo": alone.curves["grpo"]}))
    assert "SFT was left out" in finding.what


def test_slowness_is_measured_against_the_dry_run() -> None:
    """2 s a step against an estimate of 0.5 s is 4 times; against 1.5 s it is no finding."""
    assert [f.kind for f in findings(trace_of(estimate_seconds=0.5))] == ["slow"]
    assert findings(trace_of(estimate_seconds=1.5)) == []


def test_every_check_has_a_trace_that_provokes_it() -> None:
    """A new check needs its problem here."""
    assert {c.__name__ for c in CHECKS} == {*PROBLEMS, "sft_overfitting", "sft_unstable"}


def test_the_evidence_links_to_a_group_that_shows_it(tmp_path: Path) -> None:
    """Gaming links to a well-paid group of the last quarter in which no answer is right."""
    plan = Synthetic(grpo=PROBLEMS["gaming"], groups_per_step=6, group_size=2)
    folder = write_run(tmp_path / "r1", plan)
    reader = RunReader(folder)
    (finding,) = diagnose(reader, folder.recipe())
    evidence = finding.evidence[0]
    assert evidence.step >= 90 and evidence.group
    row = reader.rows("SELECT * FROM groups WHERE id = ?", (evidence.group,))[0]
    assert row["right"] == 0 and row["step"] == evidence.step
    assert dataclasses.asdict(finding)["evidence"][0]["group"] == evidence.group


def test_a_long_run_is_diagnosed_from_its_thinned_curves(tmp_path: Path) -> None:
    """Thinning to means keeps a healthy run silent and an unhealthy one named."""
    plan = Synthetic(grpo_steps=1100, groups_per_step=0, grpo=PROBLEMS["truncated"])
    folder = write_run(tmp_path / "r1", plan)
    assert [f.kind for f in diagnose(RunReader(folder), folder.recipe())] == ["truncated"]
