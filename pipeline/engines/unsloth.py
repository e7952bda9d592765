"""The engine for one NVIDIA GPU: Unsloth's kernels for training and vLLM inside the same process for sampling.

Import this module before trl, transformers and peft: Unsloth patches them while it is imported, and a trainer class
that was imported earlier stays unpatched without a word. Each stage therefore runs in a process of its own
(`pipeline.stage_process`), whose working folder is the run's, since Unsloth writes generated code there.
"""

import contextlib
import os

# Log-probabilities chunk by chunk with a small compiled kernel. Without it Unsloth compiles one function that is
# unrolled over all chunks, and the first step takes minutes.
os.environ.setdefault("UNSLOTH_GRPO_LOGPROB_RECOMPUTE", "1")

import unsloth  # noqa: I001  must be the first of the training libraries
from unsloth import FastLanguageModel
import unsloth_zoo.rl_replacements as unsloth_rl

from pathlib import Path
from typing import Any

from transformers import set_seed

from pipeline import tags
from pipeline.engine_choice import samples_from_sums
from pipeline.engines.loading import adapter_layers, snapshot
from pipeline.engines.trl import (
    RecordedGRPOTrainer,
    TrlEngine,
    grpo_config,
    named,
    tell_slower,
    tell_trainable,
    token_counter,
    train_grpo_with,
    train_sft_with,
    uses_vllm,
)
from pipeline.engines.start import WITH_VLLM, Start
from pipeline.engines.training_rows import grpo_rows, validation_rows
from pipeline.engines.unsloth_sums import SamplesFromSums, name_no_adapter, without_adapters
from pipeline.engines.vllm_sampling import vllm_rank
from pipeline.engines.vllm_start import graph_sizes, graphs_alone, is_small, start_sooner
from pipeline.errors import EngineError
from pipeline.model_facts import facts_at_hand
from pipeline.recipe import ModelStep, Recipe
from pipeline.rewards import RewardSet
from pipeline.run import Run

UNSLOTH_UNSET = 256  # its default of max_num_seqs


class SummingGRPOTrainer(SamplesFromSums, RecordedGRPOTrainer):
    """The recorded trainer, sampling from sums."""


class UnslothEngine(TrlEngine):
    """See `base.Engine`. Merging and sampling are those of the TRL engine: plain folders, plain vLLM."""

    name = "unsloth"

    def train_sft(self, run: Run, model: str | Path) -> None:
        """As the TRL engine, with Unsloth's model; vLLM is not loaded."""
        start = Start(run, is_main=True)
        start.loading("model", "Loading the model")
        peft_model, tokenizer = self._load(run, model, sampling=False)
        tokenizer.padding_side = "right"
        tell_trainable(run, peft_model)
        train_sft_with(run, model, peft_model, tokenizer, start)

    def train_grpo(self, run: Run, model: str | Path) -> None:
        """As the TRL engine, with Unsloth's model, its loss and its vLLM."""
        assert_patched()
        recipe, vllm = run.recipe, uses_vllm(run)  # with fast_inference but no vLLM, Unsloth raises
        start = Start(run, is_main=True)
        tell_slower(run)
        start.loading("vllm" if vllm else "model", WITH_VLLM if vllm else "Loading the model")
        source = snapshot(model, recipe.model) if vllm else model
        sums = vllm and _from_sums(recipe.model, source)
        peft_model, tokenizer = self._load(run, source, sampling=vllm, sums=sums)
        if sums:
            name_no_adapter(peft_model)
        scheme = tags.scheme_of(recipe.data.tags)
        with RewardSet(recipe.rewards, scheme, count_tokens=token_counter(tokenizer)) as rewards:
            args = grpo_config(run, rewards, use_vllm=vllm)
            # An explicit "dapo" or "dr_grpo" makes Unsloth's config overwrite these four.
            args.mask_truncated_completions = recipe.grpo.mask_truncated
            args.epsilon, args.beta = recipe.grpo.epsilon, recipe.grpo.beta
            args.epsilon_high = recipe.grpo.epsilon_high
            args.scale_rewards = recipe.rewards.scale
            args.vllm_importance_sampling_correction = sums  # off is Unsloth's default
            trainer = (SummingGRPOTrainer if sums else RecordedGRPOTrainer)(
                model=peft_model, processing_class=tokenizer, args=args,
                reward_funcs=[named(label) for label in rewards.labels],
                train_dataset=grpo_rows(run, "grpo"), eval_dataset=validation_rows(run))
            tell_trainable(run, peft_model)
            train_grpo_with(run, trainer, rewards, scheme, start)

    def _load(self, run: Run, source: str | Path, sampling: bool, sums: bool = False) -> tuple[Any, Any]:
        step, lora = run.recipe.model, run.recipe.lora
        precision = step.precision
        if precision == "fp8" and not sampling:  # given no vLLM and an exact name, Unsloth loads 16 bit without a word
            precision = "16bit"
            run.event("info", "SFT trains on the base in 16 bit: vLLM makes fp8 while it loads, and SFT needs no vLLM.")
        set_seed(run.recipe.seed)
        if sampling:
            start_sooner()
        options = vllm_options(run.recipe, source, sums) if sampling else {}
        try:
            with without_adapters() if sums else contextlib.nullcontext():
                model, tokenizer = FastLanguageModel.from_pretrained(
                    model_name=str(source), revision=step.revision if str(source) == step.source else None,
                    max_seq_length=step.max_length, dtype=None, use_exact_model_name=True, trust_remote_code=False,
                    load_in_4bit=precision == "4bit", load_in_8bit=precision == "8bit",
                    load_in_16bit=precision == "16bit", load_in_fp8=precision == "fp8",
                    use_gradient_checkpointing=_checkpointing(run), random_state=run.recipe.seed, **options)
        except (OSError, ValueError, RuntimeError, NotImplementedError) as error:
            raise EngineError(f"Unsloth cannot load {str(source)!r}: {str(error).strip().splitlines()[0][:300]} "
                              "Try the engine trl, another precision, or another share of GPU memory.") from error
        model = FastLanguageModel.get_peft_model(
            model, r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, bias="none",
            target_modules=lora.targets or adapter_layers(model), random_state=run.recipe.seed,
            use_gradient_checkpointing=_checkpointing(run))
        tokenizer.padding_side = "left"
        return model, tokenizer


def vllm_options(recipe: Recipe, folder: str | Path, sums: bool) -> dict[str, Any]:
    """What Unsloth is told of the vLLM that samples from the model in a folder, or from `sums` with its adapter."""
    answers = answers_at_once(recipe)
    options: dict[str, Any] = {
        "fast_inference": True, "max_lora_rank": vllm_rank(recipe.lora.rank), "max_num_seqs": answers,
        "gpu_memory_utilization": recipe.model.gpu_memory_share}
    if is_small(folder):
        options["compilation_config"] = graphs_alone(answers)
    elif sums:  # as TRL's vLLM, which has no adapters either
        options["compilation_config"] = {"cudagraph_capture_sizes": graph_sizes(answers)}
    return options


def answers_at_once(recipe: Recipe) -> int:
    """How many answers vLLM is to work on together: all that it is asked for at a time, as TRL has it. Without that
    Unsloth decides by the free memory, and vLLM records CUDA graphs for many more, or lets some wait. To Unsloth 256
    says that nothing was chosen."""
    answers = recipe.grpo.batch_size * recipe.grpo.accumulation
    return answers + (answers == UNSLOTH_UNSET)


def assert_patched() -> None:
    """Unsloth only logs when it fails to patch TRL. Raises EngineError when its trainer is not under ours."""
    names = [cls.__name__ for cls in RecordedGRPOTrainer.__mro__]
    if not any(name.startswith("UnslothGRPOTrainer") or name.startswith("_UnslothGRPOTrainer") for name in names):
        raise EngineError(f"Unsloth {unsloth.__version__} did not patch TRL's GRPOTrainer, so its loss would not be "
                          "used. Install the versions in requirements-gpu.txt, or choose the engine trl.")


def _from_sums(step: ModelStep, folder: str | Path) -> bool:
    facts = facts_at_hand(str(folder))
    return facts is not None and samples_from_sums(step, facts.model_type, facts.parameters)


def _checkpointing(run: Run) -> str | bool:
    return "unsloth" if run.recipe.lora.gradient_checkpointing else False


def _score_in_chunks() -> None:
    """Let scoring (old and reference log-probabilities) use the same small kernel as the loss."""
    small = unsloth_rl.chunked_hidden_states_selective_log_softmax_recompute
    unsloth_rl.chunked_hidden_states_selective_log_softmax = small


_score_in_chunks()
