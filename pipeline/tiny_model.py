"""Makes the bundled model `assets/tiny-reasoner` from scratch: `python -m pipeline.tiny_model --out FOLDER`.

1. Chats about word problems are made by `pipeline.dataset.demo_text`, in chunks with seeds of their own.
2. A byte-level BPE tokenizer of 1,024 pieces with single digits is trained on the first chunk. Its pre-tokenizer is the
   one that llama.cpp calls `smollm`.
3. A small Llama is trained on batches of equal length. Unlike a textbook pre-training, questions count a tenth:
   their numbers cannot be foretold, and answering is what matters.
4. Weights, tokenizer, chat template and the model card are written; the folder is at most 8 MB.

Needs torch, transformers and tokenizers only. Takes about 3 minutes on an H200, about 5 hours on 2 cores.
"""

import argparse
import json
import multiprocessing
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from pipeline.dataset.demo_text import DIRECT_SHARE, Message, pretrain_chats
from pipeline.tiny_card import DEFAULT_STEPS, Making, model_card

CHUNK = 10_000  # chats made and encoded at a time
PROMPT_WEIGHT = 0.1  # how much a token of the question counts in the loss, against 1 for the answer
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]  # ids 0 (padding), 1, 2 (end of a message)
PAD, EOS = 0, 2
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Settings:
    """What the model is made with; written into its card."""

    seed: int = 0
    steps: int = DEFAULT_STEPS
    examples: int = 500_000
    batch_tokens: int = 65_536
    learning_rate: float = 4e-3
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    intermediate: int = 384
    vocabulary: int = 1024
    direct_share: float = DIRECT_SHARE
    seconds: float = 0.0  # stop training after this long; 0 is never


def train_tokenizer(chats: list[list[Message]], size: int) -> Tokenizer:
    """Byte-level BPE of `size` pieces in which every digit stands alone."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL_TOKENS, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator((f"{m['role']}\n{m['content']}" for chat in chats for m in chat), trainer)
    return tokenizer


def render(messages: list[Message]) -> tuple[str, str]:
    """ChatML text of a chat: everything up to the assistant's turn, and the assistant's turn with its end token."""
    prompt = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages[:-1])
    return f"{prompt}<|im_start|>assistant\n", f"{messages[-1]['content']}<|im_end|>"


def encode_chunk(tokenizer_json: str, seed: int, count: int, direct_share: float) -> list[np.ndarray]:
    """Chats of one chunk as arrays: the length of the prompt first, then the token ids."""
    tokenizer = Tokenizer.from_str(tokenizer_json)
    out = []
    for chat in pretrain_chats(count, seed, direct_share):
        prompt, answer = (tokenizer.encode(t, add_special_tokens=False).ids for t in render(chat))
        out.append(np.array([len(prompt), *prompt, *answer], dtype=np.int16))
    return out


def make_examples(tokenizer: Tokenizer, settings: Settings) -> list[np.ndarray]:
    """All encoded chats; the same for the same seed, however many processes help."""
    counts = [min(CHUNK, settings.examples - start) for start in range(0, settings.examples, CHUNK)]
    text = tokenizer.to_str()
    jobs = [(text, settings.seed * 1000 + i, n, settings.direct_share) for i, n in enumerate(counts)]
    workers = min(len(jobs), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if workers <= 1:
        return [example for job in jobs for example in encode_chunk(*job)]
    method = "fork" if sys.platform == "linux" else "spawn"
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context(method)) as pool:
        futures = [pool.submit(encode_chunk, *job) for job in jobs]
        return [example for future in futures for example in future.result()]


def make_batches(examples: list[np.ndarray], batch_tokens: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of similar length: ids (B, T) padded with PAD, prompt lengths (B)."""
    order = sorted(range(len(examples)), key=lambda i: len(examples[i]))
    batches, start = [], 0
    while start < len(order):
        size = max(1, batch_tokens // len(examples[order[start]]))
        rows = [examples[i] for i in order[start:start + size]]
        ids = np.full((len(rows), max(map(len, rows)) - 1), PAD, dtype=np.int16)
        for row, example in zip(ids, rows, strict=True):
            row[: len(example) - 1] = example[1:]
        batches.append((torch.from_numpy(ids), torch.tensor([int(r[0]) for r in rows])))
        start += size
    return batches


def build_model(settings: Settings) -> LlamaForCausalLM:
    """A fresh Llama with tied embeddings."""
    torch.manual_seed(settings.seed)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=settings.vocabulary, hidden_size=settings.hidden, intermediate_size=settings.intermediate,
        num_hidden_layers=settings.layers, num_attention_heads=settings.heads, num_key_value_heads=settings.heads,
        max_position_embeddings=2048, tie_word_embeddings=True, initializer_range=0.04, rms_norm_eps=1e-5,
        bos_token_id=1, eos_token_id=EOS, pad_token_id=PAD, dtype="float32",
    ))


def weighted_loss(model: LlamaForCausalLM, ids: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy of the next token, prompt tokens counting PROMPT_WEIGHT, padding nothing."""
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()  # (B, T-1, V)
    targets = ids[:, 1:]  # (B, T-1)
    positions = torch.arange(1, ids.shape[1], device=ids.device)
    weights = torch.where(positions[None] < prompts[:, None], PROMPT_WEIGHT, 1.0) * (targets != PAD)
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return (losses * weights.flatten()).sum() / weights.sum()


def train(model: LlamaForCausalLM, batches: list[tuple[torch.Tensor, torch.Tensor]], settings: Settings,
          device: str) -> tuple[float, int]:
    """Train in place; returns the mean loss of the last steps and their number. Prints a line now and then."""
    model.to(device).train()
    batches = [(ids.to(device), prompts.to(device)) for ids, prompts in batches]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
                                  betas=(0.9, 0.98), fused=device == "cuda")
    rng, order, recent = random.Random(settings.seed), [], []
    start, half = time.monotonic(), device == "cuda"
    step = 0
    while (share := _progress(step, time.monotonic() - start, settings)) < 1:
        order = order or rng.sample(range(len(batches)), len(batches))
        ids, prompts = batches[order.pop()]
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * min(1.0, (step + 1) / 100, 1.02 - share)
        with torch.autocast(device, torch.bfloat16, enabled=half):
            loss = weighted_loss(model, ids.long(), prompts)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        recent = [*recent[-49:], loss.detach()]
        step += 1
        if step % 100 == 0:
            mean = torch.stack(recent).mean().item()
            print(f"step {step}  {time.monotonic() - start:.0f} s  {share:.0%}  loss {mean:.4f}", flush=True)
    return torch.stack(recent).mean().item() if recent else float("nan"), step


def _progress(step: int, seconds: float, settings: Settings) -> float:
    """The share of the training that is done, by steps or by the clock, whichever is further."""
    by_clock = seconds / settings.seconds if settings.seconds else 0.0
    return max(step / settings.steps, by_clock)


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, out: Path, card: str) -> None:
    """Write a folder that transformers loads alone."""
    out.mkdir(parents=True, exist_ok=True)
    model.to("cpu", torch.float32).eval()
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=EOS, pad_token_id=PAD)
    model.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    (out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 2048, "padding_side": "left",
        "bos_token": SPECIAL_TOKENS[1], "eos_token": SPECIAL_TOKENS[EOS], "pad_token": SPECIAL_TOKENS[PAD],
        "unk_token": SPECIAL_TOKENS[PAD], "clean_up_tokenization_spaces": False, "add_prefix_space": False,
        "chat_template": CHAT_TEMPLATE,
    }, indent=2) + "\n", encoding="utf-8")
    (out / "README.md").write_text(card, encoding="utf-8")


def command_line(settings: Settings) -> str:
    """The command that makes a model with these settings; only what differs from the defaults is named."""
    default = asdict(Settings())
    options = [f" --{name.replace('_', '-')} {value}" for name, value in asdict(settings).items()
               if value != default[name]]
    return f"python -m pipeline.tiny_model --out FOLDER{''.join(options)}"


def build(out: Path, settings: Settings, device: str = "auto") -> float:
    """Make the whole model folder; returns the final loss. The same seed gives the same data and the same start."""
    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    start = time.monotonic()
    first = pretrain_chats(min(CHUNK, settings.examples), settings.seed * 1000, settings.direct_share)
    tokenizer = train_tokenizer(first, settings.vocabulary)
    batches = make_batches(make_examples(tokenizer, settings), settings.batch_tokens)
    model = build_model(settings)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters, {len(batches):,} batches, {time.monotonic() - start:.0f} s so far", flush=True)
    loss, steps = train(model, batches, settings, device)
    name = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} CPU threads"
    making = Making(command_line(settings), name, time.monotonic() - start, steps, loss)
    save(model, tokenizer, out, model_card(asdict(settings), parameters, making))
    print(f"wrote {out} in {time.monotonic() - start:.0f} s", flush=True)
    return loss


def main(arguments: list[str] | None = None) -> int:
    """The command line; every setting is an option."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.tiny_model", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write (bundled: assets/tiny-reasoner)")
    parser.add_argument("--device", default="auto", choices=["auto", "cuda", "cpu"])
    for name, default in asdict(Settings()).items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), default=default, help=f"default {default}")
    values = vars(parser.parse_args(arguments))
    build(values.pop("out"), device=values.pop("device"), settings=Settings(**values))
    return 0


if __name__ == "__main__":
    sys.exit(main())
