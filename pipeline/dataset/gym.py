"""Tasks of Reasoning Gym (https://github.com/open-thought/reasoning-gym): questions made without end by a seed.

An optional extra, `pip install -r requirements-gym.txt`; nothing of it is imported before one of its tasks is chosen.
A source is written `reasoning-gym:TASK?size=1000&seed=1&difficulty=0`. Difficulty counts the levels of the task's own
curriculum from the easiest, 0; a property that ends earlier stays at its hardest.
"""

import difflib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from pipeline.dataset.rows import Broken, Rows
from pipeline.errors import DatasetError

PREFIX = "reasoning-gym:"
HARDEST = 20
MOST_ROWS = 1_000_000
MISSING = ("Reasoning Gym is not installed, so its tasks cannot be made: run `pip install -r requirements-gym.txt` in "
           "the app's virtual environment, then start the app again.")


@dataclass(frozen=True)
class GymTask:
    """One task: its name in Reasoning Gym, how many questions, from which seed, how hard."""

    name: str
    size: int = 1000
    seed: int = 1
    difficulty: int = 0

    @property
    def source(self) -> str:
        """How a DataStep names it."""
        return f"{PREFIX}{self.name}?size={self.size}&seed={self.seed}&difficulty={self.difficulty}"

    @classmethod
    def parse(cls, source: str) -> "GymTask":
        """Read a source. Raises DatasetError for numbers that are none or out of bounds."""
        name, _, rest = source.removeprefix(PREFIX).partition("?")
        given = {key: values[-1] for key, values in parse_qs(rest, keep_blank_values=True).items()}
        bounds = {"size": (1, MOST_ROWS), "seed": (0, 2**31), "difficulty": (0, HARDEST)}
        numbers: dict[str, int] = {}
        for key, value in given.items():
            low, high = bounds.get(key, (1, 0))
            if not value.isdecimal() or not low <= int(value) <= high:
                raise DatasetError(f"{key}={value} is not possible for a task of Reasoning Gym. Write for example "
                                   f"{cls('chain_sum').source}, with a size up to {MOST_ROWS:,} and a difficulty from "
                                   f"0 to {HARDEST}.")
            numbers[key] = int(value)
        return cls(name, **numbers)


def is_installed() -> bool:
    """Whether the extra is there; it is not imported to find out."""
    return importlib.util.find_spec("reasoning_gym") is not None


def task_names() -> list[str]:
    """The tasks by name. Raises DatasetError without the extra."""
    return sorted(set(_factory().DATASETS) - {"composite"})


def gym_rows(source: str) -> Rows:
    """The rows of a task, with `question`, `answer` and `task`, made one after another. Raises DatasetError."""
    task, factory = GymTask.parse(source), _factory()
    if task.name not in factory.DATASETS or task.name == "composite":
        close = difflib.get_close_matches(task.name, task_names(), 3) or task_names()[:3]
        raise DatasetError(f"Reasoning Gym has no task {task.name!r}. Did you mean {', '.join(close)}?")
    notes = ["There are no worked solutions: the questions can be practised on (GRPO), not imitated (SFT). Rewards "
             "compare with the one answer that is given; a few tasks have several right ones."]
    settings: dict[str, Any] = {}
    if factory.has_curriculum(task.name):
        settings = vars(_levels(factory, task))
    elif task.difficulty:
        notes.append(f"The task {task.name} knows no difficulty; its usual one is used.")
    try:
        made = factory.create_dataset(task.name, **settings | {"size": task.size, "seed": task.seed})
    except Exception as error:  # a task may refuse its own curriculum's numbers, with an assertion
        raise DatasetError(f"Reasoning Gym cannot make {task.name!r} with the difficulty {task.difficulty}: {error}. "
                           "Choose another difficulty.") from error
    return Rows(_made(made, task), "Reasoning Gym", notes, task.size)


# ------------------------------------------------------------------------------------------------------------------


def _factory() -> Any:
    if not is_installed():
        raise DatasetError(MISSING)
    try:
        from reasoning_gym import factory
    except ImportError as error:  # a part of it is missing
        raise DatasetError(f"Reasoning Gym is not complete ({error}): run "
                           "`pip install -r requirements-gym.txt`.") from error
    return factory


def _levels(factory: Any, task: GymTask) -> Any:
    curriculum = factory.create_curriculum(task.name)
    for name, attribute in curriculum.attributes.items():
        curriculum.set_attr_level(name, min(task.difficulty, len(attribute.levels) - 1))
    return curriculum.generate_configuration({"size": task.size, "seed": task.seed})


def _made(made: Any, task: GymTask) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    for i in range(task.size):
        try:
            row = made[i]
        except Exception as error:
            yield Broken(i + 1, f"Reasoning Gym could not make question {i + 1} ({type(error).__name__}: {error})")
            continue
        yield i + 1, {"question": row["question"], "answer": row["answer"], "task": task.name}
