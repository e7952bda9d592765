"""The dry run: its numbers and its verdict in words, with an engine that answers from a list."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas
import pytest

from pipeline.engines.base import Sample, Sampling
from pipeline.errors import DatasetError, RunError
from pipeline.recipe import GrpoStep, Recipe
from pipeline.rewards.dry_report import DryReport, distribution, dry_report
from pipeline.run import Run, Stopped
from pipeline.run_folder import CompletionRecord, GroupRecord, RunFolder, RunReader, RunWriter
from pipeline.stages.dry_run import DryRunRequest, dry_run_with
from pipeline.tags import SCHEMES, wrap

SCHEME = SCHEMES["reasoning"]
RIGHT, WRONG = wrap(SCHEME, "So.", "42"), wrap(SCHEME, "So.", "7")


class ListEngine:
    """Answers every prompt with the given texts."""

    name = "list"

    def __init__(self, texts: list[str], truncated: bool = False) -> None:
        self.texts, self.truncated = texts, truncated

    def generator(self, run: Run, model: str | Path, adapter: Path | None = None,
                  precision: str = "16bit") -> "ListEngine":
        return self

    def __enter__(self) -> "ListEngine":
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing to give back."""

    def generate(self, prompts: Sequence[list[int]], sampling: Sampling,
                 on_batch: Callable[[int, list[list[Sample]]], None] | None = None,
                 should_stop: Callable[[], bool] | None = None) -> list[list[Sample]]:
        out = []
        for i in range(len(prompts)):
            answers = [Sample(self.texts[k % len(self.texts)], 20, self.truncated, 0.1)
                       for k in range(sampling.samples)]
            out.append(answers)
            if on_batch:
                on_batch(i, [answers])
        return out


def make_run(tmp_path: Path, references: Sequence[str | None] = ("42",) * 12, stop: bool = False) -> Run:
    folder = RunFolder(tmp_path / "run")
    folder.data("grpo").parent.mkdir(parents=True)
    pandas.DataFrame([{"id": str(i), "row": i, "system": "Think.", "question": f"What is {i}?", "reasoning": None,
                       "reference": r, "completion": None, "subject": None} for i, r in enumerate(references)]
                     ).to_parquet(folder.data("grpo"))
    recipe = Recipe.parse({"grpo": {"num_generations": 4, "batch_size": 8, "steps": 100, "max_completion_tokens": 64}})
    run = Run(folder, recipe, RunWriter(folder), lambda: stop)
    run.begin("dry_run", 1)
    return run


def test_a_dry_run_stores_groups_and_reports(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    report = dry_run_with(run, DryRunRequest(prompts=5), ListEngine([RIGHT, WRONG]))  # type: ignore[arg-type]
    reader = RunReader(run.folder)
    stored = reader.rows("SELECT * FROM groups WHERE stage = 'dry_run'")
    assert len(stored) == 5 and all(row["right"] == 2 and row["size"] == 4 for row in stored)
    rewards = reader.completions_of(stored[0]["id"])[0]["rewards"]
    assert rewards == {"format_exact": 3.0, "format_approximate": 2.0, "answer_exact": 3.0, "answer_numeric": 1.5}
    assert (report.prompts, report.answers, report.zero_variance, report.right) == (5, 20, 0.0, 0.5)
    assert report.format_rate == 1.0 and report.good
    assert "can work" in report.verdict[0] and "'format_exact' (3)" in " ".join(report.verdict)
    assert json.loads(json.dumps(reader.status()["dry_run"]))["mean_total"] == report.mean_total
    keys = {row["key"] for row in reader.metrics()}
    assert keys >= {"reward/total", "groups/zero_variance", "reward_raw/answer_exact"}


def test_the_same_recipe_draws_the_same_questions(tmp_path: Path) -> None:
    prompts = []
    for name in ("a", "b"):
        run = make_run(tmp_path / name)
        dry_run_with(run, DryRunRequest(prompts=3), ListEngine([RIGHT]))  # type: ignore[arg-type]
        prompts.append([row["prompt"] for row in RunReader(run.folder).rows("SELECT prompt FROM groups ORDER BY id")])
    assert prompts[0] == prompts[1]


def test_equal_rewards_are_called_by_their_name(tmp_path: Path) -> None:
    report = dry_run_with(make_run(tmp_path), DryRunRequest(prompts=4), ListEngine([""]))  # type: ignore[arg-type]
    assert not report.good and report.zero_variance == 1.0
    assert report.verdict[0].startswith("100% of groups get equal rewards, so most steps teach nothing: add partial "
                                        "credit or warm up longer")


def test_questions_that_are_too_easy_are_said_to_be(tmp_path: Path) -> None:
    report = dry_run_with(make_run(tmp_path), DryRunRequest(), ListEngine([RIGHT]))  # type: ignore[arg-type]
    assert "too easy" in report.verdict[0]


def test_cut_off_answers_are_noticed(tmp_path: Path) -> None:
    engine = ListEngine([RIGHT, WRONG], truncated=True)
    report = dry_run_with(make_run(tmp_path), DryRunRequest(), engine)  # type: ignore[arg-type]
    assert any("cut off at 64 tokens" in s and "allow 128" in s for s in report.verdict)


def test_a_stop_request_ends_a_dry_run(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        dry_run_with(make_run(tmp_path, stop=True), DryRunRequest(), ListEngine([RIGHT]))  # type: ignore[arg-type]


def test_missing_answers_or_models_are_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no question with an answer"):
        dry_run_with(make_run(tmp_path, [None]), DryRunRequest(), ListEngine([RIGHT]))  # type: ignore[arg-type]
    with pytest.raises(RunError, match="no finished SFT model"):
        dry_run_with(make_run(tmp_path / "x"), DryRunRequest(sft_run="../other"), ListEngine([""]))  # type: ignore[arg-type]


def test_the_time_of_the_whole_run_is_estimated_from_the_sampling() -> None:
    """8 answers took 2 s; a step has 16, so 4 s of sampling, which is 60 % of it: 6.67 s, and 300 steps 2,000 s."""
    answers = [CompletionRecord(RIGHT, 9, False, {"a": 1.0}, float(i), 0.0) for i in range(8)]
    groups = [GroupRecord("q", "42", answers, 8)]
    report: DryReport = dry_report(groups, {"a": 1.0}, GrpoStep(steps=300, batch_size=16), model="m", formatted=8,
                                   sampling_seconds=2.0)
    assert report.step_seconds == pytest.approx(6.667, abs=0.01)
    assert report.run_seconds == pytest.approx(2000, rel=0.01)


def test_distributions_count_values_or_bands() -> None:
    few = distribution("a", 1.0, [0.0, 0.0, 1.0, None])
    assert few.bars == (("0", 2), ("1", 1)) and few.failed == 1 and few.mean == pytest.approx(1 / 3) and not few.flat
    many = distribution("a", 1.0, [i / 100 for i in range(101)])
    assert len(many.bars) == 12 and sum(count for _, count in many.bars) == 101
    assert distribution("a", 1.0, [None]).bars == ()
