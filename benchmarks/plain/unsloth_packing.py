"""Unsloth's GRPO with its answers packed into one row and as rows of one length, in turns within one process.

    PYTHONPATH=. python benchmarks/plain/unsloth_packing.py --model FOLDER --data train.jsonl --steps 28 --out FILE

The trainer is that of unsloth_grpo.py. Every two steps the way changes; the first turn of each does not count. Printed:
the median seconds of a whole step either way, the geometric mean of the ratio of rows to packed over the pairs of turns
with its 95 % interval, and how far the log-probabilities of the two are apart on made texts. `--stop-every N` lets any
of one in N of the vocabulary's tokens end an answer, so that a model with random weights writes some of many lengths.
"""

import itertools
import os
import statistics
import sys
import time

STARTED = time.time()
os.environ["UNSLOTH_GRPO_LOGPROB_RECOMPUTE"] = "1"
STOP_EVERY = int(sys.argv.pop(sys.argv.index("--stop-every") + 1)) if "--stop-every" in sys.argv else 0
sys.argv = [a for a in sys.argv if a != "--stop-every"]

from unsloth import FastLanguageModel  # noqa: E402, I001
import torch  # noqa: E402
import unsloth_zoo.rl_replacements as rl  # noqa: E402
from common import Clock, answer_reward, arguments, format_reward, rows  # noqa: E402
from datasets import Dataset  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

from benchmarks.turns import ratio  # noqa: E402

TURN = 2
SIDES = ("_unsloth_seq_packing_nograd_ok", "_unsloth_seq_packing_grad_ok")  # of the model: False forbids packing


class Turns(Clock):
    """Times each step; before every second one the way changes."""

    verified = (None, None)  # what Unsloth had found out about packing by itself

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        turn = state.global_step // TURN
        if state.global_step % TURN == 0 and turn:
            pack(model, turn % 2 == 0, self)
        super().on_step_begin(args, state, control, **kwargs)


def pack(model, wanted, memory):
    """Let the model's answers be packed, or not."""
    if not wanted:
        memory.verified = tuple(getattr(model, name, None) for name in SIDES)
    for name, value in zip(SIDES, memory.verified if wanted else (False, False), strict=True):
        setattr(model, name, value)


def apart(trainer, clock, model):
    """How far the two ways are apart on made answers of lengths from 40 to 400, in nats per token."""
    made = torch.Generator().manual_seed(1)
    keep, pad = 400, trainer.processing_class.pad_token_id
    ids = torch.randint(1000, 20000, (8, 100 + keep), generator=made)
    for number in range(8):
        ids[number, :10 * number] = pad
        ids[number, 100 + 40 + 50 * number:] = pad
    ids = ids.to(model.device)
    found = []
    for wanted in (True, False):
        pack(model, wanted, clock)
        with torch.no_grad():
            found.append(trainer._get_per_token_logps_and_entropies(model, ids, (ids != pad).long(), keep)[0].float())
    real = found[0] != 0
    difference = (found[0] - found[1]).abs()[real]
    return {"tokens": int(real.sum()), "mean": float(difference.mean()), "largest": float(difference.max())}


args = arguments()
rl.chunked_hidden_states_selective_log_softmax = rl.chunked_hidden_states_selective_log_softmax_recompute
clock = Turns(args.out, STARTED)
model, tokenizer = FastLanguageModel.from_pretrained(
    model_name=args.model, max_seq_length=args.max_length, load_in_4bit=False, fast_inference=True,
    max_lora_rank=args.rank, gpu_memory_utilization=args.vllm_share)
model = FastLanguageModel.get_peft_model(
    model, r=args.rank, lora_alpha=2 * args.rank, use_gradient_checkpointing="unsloth", random_state=1,
    target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
ends = list(range(1000, 1000 + len(tokenizer) // STOP_EVERY)) if STOP_EVERY else []
trainer = GRPOTrainer(
    model=model, processing_class=tokenizer, reward_funcs=[format_reward, answer_reward],
    train_dataset=Dataset.from_list(rows(args.data)), callbacks=[clock],
    args=GRPOConfig(
        output_dir="packing", per_device_train_batch_size=args.batch // args.accumulation,
        gradient_accumulation_steps=args.accumulation, num_generations=args.generations, max_steps=args.steps,
        max_completion_length=args.max_tokens, learning_rate=5e-6, logging_steps=1, report_to="none",
        save_strategy="no", seed=1, optim="adamw_8bit", **({"generation_kwargs": {"stop_token_ids": ends}} if ends
                                                          else {})))
trainer.train()
steps = clock.found["step_seconds"]
turns = [steps[first:first + TURN] for first in range(0, args.steps, TURN)]
sides = {"packed": turns[2::2], "rows": turns[3::2]}
means = [[statistics.mean(turn) for turn in side[:len(sides["rows"])]] for side in (sides["rows"], sides["packed"])]
found = {"sides": sides, "ratio": ratio(*means)}
for name, side in sides.items():
    print(f"{name}: {[round(seconds, 2) for turn in side for seconds in turn]} s, median "
          f"{statistics.median(itertools.chain(*side)):.2f} s a step")
print(f"rows / packed = {found['ratio']['ratio']:.3f}, 95 % interval {found['ratio']['low']:.3f} to "
      f"{found['ratio']['high']:.3f} (means of turns, checks included)", flush=True)
clock.save(**found)
try:
    found["apart"] = apart(trainer, clock, model)
    print(f"log-probabilities apart: {found['apart']}")
except Exception as error:  # a private function of Unsloth's: the times are worth more
    print(f"log-probabilities not compared: {error!r}")
clock.save(**found)
