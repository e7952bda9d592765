"""Whether a model can answer the questions of an evaluation, found out before it is loaded; in words where not."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import EngineError
from pipeline.export_weights import tensor_shapes
from pipeline.model_facts import check_config, read_facts

MIN_ROOM = 8  # tokens of an answer; less is not worth asking for


@dataclass(frozen=True)
class Limits:
    """What a model's configuration allows; None where it does not say."""

    positions: int | None
    vocabulary: int | None


def check_model(label: str, folder: Path, adapter: Path | None = None) -> Limits:
    """Read the configuration and the headers of the weights.

    Raises EngineError for a wrong architecture, and for missing, pickled, damaged or truncated weights.
    """
    config = _config(folder)
    if config.pop("quantization_config", None):  # such a model cannot be trained, but it can answer
        check_config(label, config)
    else:
        read_facts(str(folder))
    for part in (folder, *([adapter] if adapter else [])):
        tensor_shapes(part)
    text = config.get("text_config") or config
    return Limits(text.get("max_position_embeddings") or text.get("n_positions"), text.get("vocab_size"))


def check_prompts(label: str, prompts: Sequence[Sequence[int]], longest_answer: int, limits: Limits) -> None:
    """Raises EngineError when a question and its answer do not fit, or the tokenizer belongs to another model."""
    largest = max((max(ids) for ids in prompts if ids), default=0)
    if limits.vocabulary and largest >= limits.vocabulary:
        raise EngineError(
            f"The tokenizer of {label} gives token {largest:,}, but the model knows only {limits.vocabulary:,}: they "
            "do not belong together. Put this model's own tokenizer files beside its weights.")
    longest = max((len(ids) for ids in prompts), default=0)
    if limits.positions and longest + longest_answer > limits.positions:
        room = limits.positions - longest
        way = (f"Set the longest answer to {room:,} tokens or fewer." if room >= MIN_ROOM
               else "Choose shorter questions, or another model.")
        raise EngineError(f"{label} can hold {limits.positions:,} tokens. The longest question takes {longest:,}, so "
                          f"an answer of {longest_answer:,} does not fit. {way}")


def _config(folder: Path) -> dict[str, Any]:
    """The model's configuration; empty where there is none to read, which `read_facts` then tells in words."""
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
