"""One run's comparison, read once and kept while nothing new was stored. Safe to use from several threads."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from pipeline import comparison
from pipeline.errors import RunError
from pipeline.paired_tests import PairedTest
from pipeline.question_table import QuestionTable
from pipeline.recipe import Recipe
from pipeline.reward_means import Mean, reward_means
from pipeline.run_folder import RunFolder, RunReader
from pipeline.seeds import trained
from pipeline.tags import TagScheme, scheme_of

KEPT = 6  # comparisons in memory

_lock = threading.Lock()
_cache: "OrderedDict[tuple[str, str, str], Comparison]" = OrderedDict()


@dataclass(frozen=True)
class Comparison:
    """Everything that the Compare and Export tabs show of one benchmark of one run: of all its answers, or of those
    that were asked for in one of `ways`."""

    version: str
    benchmark: str
    recipe: Recipe
    scheme: TagScheme
    rows: list[dict[str, Any]]
    expected: list[dict[str, Any]]
    summary: dict[str, dict[str, Any]]
    tests: list[PairedTest]
    refusal: str  # why there are no tests, or empty
    table: QuestionTable
    ways: list[tuple[str, str]]
    way: str
    _means: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def trained(self) -> bool:
        """Whether a trained model is among those that answered."""
        return trained(self.summary)

    def reward_means(self) -> dict[str, dict[str, Mean]]:
        """What the recipe's rewards give to these answers: label -> contestant -> mean. Scored when first asked for."""
        if not self._means:
            self._means["found"] = reward_means(self.recipe, self.table.contestants)
        return self._means["found"]


def version(folder: RunFolder) -> str:
    """Changes whenever an answer was stored; cheap enough for every tick."""
    row = RunReader(folder).rows("SELECT MAX(id) AS last FROM evaluations")
    return str(row[0]["last"] or 0) if row else "0"


def load(folder: RunFolder, benchmark: str | None, way: str = "") -> Comparison | None:
    """The comparison of a benchmark (the first stored one when None); None when there are no answers yet. A `way` that
    this benchmark was not asked in counts as none."""
    benchmark = benchmark or next(iter(comparison.benchmarks(folder)), None)
    if benchmark is None:
        return None
    now, key = version(folder), (str(folder.path), benchmark, way)
    with _lock:
        if key in _cache and _cache[key].version == now:
            _cache.move_to_end(key)
            return _cache[key]
        found = _read(folder, benchmark, now, way)
        if not found.rows:  # the first question of every model is still open
            return None
        _cache[key] = found
        while len(_cache) > KEPT:
            _cache.popitem(last=False)
    return found


def _read(folder: RunFolder, benchmark: str, now: str, way: str) -> Comparison:
    ways = comparison.ways(folder, benchmark)
    way = way if len(ways) > 1 and way in dict(ways) else ""
    rows, expected = comparison.load(folder, benchmark, way)
    recipe = folder.recipe()
    tests, refusal = [], ""
    try:
        tests = comparison.tests(rows, expected=expected)
    except RunError as error:
        refusal = str(error)
    return Comparison(
        now,
        benchmark,
        recipe,
        scheme_of(recipe.data.tags),
        rows,
        expected,
        comparison.summary(rows, expected),
        tests,
        refusal,
        QuestionTable(rows, expected),
        ways,
        way,
    )
