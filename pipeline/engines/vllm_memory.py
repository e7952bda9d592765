"""What vLLM's own process knows about its memory; loaded there by vLLM itself, so it imports nothing."""

from typing import Any


class MemoryReport:
    """Added to vLLM's worker class (`worker_extension_cls`); asked through `LLM.collective_rpc("memory_report")`."""

    model_runner: Any

    def memory_report(self) -> dict[str, int]:
        """Bytes: the weights, and the most that vLLM saw beside its KV cache (weights, activations, libraries)."""
        weights = int(self.model_runner.model_memory_usage)
        more = (getattr(self, name, 0) or 0 for name in ("peak_activation_memory", "non_torch_memory"))
        return {"weights": weights, "peak": weights + sum(map(int, more))}
