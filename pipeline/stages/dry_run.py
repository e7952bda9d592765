"""The stage that tries a reward set before training: a few prompts are answered as training would, scored and judged.

1. Take N questions of the GRPO part, seeded.
2. Sample G answers each from the base, or from the SFT model of a finished run, with the settings of GRPO.
3. Score them with the recipe's rewards; store every group under the stage name `dry_run`.
4. Report distributions, groups without a spread, cut-off answers, time, and a verdict in words (`status.dry_run`).
"""

import random
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline import tags
from pipeline.dataset.chat import ChatTokenizer, prompt_ids
from pipeline.dataset.models import model_folder
from pipeline.dataset.prepare import read_part
from pipeline.engines.base import Engine, Sample, Sampling
from pipeline.errors import DatasetError, RunError
from pipeline.rewards import RewardSet
from pipeline.rewards.answers import same_answer
from pipeline.rewards.dry_report import DryReport, dry_report
from pipeline.run import Run, Stopped
from pipeline.run_folder import CompletionRecord, GroupRecord, RunFolder
from pipeline.stages.process import in_own_process_on_gpu
from pipeline.tags import TagScheme, scheme_of


class DryRunRequest(BaseModel):
    """What a dry run is asked for, in `run.request`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompts: int = Field(8, title="Questions", ge=1, le=256, description="How many questions are answered.")
    sft_run: str | None = Field(None, title="SFT model of run", max_length=200,
        description="Id of a run whose SFT model answers. Empty takes the base model.")


@in_own_process_on_gpu
def dry_run(run: Run) -> None:
    """Do the dry run of the recipe. Raises Stopped, StudioError."""
    dry_run_with(run, _request(run), _engine(run))


def dry_run_with(run: Run, request: DryRunRequest, engine: Engine) -> DryReport:
    """The dry run with a given engine; gives the report that it stores."""
    grpo, scheme = run.recipe.grpo, scheme_of(run.recipe.data.tags)
    model, words = _model(run, request)
    rows = _rows(run, request.prompts)
    chat = ChatTokenizer.load(str(model), template=run.recipe.model.chat_template)
    sampling = Sampling(max_completion_tokens=grpo.max_completion_tokens, temperature=grpo.temperature,
                        top_p=grpo.top_p, top_k=grpo.top_k, samples=grpo.num_generations, seed=run.recipe.seed,
                        batch_size=max(1, min(len(rows), 64 // grpo.num_generations or 1)))
    groups: list[GroupRecord] = []
    run.progress(0, len(rows), "questions", f"Loading {words} …")
    with RewardSet(run.recipe.rewards, scheme, chat.count) as rewards:

        def on_batch(first: int, answers: list[list[Sample]]) -> None:
            for offset, samples in enumerate(answers):
                groups.append(_group(rewards, rows[first + offset], samples))
                run.writer.add_groups(run.stage, run.attempt, len(groups), groups[-1:])
            run.progress(len(groups), len(rows), "questions", f"{words} answers")

        with engine.generator(run, model) as generator:
            run.check_stop()
            started = time.monotonic()
            generator.generate([prompt_ids(chat, row) for row in rows], sampling, on_batch, run.stop_requested)
            seconds = time.monotonic() - started
        if run.stop_requested():
            raise Stopped
        report = dry_report(groups, rewards.weights, grpo, model=words, formatted=_formatted(groups, scheme),
                            sampling_seconds=seconds)
    _tell(run, report)
    return report


def _request(run: Run) -> DryRunRequest:
    try:
        return DryRunRequest.model_validate(dict(run.request or {}))
    except ValidationError as error:
        raise RunError(f"The dry run cannot be done as asked: {error.errors()[0]['msg']}.") from error


def _engine(run: Run) -> Engine:
    from pipeline.engines.choose import engine_for  # brings torch, which only the worker may import

    return engine_for(run.recipe.model)


def _model(run: Run, request: DryRunRequest) -> tuple[Path, str]:
    """The folder of the model that answers, and what to call it."""
    if request.sft_run is None:
        return model_folder(run.recipe.model.source, run.recipe.model.revision), "the base model"
    folder = RunFolder(run.folder.path.parent / Path(request.sft_run).name).model("sft")
    if not (folder / "config.json").is_file():
        raise RunError(f"Run {request.sft_run} has no finished SFT model: choose another, or the base model.")
    return folder, "the SFT model"


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
        "completion/format_rate": report.format_rate, "time/generate_seconds": report.sampling_seconds})
    for sentence in report.verdict:
        run.event("info" if report.good else "warning", sentence)
