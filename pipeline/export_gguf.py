"""Write a merged model as one GGUF file (llama.cpp, Ollama, LM Studio), with the `gguf` package and numpy.

Layout as in llama.cpp's converter (https://github.com/ggml-org/llama.cpp, convert_hf_to_gguf.py): query and key rows of
Llama models are permuted from the half-split to the interleaved rotary layout; norms and biases stay float32.
Models and tokenizers that are not listed here are refused in words, with what to use instead.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np

from pipeline.disk import room_problem
from pipeline.errors import EngineError
from pipeline.export_tokenizer import add_tokenizer
from pipeline.export_weights import tensor_shapes, tensors, weight_files

Format = Literal["f16", "q8_0"]
ARCHITECTURES = {"LlamaForCausalLM": "llama", "MistralForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2",
                 "Qwen3ForCausalLM": "qwen3"}
ROTATED = ("llama",)  # architectures whose query and key rows are permuted
ELSEWHERE = "llama.cpp's own convert_hf_to_gguf.py reads the merged folder"
BLOCK = 32  # numbers in a q8_0 block
Progress = Callable[[int, int], None]


def write_gguf(folder: Path, out: Path, kind: Format = "f16", name: str = "reasoner",
               progress: Progress = lambda done, total: None) -> Path:
    """Write `out` from a merged model folder; it appears whole or not at all.

    Raises EngineError for another architecture, tokenizer or rotary scaling, damaged weights, or too little space.
    """
    config = _config(folder)
    arch = _architecture(config)
    shapes = tensor_shapes(folder)
    _check_room(folder, out, kind)
    half = out.with_name(out.name + ".part")
    writer = gguf.GGUFWriter(half, arch)
    try:
        _add_parameters(writer, config, kind, name)
        add_tokenizer(writer, folder, int(config["vocab_size"]))
        plan = _plan(shapes, config, arch)
        for source, target in plan.items():
            _announce(writer, target, shapes[source], _type_of(shapes[source], kind))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        _write_tensors(writer, folder, plan, config, arch, kind, progress)
        writer.close()
        half.replace(out)
    finally:
        half.unlink(missing_ok=True)
    return out


def _write_tensors(writer: gguf.GGUFWriter, folder: Path, plan: dict[str, str], config: dict[str, Any], arch: str,
                   kind: Format, progress: Progress) -> None:
    """Tensors go into the file in the order in which they were announced, which is that of `plan`."""
    order = iter(plan)
    for done, (source, values) in enumerate((n, v) for n, v in tensors(folder) if n in plan):
        if source != next(order):
            raise EngineError("The weights changed while they were exported: try again.")
        if arch in ROTATED and source.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config["num_attention_heads"] if "q_proj" in source else _kv_heads(config)
            values = permute(values, heads)
        writer.write_tensor_data(_encode(values, _type_of(values.shape, kind)))
        progress(done + 1, len(plan))


def permute(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head from (first halves, second halves) to pairs: (H·D, E) -> (H·D, E)."""
    rows, columns = values.shape
    return values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _plan(shapes: dict[str, tuple[int, ...]], config: dict[str, Any], arch: str) -> dict[str, str]:
    """Tensor of the model -> its name in GGUF. A tied output layer is left out: readers use the embedding."""
    known = {v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[arch]
    names = gguf.get_tensor_name_map(known, int(config["num_hidden_layers"]))
    plan = {}
    for source in shapes:
        if source.endswith("rotary_emb.inv_freq") or (source == "lm_head.weight" and config.get("tie_word_embeddings")):
            continue
        target = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise EngineError(f"The weights {source!r} have no place in a GGUF file of type {arch}. {ELSEWHERE}.")
        plan[source] = target
    return plan


def _type_of(shape: tuple[int, ...], kind: Format) -> gguf.GGMLQuantizationType:
    if len(shape) < 2:
        return gguf.GGMLQuantizationType.F32
    fits = shape[-1] % BLOCK == 0
    return gguf.GGMLQuantizationType.Q8_0 if kind == "q8_0" and fits else gguf.GGMLQuantizationType.F16


def _announce(writer: gguf.GGUFWriter, name: str, shape: tuple[int, ...], kind: gguf.GGMLQuantizationType) -> None:
    count = int(np.prod(shape))
    if kind == gguf.GGMLQuantizationType.Q8_0:
        size = count // BLOCK * (BLOCK + 2)
        stored = (*shape[:-1], shape[-1] // BLOCK * (BLOCK + 2))
        writer.add_tensor_info(name, stored, np.dtype(np.uint8), size, raw_dtype=kind)
    else:
        dtype = np.dtype(np.float32 if kind == gguf.GGMLQuantizationType.F32 else np.float16)
        writer.add_tensor_info(name, shape, dtype, count * dtype.itemsize)


def _encode(values: np.ndarray, kind: gguf.GGMLQuantizationType) -> np.ndarray:
    if kind == gguf.GGMLQuantizationType.Q8_0:
        return gguf.quants.quantize(np.ascontiguousarray(values), kind)
    return np.ascontiguousarray(values, dtype=np.float32 if kind == gguf.GGMLQuantizationType.F32 else np.float16)


def _add_parameters(writer: gguf.GGUFWriter, config: dict[str, Any], kind: Format, name: str) -> None:
    heads = int(config["num_attention_heads"])
    width = int(config.get("head_dim") or config["hidden_size"] // heads)
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    writer.add_name(name)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_context_length(int(config["max_position_embeddings"]))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(heads)
    writer.add_head_count_kv(_kv_heads(config))
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))
    writer.add_vocab_size(int(config["vocab_size"]))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if kind == "q8_0" else gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _kv_heads(config: dict[str, Any]) -> int:
    return int(config.get("num_key_value_heads") or config["num_attention_heads"])


def _config(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EngineError(f"{str(folder)!r} is not a model folder ({error}): merge the model first.") from error


def _architecture(config: dict[str, Any]) -> str:
    name = (config.get("architectures") or ["unknown"])[0]
    if name not in ARCHITECTURES:
        raise EngineError(f"Models of type {name} are not written as GGUF here, only {', '.join(ARCHITECTURES)}: "
                          f"{ELSEWHERE}.")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind != "default" or (config.get("sliding_window") and config.get("use_sliding_window", name.startswith("Mis"))):
        what = f"rotary scaling {kind!r}" if kind != "default" else "a sliding window"
        raise EngineError(f"This model uses {what}, which is not written here: {ELSEWHERE}.")
    return ARCHITECTURES[name]


def _check_room(folder: Path, out: Path, kind: Format) -> None:
    count = sum(int(np.prod(shape)) for shape in tensor_shapes(folder).values())
    needed = int(count * (1.07 if kind == "q8_0" else 2.0) * 1.02) + 20_000_000
    if problem := room_problem(out.parent, needed, "The GGUF file"):
        raise EngineError(problem)
    weight_files(folder)
