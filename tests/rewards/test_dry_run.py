"""The dry run: its numbers and its verdict in words, with an engine that answers from a list."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas
import pytest

from pipeline import custom_code
from pipeline.dataset.models import TINY_FOLDER
from pipeline.engines.base import OnBatch, Sample, Sampling
from pipeline.errors import DatasetError, EngineError, RewardError, RunError
from pipeline.recipe import GrpoStep, Recipe, RewardSpec, RewardsStep
from pipeline.rewards.custom import TEMPLATE
from pipeline.rewards.dry_report import Pace, Times, distribution, dry_report, seconds
from pipeline.run import Run, Stopped
from pipeline.run_folder import CompletionRecord, GroupRecord, RunFolder, RunReader, RunWriter
from pipeline.stages.dry_run import DryRunRequest, dry_run_with
from pipeline.tags import SCHEMES, wrap

SCHEME = SCHEMES["reasoning"]
RIGHT, WRONG = wrap(SCHEME, "So.", "42"), wrap(SCHEME, "So.", "7")


class ListEngine:
    """Answers every prompt with the given texts; its training steps take as long as it says."""

    name = "list"

    def __init__(self, texts: list[str], truncated: bool = False, step_seconds: float = 2.0) -> None:
        self.texts, self.truncated, self.step_seconds = texts, truncated, step_seconds
        self.trained: list[tuple[str, int]] = []

    def train_grpo(self, run: Run, model: str | Path) -> None:
        assert run.folder.data("grpo").is_file() and run.recipe.grpo.eval_every == 0
        self._train(run, run.recipe.grpo.steps)

    def train_sft(self, run: Run, model: str | Path) -> None:
        self._train(run, run.recipe.sft.max_steps or 0)

    def _train(self, run: Run, steps: int) -> None:
        """The first step takes ten times as long, as it warms up."""
        self.trained.append((run.stage, steps))
        for step in range(1, steps + 1):
            whole = self.step_seconds * (10 if step == 1 else 1)
            run.metrics(step, {"time/step_seconds": whole, "time/generate_seconds": 0.6 * whole,
                               "time/score_seconds": 0.1 * whole, "time/learn_seconds": 0.3 * whole})

    def generator(self, run: Run, model: str | Path, adapter: Path | None = None,
                  precision: str = "16bit", length: int = 0, answers: int = 0) -> "ListEngine":
        return self

    def __enter__(self) -> "ListEngine":
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing to give back."""

    def generate(self, prompts: Sequence[list[int]], sampling: Sampling,
                 on_batch: OnBatch | None = None,
                 should_stop: Callable[[], bool] | None = None) -> list[list[Sample]]:
        out = []
        for i in range(len(prompts)):
            answers = [Sample(self.texts[k % len(self.texts)], 20, self.truncated, 0.1)
                       for k in range(sampling.samples)]
            out.append(answers)
            if on_batch:
                on_batch([i], [answers])
        return out


def make_run(tmp_path: Path, references: Sequence[str | None] = ("42",) * 12, stop: bool = False) -> Run:
    folder = RunFolder(tmp_path / "run")
    folder.data("grpo").parent.mkdir(parents=True)
    rows = pandas.DataFrame([
        {"id": str(i), "row": i, "system": "Think.", "question": f"What is {i}?", "reasoning": None,
         "reference": r, "completion": RIGHT, "subject": None} for i, r in enumerate(references)])
    for part in ("sft", "grpo", "validation", "test"):
        rows.to_parquet(folder.data(part))
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


def test_the_worker_refuses_custom_code_where_it_is_switched_off(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a run that was queued before the setting was made."""
    run = make_run(tmp_path)
    rewards = RewardsStep(functions=[RewardSpec(kind="custom", name="mine", code=TEMPLATE)])
    run.recipe = run.recipe.model_copy(update={"rewards": rewards})
    monkeypatch.setenv(custom_code.SETTING, "1")
    with pytest.raises(RewardError, match="switched off here"):
        dry_run_with(run, DryRunRequest(), ListEngine([RIGHT]))  # type: ignore[arg-type]


def test_missing_answers_or_models_are_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no question with an answer"):
        dry_run_with(make_run(tmp_path, [None]), DryRunRequest(), ListEngine([RIGHT]))  # type: ignore[arg-type]
    with pytest.raises(RunError, match="no finished SFT model"):
        run = make_run(tmp_path / "x")
        (tmp_path / "x" / "other").mkdir()
        dry_run_with(run, DryRunRequest(model="other/sft"), ListEngine([""]))  # type: ignore[arg-type]
    for nowhere in ("../x/sft", "/nowhere/model", "../sft", "./grpo"):
        with pytest.raises(EngineError, match="There is no model folder"):
            dry_run_with(run, DryRunRequest(model=nowhere), ListEngine([""]))  # type: ignore[arg-type]


def test_the_time_is_measured_on_training_steps_that_are_thrown_away(tmp_path: Path) -> None:
    """2 s a step, the first not counted. 100 steps of GRPO: 200 s. SFT: 12 rows in batches of 4, one epoch, 3 steps:
    6 s. The comparison: 12 rows x 3 models x 0.1 s a sampled answer: 3.6 s. Together 209.6 s."""
    run, engine = make_run(tmp_path), ListEngine([RIGHT, WRONG])
    sft = run.recipe.sft.model_copy(update={"batch_size": 4, "accumulation": 1, "epochs": 1.0, "max_steps": None})
    run.recipe = run.recipe.model_copy(update={"sft": sft})
    report = dry_run_with(run, DryRunRequest(prompts=2), engine)  # type: ignore[arg-type]
    assert report.step_seconds == 2.0 and report.pace == Pace(2.0, 1.2, 0.2, pytest.approx(0.6))
    assert report.run_seconds == pytest.approx(209.6)
    assert engine.trained == [("grpo", 3), ("sft", 4)]
    assert "writing 1.2 s, scoring 0.2 s, learning 0.6 s" in report.time_words
    assert "SFT 6 s, GRPO 3 min, the comparison 3.6 s" in report.time_words
    assert not (run.folder.path / "rehearsal").exists()
    assert RunReader(run.folder).metric("time/step_seconds")[-1]["value"] == 2.0


def test_a_model_after_sft_needs_no_sft_and_a_bench_sample_no_training_steps(tmp_path: Path) -> None:
    run, engine = make_run(tmp_path), ListEngine([RIGHT, WRONG])
    folder = RunFolder(tmp_path / "other").model("sft")
    folder.mkdir(parents=True)
    for file in TINY_FOLDER.iterdir():
        (folder / file.name).symlink_to(file)
    report = dry_run_with(run, DryRunRequest(prompts=1, model="other/sft"), engine)  # type: ignore[arg-type]
    assert engine.trained == [("grpo", 3)] and report.model == "the SFT model" and "SFT" not in report.parts
    sample = DryRunRequest(prompts=2, answers=3, rehearse=False)
    report = dry_run_with(make_run(tmp_path / "b"), sample, engine)  # type: ignore[arg-type]
    assert len(engine.trained) == 1 and (report.answers, report.group_size) == (6, 3)
    assert report.step_seconds is None and report.run_seconds is None


def test_training_steps_that_fail_leave_the_report_and_say_why(tmp_path: Path) -> None:
    run, engine = make_run(tmp_path), ListEngine([RIGHT, WRONG])

    def fail(run: Run, model: str | Path) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    engine.train_grpo = fail  # type: ignore[method-assign]
    report = dry_run_with(run, DryRunRequest(prompts=2), engine)  # type: ignore[arg-type]
    assert report.zero_variance == 0.0 and report.step_seconds is None
    assert "was not measured (trying a training step failed: CUDA out of memory" in report.time_words
    assert any("CUDA out of memory" in row["text"] for row in RunReader(run.folder).rows("SELECT text FROM events"))
    assert not (run.folder.path / "rehearsal").exists()


def test_without_training_steps_only_what_was_measured_is_said() -> None:
    """0.25 s an answer and 16 answers a step: 4 s to write; 0.01 s an answer to score: 0.16 s."""
    answers = [CompletionRecord(RIGHT, 9, False, {"a": 1.0}, float(i), 0.0) for i in range(8)]
    groups = [GroupRecord("q", "42", answers, 8)]
    report = dry_report(groups, {"a": 1.0}, GrpoStep(steps=300, batch_size=16), model="m", formatted=8,
                        times=Times(0.25, 0.01))
    assert report.sampling_seconds == 2.0 and report.run_seconds is None
    assert "about 4 s and scoring them 0.16 s" in report.time_words and "not measured." in report.time_words
    assert [seconds(s) for s in (0.0123, 5, 45.2, 300, 10_000)] == ["12 ms", "5 s", "45 s", "5 min", "2.8 h"]


def test_distributions_count_values_or_bands() -> None:
    few = distribution("a", 1.0, [0.0, 0.0, 1.0, None])
    assert few.bars == (("0", 2), ("1", 1)) and few.failed == 1 and few.mean == pytest.approx(1 / 3) and not few.flat
    many = distribution("a", 1.0, [i / 100 for i in range(101)])
    assert len(many.bars) == 12 and sum(count for _, count in many.bars) == 101
    assert distribution("a", 1.0, [None]).bars == ()
