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
    """Seconds of each optimizer step and the tokens seen so far."""

    def __init__(self):
        self.born, self.steps, self.tokens, self.lengths = time.time(), [], [], []

    def on_step_begin(self, args, state, control, **kwargs):
        self.began = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        self.steps.append(time.perf_counter() - self.began)
        print(f"step {state.global_step}: {self.steps[-1]:.2f} s", flush=True)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "completions/mean_length" in logs:
            self.lengths.append(logs["completions/mean_length"])

    def save(self, path, **more):
        """Write everything measured."""
        Path(path).write_text(json.dumps({"step_seconds": self.steps, "mean_tokens": self.lengths,
                                          "total_seconds": time.time() - self.born, **more}))
