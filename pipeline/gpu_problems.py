"""What a machine's GPUs lack: packages, driver, capability, memory; each with the command or setting that helps."""

import re

from pipeline.engine_choice import COST
from pipeline.hardware import (
    GPU_COMMAND,
    NEWEST_CUDA,
    SMALLEST_CAPABILITY,
    Gpu,
    Hardware,
    needed_driver,
    runs_cuda,
    torch_cuda,
    unusable,
    vllm_misfit,
)

GPU_PACKAGES = {"vllm": "0.26.0", "unsloth": "2026.10.5", "unsloth_zoo": "2026.10.7", "bitsandbytes": "0.50.2"}
TORCH_OF_VLLM = "2.11.0"  # vLLM's kernels are compiled for exactly this one; all as in requirements-gpu.txt
SMALLEST_MEMORY_GIB = 6.0


def shortcomings(hardware: Hardware) -> list[str]:
    """What is missing or too old, each with what to do about it. Empty when all is well."""
    if not hardware.gpus:
        return [hardware.driver_problem] if hardware.driver_problem else []
    if blocked := unusable(hardware):
        return [blocked]
    return [*_gpu_problems(hardware.gpus), *_package_problems(hardware)]


def _package_problems(hardware: Hardware) -> list[str]:
    problems = []
    missing = [name for name in GPU_PACKAGES if not hardware.has(name)]
    if missing:
        problems.append(f"{_and(missing)} {'are' if len(missing) > 1 else 'is'} not installed: run `{GPU_COMMAND}` in "
                        f"the virtual environment, then start the app again. Until then: {_without(missing)}.")
    wrong = {name: (hardware.packages[name], wanted) for name, wanted in GPU_PACKAGES.items()
             if hardware.has(name) and hardware.packages[name].split("+")[0] != wanted}  # +cu129 is another build of it
    torch = re.sub(r"\+.*", "", hardware.packages.get("torch", TORCH_OF_VLLM))
    if hardware.has("vllm") and torch != TORCH_OF_VLLM:
        wrong["torch"] = (torch, TORCH_OF_VLLM)
    problems += [f"{name} {found} is installed, but {wanted} is what works with the rest: run `{GPU_COMMAND}`, then "
                 "start the app again." for name, (found, wanted) in wrong.items()]
    able = any(gpu.capability >= SMALLEST_CAPABILITY for gpu in hardware.gpus)  # others run no vLLM anyway
    if able and not wrong and (misfit := vllm_misfit(hardware)):
        problems.append(f"{misfit}{_mend_misfit(hardware)}, then start the app again. Until then: {COST}.")
    return problems


def _mend_misfit(hardware: Hardware) -> str:
    """What brings torch and vLLM to the same CUDA. pip takes a package of the right version for the right one, whatever
    it is built for: so it must go first."""
    if torch_cuda(hardware) == NEWEST_CUDA:
        return f": run `pip uninstall -y vllm` and `{GPU_COMMAND}`"
    if runs_cuda(hardware, NEWEST_CUDA):
        return f": run `pip uninstall -y torch torchvision torchaudio` and `{GPU_COMMAND}`"
    return (f". This driver, {hardware.driver}, runs no CUDA {NEWEST_CUDA}: update it to {needed_driver(NEWEST_CUDA)} "
            f"or newer and run `pip uninstall -y torch torchvision torchaudio` and `{GPU_COMMAND}`, or install vLLM's "
            f"build for CUDA {torch_cuda(hardware)} (https://docs.vllm.ai has its address)")


def _without(missing: list[str]) -> str:
    """What is lost without these packages."""
    lost = []
    if "vllm" in missing:
        lost.append(COST)
    if "unsloth" in missing or "unsloth_zoo" in missing:
        lost.append("TRL trains instead of Unsloth")
    if "bitsandbytes" in missing:
        lost.append("a base in 8bit or 4bit cannot be trained")
    return "; ".join(lost)


def _gpu_problems(gpus: tuple[Gpu, ...]) -> list[str]:
    problems = []
    for gpu in gpus:
        name = f"GPU {gpu.index} ({gpu.name})"
        if gpu.capability < SMALLEST_CAPABILITY:
            others = any(other.capability >= SMALLEST_CAPABILITY for other in gpus)
            way = " Start the app with CUDA_VISIBLE_DEVICES=… to use only the newer ones." if others else ""
            problems.append(f"{name} has compute capability {gpu.capability[0]}.{gpu.capability[1]}; vLLM and Unsloth "
                            "need 7.5 (Turing) or newer: TRL trains here, and transformers samples the answers." + way)
        if gpu.memory_gib < SMALLEST_MEMORY_GIB:
            problems.append(f"{name} has {gpu.memory_gib:.1f} GiB; GRPO with vLLM needs about "
                            f"{SMALLEST_MEMORY_GIB:.0f} GiB even for small models: switch fast inference off, and "
                            "choose 4bit for all but the smallest.")
        if gpu.ours:
            problems.append(f"{name} is training a run of this app: a new run waits in the queue until it is done.")
        elif gpu.used_gib > 0.1 * gpu.memory_gib and gpu.used_gib > 1:
            others = f" by {gpu.processes} process{'es' * (gpu.processes != 1)}" if gpu.processes else ""
            problems.append(f"{name} is in use{others} outside this app: {gpu.used_gib:.1f} of {gpu.memory_gib:.0f} "
                            "GiB are taken (`nvidia-smi` shows by whom). Wait for it or end it, or lower what the run "
                            f"needs to fit into the {gpu.free_gib:.1f} GiB that are free.")
    return problems


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
