"""Answers a file of questions as a user would by hand: vLLM's offline `LLM.generate` where there is a GPU
(https://docs.vllm.ai, offline inference), otherwise `transformers` in batches.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    """vLLM starts a process of its own, which imports this file: nothing may run then."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="JSONL with question")
    parser.add_argument("--system", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=100)
    args = parser.parse_args()

    questions = [json.loads(line)["question"] for line in Path(args.data).read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
    asked = [[{"role": "system", "content": args.system}, {"role": "user", "content": q}] for q in questions]
    prompts = [tokenizer.apply_chat_template(one, add_generation_prompt=True, tokenize=False) for one in asked]
    if torch.cuda.is_available():
        from vllm import LLM, SamplingParams

        llm = LLM(model=args.model, max_model_len=args.max_length, gpu_memory_utilization=0.5)
        started = time.perf_counter()
        found = llm.generate(prompts, SamplingParams(temperature=0, max_tokens=args.max_tokens), use_tqdm=False)
        seconds, tokens = time.perf_counter() - started, sum(len(o.outputs[0].token_ids) for o in found)
    else:
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
        started, tokens = time.perf_counter(), 0
        for first in range(0, len(prompts), args.batch):
            some = prompts[first:first + args.batch]
            batch = tokenizer(some, return_tensors="pt", padding=True, add_special_tokens=False)
            with torch.inference_mode():
                out = model.generate(**batch, max_new_tokens=args.max_tokens, do_sample=False)
            answers = out[:, batch["input_ids"].shape[1]:]
            tokens += int((answers != tokenizer.pad_token_id).sum())
        seconds = time.perf_counter() - started
    Path(args.out).write_text(json.dumps({"seconds": seconds, "questions": len(questions), "tokens": tokens}))


if __name__ == "__main__":
    main()
