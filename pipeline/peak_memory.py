"""The largest memory that answering took: of the GPU where one is used, otherwise of this whole process."""

import sys
from pathlib import Path


class PeakMemory:
    """Made before a model is loaded; `bytes()` is asked when it has answered.

    On CUDA the peak of torch's allocator since then. On a CPU the largest resident memory of the process in its whole
    life, the libraries included: meaningful where one model alone was in the process.
    """

    def __init__(self) -> None:
        self._cuda = _cuda()
        if self._cuda is not None:
            self._cuda.reset_peak_memory_stats()

    def bytes(self) -> int | None:
        """None where this process holds nothing on the GPU."""
        if self._cuda is not None:
            return int(self._cuda.max_memory_allocated()) or None
        return resident_peak()


def resident_peak() -> int:
    """The largest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage's figure would include what the parent held when it started us
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cuda() -> "object | None":
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None
