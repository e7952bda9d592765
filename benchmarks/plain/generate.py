"""Answers files of questions as a user would by hand: vLLM's offline `LLM.generate` where there is a GPU
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
    parser.add_argument("--data", nargs="+", required=True, help="JSONL with question; one file after the other")
    parser.add_argument("--system", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=100)
    args = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
    answer = with_vllm(args) if torch.cuda.is_available() else with_transformers(args, tokenizer)
    passes = []
    for name in args.data:
        questions = [json.loads(line)["question"] for line in Path(name).read_text().splitlines()]
        asked = [[{"role": "system", "content": args.system}, {"role": "user", "content": q}] for q in questions]
        prompts = [tokenizer.apply_chat_template(one, add_generation_prompt=True, tokenize=False) for one in asked]
        started = time.perf_counter()
        tokens = answer(prompts)
        passes.append({"questions": len(questions), "seconds": time.perf_counter() - started, "tokens": tokens})
    Path(args.out).write_text(json.dumps({"passes": passes}))


def with_vllm(args):
    """A function that answers all and says how many tokens it wrote."""
    from vllm import LLM, SamplingParams

    llm = LLM(model=args.model, max_model_len=args.max_length, gpu_memory_utilization=0.5)

    def answer(prompts):
        found = llm.generate(prompts, SamplingParams(temperature=0, max_tokens=args.max_tokens), use_tqdm=False)
        return sum(len(o.outputs[0].token_ids) for o in found)

    return answer


def with_transformers(args, tokenizer):
    """The same in batches."""
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)

    def answer(prompts):
        tokens = 0
        for first in range(0, len(prompts), args.batch):
            some = prompts[first:first + args.batch]
            batch = tokenizer(some, return_tensors="pt", padding=True, add_special_tokens=False)
            with torch.inference_mode():
                out = model.generate(**batch, max_new_tokens=args.max_tokens, do_sample=False)
            answers = out[:, batch["input_ids"].shape[1]:]
            tokens += int((answers != tokenizer.pad_token_id).sum())
        return tokens

    return answer


if __name__ == "__main__":
    main()
