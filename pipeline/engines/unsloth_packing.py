"""Whether Unsloth learns from the answers of a step as rows filled up to the longest, or end to end in one row."""

import importlib.util
import os

from pipeline.engines.vllm_start import is_small
from pipeline.recipe import ModelStep

SWITCH = "UNSLOTH_GRPO_SEQ_PACKING"  # Unsloth's own; what a person has set stays
LARGEST = 1_200_000_000  # parameters of a model whose answers are not packed; the largest timed has 1,074 million
KERNELS = ("flash_attn", "xformers")  # packages in which Unsloth finds attention for several texts in one row


def choose_rows(step: ModelStep) -> None:
    """Turn packing off for a model of up to LARGEST parameters where no such package is installed. To be called before
    Unsloth is imported, which reads the switch then.

    Without a kernel for it Unsloth calls attention once for every answer in every layer, and whenever a step has more
    tokens than any before it compares the packed answers with each answer by itself, which takes four to ten seconds
    (docs/gpu.md). Rows filled up to the longest cost arithmetic instead, of which such a model needs little.
    """
    if not any(map(importlib.util.find_spec, KERNELS)) and is_small(step.source, step.revision, LARGEST):
        os.environ.setdefault(SWITCH, "0")
