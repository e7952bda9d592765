"""GRPO with Unsloth as its quickstart does it (https://unsloth.ai/docs, reinforcement learning guide).

As it is, the first step compiles for minutes. `--small-kernel` adds the switch and the replaced function that
docs/gpu.md describes, so that later steps can be compared without waiting for that.
"""

import os
import sys
import time

STARTED = time.time()
SMALL_KERNEL = "--small-kernel" in sys.argv
sys.argv = [a for a in sys.argv if a != "--small-kernel"]
if SMALL_KERNEL:
    os.environ["UNSLOTH_GRPO_LOGPROB_RECOMPUTE"] = "1"

from unsloth import FastLanguageModel  # noqa: E402, I001
import torch  # noqa: E402
from common import Clock, answer_reward, arguments, format_reward, rows  # noqa: E402
from datasets import Dataset  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

if SMALL_KERNEL:
    import unsloth_zoo.rl_replacements as rl

    rl.chunked_hidden_states_selective_log_softmax = rl.chunked_hidden_states_selective_log_softmax_recompute
args = arguments()
clock = Clock(args.out, STARTED)
model, tokenizer = FastLanguageModel.from_pretrained(
    model_name=args.model, max_seq_length=args.max_length, load_in_4bit=False, fast_inference=True,
    max_lora_rank=args.rank, gpu_memory_utilization=args.vllm_share)
model = FastLanguageModel.get_peft_model(
    model, r=args.rank, lora_alpha=2 * args.rank, use_gradient_checkpointing="unsloth", random_state=1,
    target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
trainer = GRPOTrainer(
    model=model, processing_class=tokenizer, reward_funcs=[format_reward, answer_reward],
    train_dataset=Dataset.from_list(rows(args.data)), callbacks=[clock],
    args=GRPOConfig(
        output_dir="plain_unsloth", per_device_train_batch_size=args.batch // args.accumulation,
        gradient_accumulation_steps=args.accumulation, num_generations=args.generations, max_steps=args.steps,
        max_completion_length=args.max_tokens, learning_rate=5e-6, logging_steps=1, report_to="none",
        save_strategy="no", seed=1, optim="adamw_8bit"))
trainer.train()
clock.save(peak_gib=torch.cuda.max_memory_allocated() / 2**30)
