"""For which CUDA torch and vLLM are built: read from made-up folders and told before loading; nothing is imported."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest

from pipeline import cuda_builds
from pipeline.cuda_driver import CudaAnswer
from pipeline.engine_choice import choose
from pipeline.gpu_problems import shortcomings
from pipeline.recipe import ModelStep
from tests.app.test_hardware import GOOD, P100, PACKAGES

WHERE = {"torch": "lib/libtorch_cuda.so", "vllm": "_C_stable_libtorch.abi3.so"}


def shared_library(*needed: str) -> bytes:
    """An ELF file of 64 bits that asks for these libraries and holds nothing else: header (64 bytes), two entries of
    the program header table (56 each), the dynamic segment, and the names, which come to an address of their own."""
    names, entries = b"\0", []
    for name in needed:
        entries.append((1, len(names)))
        names += name.encode() + b"\0"
    dynamic_at, dynamic_size = 64 + 2 * 56, 16 * (len(entries) + 2)
    names_at, address = dynamic_at + dynamic_size, 0x40000
    table = b"".join(struct.pack("<qQ", *entry) for entry in (*entries, (5, address), (0, 0)))
    segments = struct.pack("<IIQQQQQQ", 1, 4, names_at, address, address, len(names), len(names), 1)
    segments += struct.pack("<IIQQQQQQ", 2, 6, dynamic_at, 0x50000, 0x50000, dynamic_size, dynamic_size, 8)
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    return head + segments + table + names


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with packages named torch and vllm that cannot be imported, before the installed ones."""
    for name, file in WHERE.items():
        (tmp_path / name / file).parent.mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text("raise AssertionError('must not be imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(packages: Path, **needed: str) -> None:
    """Put a library into each named package; `vllm="13"` asks for CUDA 13's runtime, an empty text for none."""
    for name, cuda in needed.items():
        wanted = ("libtorch.so", f"libcudart.so.{cuda}", "libc.so.6") if cuda else ("libtorch.so",)
        (packages / name / WHERE[name]).write_bytes(shared_library(*wanted))


def test_the_cuda_of_a_package_is_read_from_what_its_kernels_ask_for(packages: Path) -> None:
    assert cuda_builds.built_for("vllm") == cuda_builds.built_for("torch") == 0  # no such files
    install(packages, vllm="13", torch="12")
    assert (cuda_builds.built_for("vllm"), cuda_builds.built_for("torch")) == (13, 12)
    install(packages, vllm="")
    assert cuda_builds.built_for("vllm") == 0  # a build for CPUs
    (packages / "vllm" / "_C.abi3.so").write_bytes(shared_library("libcudart.so.12"))  # as older ones name it
    assert cuda_builds.built_for("vllm") == 12 and cuda_builds.built_for("no_such_package") == 0


def test_a_real_library_is_read_as_the_loader_does_and_rubbish_gives_nothing(tmp_path: Path) -> None:
    """numpy's own library asks for the C library on every Linux with glibc; half a file, or any bytes, say nothing."""
    for module in Path(numpy.__file__).parent.glob("_core/_multiarray_umath*linux-gnu.so"):
        assert "libc.so.6" in cuda_builds.needed_libraries(module)
    whole = shared_library("libcudart.so.13")
    assert cuda_builds.needed_libraries(tmp_path / "nothing.so") == []
    for i in range(len(whole)):
        (tmp_path / "half.so").write_bytes(whole[:i])
        assert set(cuda_builds.needed_libraries(tmp_path / "half.so")) <= {"libcudart.so.13"[:n] for n in range(16)}
    (tmp_path / "wild.so").write_bytes(whole[:32] + b"\xff" * (len(whole) - 32))
    assert cuda_builds.needed_libraries(tmp_path / "wild.so") == []


OLD = {"driver": "570.211.01", "cuda": CudaAnswer(12080)}
CU126 = PACKAGES | {"torch": "2.11.0+cu126"}
TORCH = "run `pip uninstall -y torch torchvision torchaudio` and `pip install -r requirements-gpu.txt`"


@pytest.mark.parametrize(("changes", "says"), [
    ({"packages": CU126}, "vLLM, 0.26.0, is built for CUDA 13 and torch, 2.11.0+cu126, for CUDA 12, so that vLLM does "
     f"not load: {TORCH}, then start"),
    ({"packages": CU126, **OLD}, "not load. This driver, 570.211.01, runs no CUDA 13: update it to 580 or newer and"),
    ({"packages": CU126, **OLD}, "or install vLLM's build for CUDA 12"),
    ({"built_for": {"vllm": 13, "torch": 12}}, f"and torch, 2.11.0, for CUDA 12, so that vLLM does not load: {TORCH}"),
    ({"built_for": {"vllm": 12}}, "vLLM, 0.26.0, is built for CUDA 12 and torch, 2.11.0, for CUDA 13, so that vLLM "
     "does not load: run `pip uninstall -y vllm` and `pip install -r requirements-gpu.txt`"),
    ({"packages": PACKAGES | {"vllm": "0.26.0+cpu"}}, "0.26.0+cpu, is the CPU-only build: run `pip uninstall -y vllm`"),
])
def test_a_vllm_for_another_cuda_is_told_with_what_mends_it_and_not_used(changes: dict[str, Any], says: str) -> None:
    machine = replace(GOOD, **{"built_for": {"vllm": 13}} | changes)
    assert says in " ".join(shortcomings(machine)) and len(shortcomings(machine)) == 1
    choice = choose(ModelStep(), machine, "LlamaForCausalLM", "llama")
    assert (choice.engine, choice.vllm) == ("trl", False) and "The installed vLLM" in choice.slower


@pytest.mark.parametrize(("changes", "told"), [
    ({"built_for": {"vllm": 13}}, 0),
    ({"built_for": {"vllm": 13, "torch": 13}}, 0),
    ({"built_for": {"vllm": 12, "torch": 12}, **OLD}, 0),
    ({"packages": CU126, "built_for": {"vllm": 12}}, 0),
    ({"packages": CU126}, 0),  # nobody can tell
    ({"packages": {"torch": "2.11.0+cu126"}, "built_for": {"torch": 12}}, 1),  # vLLM is missing, and only that is told
    ({"packages": CU126 | {"torch": "2.13.0+cu126"}, "built_for": {"vllm": 13}}, 1),  # the right version mends both
    ({"packages": CU126, "built_for": {"vllm": 13}, "gpus": P100}, 1)])  # which vLLM cannot use anyway
def test_what_fits_cannot_be_known_or_is_mended_anyway_is_not_told(changes: dict[str, Any], told: int) -> None:
    assert len(found := shortcomings(replace(GOOD, **changes))) == told and "is built for CUDA" not in " ".join(found)
