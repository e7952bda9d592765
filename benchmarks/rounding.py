"""What a merged 16-bit model keeps of a small update: rounded to the nearest value, and as the app rounds.

    python -m benchmarks.rounding [--model FOLDER --data train.jsonl] [--rates 1e-5 1e-4] --out rounding.json

A LoRA adapter is trained for a few steps on worked solutions at each learning rate, merged in float32 and stored in
bfloat16. Compared with the float32 sum on other texts: the divergence of the next-token distributions
(Kullback-Leibler, nats a token), the mean difference of the logits as a share of their spread (what the merge check
tests), and the share of positions with the same likeliest token; beside them the base, as if nothing had been learnt.
"""

import argparse
import copy
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.steps import HERE, demo_rows
from pipeline.engines.loading import adapter_layers
from pipeline.engines.rounding import round_to


def main() -> None:
    """Print and write a row for each learning rate and way of storing."""
    args = _arguments()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    texts = training_texts(args.data, tokenizer, args.steps)
    base = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    rows = []
    for rate in args.rates:
        learnt = trained(base, texts[:-8], rate, args.steps)
        exact = [logits(learnt, ids) for ids in texts[-8:]]
        for name, stored in STORED.items():
            model = base if name == "base" else stored(copy.deepcopy(learnt)).float()
            rows.append({"rate": rate, "stored": name, **compared(exact, [logits(model, ids) for ids in texts[-8:]])})
            print(json.dumps(rows[-1]), flush=True)
    if args.out:
        settings = {**vars(args), "model": Path(args.model).name, "data": args.data and Path(args.data).name}
        Path(args.out).write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")


STORED: dict[str, Callable[[torch.nn.Module], torch.nn.Module]] = {
    "base": lambda model: model, "nearest": lambda model: model.to(torch.bfloat16),
    "app": lambda model: round_to(model, torch.bfloat16)}


def trained(base: torch.nn.Module, texts: list[torch.Tensor], rate: float, steps: int) -> torch.nn.Module:
    """The base with an adapter that was trained on `steps` times 4 texts, added up in float32."""
    base = copy.deepcopy(base)
    model = get_peft_model(base, LoraConfig(r=32, lora_alpha=64, target_modules=adapter_layers(base)))
    learn(model, texts, rate, steps)
    return model.merge_and_unload().eval()


def learn(model: torch.nn.Module, texts: list[torch.Tensor], rate: float, steps: int) -> None:
    """Train what the model lets train, `steps` times on 4 texts each."""
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=rate)
    for step in range(steps):
        for ids in texts[4 * step:4 * step + 4]:
            (model(input_ids=ids, labels=ids).loss / 4).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        optimizer.zero_grad()


@torch.inference_mode()
def logits(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """(T, V) for a text."""
    return model(input_ids=ids).logits[0]


def compared(exact: list[torch.Tensor], stored: list[torch.Tensor]) -> dict[str, float]:
    """See the top."""
    a, b = torch.cat(exact), torch.cat(stored)
    p, q = a.log_softmax(-1), b.log_softmax(-1)
    return {"divergence": float((p.exp() * (p - q)).sum(-1).mean()),
            "difference": float((a - b).abs().mean() / a.std()),
            "same_top": float((a.argmax(-1) == b.argmax(-1)).float().mean())}


def training_texts(data: str | None, tokenizer: Any, steps: int) -> list[torch.Tensor]:
    """(1, T) token ids of questions with their worked solutions: four for each step, and eight more."""
    data = data or demo_rows(Path(tempfile.mkdtemp(prefix="rounding-")))
    rows = [json.loads(line) for line in Path(data).read_text().splitlines()[:4 * steps + 8]]
    chats = [[{"role": "user", "content": r["question"]}, {"role": "assistant", "content": r["answer"]}] for r in rows]
    return [tokenizer(tokenizer.apply_chat_template(chat, tokenize=False), return_tensors="pt",
                      add_special_tokens=False)["input_ids"][:, :256] for chat in chats]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(HERE.parent / "assets" / "tiny-reasoner"))
    parser.add_argument("--data", help="JSONL with question and answer (default: the bundled problems)")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-5, 1e-4])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
