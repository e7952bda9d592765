"""Merging an adapter into its 16-bit base: a plain model folder that appears whole or not at all."""

import json
import shutil
from pathlib import Path

import torch
from peft import PeftModel
from transformers import GenerationConfig

from pipeline.disk import room_problem
from pipeline.engines.loading import load_model, load_tokenizer, stored_dtype
from pipeline.engines.rounding import round_to
from pipeline.errors import EngineError
from pipeline.recipe import ModelStep

FREE_SPACE_FACTOR = 1.2  # of the model's size in 16 bits, for the temporary folder beside it


def merge_adapter(source: str | Path, step: ModelStep, adapter: Path, out: Path) -> None:
    """Load the base in float32, add the adapter, store in 16 bits with tokenizer, template and generation config.

    The sum is rounded once, from float32, so that small updates survive (`round_to`); a base trained in 4 or 8 bits is
    reloaded in full. Raises EngineError when the disk has no room for it.
    """
    model = load_model(source, step, precision="16bit", dtype=torch.float32, to="cpu")
    _check_room(out, sum(p.numel() for p in model.parameters()) * 2)
    merged = PeftModel.from_pretrained(model, adapter, torch_device="cpu").merge_and_unload()
    merged = round_to(merged, stored_dtype(source, step))
    _one_end_token(merged.generation_config)
    temporary = out.with_name(out.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        merged.save_pretrained(temporary, safe_serialization=True)
        load_tokenizer(source, step).save_pretrained(temporary)
        for_older_readers(temporary)
        (temporary / "merged.json").write_text(json.dumps({"base": str(source), "adapter": adapter.name}))
        shutil.rmtree(out, ignore_errors=True)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def for_older_readers(model: Path) -> None:
    """Name things also as transformers 4, and a vLLM that runs on it, look for them.

    Version 5 writes a tokenizer class that 4 refuses (it is called PreTrainedTokenizerFast in both), and moves the base
    and the scaling of the rotary embedding to a place where 4 does not look: it would silently take the base as 10,000.
    """
    if (file := model / "tokenizer_config.json").is_file():
        tokenizer = json.loads(file.read_text(encoding="utf-8"))
        if tokenizer.get("tokenizer_class") == "TokenizersBackend":
            file.write_text(json.dumps(tokenizer | {"tokenizer_class": "PreTrainedTokenizerFast"}, indent=2,
                                       ensure_ascii=False) + "\n", encoding="utf-8")
    file = model / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    rope = config.get("rope_parameters") or {}
    if "rope_theta" in rope:  # not where each kind of layer has its own
        scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
        config |= {"rope_theta": rope["rope_theta"],
                   "rope_scaling": None if rope.get("rope_type", "default") == "default" else scaling}
        file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _one_end_token(config: GenerationConfig | None) -> None:
    """Settings for sampling beside greedy decoding make transformers refuse to save: they are switched to sampling."""
    if config is not None and not config.do_sample and (config.temperature not in (None, 1.0)
                                                        or config.top_p not in (None, 1.0)):
        config.do_sample = True


def _check_room(out: Path, needed: int) -> None:
    if problem := room_problem(out.parent, needed * FREE_SPACE_FACTOR, "The merged model"):
        raise EngineError(problem)
