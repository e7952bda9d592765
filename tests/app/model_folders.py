"""Model folders made by hand, for tests of what is found out about a model before any work; torch is never needed."""

import json
import struct
from pathlib import Path
from typing import Any

from pipeline.model_check import ModelCheck

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 16,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 10,
    "max_position_embeddings": 2048}


def tensors(layers: int = 2) -> dict[str, list[int]]:
    """A Llama of 2 layers: 10×8 embeddings; per layer q 8×8, k and v 4×8, o 8×8, gate, up 16×8, down 8×16, norm 8."""
    shapes = {"model.embed_tokens.weight": [10, 8]}
    for i in range(layers):
        at, mlp = f"model.layers.{i}.self_attn", f"model.layers.{i}.mlp"
        shapes |= {f"{at}.q_proj.weight": [8, 8], f"{at}.k_proj.weight": [4, 8], f"{at}.v_proj.weight": [4, 8],
                   f"{at}.o_proj.weight": [8, 8], f"{mlp}.gate_proj.weight": [16, 8], f"{mlp}.up_proj.weight": [16, 8],
                   f"{mlp}.down_proj.weight": [8, 16], f"model.layers.{i}.input_layernorm.weight": [8]}
    return shapes


def model_folder(folder: Path, config: dict[str, Any] | None = None, weights: bool = True,
                 template: bool = True) -> str:
    """Write a model folder whose safetensors file has a header only; gives its path."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(LLAMA | (config or {})))
    (folder / "tokenizer.json").write_text("{}")
    if weights:
        header = json.dumps({n: {"dtype": "BF16", "shape": s, "data_offsets": [0, 0]} for n, s in tensors().items()})
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode())
    if template:
        (folder / "chat_template.jinja").write_text("{{ messages }}")
    return str(folder)


def weights(folder: str, shapes: dict[str, Any], name: str = "model.safetensors") -> None:
    """Write a weights file that has a header only."""
    header = json.dumps({n: {"dtype": "I32", "shape": shape} for n, shape in shapes.items()})
    Path(folder, name).write_bytes(struct.pack("<Q", len(header)) + header.encode())


def problems(check: ModelCheck) -> str:
    """All problems as one text."""
    return " ".join(check.problems)
