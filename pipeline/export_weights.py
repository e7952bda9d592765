"""Read the tensors of a safetensors model with numpy alone, one at a time: the app may export without torch."""

import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from pipeline.errors import EngineError

DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8", "I64": "<i8", "I32": "<i4", "I16": "<i2",
          "I8": "i1", "U8": "u1", "BOOL": "?"}

AGAIN = "Copy or download it again, or train again."  # a merged folder appears whole, so somebody has copied half of it


def check_whole(files: Iterable[Path]) -> None:
    """Read the headers of weights and compare them with the sizes. Raises EngineError for a damaged file."""
    for file in files:
        _header(file)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model. Raises EngineError when there are none or one named by the index is missing."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        files = sorted({folder / name for name in json.loads(index.read_text())["weight_map"].values()})
    else:
        files = sorted(folder.glob("*.safetensors"))
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        raise EngineError(f"The model in {str(folder)!r} is incomplete: {', '.join(missing) or 'no *.safetensors'} is "
                          f"missing. {AGAIN}")
    return files


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor."""
    return {name: tuple(entry["shape"]) for file in weight_files(folder) for name, entry in _header(file)[0].items()}


def tensors(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor as float32 (or its integers), in the files' order. Raises EngineError for a damaged file."""
    for file in weight_files(folder):
        header, start = _header(file)
        data = np.memmap(file, dtype=np.uint8, mode="r", offset=start)
        for name, entry in header.items():
            low, high = entry["data_offsets"]
            yield name, _decode(data[low:high], entry["dtype"]).reshape(entry["shape"])


def _header(file: Path) -> tuple[dict[str, dict], int]:
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = struct.unpack("<Q", stream.read(8))[0]
            if length > size:
                raise ValueError(f"its header claims {length:,} of {size:,} bytes")
            header = dict(json.loads(stream.read(length)))
        header.pop("__metadata__", None)
        expected = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except OSError as error:
        raise EngineError(f"{file} cannot be read ({error.strerror}). {AGAIN}") from error
    except (struct.error, ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise EngineError(f"{file.name} is not a safetensors file: {error}. {AGAIN}") from error
    if size != expected:
        raise EngineError(f"{file.name} is truncated: {size:,} of {expected:,} bytes. {AGAIN}")
    return header, 8 + length


def _decode(raw: np.ndarray, dtype: str) -> np.ndarray:
    if dtype not in DTYPES:
        raise EngineError(f"Weights of type {dtype} cannot be exported: merge the model to 16 bits first.")
    values = raw.view(DTYPES[dtype])
    if dtype == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32) if dtype.startswith("F") else np.asarray(values)
