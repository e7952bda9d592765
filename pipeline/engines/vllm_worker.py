"""What vLLM's own process is asked about its model; loaded there by vLLM itself, so it imports little."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any


class WorkerReport:
    """Added to vLLM's worker class (`worker_extension_cls`); asked through `LLM.collective_rpc("memory_report")`."""

    model_runner: Any

    def memory_report(self) -> dict[str, int | None]:
        """Bytes: the weights, and the most that vLLM saw beside its KV cache (weights, activations, libraries); None
        where it did not look, as with a cache of a given size."""
        weights = int(self.model_runner.model_memory_usage)
        activations = int(getattr(self, "peak_activation_memory", 0) or 0)
        libraries = int(getattr(self, "non_torch_memory", 0) or 0)
        return {"weights": weights, "peak": weights + activations + libraries if activations else None}

    def differs(self, folder: str) -> bool:
        """Whether `compare_weights` would name any; reads no further than to the first."""
        return any(self._differing(folder))

    def compare_weights(self, folder: str) -> list[str]:
        """Names of the weights in a model folder that are held here under the same name, with other values.

        vLLM packs some layers together under other names; those are not looked at. A head that shares the weights of
        the embedding has none in the folder and is compared with these.
        """
        return list(self._differing(folder))

    def _differing(self, folder: str) -> Iterator[str]:
        import torch

        model = self.model_runner.get_model()
        held = dict(model.named_parameters(remove_duplicate=False))
        for name, value in _stored(Path(folder)):
            mine = held.get(name)
            if mine is None or mine.shape[1:] != value.shape[1:] or len(mine) < len(value):
                continue
            if not torch.equal(mine[:len(value)].cpu(), value.to(mine.dtype)):  # a vocabulary may be padded
                yield name


def _stored(folder: Path) -> Iterator[tuple[str, Any]]:
    from safetensors import safe_open

    names, embedding = set(), None
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as stored:
            for name in stored.keys():  # noqa: SIM118  a file, not a dict
                names.add(name)
                value = stored.get_tensor(name)
                embedding = value if name == "model.embed_tokens.weight" else embedding
                yield name, value
    if embedding is not None and "lm_head.weight" not in names:
        yield "lm_head.weight", embedding
