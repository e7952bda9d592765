"""The model that answers in an evaluation: one at a time is loaded, and the next takes its place where it can."""

import contextlib
from pathlib import Path

from pipeline.engines.base import Engine, Generator
from pipeline.evaluation import Contender
from pipeline.run import Run


class Answering:
    """A context manager around the loaded model. `length`: tokens of the longest question with its answer of all;
    `answers`: the most that a model gives to one benchmark.

    vLLM takes most of a minute to start and a second to read other weights, so it is kept where the next model differs
    in nothing else.
    """

    def __init__(self, run: Run, engine: Engine, length: int, answers: int) -> None:
        self._run, self._engine, self._length, self._answers = run, engine, length, answers
        self._loaded = contextlib.ExitStack()
        self._generator: Generator | None = None

    def __enter__(self) -> "Answering":
        return self

    def __exit__(self, *exc: object) -> None:
        self._loaded.close()

    def load(self, contender: Contender, source: Path) -> Generator:
        """A generator for this model, until the next is loaded. Raises EngineError where it cannot be loaded."""
        if self._generator and self._generator.change_model(source, contender.adapter, contender.precision):
            return self._generator
        self._generator = None
        self._loaded.close()
        self._generator = self._loaded.enter_context(self._engine.generator(
            self._run, source, contender.adapter, contender.precision, self._length, self._answers))
        return self._generator
