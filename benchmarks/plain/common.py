"""What the plain scripts share: prompts, two small rewards, and the timing of each step."""

import argparse
import json
import re
import time
from pathlib import Path

from transformers import TrainerCallback

SYSTEM = ("Think step by step between <reasoning> and </reasoning>. "
          "Then give only the final answer between <answer> and </answer>.")


def arguments() -> argparse.Namespace:
    """Command line of every plain script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="JSONL with question and answer (GSM8K)")
    parser.add_argument("--out", required=True, help="JSON file for the times")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=32, help="completions per optimizer step")
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--vllm-share", type=float, default=0.3)
    parser.add_argument("--rank", type=int, default=16)
    return parser.parse_args()


def rows(path: str, limit: int = 2000) -> list[dict]:
    """Conversational prompts with the answer after ####."""
    found = [json.loads(line) for line in Path(path).read_text().splitlines()[:limit]]
    return [{"prompt": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": r["question"]}],
             "answer": r["answer"].split("####")[-1].strip()} for r in found]


def format_reward(completions, **kwargs):
    """1 for both pairs of tags in order."""
    pattern = re.compile(r"<reasoning>.*?</reasoning>\s*<answer>.*?</answer>", re.DOTALL)
    return [1.0 if pattern.search(c[0]["content"]) else 0.0 for c in completions]


def answer_reward(completions, answer, **kwargs):
    """1 for the right number in the answer tag, otherwise a little for a right last number."""
    scores = []
    for completion, right in zip(completions, answer, strict=True):
        text = completion[0]["content"]
        tagged = re.findall(r"<answer>\s*(.*?)\s*</answer>", text, re.DOTALL)
        numbers = re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", ""))
        scores.append(1.0 if tagged and tagged[-1] == right else 0.3 if numbers and numbers[-1] == right else 0.0)
    return scores


class Clock(TrainerCallback):
    """After each optimizer step writes its end (Unix time), its seconds, the mean tokens of its answers, and under
    `sampling` whatever TRL logs of vLLM against the trainer: differences, and the weights of answers."""

    def __init__(self, path, started):
        self.path, self.started = Path(path), started
        self.found = {"ends": [], "step_seconds": [], "mean_tokens": [], "sampling": {}}

    def on_train_begin(self, args, state, control, **kwargs):
        self.found["load_seconds"] = time.time() - self.started

    def on_step_begin(self, args, state, control, **kwargs):
        self.began = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        self.found["ends"].append(time.time())
        self.found["step_seconds"].append(time.perf_counter() - self.began)
        print(f"step {state.global_step}: {self.found['step_seconds'][-1]:.2f} s", flush=True)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "completions/mean_length" in logs:
            self.found["mean_tokens"].append(logs["completions/mean_length"])
            for key in (key for key in logs if key.startswith("sampling/")):
                self.found["sampling"].setdefault(key, []).append(logs[key])
            self.save()

    def save(self, **more):
        """Everything measured so far; a reader never sees half a file."""
        half = self.path.with_suffix(".half")
        half.write_text(json.dumps(self.found | more))
        half.replace(self.path)
