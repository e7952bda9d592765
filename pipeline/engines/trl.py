"""The engine that runs everywhere: transformers for SFT, TRL's GRPOTrainer, sampling by transformers or by vLLM.

GRPO follows https://arxiv.org/abs/2402.03300 as TRL 1.14.2 implements it. Every hyper-parameter comes from the recipe
and is passed explicitly, so that TRL's defaults never decide.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from transformers import (
    DataCollatorForSeq2Seq,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)
from trl import GRPOConfig, GRPOTrainer

from pipeline import tags
from pipeline.dataset.chat import ChatTokenizer, model_folder
from pipeline.engines.base import Generator
from pipeline.engines.checkpoints import checkpoint_step, last_complete
from pipeline.engines.choose import choice
from pipeline.engines.loading import (
    compute_dtype,
    device,
    load_model,
    load_tokenizer,
    lora_config,
    snapshot,
    trainable_share,
    tune_threads,
    with_adapter,
)
from pipeline.engines.merging import merge_adapter
from pipeline.engines.recording import RecordGroups, Watch
from pipeline.engines.sampling import TransformersGenerator
from pipeline.engines.score_once import ScoresOnce
from pipeline.engines.start import WITH_VLLM, Start
from pipeline.engines.training_rows import grpo_rows, sft_examples, validation_rows
from pipeline.engines.transformers_sampling import SamplesFaster
from pipeline.engines.vllm_sampling import VllmGenerator
from pipeline.engines.vllm_weights import CORRECTION, ONLY_TOKENS, exact_sampling
from pipeline.rewards import RewardSet
from pipeline.run import Run, Stopped


class RecordedGRPOTrainer(RecordGroups, ScoresOnce, SamplesFaster, GRPOTrainer):
    """TRL's trainer, writing its groups to the run."""


class TrlEngine:
    """See `base.Engine`."""

    name = "trl"

    def train_sft(self, run: Run, model: str | Path) -> None:
        """Loss on the answer's tokens only, as `tokenise` marks them; the adapter goes to `adapters/sft`."""
        step, start = run.recipe.model, Start(run, _is_main())
        start.loading("model", "Loading the model")
        tokenizer = load_tokenizer(model, step)
        tokenizer.padding_side = "right"
        set_seed(run.recipe.seed)
        peft_model = with_adapter(load_model(model, step), run.recipe.lora, run.recipe.seed)
        tune_threads(peft_model)
        tell_trainable(run, peft_model)
        train_sft_with(run, model, peft_model, tokenizer, start)

    def train_grpo(self, run: Run, model: str | Path) -> None:
        """A fresh adapter on the merged SFT model, which is also the KL reference; into `adapters/grpo`."""
        recipe, start, vllm = run.recipe, Start(run, _is_main()), uses_vllm(run)
        tell_slower(run)
        start.loading("model", "Loading the model")
        model = snapshot(model, recipe.model) if vllm else model
        tokenizer = load_tokenizer(model, recipe.model)
        base = load_model(model, recipe.model)
        tune_threads(base)
        set_seed(recipe.seed)  # before the trainer builds the adapter, which TRL does not seed itself
        scheme = tags.scheme_of(recipe.data.tags)
        with RewardSet(recipe.rewards, scheme, count_tokens=token_counter(tokenizer)) as rewards:
            if vllm:
                start.loading("vllm", WITH_VLLM)
            with exact_sampling(recipe.model.precision):
                trainer = RecordedGRPOTrainer(
                    model=base, processing_class=tokenizer, peft_config=lora_config(base, recipe.lora),
                    reward_funcs=[named(label) for label in rewards.labels], args=grpo_config(run, rewards),
                    train_dataset=grpo_rows(run, "grpo"), eval_dataset=validation_rows(run))
            tell_trainable(run, trainer.model)
            train_grpo_with(run, trainer, rewards, scheme, start)

    def merge(self, run: Run, model: str | Path, adapter: Path, out: Path) -> None:
        """Into `out`, always from the 16-bit base."""
        merge_adapter(model, run.recipe.model, adapter, out)

    def generator(self, run: Run, model: str | Path, adapter: Path | None = None,
                  precision: str = "16bit", length: int = 0, answers: int = 0) -> Generator:
        """vLLM where a GPU and vLLM are and fast inference is on; otherwise transformers."""
        source = model_folder(model) if str(model) == "tiny" else model
        if uses_vllm(run):
            return VllmGenerator(source, run.recipe.model, adapter, precision, run.recipe.lora.rank, length, answers,
                                 run.folder.log)
        return TransformersGenerator(source, run.recipe.model, adapter, precision)


# What the Unsloth engine shares -------------------------------------------------------------------------------------


def train_sft_with(run: Run, model: str | Path, peft_model: Any, tokenizer: Any, start: Start) -> None:
    """Run the SFT trainer over the run's data with a model that has its adapter already."""
    chat = ChatTokenizer.load(str(model), template=run.recipe.model.chat_template)
    rows = sft_examples(run, chat, "sft")
    held_out = sft_examples(run, chat, "validation")
    watch = Watch(run, is_main=_is_main(), processes=_processes(), boundary=1, keep=run.recipe.sft.keep)
    trainer = Trainer(
        model=peft_model, args=sft_arguments(run, has_eval=bool(held_out)), train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(held_out) if held_out else None, callbacks=[watch],
        data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True, label_pad_token_id=-100,
                                             pad_to_multiple_of=8 if device() == "cuda" else None))
    _train(run, trainer, watch, start)


def train_grpo_with(run: Run, trainer: Any, rewards: RewardSet, scheme: tags.TagScheme, start: Start) -> None:
    """Run a GRPO trainer that has the `RecordGroups` mixin."""
    grpo = run.recipe.grpo
    watch = Watch(run, is_main=trainer.accelerator.is_main_process, processes=trainer.accelerator.num_processes,
                  boundary=grpo.num_iterations, keep=grpo.keep)
    watch.trainer = trainer
    trainer.watch(run, rewards, scheme)
    trainer.add_callback(watch)
    _train(run, trainer, watch, start)


def _train(run: Run, trainer: Any, watch: Watch, start: Start) -> None:
    trainer.remove_callback(PrinterCallback)
    resume = _agreed_checkpoint(run, watch)
    if watch.is_main:
        step = checkpoint_step(resume) if resume else 0
        run.writer.drop_after(run.stage, step)
        if resume:
            run.event("info", f"Continues after step {step}.", step)
    _load_on_plain_cpu(trainer)
    start.ready()
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    trainer.accelerator.wait_for_everyone()  # no rank leaves while rank 0 still writes
    if watch.stopped:
        if watch.is_main:
            run.event("info", f"Stopped after step {trainer.state.global_step}.", trainer.state.global_step)
        raise Stopped
    if watch.is_main:
        save_adapter(trainer.model, run.folder.adapter(run.stage))


def _agreed_checkpoint(run: Run, watch: Watch) -> Path | None:
    """The newest usable checkpoint, as rank 0 sees it: a network disk may show another machine an older state, and what
    looks like half a checkpoint there must not be deleted."""
    folder = run.folder.checkpoints(run.stage)
    found = [last_complete(folder)] if watch.is_main else [None]
    if watch.processes > 1:
        names = [found[0].name if found[0] else None]
        broadcast_object_list(names, from_process=0)
        found = [folder / names[0] if names[0] else None]
    return found[0]


def _load_on_plain_cpu(trainer: Any) -> None:
    """With several CPU ranks the device is `cpu:0`, onto which torch cannot load an optimizer's state."""
    if trainer.args.device.type == "cpu":
        trainer.args.__dict__["_setup_devices"] = torch.device("cpu")


def save_adapter(model: Any, out: Path) -> None:
    """Write the adapter into `out`, which appears whole or not at all."""
    temporary = out.with_name(out.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(temporary)
    shutil.rmtree(out, ignore_errors=True)
    temporary.rename(out)


def sft_arguments(run: Run, has_eval: bool) -> TrainingArguments:
    """The recipe's SFT step in the trainer's words."""
    sft = run.recipe.sft
    return TrainingArguments(
        learning_rate=sft.learning_rate, num_train_epochs=sft.epochs, max_steps=sft.max_steps or -1,
        gradient_accumulation_steps=sft.accumulation, per_device_train_batch_size=sft.batch_size,
        per_device_eval_batch_size=sft.batch_size, warmup_steps=sft.warmup, lr_scheduler_type=sft.scheduler,
        weight_decay=sft.weight_decay, max_grad_norm=sft.max_grad_norm, save_steps=sft.save_every,
        eval_strategy="steps" if has_eval else "no", eval_steps=sft.eval_every, prediction_loss_only=True,
        include_num_input_tokens_seen="non_padding", **_common_arguments(run))


def grpo_config(run: Run, rewards: RewardSet, **more: Any) -> GRPOConfig:
    """The recipe's GRPO step in TRL's words; `more` is what an engine adds."""
    recipe, grpo = run.recipe, run.recipe.grpo
    evaluates = grpo.eval_every > 0
    vllm = {"use_vllm": True, "vllm_mode": "colocate", "vllm_max_model_length": recipe.model.max_length,
            "vllm_gpu_memory_utilization": recipe.model.gpu_memory_share,
            "vllm_enable_sleep_mode": recipe.model.vllm_sleep, "generation_kwargs": ONLY_TOKENS,
            **CORRECTION} if uses_vllm(run) else {"use_vllm": False}
    return GRPOConfig(
        learning_rate=grpo.learning_rate, max_steps=grpo.steps, per_device_train_batch_size=grpo.batch_size,
        gradient_accumulation_steps=grpo.accumulation, num_generations=grpo.num_generations,
        max_completion_length=grpo.max_completion_tokens, temperature=grpo.temperature, top_p=grpo.top_p,
        top_k=grpo.top_k, beta=grpo.beta, loss_type=grpo.loss_type, epsilon=grpo.epsilon,
        epsilon_high=grpo.epsilon_high, num_iterations=grpo.num_iterations,
        mask_truncated_completions=grpo.mask_truncated, scale_rewards=recipe.rewards.scale,
        multi_objective_aggregation="sum_then_normalize" if recipe.rewards.combine == "sum" else "normalize_then_sum",
        reward_weights=[rewards.weights[label] for label in rewards.labels], warmup_steps=grpo.warmup,
        lr_scheduler_type=grpo.scheduler, weight_decay=grpo.weight_decay, max_grad_norm=grpo.max_grad_norm,
        adam_beta1=0.9, adam_beta2=grpo.adam_beta2, save_steps=grpo.save_every, shuffle_dataset=True,
        eval_strategy="steps" if evaluates else "no", eval_steps=grpo.eval_every or None,
        num_generations_eval=1 if evaluates else None, per_device_eval_batch_size=min(64, grpo.eval_rows),
        log_completions=False, **{**vllm, **_common_arguments(run), **more})


def _common_arguments(run: Run) -> dict[str, Any]:
    on_cpu = device() == "cpu"
    dtype = compute_dtype()
    return {"output_dir": str(run.folder.checkpoints(run.stage)), "seed": run.recipe.seed,
            "data_seed": run.recipe.seed, "use_cpu": on_cpu, "bf16": dtype == torch.bfloat16,
            "fp16": dtype == torch.float16, "optim": "adamw_torch" if on_cpu else "adamw_torch_fused",
            "gradient_checkpointing": run.recipe.lora.gradient_checkpointing,
            "gradient_checkpointing_kwargs": {"use_reentrant": False}, "logging_steps": 1, "disable_tqdm": True,
            "report_to": "none", "save_strategy": "steps", "save_total_limit": None, "push_to_hub": False,
            "remove_unused_columns": False, "dataloader_pin_memory": not on_cpu, "ddp_find_unused_parameters": False}


def named(label: str) -> Any:
    """A stand-in with the reward's name for TRL's bookkeeping; the scores come from `RecordGroups`."""
    def stand_in(**_: Any) -> list[float]:
        raise AssertionError("RecordGroups scores the completions")

    stand_in.__name__ = label
    return stand_in


def token_counter(tokenizer: Any) -> Any:
    """Counts a text's tokens, for rewards about length."""
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def uses_vllm(run: Run) -> bool:
    """Whether sampling goes through vLLM: wanted, and possible with this GPU, installation, model and precision."""
    return choice(run.recipe.model).vllm


def tell_slower(run: Run) -> None:
    """An event that says why vLLM does not sample although it was wanted, and what that costs."""
    if (slower := choice(run.recipe.model).slower) and _is_main():
        run.event("warning", slower)


def tell_trainable(run: Run, model: Any) -> None:
    """An event with the number and share of trainable parameters."""
    trainable, total = trainable_share(model)
    if _is_main():
        run.event("info", f"Training {trainable:,} of {total:,} parameters ({trainable / total:.2%}).",
                  data={"trainable": trainable, "total": total})


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"
