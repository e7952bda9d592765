"""Answers sampled by vLLM are scored once: the loss, its gradients and what is logged are those of TRL's two passes.

vLLM needs a GPU; a stand-in gives the trainer fixed answers and log-probabilities. All else is TRL's own trainer.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from pipeline.dataset.chat import model_folder
from pipeline.engines.loading import adapter_layers
from pipeline.engines.score_once import ScoresOnce, token_weights
from pipeline.engines.vllm_weights import CORRECTION

LENGTHS = (5, 9, 3, 12)  # of the answers; the first one's second token has no log-probability


class OnceTrainer(ScoresOnce, GRPOTrainer):
    """As the TRL engine has it, without the recording."""


class StandIn:
    """In place of TRL's VLLMGeneration: four answers, their log-probabilities far from the trainer's."""

    def sync_weights(self) -> None:
        """Its answers are fixed."""

    def generate(self, prompts: list[list[int]], **_: Any) -> tuple[Any, ...]:
        draw = torch.Generator().manual_seed(1)
        ids = [torch.randint(5, 200, (LENGTHS[i % 4],), generator=draw).tolist() for i in range(len(prompts))]
        logps = [[[float(x)] for x in -6 * torch.rand(len(one), generator=draw)] for one in ids]
        logps[0][1] = [None]  # what TRL makes of a NaN
        return prompts, ids, logps, None


@pytest.fixture
def trainer_of(tmp_path: Any) -> Callable[..., Any]:
    """`trainer_of(cls, accumulation=…)`: a trainer over four answers to one question, with the stand-in."""

    def make(cls: type, **settings: Any) -> Any:
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_pretrained(model_folder("tiny"), dtype=torch.float32)
        config = GRPOConfig(**{
            "output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "report_to": "none", "seed": 1,
            "gradient_checkpointing": False, "per_device_train_batch_size": 4, "num_generations": 4, "max_steps": 1,
            "max_completion_length": 12, "learning_rate": 1e-3, "beta": 0.0, "loss_type": "dapo", **CORRECTION,
            **settings})
        trainer = cls(
            model=base, args=config, processing_class=AutoTokenizer.from_pretrained(model_folder("tiny")),
            reward_funcs=[lambda completions, **_: [float(len(c)) for c in completions]],
            train_dataset=Dataset.from_list([{"prompt": f"What is {i} + 1?"} for i in range(8)]),
            peft_config=LoraConfig(r=4, target_modules=adapter_layers(base)))
        trainer.use_vllm, trainer.vllm_generation, trainer._last_loaded_step = True, StandIn(), -1
        return trainer

    return make


def passes_and_gradients(trainer: Any) -> tuple[int, dict[str, torch.Tensor]]:
    """How often all answers went through the model in one step of learning, and the adapter's gradients."""
    counted: list[int] = []
    gradients: dict[str, torch.Tensor] = {}

    class BeforeUpdate(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            gradients.update({name: weight.grad.clone() for name, weight in trainer.model.named_parameters()
                              if weight.grad is not None})

    trainer.model.register_forward_pre_hook(lambda *_: counted.append(1))
    trainer.add_callback(BeforeUpdate())
    trainer.train()
    return len(counted), gradients


@pytest.mark.parametrize("accumulation", [1, 2])
def test_one_pass_teaches_the_same_as_two(trainer_of: Callable[..., Any], accumulation: int) -> None:
    twice, wanted = passes_and_gradients(trainer_of(GRPOTrainer, gradient_accumulation_steps=accumulation))
    trainer = trainer_of(OnceTrainer, gradient_accumulation_steps=accumulation)
    once, found = passes_and_gradients(trainer)
    assert (once, twice) == (accumulation, 2 * accumulation)
    assert set(found) == set(wanted) and any(value.abs().max() > 1e-4 for value in wanted.values())
    assert all(torch.allclose(found[name], wanted[name], rtol=1e-4, atol=1e-8) for name in wanted)
    assert trainer.vllm_importance_sampling_correction


def test_the_weights_matter_and_are_logged_as_trl_logs_them(trainer_of: Callable[..., Any]) -> None:
    plain, ours = trainer_of(GRPOTrainer), trainer_of(OnceTrainer)
    for trainer in (plain, ours):
        trainer.train()
    logs = [trainer.state.log_history[0] for trainer in (plain, ours)]
    for name in ("sampling_logp_difference/mean", "sampling_logp_difference/max", "importance_sampling_ratio/mean",
                 "importance_sampling_ratio/max"):
        wanted, found = (float(log[f"sampling/{name}"]) for log in logs)
        assert found == pytest.approx(wanted, rel=0.05)  # TRL's mean leaves the token without a probability out
        assert found not in (0.0, 1.0)


@pytest.mark.parametrize("settings", [
    {"num_iterations": 2}, {"vllm_importance_sampling_mode": "sequence_truncate"}, {"loss_type": "vespo"},
    {"vllm_importance_sampling_correction": False}, {"off_policy_mask_threshold": 0.5}, {"steps_per_generation": 2}])
def test_all_else_is_left_to_trl(trainer_of: Callable[..., Any], settings: dict[str, Any]) -> None:
    """Where an update comes between sampling and learning, old scores are needed; other modes are not ours."""
    trainer = trainer_of(OnceTrainer, **settings)
    assert not trainer.scores_once()


def test_answers_to_held_out_questions_are_scored_once_too(trainer_of: Callable[..., Any]) -> None:
    plain, ours = (trainer_of(cls, per_device_eval_batch_size=4) for cls in (GRPOTrainer, OnceTrainer))
    passes: list[int] = []
    ours.model.register_forward_pre_hook(lambda *_: passes.append(1))
    losses = [trainer.evaluate(trainer.train_dataset.select([0]))["eval_loss"] for trainer in (plain, ours)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(passes) == 1


def test_without_vllm_nothing_is_weighted(trainer_of: Callable[..., Any]) -> None:
    trainer = trainer_of(OnceTrainer)
    trainer.use_vllm = False
    assert not trainer.scores_once()


def test_a_token_counts_twice_at_most() -> None:
    assert token_weights(torch.tensor([0.0, -1.0, 5.0]), 2.0).tolist() == pytest.approx([1.0, 0.36788, 2.0], rel=1e-4)


def test_an_older_sample_is_scored_before_the_weights_change(trainer_of: Callable[..., Any]) -> None:
    trainer = trainer_of(OnceTrainer, num_iterations=2)
    assert passes_and_gradients(trainer)[0] == 2  # one for the ratio, one for the step
    assert trainer.vllm_importance_sampling_correction
