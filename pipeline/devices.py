"""Which devices runs are given out on: every visible NVIDIA GPU, or the CPU as one. Never imports torch."""

import os
from dataclasses import replace
from functools import lru_cache

from pipeline import locks
from pipeline.errors import RunError
from pipeline.hardware import Hardware
from pipeline.studio_home import StudioHome


@lru_cache(maxsize=1)
def all_devices() -> tuple[str, ...]:
    """`gpu-<index or uuid>` of each GPU that CUDA_VISIBLE_DEVICES leaves, or `("cpu",)`."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = [part.strip() for part in chosen.split(",") if part.strip()]
        return tuple(f"gpu-{name}" for name in names if name != "-1") or ("cpu",)
    return tuple(f"gpu-{index}" for index in range(_gpu_count())) or ("cpu",)


def check_enough(gpus: int) -> None:
    """Raise RunError when a recipe asks for more GPUs than there are (on the CPU, one is always granted)."""
    devices = all_devices()
    if gpus > len(devices):
        have = "no GPU" if devices == ("cpu",) else f"{len(devices)} GPU(s)"
        raise RunError(f"The recipe asks for {gpus} GPUs and this machine has {have}: set GPUs to {len(devices)}.")


def environment(devices: list[str]) -> dict[str, str]:
    """The variables by which a worker sees only its devices.

    Numbers that nobody chose are the driver's, by place on the bus; CUDA would count the fastest GPU as the first.
    """
    if devices == ["cpu"]:
        return {}
    order = {} if os.environ.get("CUDA_VISIBLE_DEVICES") else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return {"CUDA_VISIBLE_DEVICES": ",".join(name.removeprefix("gpu-") for name in devices), **order}


def with_own_runs(hardware: Hardware, home: StudioHome) -> Hardware:
    """The machine with a mark at each GPU on which a run of this home trains: a new run waits for it."""
    return replace(hardware, gpus=tuple(replace(gpu, ours=locks.is_held(home.device_lock(f"gpu-{gpu.index}")))
                                        for gpu in hardware.gpus))


def emptiest_first(names: list[str], hardware: Hardware) -> list[str]:
    """Free devices in the order in which runs get them: GPUs that other programs fill come last."""
    free = {f"gpu-{gpu.index}": gpu.free_gib for gpu in hardware.gpus}
    return sorted(names, key=lambda name: -round(free.get(name, 0.0)))  # whole GiB: otherwise the order is kept


def _gpu_count() -> int:
    try:
        import pynvml
        pynvml.nvmlInit()
        try:
            return pynvml.nvmlDeviceGetCount()
        finally:
            pynvml.nvmlShutdown()
    except Exception:  # no driver, no library: pynvml has its own error for each
        return 0
