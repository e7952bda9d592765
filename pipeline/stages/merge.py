"""Stages: write the plain 16-bit model folders that follow SFT and GRPO."""

from dataclasses import asdict

from pipeline.dataset.chat import ChatTokenizer, prompt_ids
from pipeline.dataset.part_files import read_part
from pipeline.engines.choose import gpu_count, sampling_engine
from pipeline.merge_check import CHECKED_PROMPTS, check_merge, greedy_answers
from pipeline.run import Run
from pipeline.stages.process import in_own_process_on_gpu

QUICK_BYTES = 100_000_000  # larger ones are checked on fewer prompts where there is no GPU
CHECKED_BYTES = 4_000_000_000  # larger models are checked on request, from the Export tab


@in_own_process_on_gpu
def merge_sft(run: Run) -> None:
    """`models/sft` from the base and `adapters/sft`. GRPO starts on it with a fresh adapter."""
    _merge(run, "sft")


@in_own_process_on_gpu
def merge_grpo(run: Run) -> None:
    """`models/grpo` from the model that GRPO started on and `adapters/grpo`."""
    _merge(run, "grpo")


def _merge(run: Run, stage: str) -> None:
    run.progress(0, 1, "models", "Merging the adapter into a 16-bit model")
    run.check_stop()
    base, adapter, merged = run.model_before(stage), run.folder.adapter(stage), run.folder.model(stage)
    sampling_engine(run.recipe.model).merge(run, base, adapter, merged)
    size = sum(file.stat().st_size for file in merged.glob("*.safetensors"))
    if size < CHECKED_BYTES:
        _check(run, stage, base, size < QUICK_BYTES)
    run.progress(1, 1, "models", "The merged model is ready")


def _check(run: Run, stage: str, base: str, small: bool) -> None:
    """Reload what was written and compare it with base + adapter; the outcome is an event of the run.

    The last model of a run is also compared in 100 greedy answers when it is small; larger ones on request, from the
    Export tab.
    """
    run.progress(0, 1, "models", "Checking the merged model")
    merged, last = run.folder.model(stage), stage == "grpo" or not run.recipe.grpo.enabled
    chat = ChatTokenizer.load(str(merged), template=run.recipe.model.chat_template)
    part = "validation" if run.folder.data("validation").exists() else "grpo"
    few = gpu_count() == 0 and not small
    rows = read_part(run.folder.data(part))[: CHECKED_PROMPTS // 4 if few else CHECKED_PROMPTS]
    prompts = [prompt_ids(chat, row) for row in rows]
    if not prompts:
        return
    asked = small and last and run.folder.data("test").exists()
    answers = greedy_answers(run.folder, run.recipe, base, stage)[1] if asked else None
    check = check_merge(base, run.folder.adapter(stage), merged, prompts, answers)
    run.event("info" if check.passed else "warning", check.sentence, data=asdict(check))
