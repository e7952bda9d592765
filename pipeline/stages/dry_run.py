"""The stage that tries a reward set before training: a few prompts are answered as training would, scored and judged.

1. Take N questions of the GRPO part, seeded.
2. Sample G answers each from the base, a model of a finished run or a folder, with the settings of GRPO.
3. Score them with the recipe's rewards; store every group under the stage name `dry_run`.
4. Train a few steps and throw them away, to know how long they take (`rehearse.py`).
5. Report distributions, groups without a spread, cut-off answers, time, and a verdict in words (`status.dry_run`).

The Rewards tab's test bench samples with the same stage, as a job of kind `sample`, without the fourth step.
"""

import math
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline import tags
from pipeline.dataset.chat import ChatTokenizer, prompt_ids
from pipeline.dataset.models import model_folder
from pipeline.dataset.part_files import read_part
from pipeline.engines.base import Engine, Sample, Sampling
from pipeline.errors import DatasetError, RunError, StudioError
from pipeline.rewards import RewardSet
from pipeline.rewards.answers import same_answer
from pipeline.rewards.dry_report import DryReport, Times, dry_report
from pipeline.run import Run
from pipeline.run_folder import CompletionRecord, GroupRecord, RunFolder
from pipeline.stages.process import in_own_process_on_gpu
from pipeline.stages.rehearse import rehearse
from pipeline.tags import TagScheme, scheme_of
from pipeline.wrong_values import setting_name, wrong_value

STAGE_NAMES = {"sft": "SFT", "grpo": "GRPO"}


class DryRunRequest(BaseModel):
    """What a dry run is asked for, in `run.request`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompts: int = Field(8, title="Questions", ge=1, le=256, description="How many questions are answered.")
    model: str = Field("", title="Model", max_length=500,
        description="Who answers: RUN/sft or RUN/grpo for a model of a run, or a folder. Empty takes the base model.")
    answers: int | None = Field(None, title="Answers to each", ge=1, le=64,
        description="Empty takes the recipe's answers per question.")
    rehearse: bool = Field(True, title="Measure training", description="Train a few steps to know their time.")

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> "DryRunRequest":
        """The request of these values. Raises RunError in words."""
        try:
            return cls.model_validate(dict(values or {}))
        except ValidationError as error:
            problems = (f"{setting_name(e, 'dry run')}: {wrong_value(e, cls)}" for e in error.errors())
            raise RunError(f"The dry run cannot be done as asked. {'; '.join(problems)}.") from error


@in_own_process_on_gpu
def dry_run(run: Run) -> None:
    """Do the dry run of the recipe. Raises Stopped, StudioError."""
    dry_run_with(run, DryRunRequest.of(run.request), _engine(run))


def dry_run_with(run: Run, request: DryRunRequest, engine: Engine) -> DryReport:
    """The dry run with a given engine; gives the report that it stores."""
    grpo, scheme = run.recipe.grpo, scheme_of(run.recipe.data.tags)
    model, words = _model(run, request.model)
    rows = _rows(run, request.prompts)
    samples = request.answers or grpo.num_generations
    chat = ChatTokenizer.load(str(model), template=run.recipe.model.chat_template)
    sampling = Sampling(max_completion_tokens=grpo.max_completion_tokens, temperature=grpo.temperature,
                        top_p=grpo.top_p, top_k=grpo.top_k, samples=samples, seed=run.recipe.seed,
                        batch_size=max(1, grpo.completions_per_step // samples))  # as many at a time as in training
    groups: list[GroupRecord] = []
    writing: list[float] = []
    scoring = 0.0
    run.progress(0, len(rows), "questions", f"Loading {words} …")
    with RewardSet(run.recipe.rewards, scheme, chat.count) as rewards:

        def on_batch(at: Sequence[int], answers: list[list[Sample]]) -> None:
            nonlocal scoring
            for index, written in zip(at, answers, strict=True):
                started = time.monotonic()
                groups.append(_group(rewards, rows[index], written))
                scoring += time.monotonic() - started
                writing.extend(sample.seconds for sample in written)
                run.writer.add_groups(run.stage, run.attempt, len(groups), groups[-1:])
            run.progress(len(groups), len(rows), "questions", f"{words} answers")

        with engine.generator(run, model, answers=len(rows) * samples) as generator:
            run.check_stop()
            generator.generate([prompt_ids(chat, row) for row in rows], sampling, on_batch, run.stop_requested)
    run.check_stop()
    times = Times(statistics.median(writing or [0.0]), scoring / max(1, len(writing)))
    if request.rehearse:
        times = _rehearsed(run, engine, request, model, times)
    report = dry_report(groups, rewards.weights, grpo, model=words, formatted=_formatted(groups, scheme), times=times)
    _tell(run, report)
    return report


def _engine(run: Run) -> Engine:
    from pipeline.engines.choose import engine_for  # brings torch, which only the worker may import

    return engine_for(run.recipe)


def _model(run: Run, wanted: str) -> tuple[Path, str]:
    """The folder of the model that answers, and what to call it."""
    if not wanted:
        return model_folder(run.recipe.model.source, run.recipe.model.revision), "the base model"
    run_id, _, stage = wanted.rpartition("/")
    other = RunFolder(run.folder.path.parent / run_id)
    if stage not in STAGE_NAMES or "/" in run_id or not run_id.strip(".") or not other.path.is_dir():
        return model_folder(wanted), f"the model {Path(wanted).name}"
    if not (other.model(stage) / "config.json").is_file():
        raise RunError(f"Run {run_id} has no finished {STAGE_NAMES[stage]} model: choose another, or the base model.")
    return other.model(stage), f"the {STAGE_NAMES[stage]} model"


def _rehearsed(run: Run, engine: Engine, request: DryRunRequest, model: Path, times: Times) -> Times:
    """The times with those of training steps; where they cannot be taken, with why not."""
    recipe = run.recipe
    run.progress(request.prompts, request.prompts, "questions", "Measuring training steps")
    if recipe.model.processes > 1:
        return replace(times, problem="training on several GPUs or machines cannot be tried from here")
    try:
        times = replace(times, grpo=rehearse(run, engine, "grpo", model), evaluated_answers=_evaluated(run))
        if recipe.sft.enabled and not request.model and (rows := _worked(run)):
            epochs = math.ceil(rows / (recipe.sft.batch_size * recipe.sft.accumulation)) * recipe.sft.epochs
            times = replace(times, sft_steps=recipe.sft.max_steps or math.ceil(epochs))
            times = replace(times, sft=rehearse(run, engine, "sft", model))
    except (StudioError, RuntimeError, OSError, ValueError) as error:  # sampling has succeeded: its report is kept
        why = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        run.event("warning", f"Training steps could not be tried: {why}")
        return replace(times, problem=f"trying a training step failed: {why}")
    return times


def _worked(run: Run) -> int:
    return sum(bool(row["completion"]) for row in read_part(run.folder.data("sft")))


def _evaluated(run: Run) -> int:
    """Answers that the comparison asks for on the held-out test; other benchmarks are not counted."""
    step = run.recipe.evaluate
    if not step.enabled or step.benchmarks != ["test"]:
        return 0
    rows = len(read_part(run.folder.data("test")))
    return len(step.models) * step.samples * min(rows, step.limit or rows)


def _rows(run: Run, count: int) -> list[dict[str, Any]]:
    rows = [row for row in read_part(run.folder.data("grpo")) if row["reference"] is not None]
    if not rows:
        raise DatasetError("The GRPO part has no question with an answer: raise its share of the split.")
    return random.Random(run.recipe.seed).sample(rows, min(count, len(rows)))


def _group(rewards: RewardSet, row: dict[str, Any], samples: list[Sample]) -> GroupRecord:
    n, reference = len(samples), row["reference"]
    scores = rewards.score([s.text for s in samples], [reference] * n, [row["question"]] * n,
                           tokens=[s.tokens for s in samples], truncated=[s.truncated for s in samples])
    advantages = rewards.advantages(scores, n)
    completions = [
        CompletionRecord(s.text, s.tokens, s.truncated, {label: values[i] for label, values in scores.raw.items()},
                         scores.totals[i], advantages[i], scores.extracted[i]) for i, s in enumerate(samples)]
    right = sum(same_answer(c.extracted, reference) for c in completions)
    return GroupRecord(row["question"], reference, completions, right)


def _formatted(groups: list[GroupRecord], scheme: TagScheme) -> int:
    return sum(tags.is_well_formed(scheme, c.text) for group in groups for c in group.completions)


def _tell(run: Run, report: DryReport) -> None:
    run.writer.set_status(dry_run=report.as_dict())
    values = {f"reward_raw/{r.label}": r.mean for r in report.rewards}
    values |= {f"reward_weighted/{r.label}": None if r.mean is None else r.mean * r.weight for r in report.rewards}
    run.metrics(report.prompts, values | {
        "reward/total": report.mean_total, "groups/zero_variance": report.zero_variance,
        "completion/truncated": report.truncated, "completion/mean_tokens": report.mean_tokens,
        "completion/format_rate": report.format_rate, "time/step_seconds": report.step_seconds})
    for sentence in report.verdict:
        run.event("info" if report.good else "warning", sentence)
