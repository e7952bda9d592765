"""What this machine has: GPUs, memory, driver, packages, and which of the GPUs torch can use.

Asks the driver through NVML, CUDA in a child process, and the installed packages' metadata; imports no torch, so the
app may call it.
"""

import importlib.metadata
import os
import re
import shutil
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from pipeline import cuda_builds, cuda_driver
from pipeline.cuda_driver import CudaAnswer

GIB = 2**30
PACKAGES = ("torch", "transformers", "trl", "peft", "vllm", "unsloth", "unsloth_zoo", "bitsandbytes")
GPU_COMMAND = "pip install -r requirements-gpu.txt"
SMALLEST_CAPABILITY = (7, 5)  # Turing: vLLM, Unsloth's kernels, and every torch build for CUDA 13 need it or newer
SMALLEST_DRIVERS = {12: 525, 13: 580}  # by the major version of the CUDA that torch is built for
# https://docs.nvidia.com/deploy/cuda-compatibility: any driver from these on runs every minor version of that CUDA
OTHER_BUILDS = {"+cpu": "CPU-only build", "+rocm": "build for AMD GPUs", "+xpu": "build for Intel GPUs"}
NEWEST_CUDA = 13  # of the torch that pip takes from PyPI
COMPAT_ERRORS = {803: "the two do not go together", 804: "this GPU does not allow it (data-centre GPUs do)"}


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU as the driver sees it. `used_gib` is what all processes together hold now; `ours`: a run of this
    home trains on it, so a new run waits, and finds its memory free."""

    index: int
    name: str
    memory_gib: float
    used_gib: float
    capability: tuple[int, int]
    processes: int = 0
    ours: bool = False

    @property
    def free_gib(self) -> float:
        """Memory that nobody holds now."""
        return max(0.0, self.memory_gib - self.used_gib)

    @property
    def for_a_run_gib(self) -> float:
        """Memory that a new run will find when it starts."""
        return self.memory_gib if self.ours else self.free_gib


@dataclass(frozen=True)
class Hardware:
    """A machine: its processors, memory, GPUs, driver and the installed packages (name → version). `cuda` is None where
    CUDA could not be asked; `built_for` has the CUDA (major version) of those packages whose files tell it."""

    cpus: int
    memory_gib: float
    available_gib: float
    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    driver_problem: str | None = None
    packages: dict[str, str] = field(default_factory=dict)
    cuda: CudaAnswer | None = None
    built_for: dict[str, int] = field(default_factory=dict)

    @property
    def has_gpu(self) -> bool:
        """Whether at least one NVIDIA GPU was found."""
        return bool(self.gpus)

    @property
    def device_memory_gib(self) -> float:
        """Memory of the device that trains: the smallest GPU's, or the machine's."""
        return min((gpu.memory_gib for gpu in self.gpus), default=self.memory_gib)

    def has(self, package: str) -> bool:
        """Whether a package is installed."""
        return package in self.packages


def detect() -> Hardware:
    """Look at this machine. Costs about 30 ms with a GPU (the first time longer) and 5 ms without; call it when
    something is to be shown."""
    memory = psutil.virtual_memory()
    gpus, driver, problem = _gpus()
    total = min(memory.total, _container_limit() or memory.total)
    return Hardware(os.cpu_count() or 1, total / GIB, min(memory.available, total) / GIB, gpus, driver, problem,
                    installed_packages(), *((cuda_driver.answer(), cuda_builds.installed()) if gpus else ()))


@lru_cache(maxsize=1)
def installed_packages() -> dict[str, str]:
    """Versions of the packages that matter here, from their metadata: nothing is imported."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware_line(hardware: Hardware) -> str:
    """One line that says what trains here."""
    if not hardware.gpus:
        return (f"No NVIDIA GPU: training runs on {hardware.cpus} CPU core{'s' * (hardware.cpus != 1)} "
                f"with {hardware.memory_gib:.0f} GiB of memory.")
    alike = len({(gpu.name, round(gpu.memory_gib), gpu.capability) for gpu in hardware.gpus}) == 1
    count = f"{len(hardware.gpus)} × " if alike and len(hardware.gpus) > 1 else ""
    shown = hardware.gpus[:1] if alike else hardware.gpus
    each = [f"{gpu.name}, {gpu.memory_gib:.0f} GiB ({gpu.free_gib:.0f} GiB free), "
            f"compute capability {'.'.join(map(str, gpu.capability))}" for gpu in shown]
    return (f"{count}{'; '.join(each)}{', ' if alike else '; '}driver {hardware.driver or 'unknown'}"
            f"{f', CUDA {hardware.cuda.number}' if hardware.cuda else ''}.")


def torch_cuda(hardware: Hardware) -> int:
    """The major version of the CUDA that the installed torch is built for; 0 for a build for something else."""
    version = hardware.packages.get("torch", "")
    if any(other in version for other in OTHER_BUILDS):
        return 0
    if told := hardware.built_for.get("torch"):
        return told
    named = re.search(r"\+cu(\d\d)", version)
    return int(named[1]) if named else NEWEST_CUDA


def unusable(hardware: Hardware) -> str:
    """Why torch cannot use the GPUs that are there, with what to do about it; empty when it can, or there are none."""
    if not hardware.gpus:
        return ""
    cuda, until = torch_cuda(hardware), "Until then training runs on the CPU."
    if not cuda:
        version = hardware.packages["torch"]
        build = next(words for other, words in OTHER_BUILDS.items() if other in version)
        return (f"The installed torch, {version}, is the {build}, blind to the GPU: run `pip uninstall -y torch` and "
                f"`{GPU_COMMAND}`, then start the app again. {until}")
    if problem := _broken_cuda(hardware) or _old_driver(hardware, cuda):
        return f"{problem} {until}"
    if cuda >= 13 and all(gpu.capability < SMALLEST_CAPABILITY for gpu in hardware.gpus):
        first = hardware.gpus[0]
        return (f"{first.name} has compute capability {first.capability[0]}.{first.capability[1]}; torch for CUDA "
                f"{cuda} needs 7.5 (Turing) or newer: use a newer GPU, or a torch built for CUDA 12, which trains on "
                f"this one without vLLM and Unsloth. {until}")
    return ""


def needed_driver(cuda: int) -> int:
    """The first number of the oldest driver that runs a CUDA of this major version."""
    return SMALLEST_DRIVERS.get(cuda, SMALLEST_DRIVERS[NEWEST_CUDA])


def runs_cuda(hardware: Hardware, cuda: int) -> bool:
    """Whether CUDA of this major version runs here: what CUDA itself says, otherwise by the driver's number."""
    if hardware.cuda is not None:
        return hardware.cuda.version >= 1000 * cuda
    major = (hardware.driver or "").split(".")[0]
    return not major.isdigit() or int(major) >= needed_driver(cuda)


def vllm_misfit(hardware: Hardware) -> str:
    """Why the installed vLLM does not load beside the installed torch; empty where it does, or nobody can tell."""
    version, torch, vllm = hardware.packages.get("vllm", ""), torch_cuda(hardware), hardware.built_for.get("vllm", 0)
    for other, words in OTHER_BUILDS.items():
        if other in version:
            return f"The installed vLLM, {version}, is the {words}"
    if not version or not torch or vllm in (0, torch):
        return ""
    return (f"The installed vLLM, {version}, is built for CUDA {vllm} and torch, {hardware.packages.get('torch', '')}, "
            f"for CUDA {torch}, so that vLLM does not load")


def usable(hardware: Hardware) -> Hardware:
    """The machine as torch can use it: without its GPUs where `unusable` says why."""
    return replace(hardware, gpus=()) if unusable(hardware) else hardware


def free_disk_gib(folder: Path) -> float:
    """Free space where a folder is, or will be."""
    folder = folder.expanduser().resolve()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / GIB


# ------------------------------------------------------------------------------------------------------------------


def _broken_cuda(hardware: Hardware) -> str:
    """Why CUDA does not start, where it was asked."""
    cuda = hardware.cuda
    if cuda is None or not cuda.error:
        return ""
    told = f"CUDA does not start here (error {cuda.error}: {cuda.words or 'no words for it'})"
    if cuda.error in COMPAT_ERRORS:
        return (f"{told}: the CUDA {cuda.number} library of a cuda-compat package stands before that of the driver, "
                f"{hardware.driver}, and {COMPAT_ERRORS[cuda.error]}: remove the package (or its folder from "
                "LD_LIBRARY_PATH), or install a driver of its version, then start the app again.")
    return f"{told}: `nvidia-smi` may tell more; restart the machine, or reinstall the driver."


def _old_driver(hardware: Hardware, cuda: int) -> str:
    """Whether torch's CUDA is newer than what runs here, in words."""
    if runs_cuda(hardware, cuda):
        return ""
    most = f" and runs CUDA {hardware.cuda.number} at most" if hardware.cuda else ""
    return (f"The NVIDIA driver is {hardware.driver}{most}; torch {hardware.packages.get('torch', '')} is built for "
            f"CUDA {cuda}, which needs {needed_driver(cuda)} or newer: update the driver.")


def _gpus() -> tuple[tuple[Gpu, ...], str | None, str | None]:
    """GPUs, driver version, and what is wrong with the driver. Never raises: no driver is an ordinary case."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        broken = Path("/proc/driver/nvidia").exists()
        return (), None, _broken_driver(error) if broken else None
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        found = (_gpu(pynvml, i) for i in range(pynvml.nvmlDeviceGetCount()))
        return tuple(gpu for gpu in found if gpu), driver, None
    except pynvml.NVMLError as error:
        return (), None, _broken_driver(error)
    finally:
        pynvml.nvmlShutdown()


def _gpu(nvml: Any, index: int) -> Gpu | None:
    """One GPU; None for one that does not answer or that CUDA_VISIBLE_DEVICES hides."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        if not _visible(index, _text(nvml.nvmlDeviceGetUUID(handle))):
            return None
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        capability = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        name = _text(nvml.nvmlDeviceGetName(handle))
    except nvml.NVMLError:
        return None
    try:
        processes = len(nvml.nvmlDeviceGetComputeRunningProcesses(handle))
    except nvml.NVMLError:
        processes = 0  # not told inside containers
    return Gpu(index, name, memory.total / GIB, memory.used / GIB, tuple(capability), processes)


def _visible(index: int, uuid: str) -> bool:
    """Whether CUDA_VISIBLE_DEVICES leaves a GPU: by its index or the beginning of its name (GPU-…)."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return True
    parts = [part.strip() for part in listed.split(",") if part.strip()]
    if any(part.startswith("MIG-") for part in parts):
        return True  # a part of a GPU: left to torch
    return any(part == str(index) or (part.startswith("GPU-") and uuid.startswith(part)) for part in parts)


def _broken_driver(error: Exception) -> str:
    return (f"An NVIDIA driver is installed but does not answer ({error}): restart, or reinstall the driver. "
            "Until then training runs on the CPU.")


def _container_limit() -> int | None:
    """Memory limit of the container (cgroup v2), in bytes."""
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
