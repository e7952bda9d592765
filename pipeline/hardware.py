"""What this machine has: GPUs, memory, driver, packages; what is missing for them, and the command that installs it.

Asks the driver through NVML and the installed packages' metadata; imports no torch, so the app may call it.
"""

import importlib.metadata
import os
import shutil
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

GIB = 2**30
PACKAGES = ("torch", "transformers", "trl", "peft", "vllm", "unsloth", "bitsandbytes")
GPU_PACKAGES = {"vllm": "0.26.0", "unsloth": "2026.10.5", "bitsandbytes": "0.50.2"}  # as in requirements-gpu.txt
GPU_COMMAND = "pip install -r requirements-gpu.txt"
SMALLEST_CAPABILITY = (7, 5)  # vLLM and the bf16/fp16 kernels of Unsloth need Turing or newer
SMALLEST_DRIVER = 570  # CUDA 12.8, which torch 2.11 is built for
SMALLEST_MEMORY_GIB = 6.0


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU as the driver sees it. `used_gib` is what all processes together hold now."""

    index: int
    name: str
    memory_gib: float
    used_gib: float
    capability: tuple[int, int]
    processes: int = 0

    @property
    def free_gib(self) -> float:
        """Memory that nobody holds now."""
        return self.memory_gib - self.used_gib


@dataclass(frozen=True)
class Hardware:
    """A machine: its processors, memory, GPUs, driver and the installed packages (name → version)."""

    cpus: int
    memory_gib: float
    available_gib: float
    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    driver_problem: str | None = None
    packages: dict[str, str] = field(default_factory=dict)

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
    """Look at this machine. Costs about 30 ms with a GPU and 5 ms without; call it when something is to be shown."""
    memory = psutil.virtual_memory()
    gpus, driver, problem = _gpus()
    total = min(memory.total, _container_limit() or memory.total)
    return Hardware(os.cpu_count() or 1, total / GIB, min(memory.available, total) / GIB, gpus, driver, problem,
                    installed_packages())


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
    first = hardware.gpus[0]
    count = f"{len(hardware.gpus)} × " if len(hardware.gpus) > 1 else ""
    capability = ".".join(map(str, first.capability))
    return (f"{count}{first.name}, {first.memory_gib:.0f} GiB ({first.free_gib:.0f} GiB free), "
            f"compute capability {capability}, driver {hardware.driver or 'unknown'}.")


def shortcomings(hardware: Hardware) -> list[str]:
    """What is missing or too old, each with what to do about it. Empty when all is well."""
    problems = []
    if hardware.driver_problem:
        problems.append(hardware.driver_problem)
    if not hardware.gpus:
        return problems
    problems += _driver_problems(hardware)
    problems += _gpu_problems(hardware.gpus)
    missing = [name for name in GPU_PACKAGES if not hardware.has(name)]
    if missing:
        problems.append(f"A GPU, but no {', '.join(missing)}: run `{GPU_COMMAND}` in the virtual environment, "
                        "then start the app again. Until then training uses TRL and samples slowly.")
    problems += [f"{name} {hardware.packages[name]} is installed, but {wanted} is what works with the rest: "
                 f"run `{GPU_COMMAND}`." for name, wanted in GPU_PACKAGES.items()
                 if hardware.has(name) and hardware.packages[name] != wanted]
    if "+cpu" in hardware.packages.get("torch", ""):
        problems.append("The installed torch is the CPU-only build, blind to the GPU: run `pip uninstall -y torch` "
                        f"and `{GPU_COMMAND}`.")
    return problems


def engine_choice(hardware: Hardware, engine: str = "auto", gpus: int = 1) -> tuple[str, str]:
    """The engine that `auto` takes here, and why, in words."""
    if engine != "auto":
        return engine, f"{engine}, as chosen"
    if not hardware.gpus:
        return "trl", "TRL, because there is no GPU"
    if gpus > 1:
        return "trl", f"TRL, because {gpus} GPUs train together"
    if hardware.has("unsloth") and hardware.has("vllm"):
        return "unsloth", "Unsloth with vLLM, on one GPU"
    return "trl", "TRL, because Unsloth and vLLM are not both installed"


def free_disk_gib(folder: Path) -> float:
    """Free space where a folder is, or will be."""
    folder = folder.expanduser().resolve()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / GIB


# ------------------------------------------------------------------------------------------------------------------


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
        return tuple(gpu for gpu in found if gpu and _visible(gpu.index)), driver, None
    except pynvml.NVMLError as error:
        return (), None, _broken_driver(error)
    finally:
        pynvml.nvmlShutdown()


def _gpu(nvml: Any, index: int) -> Gpu | None:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
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


def _visible(index: int) -> bool:
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None or not all(part.strip().isdigit() for part in listed.split(",")):
        return listed != ""  # names (GPU-…, MIG-…) are left to torch; an empty list hides all
    return str(index) in {part.strip() for part in listed.split(",")}


def _driver_problems(hardware: Hardware) -> list[str]:
    major = (hardware.driver or "").split(".")[0]
    if not major.isdigit() or int(major) >= SMALLEST_DRIVER:
        return []
    return [f"The NVIDIA driver is {hardware.driver}; torch 2.11 needs {SMALLEST_DRIVER} or newer: update the driver."]


def _gpu_problems(gpus: tuple[Gpu, ...]) -> list[str]:
    problems = []
    for gpu in gpus:
        if gpu.capability < SMALLEST_CAPABILITY:
            problems.append(f"GPU {gpu.index} ({gpu.name}) has compute capability {gpu.capability[0]}."
                            f"{gpu.capability[1]}; vLLM and Unsloth need 7.5 (Turing) or newer: train with the TRL "
                            "engine and fast inference switched off.")
        if gpu.memory_gib < SMALLEST_MEMORY_GIB:
            problems.append(f"GPU {gpu.index} ({gpu.name}) has {gpu.memory_gib:.1f} GiB; GRPO with vLLM needs about "
                            f"{SMALLEST_MEMORY_GIB:.0f} GiB even for small models: use 4-bit without fast inference.")
        if gpu.used_gib > 0.1 * gpu.memory_gib and gpu.used_gib > 1:
            others = f" by {gpu.processes} process{'es' * (gpu.processes != 1)}" if gpu.processes else ""
            problems.append(f"GPU {gpu.index} ({gpu.name}) is in use{others}: {gpu.used_gib:.1f} of "
                            f"{gpu.memory_gib:.0f} GiB are taken. Wait for it, or lower the share for vLLM.")
    return problems


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
