"""Which model is loaded while several answer: one at a time, and where it can the next in the place of the last."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.evaluation import Contender
from pipeline.stages.answering import Answering


class Engine:
    """Notes what is loaded, changed and given back; models whose name begins alike can change places."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def generator(self, run: Any, model: Path, adapter: Path | None, precision: str, length: int,
                  answers: int) -> Any:
        told, name = self.told, str(model)

        class Loaded:
            def __enter__(self) -> "Loaded":
                told.append(f"load {name} {length} {answers}")
                if name == "broken":
                    raise OSError("no such weights")
                return self

            def __exit__(self, *exc: object) -> None:
                told.append(f"close {name}")

            def change_model(self, model: Path, adapter: Path | None, precision: str) -> bool:
                told.append(f"{name} to {model}")
                return str(model)[0] == name[0]

        return Loaded()


def contender(name: str) -> Contender:
    """A model in 16 bit without an adapter."""
    return SimpleNamespace(label=name, adapter=None, precision="16bit")  # type: ignore[return-value]


def test_a_model_takes_the_place_of_the_last_or_waits_until_that_is_closed() -> None:
    engine = Engine()
    with Answering(None, engine, 99, 7) as answering:  # type: ignore[arg-type]
        first = answering.load(contender("a1"), Path("a1"))
        assert answering.load(contender("a2"), Path("a2")) is first
        assert answering.load(contender("b1"), Path("b1")) is not first
    assert engine.told == ["load a1 99 7", "a1 to a2", "a1 to b1", "close a1", "load b1 99 7", "close b1"]


def test_what_cannot_be_loaded_leaves_nothing_behind() -> None:
    engine = Engine()
    with pytest.raises(OSError, match="no such weights"), Answering(None, engine, 9, 3) as answering:  # type: ignore
        answering.load(contender("a1"), Path("a1"))
        answering.load(contender("broken"), Path("broken"))
    assert engine.told == ["load a1 9 3", "a1 to broken", "close a1", "load broken 9 3"]
