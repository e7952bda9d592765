"""What every engine can do: train an adapter with SFT or GRPO, merge it, and sample answers from a model folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.run import Run


@dataclass(frozen=True)
class Sampling:
    """How to sample. Temperature 0 is greedy; `samples` answers per prompt."""

    max_completion_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    samples: int = 1
    batch_size: int = 64
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """One sampled answer: text without special tokens, tokens (end token included), whether it hit the limit."""

    text: str
    tokens: int
    truncated: bool
    seconds: float  # wall time of its batch divided by the batch's answers


OnBatch = Callable[[Sequence[int], list[list[Sample]]], None]
ShouldStop = Callable[[], bool]


class Generator(Protocol):
    """A loaded model that answers prompts. Use as a context manager: memory is given back at the end.

    Once loaded, `weight_bytes` is what the weights take in memory, and `method` says how they are held.
    """

    method: str
    weight_bytes: int | None

    def __enter__(self) -> "Generator": ...
    def __exit__(self, *exc: object) -> None: ...

    def peak_bytes(self) -> int | None:
        """The most memory that answering took so far, None where it is not known."""

    def change_model(self, model: str | Path, adapter: Path | None, precision: str) -> bool:
        """Answer with another model from now on, where that is sooner done than loading it anew.

        False where it is not, or did not work: then this one must be left, and answers no more.
        """

    def generate(
        self,
        prompts: Sequence[list[int]],
        sampling: Sampling,
        on_batch: OnBatch | None = None,
        should_stop: ShouldStop | None = None,
    ) -> list[list[Sample]]:
        """`samples` answers to each prompt (token ids, from `pipeline.dataset.chat.prompt_ids`).

        `on_batch(indices, answers)` is called as answers become final, with the indices of their prompts, in whatever
        order they end; `should_stop` between batches. Gives the answers in the order of the prompts; a stopped call
        gives those that were done.
        """


class Engine(Protocol):
    """One way to train and sample. `model` arguments are folders of plain 16-bit models, or Hub ids."""

    name: str

    def train_sft(self, run: Run, model: str | Path) -> None:
        """Train an adapter on `data/sft.parquet`, into `adapters/sft`; resumes from the last complete checkpoint."""

    def train_grpo(self, run: Run, model: str | Path) -> None:
        """Train a fresh adapter on `data/grpo.parquet`, into `adapters/grpo`; resumes exactly."""

    def merge(self, run: Run, model: str | Path, adapter: Path, out: Path) -> None:
        """Write a plain 16-bit model folder from the 16-bit base and an adapter; appears whole or not at all."""

    def generator(self, run: Run, model: str | Path, adapter: Path | None = None,
                  precision: str = "16bit", length: int = 0, answers: int = 0) -> Generator:
        """Load a model for sampling. `length`: tokens of the longest prompt with its answer, and `answers`: the most
        that will be asked for in one call, where known."""
