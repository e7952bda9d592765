"""Milliseconds a token of transformers' sampling beside an adapter: PEFT's way, the app's, and the base alone.

    python -m benchmarks.adapter_sampling [--model FOLDER] [--precisions 16bit 8bit 4bit] --out FILE.json

One process, the three in turns, `--repeats` times; a token is one for each of `--batch` answers. `off` is how far the
logits of each are on average from those of the same model and adapter in 32 bits, or, on a base in 8 or 4 bits, from
PEFT's. Nothing else may use the machine.
"""

import argparse
import contextlib
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from benchmarks.steps import HERE
from benchmarks.turns import ratio
from pipeline.engines.loading import adapter_layers, device, load_model, load_tokenizer
from pipeline.engines.transformers_sampling import sampling
from pipeline.recipe import ModelStep


def main() -> None:
    """Print and write a row for each precision."""
    args = _arguments()
    rows = []
    for precision in args.precisions:
        rows.append({"precision": precision, **measured(args, precision)})
        print(json.dumps({key: value for key, value in rows[-1].items() if key != "taken"}), flush=True)
    if args.out:
        Path(args.out).write_text(json.dumps({"settings": vars(args) | {"out": ""}, "rows": rows}, indent=1) + "\n")


def measured(args: argparse.Namespace, precision: str) -> dict[str, Any]:
    """See the top."""
    step = ModelStep(source=args.model, precision=precision)
    tokenizer = load_tokenizer(args.model, step)
    model = adapted(load_model(args.model, step), args.rank)
    prompts = tokenizer(["Tom has 3 apples and buys 4 more. How many has he now?"] * args.batch,
                        return_tensors="pt").to(device())
    ways = {"plain": contextlib.nullcontext, "ours": lambda: sampling(model), "base": model.disable_adapter}
    logits = {name: _logits(model, prompts, way) for name, way in ways.items()}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, args.repeats):  # the first warms up
        for name in list(ways)[::1 if number % 2 else -1]:
            taken[name] += [_timed(model, prompts, ways[name], args.tokens)][number < 0:]
    exact = _logits(model.float(), prompts, ways["plain"]) if precision == "16bit" else logits["plain"]
    return {"off": {name: round(float((found - exact).abs().mean()), 5) for name, found in logits.items()},
            "token_milliseconds": {name: round(statistics.median(values), 2) for name, values in taken.items()},
            "ours_over_plain": ratio(taken["ours"], taken["plain"]), "taken": taken}


def adapted(base: Any, rank: int) -> Any:
    """The model with an adapter on all layers that has moved a little."""
    torch.manual_seed(0)
    model = get_peft_model(base, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=adapter_layers(base)))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    return model


@torch.no_grad()
def _logits(model: Any, prompts: Any, way: Any) -> torch.Tensor:
    with way():
        return model(**prompts).logits.float()


@torch.no_grad()
def _timed(model: Any, prompts: Any, way: Any, tokens: int) -> float:
    with way():
        began = time.perf_counter()
        model.generate(**prompts, do_sample=True, max_new_tokens=tokens, min_new_tokens=tokens)
        return 1000 * (time.perf_counter() - began) / tokens


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(HERE.parent / "assets" / "tiny-reasoner"))
    parser.add_argument("--precisions", nargs="+", default=["16bit"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
