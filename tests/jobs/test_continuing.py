"""Out of memory: the lighter recipe that is proposed, and the new run that goes on from the last checkpoint."""

import hashlib
from pathlib import Path

import pytest
from waiting import at_step, recipe, until, until_state

from benchmarks import soak_kills
from pipeline import continuing, jobs
from pipeline import lighter as lighter_module
from pipeline.cli import main
from pipeline.errors import RunError
from pipeline.hardware import Gpu, Hardware
from pipeline.lighter import Vllm, lighter, vllm_of
from pipeline.run_folder import RunFolder, RunReader, RunWriter
from pipeline.studio_home import StudioHome


@pytest.mark.parametrize(("stage", "changes", "step", "after"), [
    ("grpo", {"grpo": {"batch_size": 64}}, "grpo", {"batch_size": 32, "accumulation": 2}),
    ("sft", {"sft": {"batch_size": 4, "accumulation": 3}}, "sft", {"batch_size": 2, "accumulation": 6}),
    ("sft", {"sft": {"batch_size": 1}, "lora": {"gradient_checkpointing": False}}, "lora",
     {"gradient_checkpointing": True}),
    ("evaluate", {"evaluate": {"batch_size": 9}, "model": {"fast_inference": False}}, "evaluate", {"batch_size": 4}),
    ("evaluate", {"evaluate": {"batch_size": 9}}, "model", {"fast_inference": False}),
    ("grpo", {"grpo": {"batch_size": 64}}, "model", {"gpu_memory_share": 0.35}),
    ("grpo", {"model": {"gpu_memory_share": 0.35}}, "model", {"gpu_memory_share": 0.22}),  # with 0.2 it may not start
    ("grpo", {"model": {"gpu_memory_share": 0.22}}, "model", {"gpu_memory_share": 0.22, "vllm_sleep": True}),
    ("grpo", {"grpo": {"batch_size": 1, "accumulation": 8, "max_completion_tokens": 256},
              "model": {"max_length": 512, "gpu_memory_share": 0.1, "vllm_sleep": True}}, "grpo",
     {"max_completion_tokens": 128}),
    ("sft", {"sft": {"batch_size": 1}, "grpo": {"max_completion_tokens": 200}, "model": {"max_length": 512}}, "model",
     {"max_length": 256}),
])
def test_what_costs_nothing_is_lowered_first(stage: str, changes: dict, step: str, after: dict) -> None:
    """Batch x accumulation stays; then recomputing activations; only then shorter texts."""
    before = recipe(**changes)
    found = lighter(before, stage, Vllm(0.22, can_sleep=True) if before.model.fast_inference else None)
    assert found is not None and found.changes
    new = getattr(found.recipe, step)
    assert {name: getattr(new, name) for name in after} == after
    if found.same_learning and stage in ("sft", "grpo"):
        old, now = getattr(before, stage), getattr(found.recipe, stage)
        assert old.batch_size * old.accumulation == now.batch_size * now.accumulation


def test_lowering_comes_to_an_end() -> None:
    """Applied again and again, the proposal ends with None; every recipe on the way is a valid one."""
    for stage in ("sft", "grpo", "evaluate", "merge_sft"):
        now, count = recipe(), 0
        while (found := lighter(now, stage, Vllm() if now.model.fast_inference else None)) is not None:
            assert found.recipe != now
            now, count = found.recipe, count + 1
            assert count < 40


def test_without_a_gpu_nothing_is_proposed_for_vllm() -> None:
    found = lighter(recipe(grpo={"batch_size": 8}), "grpo", vllm_of(recipe(), "grpo"))
    assert vllm_of(recipe(), "grpo") is None and found is not None and found.recipe.model == recipe().model


def test_what_would_change_nothing_is_not_proposed() -> None:
    """vLLM answers as many at once as it has room for; fp8 is vLLM's alone; its share is no memory of the machine."""
    assert lighter(recipe(), "evaluate", Vllm(), of_gpu=False) is None
    assert lighter(recipe(model={"precision": "fp8"}), "evaluate", Vllm()) is None
    found = lighter(recipe(grpo={"batch_size": 8}), "grpo", Vllm(), of_gpu=False)
    assert found is not None and found.recipe.grpo.batch_size == 4
    assert found.recipe.model.gpu_memory_share == recipe().model.gpu_memory_share


def test_an_evaluation_goes_on_as_an_evaluation(home: StudioHome) -> None:
    old = jobs.start(home, recipe(10), "evaluate")
    until_state(home, old, "finished", "failed")
    writer = RunWriter(home.run(old))
    writer.set_status(state="failed", failure="memory", reason="The evaluation ran out of memory.")
    writer.set_stage("evaluate", state="failed")
    writer.close()
    new, _ = continuing.try_again(home, old)
    assert home.about(new)["kind"] == "evaluate"
    until_state(home, new, "finished", "failed")
    assert [row["name"] for row in RunReader(home.run(new)).stages()] == ["evaluate"]


def test_the_least_share_is_that_with_which_vllm_holds_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Hardware(8, 64, 60, (Gpu(0, "GPU", 24.0, 0.0, (9, 0)),), "580.95", None, {
        "torch": "2.11.0", "vllm": "0.26.0", "unsloth": "2026.10.5", "unsloth_zoo": "2026.10.7"})
    monkeypatch.setattr(lighter_module, "detect", lambda: machine)
    assert vllm_of(recipe(model={"source": "tiny"}), "grpo") == Vllm(0.05, can_sleep=True)  # so small a model is TRL's
    assert vllm_of(recipe(model={"source": "tiny", "engine": "unsloth"}), "grpo") == Vllm(0.05, can_sleep=False)
    assert vllm_of(recipe(model={"source": "owner/not-here"}), "grpo") == Vllm()
    assert vllm_of(recipe(model={"source": "tiny", "fast_inference": False}), "grpo") is None
    assert vllm_of(recipe(model={"source": "tiny"}), "sft") is None
    monkeypatch.setattr(lighter_module, "detect", lambda: 1 / 0)
    assert vllm_of(recipe(), "grpo") == Vllm()  # an error is being told: this must not be another


def test_one_click_goes_on_as_a_new_run(home: StudioHome) -> None:
    """The stage runs out of memory at step 3; the new run has half the batch, names its parent, and finishes."""
    old = jobs.start(home, recipe(10))
    (home.run(old).path / "misbehave").write_text("oom")
    now = until_state(home, old, "failed")
    found = continuing.proposal(home, old)
    assert found is not None and "«Try again with less memory»" in now.remedy and found.changes[0] in now.remedy
    new, started = continuing.try_again(home, old)
    assert started == found
    until_state(home, new, "finished")
    made = home.run(new).recipe()
    assert made.parent is not None and made.parent.run == old
    assert now.stage == "sft" and made.sft.batch_size * 2 == home.run(old).recipe().sft.batch_size
    assert home.about(new)["parent"] == old
    assert jobs.state(home, old).state == "failed"
    assert continuing.proposal(home, new) is None
    with pytest.raises(RunError, match="did not fail for want of memory"):
        continuing.try_again(home, new)
    assert main(["resume", old, "--less-memory", "--detach", "--home", str(home.path)]) == 0
    assert len(jobs.list_runs(home)) == 3


def hashes(folder: RunFolder) -> dict[str, str]:
    """Every file of a run's models, adapters, checkpoints and data with its hash."""
    return {str(file.relative_to(folder.path)): hashlib.sha256(file.read_bytes()).hexdigest()
            for part in ("models", "adapters", "checkpoints", "data")
            for file in Path(folder.path / part).rglob("*") if file.is_file()}


@pytest.mark.timeout(280)
def test_a_real_run_goes_on_from_its_checkpoint_in_smaller_pieces(
        home: StudioHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """SFT and merge are not repeated; every GRPO step is there once, those before the stop as they were; the
    earlier run's files are untouched although large ones are shared."""
    monkeypatch.delenv("REASONING_STUDIO_STAGES")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    old = jobs.start(home, soak_kills.recipe(2, 6))
    until(at_step(home, old, 2, "grpo"), seconds=90)
    jobs.stop(home, old)
    until_state(home, old, "stopped", seconds=60)
    folder = home.run(old)
    with_records = RunWriter(folder)
    with_records.set_status(state="failed", failure="memory", reason="GRPO ran out of GPU memory.")
    with_records.close()
    before, steps = hashes(folder), reward_steps(folder)
    new, _ = continuing.try_again(home, old)
    until_state(home, new, "finished", seconds=120)
    assert hashes(folder) == before
    assert reward_steps(home.run(new))[: len(steps)] == steps
    assert [step for step, _ in reward_steps(home.run(new))] == [1, 2, 3, 4, 5, 6]
    attempts = {row["name"]: row["attempt"] for row in RunReader(home.run(new)).stages()}
    assert (attempts["sft"], attempts["merge_sft"], attempts["grpo"]) == (1, 1, 2)


def reward_steps(folder: RunFolder) -> list[tuple[int, float]]:
    """(step, total reward) of GRPO in order."""
    return [(row["step"], row["value"]) for row in RunReader(folder).metric("reward/total") if row["stage"] == "grpo"]
