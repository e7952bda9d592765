"""GRPO with LoRA as TRL's quickstart does it (https://huggingface.co/docs/trl/grpo_trainer); vLLM with --vllm."""

import sys
import time

STARTED = time.time()
USE_VLLM = "--vllm" in sys.argv
sys.argv = [a for a in sys.argv if a != "--vllm"]

import torch  # noqa: E402
from common import Clock, answer_reward, arguments, format_reward, rows  # noqa: E402
from datasets import Dataset  # noqa: E402
from peft import LoraConfig  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

args = arguments()
clock = Clock(args.out, STARTED)
tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
on_gpu = torch.cuda.is_available()
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16 if on_gpu else torch.float32)
model.to("cuda" if on_gpu else "cpu")
vllm = {"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": args.vllm_share,
        "vllm_max_model_length": args.max_length} if USE_VLLM else {}
trainer = GRPOTrainer(
    model=model, processing_class=tokenizer, reward_funcs=[format_reward, answer_reward],
    train_dataset=Dataset.from_list(rows(args.data)), callbacks=[clock],
    peft_config=LoraConfig(r=args.rank, lora_alpha=2 * args.rank, task_type="CAUSAL_LM", target_modules="all-linear"),
    args=GRPOConfig(
        output_dir="plain_trl", per_device_train_batch_size=args.batch // args.accumulation,
        gradient_accumulation_steps=args.accumulation, num_generations=args.generations, max_steps=args.steps,
        max_completion_length=args.max_tokens, learning_rate=5e-6, bf16=on_gpu, use_cpu=not on_gpu, logging_steps=1,
        report_to="none", save_strategy="no", seed=1, **vllm))
trainer.train()
clock.save(peak_gib=torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None)
