"""GRPO with vLLM that scores every sampled answer once, not twice.

vLLM and the trainer never agree on a token's probability to the last digit, so TRL weights each token by their ratio
(`vllm_weights.CORRECTION`). For that it scores all answers with the trainer's weights right after sampling, and in the
loss it scores them again, now with gradients. Where no update comes between the two both find the same, so the ratio is
taken from the loss's own scores and the first pass is left out: a quarter to a third of the learning's arithmetic.
"""

from typing import Any

import torch


class ScoresOnce:
    """Mixin before a `GRPOTrainer` class whose correction is `token_truncate`."""

    _weighted: dict[str, Any] | None = None  # the inputs whose loss is being computed, while they have no weights yet

    def scores_once(self) -> bool:
        """Whether the answers are learnt from before the weights change, and TRL would score them only for the ratio.

        `steps_per_generation` counts micro-batches; TRL samples every `steps_per_generation * num_iterations` of them.
        """
        sampled_every = self.args.steps_per_generation * self.num_iterations
        return bool(self.use_vllm and self.vllm_importance_sampling_correction
                    and self.vllm_importance_sampling_mode == "token_truncate"
                    and self.off_policy_mask_threshold is None and self.loss_type != "vespo"
                    and self.args.gradient_accumulation_steps % sampled_every == 0)

    def _generate_and_score_completions(self, inputs):  # type: ignore[no-untyped-def]
        if not self.scores_once():
            return super()._generate_and_score_completions(inputs)
        self.vllm_importance_sampling_correction = False
        try:
            return super()._generate_and_score_completions(inputs)
        finally:
            self.vllm_importance_sampling_correction = True

    def _compute_loss(self, model, inputs):  # type: ignore[no-untyped-def]
        self._weighted = inputs if self.scores_once() else None
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(self, *args, **more):  # type: ignore[no-untyped-def]
        found = super()._get_per_token_logps_and_entropies(*args, **more)
        if (inputs := self._weighted) is not None:
            self._weighted = None
            apart = torch.nan_to_num(found[0].detach() - inputs["sampling_per_token_logps"], nan=0.0)
            apart = apart * inputs["completion_mask"]
            inputs["importance_sampling_ratio"] = token_weights(apart, self.vllm_importance_sampling_clip_max)
            self._tell_apart(apart, inputs["importance_sampling_ratio"], inputs["completion_mask"].bool())
        return found

    def _tell_apart(self, apart: torch.Tensor, weights: torch.Tensor, mask: torch.Tensor) -> None:
        """Log what TRL logs of it, under its names, for each micro-batch."""
        count, metrics = mask.sum().clamp(min=1), self._metrics["train" if self.model.training else "eval"]
        found = torch.stack([apart.abs().sum() / count, (weights * mask).sum() / count,
                             apart.abs().max(), (weights * mask).max()])
        every = self.accelerator.gather(found.unsqueeze(0))  # (processes, 4)
        for name, value in zip(("sampling_logp_difference/mean", "importance_sampling_ratio/mean",
                                "sampling_logp_difference/max", "importance_sampling_ratio/max"),
                               [*every[:, :2].mean(0).tolist(), *every[:, 2:].amax(0).tolist()], strict=True):
            metrics[f"sampling/{name}"].append(value)


def token_weights(apart: torch.Tensor, most: float) -> torch.Tensor:
    """Weight of each token in the loss, (B, T): trainer's over vLLM's probability of it, at most `most`.

    `apart` is the difference of their log-probabilities, 0 where there is no token. Truncated importance sampling per
    token: https://fengyao.notion.site/off-policy-rl.
    """
    return torch.exp(apart).clamp(max=most)
