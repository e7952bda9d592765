"""How fast a GRPO step could be at best: sampling alone (vLLM, or transformers without a GPU), plus one forward and
backward pass with LoRA over the sampled answers alone. The median of each over the rounds is printed and written.
"""

import json
import statistics
import time
from pathlib import Path

import torch
from common import arguments, rows
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

ROUNDS, WARM_UP = 6, 2
ON_GPU = torch.cuda.is_available()


def seconds(work):
    """How long a call takes, with the GPU's queue emptied, and what it gives."""
    started = time.perf_counter()
    found = work()
    if ON_GPU:
        torch.cuda.synchronize()
    return time.perf_counter() - started, found


def sampler(args, tokenizer):
    """A function from prompts to the token ids of prompt and answer, for each of the answers."""
    if ON_GPU:
        from vllm import LLM, SamplingParams

        llm = LLM(model=args.model, max_model_len=args.max_length, gpu_memory_utilization=args.vllm_share)
        how = SamplingParams(n=args.generations, temperature=1.0, max_tokens=args.max_tokens)
        return lambda prompts: [[*o.prompt_token_ids, *answer.token_ids]
                                for o in llm.generate(prompts, how, use_tqdm=False) for answer in o.outputs]
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)

    def sample(prompts):
        batch = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.inference_mode():
            return model.generate(**batch, max_new_tokens=args.max_tokens, do_sample=True, temperature=1.0,
                                  num_return_sequences=args.generations).tolist()
    return sample


def learner(args, pad):
    """A function that makes one forward and backward pass over all answers, in batches as the trainers do."""
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16 if ON_GPU else torch.float32)
    model.to("cuda" if ON_GPU else "cpu")
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model = get_peft_model(model, LoraConfig(r=args.rank, lora_alpha=2 * args.rank, task_type="CAUSAL_LM",
                                             target_modules="all-linear"))
    model.train()
    size = args.batch // args.accumulation

    def learn(texts):
        for first in range(0, len(texts), size):
            some = texts[first:first + size]
            longest = max(map(len, some))
            ids = torch.tensor([text + [pad] * (longest - len(text)) for text in some], device=model.device)
            with torch.autocast("cuda", torch.bfloat16, enabled=ON_GPU):
                model(input_ids=ids, labels=ids).loss.backward()
        model.zero_grad()
    return learn


def main():
    """vLLM starts a process of its own, which imports this file: nothing may run then."""
    args = arguments()
    tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    count = args.batch // args.generations
    asked = [tokenizer.apply_chat_template(r["prompt"], add_generation_prompt=True, tokenize=False)
             for r in rows(args.data)[:count * ROUNDS]]
    sample = sampler(args, tokenizer)
    print("ready to sample", flush=True)
    sampled = [seconds(lambda first=first: sample(asked[first:first + count]))
               for first in range(0, count * ROUNDS, count)]
    print("sampled", [round(s, 2) for s, _ in sampled], flush=True)
    learn = learner(args, pad)
    learnt = [seconds(lambda texts=texts: learn(texts))[0] for _, texts in sampled]
    print("learnt", [round(s, 2) for s in learnt], flush=True)
    found = {"sampling_seconds": statistics.median(s for s, _ in sampled[WARM_UP:]),
             "learning_seconds": statistics.median(learnt[WARM_UP:]), "answers": args.batch,
             "mean_tokens": statistics.mean(len(text) for _, texts in sampled for text in texts)}
    found["sum_seconds"] = found["sampling_seconds"] + found["learning_seconds"]
    print(json.dumps(found))
    Path(args.out).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
