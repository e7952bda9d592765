"""For which CUDA the installed torch and vLLM are built, read from their files without loading them.

A version does not always tell: PyPI's wheels carry no `+cu…`, and the default build changes with the release. What a
library of compiled kernels cannot do without is in its own header: the names that the loader looks for (ELF's DT_NEEDED
entries, https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.dynamic.html), of which `libcudart.so.13` is CUDA 13's.
"""

import re
import struct
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import BinaryIO, NamedTuple

KERNELS = {"torch": "lib/libtorch_cuda.so", "vllm": "_C*.so"}  # what is linked with CUDA, in each package's folder
RUNTIME = re.compile(r"libcudart\.so\.(\d+)")
LOAD, DYNAMIC = 1, 2  # kinds of a segment
NEEDED, NAMES = 1, 5  # kinds of an entry of the dynamic segment: a needed library, where all names are
LONGEST_NAME, MOST_ENTRIES = 256, 4096


class Segment(NamedTuple):
    """An entry of the program header table: which bytes of the file come to which address."""

    kind: int
    flags: int
    offset: int
    address: int
    physical: int
    size: int
    size_in_memory: int
    alignment: int


@lru_cache(maxsize=1)
def installed() -> dict[str, int]:
    """The major version of the CUDA that the installed packages are built for; those that do not tell are left out."""
    found = {name: built_for(name) for name in KERNELS}
    return {name: cuda for name, cuda in found.items() if cuda}


def built_for(package: str) -> int:
    """The major version of the CUDA of one package; 0 where it is not installed, or for no CUDA. Imports nothing."""
    spec = PathFinder.find_spec(package)  # where it lies, also when a process has loaded another one
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted(Path(folder).glob(KERNELS[package])):
            named = [RUNTIME.match(name) for name in needed_libraries(file)]
            if cuda := max((int(found[1]) for found in named if found), default=0):
                return cuda
    return 0


def needed_libraries(file: Path) -> list[str]:
    """The shared libraries that a 64-bit ELF file asks for; empty for any other file, and for one that is damaged."""
    try:
        with file.open("rb") as opened:
            return _needed(opened)
    except (OSError, struct.error, OverflowError, ValueError):
        return []


def _needed(file: BinaryIO) -> list[str]:
    head = file.read(64)
    if head[:6] != b"\x7fELF\x02\x01":  # 64 bit, little-endian: x86-64 and ARM64
        return []
    start, (size, count) = struct.unpack_from("<Q", head, 32)[0], struct.unpack_from("<HH", head, 54)
    segments = [Segment(*_read(file, "<IIQQQQQQ", start + i * size)) for i in range(count)]
    dynamic = next((one for one in segments if one.kind == DYNAMIC), None)
    if dynamic is None:
        return []
    entries = [_read(file, "<qQ", dynamic.offset + 16 * i) for i in range(min(dynamic.size // 16, MOST_ENTRIES))]
    names = next((value for tag, value in entries if tag == NAMES), 0)  # where they will be in memory
    holder = next((one for one in segments if one.kind == LOAD and one.address <= names < one.address + one.size), None)
    if holder is None:
        return []
    return [_name(file, holder.offset + names - holder.address + value) for tag, value in entries if tag == NEEDED]


def _read(file: BinaryIO, form: str, offset: int) -> tuple[int, ...]:
    file.seek(offset)
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _name(file: BinaryIO, offset: int) -> str:
    file.seek(offset)
    return file.read(LONGEST_NAME).split(b"\0")[0].decode("utf-8", "replace")
