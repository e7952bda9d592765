"""What CUDA itself says of the GPUs here, asked of the driver library that torch would load, in a child process.

The driver's own number does not tell: NVIDIA's package for forward compatibility (cuda-compat) puts a newer `libcuda`
in front of an old driver, which works on some GPUs and is refused on others, and one that is left behind after an
update of the driver is refused everywhere. `cuInit` answers with an error in these cases
(https://docs.nvidia.com/deploy/cuda-compatibility, https://docs.nvidia.com/cuda/cuda-driver-api, "Initialization").
It runs in a child, since a process that has called it can no longer be forked; the child makes no context on a GPU.
"""

import ctypes
import json
import subprocess
import sys
import time
from dataclasses import dataclass

LIBRARY = "libcuda.so.1"
ASK_AGAIN_SECONDS = 60.0  # after an error that may pass, such as a GPU's service that is still starting
CHILD_SECONDS = 30.0  # a machine with eight GPUs whose driver sleeps takes several


@dataclass(frozen=True)
class CudaAnswer:
    """`version` is the newest CUDA that the library runs (13000 is 13.0); `error` the code of cuInit, 0 when CUDA works
    here, with NVIDIA's `words` for it."""

    version: int
    error: int = 0
    words: str = ""

    @property
    def number(self) -> str:
        """The version as people write it."""
        return f"{self.version // 1000}.{self.version % 1000 // 10}"


_kept: list[tuple[float, CudaAnswer | None]] = []


def answer() -> CudaAnswer | None:
    """What CUDA says here, looked at once (again after a minute where it failed); None where it could not be asked."""
    if not _kept or _outdated(*_kept[-1]):
        _kept[:] = [(time.monotonic(), ask())]
    return _kept[-1][1]


def ask() -> CudaAnswer | None:
    """Ask now, in a child: a fifth of a second where a GPU is awake. None without the library, or without an answer."""
    try:
        child = subprocess.run([sys.executable, "-I", __file__], capture_output=True, timeout=CHILD_SECONDS, check=True)
        return CudaAnswer(**json.loads(child.stdout))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError):
        return None


def _outdated(asked: float, found: CudaAnswer | None) -> bool:
    return (found is None or found.error != 0) and time.monotonic() - asked > ASK_AGAIN_SECONDS


def _tell() -> None:
    """In the child: print the answer as JSON."""
    cuda, version, words = ctypes.CDLL(LIBRARY), ctypes.c_int(0), ctypes.c_char_p()
    error = cuda.cuInit(0)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    if error:
        cuda.cuGetErrorString(error, ctypes.byref(words))
    print(json.dumps({"version": version.value, "error": error, "words": (words.value or b"").decode()}))


if __name__ == "__main__":
    _tell()
