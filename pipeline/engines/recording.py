"""What a trainer does for the people who watch: records metrics and groups, hears stop requests, marks checkpoints.

TRL calls `_calculate_rewards` and `_generate_and_score_completions` once for every generation batch. `RecordGroups`
stands before the trainer class, scores the completions with the run's `RewardSet` (the same object that the page tries
out), and writes each group with its rewards and advantages. A callback sees neither.

With several processes each scores its own completions; rank 0 gathers them and alone writes.
"""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object, wait_for_everyone
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipeline import held_out, tags
from pipeline.engines.checkpoints import mark_complete, prune
from pipeline.engines.gpu_use import GpuUse
from pipeline.engines.start import FIRST_STEP
from pipeline.errors import EngineError
from pipeline.rewards import RewardSet
from pipeline.rewards.answers import same_answer
from pipeline.rewards.base import ALARMING_FAILURES
from pipeline.run import Run
from pipeline.run_folder import CompletionRecord, GroupRecord

GIB = 2**30


class RecordGroups:
    """Mixin before a `GRPOTrainer` class; set up by `watch(run, rewards, scheme)` right after the trainer is built."""

    def watch(self, run: Run, rewards: RewardSet, scheme: tags.TagScheme) -> None:
        """Tell the trainer which run it writes to and how it scores."""
        self._run, self._rewards, self._scheme = run, rewards, scheme
        self._warned: set[str] = set()
        self._failing: set[str] = set()
        self._score_seconds = self._generate_seconds = 0.0

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):  # type: ignore[no-untyped-def]
        """Raw scores (all processes' completions, rewards), NaN where a reward gave None. Replaces TRL's own loop."""
        started = time.perf_counter()
        texts = [_text(c) for c in completions]
        self._tokens = [len(ids) for ids in completion_ids_list]
        self._truncated = [not len(ids) or int(ids[-1]) not in self._end_ids() for ids in completion_ids_list]
        references = [row.get("reference") for row in inputs]
        questions = [row.get("question", "") for row in inputs]
        self._scores = self._rewards.score(texts, references, questions, tokens=self._tokens,
                                           truncated=self._truncated)
        self._texts, self._references, self._questions = texts, references, questions
        columns = [[float("nan") if v is None else v for v in self._scores.raw[label]]
                   for label in self._rewards.labels]
        local = torch.tensor(columns, dtype=torch.float32, device=self.accelerator.device).T  # (B, F)
        self._score_seconds = time.perf_counter() - started
        self._tell_failures()
        return self.accelerator.gather(local.contiguous())

    def _generate_and_score_completions(self, inputs):  # type: ignore[no-untyped-def]
        started = time.perf_counter()
        output = super()._generate_and_score_completions(inputs)
        seconds = time.perf_counter() - started
        if self.model.training:  # answers to the validation part belong to no step
            self._generate_seconds += seconds - self._score_seconds
            self._scored_seconds_of_step = getattr(self, "_scored_seconds_of_step", 0.0) + self._score_seconds
        self._write_groups(output["advantages"].flatten().tolist())
        return output

    def take_times(self) -> tuple[float, float, int]:
        """Seconds spent on generating and on scoring, and the tokens generated (all processes), since the last call."""
        taken = self._generate_seconds, getattr(self, "_scored_seconds_of_step", 0.0), getattr(self, "_step_tokens", 0)
        self._generate_seconds = self._scored_seconds_of_step = 0.0
        self._step_tokens = 0
        return taken

    def _end_ids(self) -> set[int]:
        if not hasattr(self, "_end_ids_cache"):
            tokenizer = self.processing_class
            ends = getattr(self, "eos_token_ids", None) or self.model.generation_config.eos_token_id
            ends = [ends] if isinstance(ends, int) else list(ends or [])
            self._end_ids_cache = {int(e) for e in [*ends, tokenizer.eos_token_id, tokenizer.pad_token_id]
                                   if e is not None}
        return self._end_ids_cache

    def _write_groups(self, advantages: Sequence[float]) -> None:
        training = self.model.training
        local = [
            {"question": self._questions[i], "reference": self._references[i],
             "record": CompletionRecord(
                 text=self._texts[i], tokens=self._tokens[i], truncated=self._truncated[i],
                 rewards={label: self._scores.raw[label][i] for label in self._rewards.labels},
                 total=self._scores.totals[i], advantage=float(advantages[i]) if i < len(advantages) else None,
                 extracted=self._scores.extracted[i])}
            for i in range(len(self._texts))
        ]
        rows = gather_object(local) if self.accelerator.num_processes > 1 else local
        if not self.accelerator.is_main_process:
            return
        size = self.num_generations if training else max(1, getattr(self, "num_generations_eval", 1) or 1)
        step = self.state.global_step + 1 if training else self.state.global_step
        self._step_tokens = getattr(self, "_step_tokens", 0) + sum(row["record"].tokens for row in rows) * training
        groups = [_group(rows[i:i + size]) for i in range(0, len(rows), size)]
        if training:
            self._run.writer.add_groups(self._run.stage, self._run.attempt, step, groups)
            values = summarise(groups, self._rewards.weights, self._scheme)
            self._run.metrics(step, values | self._failed_shares(groups))
        else:
            self._held_out = getattr(self, "_held_out", []) + groups

    def take_held_out(self) -> list[GroupRecord]:
        """The groups sampled from the validation part since the last call."""
        groups, self._held_out = getattr(self, "_held_out", []), []
        return groups

    def _tell_failures(self) -> None:
        """An event for a reward's first failure; a loud one once it has failed on more than 10 % of the answers."""
        if not self.accelerator.is_main_process:
            return
        step = self.state.global_step + 1
        for label, messages in self._scores.failures.items():
            if label not in self._warned:
                self._warned.add(label)
                self._run.event("warning", f"The reward {label!r} could not score {len(messages)} answer(s): "
                                           f"{messages[0]} Those scores are left out.", step)
            failed, scored = self._rewards.failed[label], self._rewards.scored
            if failed > ALARMING_FAILURES * scored and f"{label} loud" not in self._warned:
                self._warned.add(f"{label} loud")
                self._run.event("error", f"The reward {label!r} has failed on {failed} of {scored} answers, more than "
                                         f"{100 * ALARMING_FAILURES:g} %: the run goes on without those scores, but "
                                         "stop it and mend the reward.", step)

    def _failed_shares(self, groups: Sequence[GroupRecord]) -> dict[str, float]:
        """`reward_failed/<label>` of this step, for every reward that has failed so far."""
        rows = [c.rewards for g in groups for c in g.completions]
        shares = {label: sum(row.get(label) is None for row in rows) / max(1, len(rows))
                  for label in self._rewards.labels}
        self._failing |= {label for label, share in shares.items() if share}
        return {f"reward_failed/{label}": shares[label] for label in shares if label in self._failing}


def summarise(groups: Sequence[GroupRecord], weights: dict[str, float], scheme: tags.TagScheme) -> dict[str, float]:
    """The per-step metrics: rewards, spread, zero-variance groups, length, truncation, format, accuracy."""
    completions = [c for g in groups for c in g.completions]
    count = max(1, len(completions))
    totals = torch.tensor([c.total for c in completions if c.total is not None], dtype=torch.float64)
    values: dict[str, float] = {
        "completion/mean_tokens": sum(c.tokens for c in completions) / count,
        "completion/truncated": sum(c.truncated for c in completions) / count,
        "completion/format_rate": sum(tags.is_well_formed(scheme, c.text) for c in completions) / count,
        "groups/zero_variance": sum(_is_flat(g) for g in groups) / max(1, len(groups)),
    }
    if len(totals):
        values |= {"reward/total": float(totals.mean()), "reward/std": float(totals.std(correction=0))}
    judged = [g for g in groups if g.right is not None]
    if judged:
        values["completion/exact_rate"] = sum(g.right or 0 for g in judged) / sum(len(g.completions) for g in judged)
    for label, weight in weights.items():
        raw = [v for c in completions if (v := c.rewards.get(label)) is not None]
        if raw:
            values[f"reward_raw/{label}"] = sum(raw) / len(raw)
            values[f"reward_weighted/{label}"] = weight * sum(raw) / len(raw)
    return values


class Watch(TrainerCallback):
    """Records optimizer metrics and times, reports progress, stops at a boundary, marks and prunes checkpoints."""

    def __init__(self, run: Run, *, is_main: bool, processes: int, boundary: int, keep: int) -> None:
        """`boundary`: stopping is allowed when the step is a multiple of it (the length of a generation cycle)."""
        self.run, self.is_main, self.processes, self.boundary, self.keep = run, is_main, processes, boundary, keep
        self.trainer: Any = None
        self.stopped = False
        self._began, self._tokens_before = 0.0, 0
        self._gpu_use: GpuUse | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.is_main:  # the time left follows from here on: without the loading and an earlier attempt's steps
            compiles = self.run.stage == "grpo" and torch.cuda.is_available()
            self.run.progress(state.global_step, state.max_steps, "steps", FIRST_STEP if compiles else "")
        if torch.cuda.is_available():
            self._gpu_use = GpuUse(torch.cuda.utilization)
            self._gpu_use.start()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._gpu_use is not None:
            self._gpu_use.stop()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._began, self._tokens_before = time.perf_counter(), state.num_input_tokens_seen

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        seconds = time.perf_counter() - self._began
        values: dict[str, float | None] = {"time/step_seconds": seconds}
        if isinstance(self.trainer, RecordGroups):
            generate, score, tokens = self.trainer.take_times()
            learn = max(0.0, seconds - generate - score)
            values |= {"time/generate_seconds": generate, "time/score_seconds": score, "time/learn_seconds": learn}
            if tokens and generate > 0 and learn > 0:
                values |= {"throughput/generated": tokens / generate, "throughput/learnt": tokens / learn}
        elif (tokens := state.num_input_tokens_seen - self._tokens_before) > 0:
            values["throughput/learnt"] = tokens / seconds
        if self._gpu_use is not None:
            values |= gpu_metrics(self._gpu_use, self.run.recipe.model.vllm_sleep)
        if self.is_main:
            self.run.metrics(state.global_step, values)
            self.run.progress(state.global_step, state.max_steps, "steps")
        if state.global_step % self.boundary == 0 and self._stop_wanted():
            control.should_save = control.should_training_stop = self.stopped = True

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
               logs: dict[str, float] | None = None, **_: Any) -> None:
        if not args.fp16:  # whose scaler skips such steps
            refuse_not_finite(logs or {}, state.global_step)
        if self.is_main and logs and "train_loss" not in logs:  # as the summary at the end has
            names = SFT_KEYS if self.run.stage == "sft" else GRPO_KEYS
            values = {names[k]: v for k, v in logs.items() if k in names and v is not None}
            if values:
                self.run.metrics(state.global_step, values)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.is_main and isinstance(self.trainer, RecordGroups) and (groups := self.trainer.take_held_out()):
            found = summarise(groups, self.trainer._rewards.weights, self.trainer._scheme)
            measured = {held_out.MEASURED + key: value for key, value in found.items()}
            self.run.metrics(state.global_step, measured | held_out.bounds(groups, self.trainer._scheme))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.processes > 1:  # each rank has a file of its own in the checkpoint
            wait_for_everyone()
        if self.is_main:
            folder = Path(args.output_dir)
            checkpoint = folder / f"checkpoint-{state.global_step}"
            mark_complete(checkpoint)
            prune(folder, self.keep)
            self.run.writer.set_status(checkpoint=state.global_step)

    def _stop_wanted(self) -> bool:
        wanted = self.run.stop_requested() if self.is_main else False
        if self.processes > 1:
            box = [wanted]
            broadcast_object_list(box, from_process=0)
            wanted = bool(box[0])
        return wanted


def refuse_not_finite(logs: Mapping[str, float], step: int) -> None:
    """Raise EngineError when the loss or the gradient is NaN or infinite: the step has put that into every weight, and
    what follows would be a broken model that is trained on. The last checkpoint is older than that."""
    for name, words in (("loss", "loss"), ("grad_norm", "gradient")):
        value = logs.get(name)
        if value is not None and not math.isfinite(value):
            raise EngineError(f"The {words} is not finite at step {step} ({value}).")


SFT_KEYS = {"loss": "sft/loss", "eval_loss": "sft/eval_loss", "learning_rate": "optim/lr",
            "grad_norm": "optim/grad_norm"}
GRPO_KEYS = {"learning_rate": "optim/lr", "grad_norm": "optim/grad_norm", "kl": "policy/kl",
             "entropy": "policy/entropy", "clip_ratio/region_mean": "policy/clipped",
             "sampling/sampling_logp_difference/mean": "policy/sampler_difference"}


def gpu_metrics(use: GpuUse, sleeps: bool) -> dict[str, float]:
    """Of this process's GPU: the memory in use by all processes (GiB), the most that torch held in this one (GiB; vLLM
    in the same process included), and the share of the step in which it was busy, where NVML tells it. With a vLLM that
    `sleeps` torch counts as held what that gave back (55 GiB where the device had 43), so it is not asked."""
    free, total = torch.cuda.mem_get_info()
    values = {"gpu/memory_gib": (total - free) / GIB}
    if not sleeps:
        values["gpu/own_peak_gib"] = torch.cuda.max_memory_reserved() / GIB
    busy = use.take()
    return values if busy is None else values | {"gpu/utilisation": busy}


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else "".join(m["content"] for m in completion)


def _group(rows: list[dict[str, Any]]) -> GroupRecord:
    records = [row["record"] for row in rows]
    reference = rows[0]["reference"]
    right = None
    if reference is not None:
        verdicts: dict[str | None, bool] = {}
        for record in records:
            if record.extracted not in verdicts:
                verdicts[record.extracted] = same_answer(record.extracted, reference)
        right = sum(verdicts[record.extracted] for record in records)
    return GroupRecord(rows[0]["question"], reference, records, right)


def _is_flat(group: GroupRecord) -> bool:
    totals = [c.total for c in group.completions if c.total is not None]
    return len(totals) < 2 or max(totals) - min(totals) < 1e-8
