"""The model card of the bundled tiny model, filled in with how it was made."""

from dataclasses import dataclass
from typing import Any

from pipeline.dataset.demo import HASTY_SHARE

DEFAULT_STEPS = 3900

_CARD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [llama, demo, arithmetic, from-scratch]
---

# tiny-reasoner

A Llama of {parameters:,} parameters that solves short arithmetic word problems. It is the practice object of
Reasoning Studio: small enough to be trained with SFT and GRPO on a laptop in a few minutes, able enough that the
training shows. It knows nothing else.

## How it was made

From scratch, on text made by this project's own seeded generator (`pipeline/dataset/demo.py`, `demo_text.py`). No
other data and no other model went into it.

    {command}

{table}

Made on {device} in {seconds:.0f} seconds, data included: {done:,} steps, last loss {loss:.4f}.
With the default settings, {steps:,} steps, making it takes about 3 minutes on an H200 and about 5 hours on 2 cores
(estimated from single steps of 9.4 processor seconds).

- **Problems**: one to four operations (+, -, *, /) on whole numbers up to 400, in five kinds of story and four layouts.
- **Answers**: {direct:.0%} of them are given at once with no work, the others show every step. The base can do both and
  prefers neither for a reason; given at once, an answer is often wrong.
- **Tags**: the text holds angle brackets and many pairs of tags of its own, but never `<reasoning>`, `<think>`,
  `<answer>` or the other tags that Reasoning Studio teaches.
- **Parts**: a hash of the question decides whether it may serve pre-training, SFT, GRPO, validation or test, so no
  question is in two of them, whatever the seeds.

The demo's SFT rows are of **mixed quality**, as collected data often is: {hasty:.0%} state the right answer and show no
work, the others show every step. SFT imitates both, and takes the commoner way when asked for its likeliest answer.
GRPO, which is rewarded for right answers, learns to show its work. So what GRPO adds here is a choice between two ways
that the model already knew, not a new skill.

## Format

Llama architecture, tied embeddings, float32 safetensors. ChatML; `<|im_end|>` ends a message. Byte-level BPE of
{vocabulary:,} pieces, every digit a piece of its own; llama.cpp's name for its pre-tokenizer is `smollm`.

## Limits

English templates only; whole numbers up to 400; four steps at most. Anything else gives confident nonsense.
"""


@dataclass(frozen=True)
class Making:
    """How a model came about: `seconds` is the wall time of the whole making, `steps` how many were done."""

    command: str
    device: str
    seconds: float
    steps: int
    loss: float


def model_card(settings: dict[str, Any], parameters: int, making: Making) -> str:
    """Markdown with Hub front matter."""
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in settings.items())
    return _CARD.format(
        parameters=parameters, table=f"| setting | value |\n|---|---|\n{rows}", command=making.command,
        seconds=making.seconds, done=making.steps, loss=making.loss, device=making.device, steps=DEFAULT_STEPS,
        hasty=HASTY_SHARE, direct=settings["direct_share"], vocabulary=settings["vocabulary"],
    )
