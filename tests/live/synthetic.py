"""Runs with known curves, written through the real RunWriter: what the tests and benchmarks of the Live page read."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.recipe import Recipe
from pipeline.run_folder import CompletionRecord, GroupRecord, RunFolder, RunWriter

Curve = Callable[[int, float, random.Random], float | None]  # step, share of the run done, noise


def rising(low: float, high: float, noise: float = 0.03) -> Curve:
    """From `low` to `high`, quickly at first, with noise."""
    return lambda step, t, rng: low + (high - low) * (1 - math.exp(-3 * t)) / (1 - math.exp(-3)) + rng.gauss(0, noise)


def constant(value: float, noise: float = 0.0) -> Curve:
    """Always the same, with noise."""
    return lambda step, t, rng: value + (rng.gauss(0, noise) if noise else 0.0)


def healthy_grpo() -> dict[str, Curve]:
    """A GRPO run in which everything goes as it should."""
    return {
        "reward/total": rising(1.0, 5.5, 0.2), "reward/std": rising(2.0, 1.2, 0.1),
        "reward_raw/format_exact": rising(0.6, 0.95), "reward_raw/answer_exact": rising(0.2, 0.7),
        "reward_weighted/format_exact": rising(0.6, 0.95), "reward_weighted/answer_exact": rising(0.2, 0.7),
        "groups/zero_variance": rising(0.1, 0.25, 0.04), "completion/mean_tokens": rising(60, 75, 2),
        "completion/truncated": constant(0.03, 0.01), "completion/format_rate": rising(0.6, 0.97, 0.02),
        "optim/lr": lambda step, t, rng: 5e-6 * min(1.0, t * 10) * (1 + math.cos(math.pi * t)) / 2,
        "optim/grad_norm": constant(0.08, 0.01), "policy/kl": rising(0.0, 0.05, 0.002),
        "policy/entropy": rising(0.8, 0.45, 0.02), "policy/sampler_difference": constant(0.04, 0.005),
        "time/step_seconds": constant(2.0, 0.05),
        "time/generate_seconds": constant(1.2, 0.03), "time/score_seconds": constant(0.05, 0.005),
        "time/learn_seconds": constant(0.75, 0.03), "gpu/utilisation": constant(0.8, 0.05),
        "gpu/memory_gib": constant(20, 0.1), "loss": constant(0.0, 0.001),
    }


def healthy_sft() -> dict[str, Curve]:
    """An SFT run that learns and does not overfit."""
    return {
        "sft/loss": rising(2.2, 0.6, 0.03), "optim/lr": constant(2e-4), "optim/grad_norm": constant(0.6, 0.05),
        "time/step_seconds": constant(0.4, 0.02),
        "sft/eval_loss": lambda step, t, rng: rising(2.2, 0.65, 0.0)(step, t, rng) if step % 10 == 0 else None,
    }


@dataclass
class Synthetic:
    """What to write. `grpo` and `sft` override single curves of a healthy run; a curve of None leaves the key out."""

    sft_steps: int = 60
    grpo_steps: int = 120
    groups_per_step: int = 2
    group_size: int = 4
    seed: int = 1
    grpo: dict[str, Curve | None] = field(default_factory=dict)
    sft: dict[str, Curve | None] = field(default_factory=dict)
    texts: Callable[[int, int, bool, random.Random], str] | None = None  # step, position, right -> text
    total_steps: int | None = None  # GRPO steps planned, when the run is not finished
    state: str = "finished"
    recipe: Recipe = field(default_factory=Recipe)


def curves_of(plan: Synthetic) -> dict[str, dict[str, tuple[list[int], list[float | None]]]]:
    """Stage -> key -> steps and values, without writing anything."""
    rng = random.Random(plan.seed)
    made: dict[str, dict[str, tuple[list[int], list[float | None]]]] = {}
    for stage, curves, steps in (("sft", healthy_sft() | plan.sft, plan.sft_steps),
                                 ("grpo", healthy_grpo() | plan.grpo, plan.grpo_steps)):
        for key, curve in curves.items():
            points = [(s, curve(s, s / steps, rng)) for s in range(1, steps + 1)] if curve else []
            kept = [(s, v) for s, v in points if v is not None]
            made.setdefault(stage, {})[key] = ([s for s, _ in kept], [v for _, v in kept])
    return made


def write_run(path: Path, plan: Synthetic | None = None) -> RunFolder:
    """Write a whole run folder: recipe, stages, metrics, groups, events and a log."""
    plan = plan or Synthetic()
    rng = random.Random(plan.seed)
    folder = RunFolder(path)
    writer = RunWriter(folder)
    folder.recipe_file.write_text(plan.recipe.to_yaml())
    folder.log.write_text("loading the model\n" + "".join(f"step {i}: ok\n" for i in range(plan.grpo_steps)))
    for stage in ("prepare", "merge_sft"):
        writer.set_stage(stage, attempt=1, state="finished", started=time.time(), ended=time.time(), done=1, total=1)
    write_stage(writer, "sft", healthy_sft() | plan.sft, plan.sft_steps, plan.sft_steps, rng)
    for step in write_stage_steps(writer, "grpo", healthy_grpo() | plan.grpo, plan.grpo_steps,
                                  plan.total_steps or plan.grpo_steps, rng):
        writer.add_groups("grpo", 1, step, groups_of(plan, step, rng))
    finished = plan.state == "finished"
    writer.set_stage("grpo", attempt=1, state="finished" if finished else "running", done=plan.grpo_steps,
                     total=plan.total_steps or plan.grpo_steps, unit="steps", started=time.time() - 100,
                     ended=time.time() if finished else None, seconds_left=None if finished else 95.0)
    writer.add_event("info", "GRPO started from the merged SFT model", "grpo", 0)
    writer.set_status(state=plan.state, stage="grpo", heartbeat=time.time())
    writer.close()
    return folder


def write_stage(writer: RunWriter, stage: str, curves: dict[str, Curve | None], steps: int, total: int,
                rng: random.Random) -> None:
    """All metrics of a stage, and its row."""
    for _ in write_stage_steps(writer, stage, curves, steps, total, rng):
        pass
    writer.set_stage(stage, attempt=1, state="finished", done=steps, total=total, unit="steps", started=time.time())


def write_stage_steps(writer: RunWriter, stage: str, curves: dict[str, Curve | None], steps: int, total: int,
                      rng: random.Random):  # type: ignore[no-untyped-def]
    """Write one step after the other, yielding its number."""
    for step in range(1, steps + 1):
        found = {key: curve(step, step / total, rng) for key, curve in curves.items() if curve is not None}
        writer.add_metrics(stage, 1, step, {k: v for k, v in found.items() if v is not None})
        yield step


def groups_of(plan: Synthetic, step: int, rng: random.Random) -> list[GroupRecord]:
    """The groups of a step; prompts come again after 50 steps."""
    return [one_group(plan, step, position, rng) for position in range(plan.groups_per_step)]


def one_group(plan: Synthetic, step: int, position: int, rng: random.Random) -> GroupRecord:
    """A group whose share of right answers grows with the step."""
    a, b = step % 50 + 2, position + 3
    chance = 0.3 + 0.5 * step / max(1, plan.grpo_steps)
    right = [rng.random() < chance for _ in range(plan.group_size)]
    totals = [3.0 if r else 0.5 for r in right]
    mean = sum(totals) / len(totals)
    spread = math.sqrt(sum((t - mean) ** 2 for t in totals) / max(1, len(totals) - 1))
    completions = []
    for i, is_right in enumerate(right):
        answer = a * b if is_right else a * b + rng.randint(1, 9)
        text = plan.texts(step, i, is_right, rng) if plan.texts else (
            f"<reasoning>\nEach box holds {b} apples and there are {a} boxes, so {a} times {b}.\n</reasoning>\n"
            f"<answer>{answer}</answer>")
        completions.append(CompletionRecord(
            text, 24, False, {"format_exact": 1.0, "answer_exact": 2.0 if is_right else -0.5}, totals[i],
            (totals[i] - mean) / (spread + 1e-4), str(answer)))
    return GroupRecord(f"There are {a} boxes with {b} apples each. How many apples are there?", str(a * b),
                       completions, sum(right))
