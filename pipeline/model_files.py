"""The files of a model as people have them: read without loading anything, and what is wrong with them in words."""

import json
import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import EngineError

QUANTISED = {"gptq": "GPTQ", "awq": "AWQ", "bitsandbytes": "bitsandbytes", "compressed-tensors": "compressed-tensors",
             "fp8": "FP8", "aqlm": "AQLM", "hqq": "HQQ", "mxfp4": "MXFP4"}
PACKED = (".qweight", ".qzeros", ".weight_packed", ".SCB", ".absmax", ".weight_scale_inv")  # what methods put in place
GGUF_WAY = ("choose the original 16-bit model that it was made from (its page names it), and 4bit as the precision if "
            "memory is short.")
POINTER = b"version https://git-lfs"


def read_json(path: Path) -> dict[str, Any]:
    """The settings in a file. Raises EngineError when there are none to read."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise EngineError(f"{path} cannot be read ({error}): fetch the model again.") from error
    if not isinstance(values, dict):
        raise EngineError(f"{path} does not hold settings: fetch the model again.")
    return values


def tensor_shapes(source: str, folder: Path) -> tuple[dict[str, list[int]], int]:
    """Names and shapes of all tensors of a model folder, and the bytes of their files. Raises EngineError in words when
    there are none, some are missing, or a file is damaged."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise EngineError(without_weights(source, [path.name for path in folder.iterdir()]))
    shapes: dict[str, list[int]] = {}
    for path in files:
        shapes |= _header(path)
    if not shapes:
        raise EngineError(f"{source} has weights files without any weights: fetch the whole model.")
    if missing := missing_weights(folder):
        more = f" and {len(missing) - 1} more weights files are" if len(missing) > 1 else " is"
        raise EngineError(f"{source} is not complete: {missing[0]}{more} missing. Fetch the whole model.")
    return shapes, sum(file.stat().st_size for file in files)


def missing_weights(folder: Path) -> list[str]:
    """The weights files that a folder's index names and that are not there. Raises EngineError for a broken index."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file() or (folder / "model.safetensors").is_file():
        return []
    listed = read_json(index).get("weight_map")
    names = {str(name) for name in listed.values()} if isinstance(listed, dict) else set()
    return sorted(name for name in names if not (folder / name).is_file())


def is_whole(folder: Path) -> bool:
    """Whether a folder of the Hub's cache holds all that is read of a model; the rest would be fetched."""
    return (folder / "tokenizer.json").is_file() and any(folder.glob("*.safetensors")) and not missing_weights(folder)


def refuse_quantised(source: str, config: Mapping[str, Any], tensors: Collection[str] = ()) -> None:
    """Raise EngineError for weights that are quantised already, as config.json or the names of the tensors tell."""
    settings = config.get("quantization_config")
    packed = any(name.endswith(PACKED) for name in tensors)
    if not settings and not packed:
        return
    method = settings.get("quant_method") if isinstance(settings, dict) else settings
    if method is None and isinstance(settings, dict) and any(key.startswith("load_in_") for key in settings):
        method = "bitsandbytes"
    named = f" ({QUANTISED.get(method, method)})" if isinstance(method, str) else ""
    raise EngineError(f"{source} is already quantised{named}. Training and merging need the 16-bit original: choose "
                      "that one, and 4bit as the precision if memory is short.")


def refuse_without_tokenizer(source: str, names: Collection[str]) -> None:
    """Raise EngineError when tokenizer.json is not among a model's files."""
    if "tokenizer.json" not in names:
        raise EngineError(f"{source} has no tokenizer.json: fetch the whole model. Where there is none to fetch, write "
                          "it once with transformers: AutoTokenizer.from_pretrained(…).save_pretrained(…).")


def has_template(folder: Path) -> bool:
    """Whether a model folder brings a chat template."""
    if (folder / "chat_template.jinja").is_file():
        return True
    file = folder / "tokenizer_config.json"
    return file.is_file() and bool(read_json(file).get("chat_template"))


def without_config(source: str, folder: Path) -> str:
    """What a folder without config.json is, and what to choose instead."""
    if source == "tiny":
        return (f"The bundled model is missing from {folder}: fetch the project again, or run "
                "`python -m pipeline.tiny_model`.")
    if (folder / "adapter_config.json").is_file():
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path") or "its base model"
        return f"{source} is an adapter for {base}, not a model: choose {base}, or merge the adapter into it first."
    if any(folder.glob("*.gguf")):
        return f"{source} holds a GGUF file, which cannot be trained: {GGUF_WAY}"
    return f"The folder {source} has no config.json, so it is not a model: choose the folder that holds one."


def without_weights(source: str, names: Collection[str]) -> str:
    """What files with these names lack, and what to do."""
    pickled = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    if pickled:
        return (f"{source} has its weights only as {pickled[0]}, a pickle, which can run any code when opened, so "
                "it is refused. Convert it: https://huggingface.co/spaces/safetensors/convert")
    if any(name.endswith(".gguf") for name in names):
        return f"{source} has its weights only as a GGUF file, which cannot be trained: {GGUF_WAY}"
    return f"{source} has a config.json but no weights (*.safetensors): fetch the whole model."


def _header(path: Path) -> dict[str, list[int]]:
    """Names and shapes of the tensors in a safetensors file. Raises EngineError when it is damaged."""
    try:
        with path.open("rb") as file:
            first = file.read(8)
            if first == POINTER[:8]:
                raise EngineError(f"{path} is a pointer of Git LFS, not the weights: run `git lfs pull` in its folder.")
            if len(first) < 8:
                raise ValueError(f"it has {len(first)} bytes")
            (length,) = struct.unpack("<Q", first)
            if length > min(100_000_000, path.stat().st_size):
                raise ValueError(f"its header claims {length} bytes")
            header = json.loads(file.read(length))
        shapes = {name: tensor["shape"] for name, tensor in dict(header).items() if name != "__metadata__"}
        if not all(isinstance(n, int) and n >= 0 for shape in shapes.values() for n in shape):
            raise ValueError("its header holds a shape that is none")
        return shapes
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise EngineError(f"The weights file {path} is damaged ({error}): fetch the model again.") from error
