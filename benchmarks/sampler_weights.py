"""What of an adapter reaches a sampler that is given sums of base and adapter, and what giving them does to the base.

    python -m benchmarks.sampler_weights [--model FOLDER --data train.jsonl] [--rates 1e-5 1e-4] --out FILE.json

A LoRA adapter is trained for a few steps at each learning rate, on a base in 16 bits (bfloat16) and in 4 (nf4), as GRPO
does. `arrives` is the share of its update, in its own direction, that the summed weights hold: added in place and
rounded to the nearest value (PEFT's merge_adapter, which TRL calls before every step), and as this app sums it. `worn`
is how far the base has moved, as a share of its mean weight, after `--cycles` times adding and subtracting.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils.integrations import dequantize_bnb_weight
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.rounding import learn, training_texts
from benchmarks.steps import HERE
from pipeline.engines.loading import adapter_layers, quantisation
from pipeline.engines.vllm_weights import summed_weights


def main() -> None:
    """Print and write a row for each precision and learning rate."""
    args = _arguments()
    torch.manual_seed(0)
    texts = training_texts(args.data, AutoTokenizer.from_pretrained(args.model), args.steps)
    rows = []
    for precision in ("16bit", "4bit"):
        for rate in args.rates:
            rows.append({"precision": precision, "rate": rate, **measured(args, precision, rate, texts)})
            print(json.dumps(rows[-1]), flush=True)
    if args.out:
        settings = {**vars(args), "model": Path(args.model).name, "data": args.data and Path(args.data).name, "out": ""}
        Path(args.out).write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")


def measured(args: argparse.Namespace, precision: str, rate: float, texts: list[torch.Tensor]) -> dict[str, float]:
    """See the top."""
    model = trained(args.model, precision, rate, texts, args.steps)
    before = {name: weight(layer).clone() for name, layer in layers(model)}
    update = {name: layer.get_delta_weight("default").detach().float() for name, layer in layers(model)}

    def arrives(held: dict[str, torch.Tensor]) -> float:
        gained = sum(float(((held[name].float() - before[name]) * update[name]).sum()) for name in update)
        return gained / sum(float((change ** 2).sum()) for change in update.values())

    size = sum(float(change.abs().mean()) for change in update.values())
    found = {"update": size / sum(float(value.abs().mean()) for value in before.values())}
    if precision == "16bit":
        sums = {f"base_model.model.{name.removesuffix('.weight')}": value
                for name, value in summed_weights(model, everything=False)}
        found["arrives_app"] = arrives(sums)
    model.merge_adapter()
    found["arrives_in_place"] = arrives({name: weight(layer) for name, layer in layers(model)})
    model.unmerge_adapter()
    for _ in range(args.cycles - 1):
        model.merge_adapter()
        model.unmerge_adapter()
    moved = sum(float((weight(layer) - before[name]).abs().mean()) for name, layer in layers(model))
    return found | {"worn": moved / sum(float(value.abs().mean()) for value in before.values())}


def trained(source: str, precision: str, rate: float, texts: list[torch.Tensor], steps: int) -> Any:
    """The base with an adapter that was trained on `steps` times 4 texts."""
    base = AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.bfloat16 if precision == "16bit" else torch.float32,
        quantization_config=quantisation(precision), device_map={"": "cpu"})
    model = get_peft_model(base, LoraConfig(r=32, lora_alpha=64, target_modules=adapter_layers(base)))
    learn(model, texts, rate, steps)
    return model


def layers(model: Any) -> Iterator[tuple[str, Any]]:
    """The layers that have an adapter, by name."""
    return ((name, layer) for name, layer in model.named_modules() if isinstance(layer, LoraLayer))


def weight(layer: Any) -> torch.Tensor:
    """The base's weights of a layer in float32, whatever holds them."""
    held = layer.get_base_layer().weight
    return dequantize_bnb_weight(held, held.quant_state).float() if hasattr(held, "quant_state") else held.data.float()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(HERE.parent / "assets" / "tiny-reasoner"))
    parser.add_argument("--data", help="JSONL with question and answer (default: the bundled problems)")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-5, 1e-4])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
