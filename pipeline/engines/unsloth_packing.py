"""Whether Unsloth learns from the answers of a step as rows filled up to the longest, or end to end in one row."""

import contextlib
import importlib.util
import json
import os
from pathlib import Path

import torch

from pipeline.engines.vllm_start import is_small
from pipeline.recipe import ModelStep

SWITCH = "UNSLOTH_GRPO_SEQ_PACKING"  # Unsloth's own; what a person has set stays
LARGEST = 1_200_000_000  # parameters of a model whose answers are not packed; the largest timed has 1,074 million


def choose_rows(step: ModelStep) -> None:
    """Turn packing off for a model of up to LARGEST parameters where nothing is installed that can attend to several
    texts in one row. To be called before Unsloth is imported, which reads the switch then.

    Without such a kernel Unsloth calls attention once for every answer in every layer, and whenever a step has more
    tokens than any before it compares the packed answers with each answer by itself, which takes four to ten seconds
    (docs/gpu-benchmarks.md). Rows filled up to the longest cost arithmetic instead, of which such a model needs little.
    """
    if not packs_well() and is_small(step.source, step.revision, LARGEST):
        os.environ.setdefault(SWITCH, "0")


def packs_well() -> bool:
    """Whether flash-attn is installed, or an xformers that this torch can load: PyPI's is built for CUDA 12, and beside
    a torch for CUDA 13 Unsloth works without it."""
    if importlib.util.find_spec("flash_attn"):
        return True
    xformers = importlib.util.find_spec("xformers")
    if xformers is None:
        return False
    for folder in xformers.submodule_search_locations or ():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # it does not tell
            built = json.loads((Path(folder) / "cpp_lib.json").read_text(encoding="utf-8"))["version"]["cuda"]  # 1208
            return int(built) // 100 == int(torch.version.cuda.partition(".")[0])
    return True
