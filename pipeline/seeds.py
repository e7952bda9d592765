"""What runs of one recipe with different seeds say together.

The p-value of one run says whether its models differ by more than the choice of questions can make; another seed
trains other models. Runs whose recipes differ in nothing but name, seed, evaluation and package versions are put
together here. They may have answered the same questions, so the question is the unit: the differences of a question are
summed over the seeds, then resampled (interval) and flipped in sign (p). How much training itself varies shows in each
seed's own difference, and from three seeds on in the interval of their mean (Student's t).
"""

import contextlib
import hashlib
import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.comparison import load
from pipeline.contestants import Contestant, Row, contestants, settings_of, title_of, way_of
from pipeline.errors import StudioError
from pipeline.paired_tests import p_text
from pipeline.recipe import Recipe
from pipeline.run_folder import RunFolder
from pipeline.run_state import State, state_of
from pipeline.statistics import bootstrap_ratio, holm, sign_flip
from pipeline.studio_home import StudioHome

MAY_DIFFER = ("name", "seed", "evaluate", "provenance")
PAIRS = (("sft", "grpo"), ("base", "grpo"), ("base", "sft"))
ALONE = "This is one training run: another seed of the same recipe may come out differently."


@dataclass(frozen=True)
class SeedRun:
    """One run, and its base, SFT and GRPO model in 16 bit as they answered one benchmark."""

    seed: int
    models: dict[str, Contestant]


@dataclass(frozen=True)
class OverSeeds:
    """Whether `b` answers more questions right than `a`, over several seeds; differences are of rates, b minus a."""

    a: str
    b: str
    seeds: tuple[tuple[int, float], ...]  # each seed and its difference
    questions: int
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    spread: tuple[float, float] | None  # 95 % interval of the mean over seeds as the unit, from three on

    @property
    def significant(self) -> bool:
        """Below 5 % after Holm's correction over the pairs."""
        return self.p_holm < 0.05

    @property
    def sentence(self) -> str:
        """The result in words."""
        points = (f"{100 * self.difference:+.1f} points, 95 % interval {100 * self.low:+.1f} to "
                  f"{100 * self.high:+.1f}; p = {p_text(self.p_holm)}")
        each = ", ".join(f"seed {seed} {100 * value:+.1f}" for seed, value in self.seeds)
        claim = (f"{title_of(self.b)} and {title_of(self.a)}: no difference can be claimed" if not self.significant else
                 f"{title_of(self.b)} is {'better' if self.difference > 0 else 'worse'} than {title_of(self.a)} in "
                 f"these {len(self.seeds)} runs")
        return f"{claim} ({points}). Seed by seed: {each}{self._of_all_seeds}."

    @property
    def _of_all_seeds(self) -> str:
        if self.spread is None:
            return ""
        low, high = self.spread
        otherwise = ", so another seed may come out the other way" * (low < 0 < high)
        return (f"; the mean over all seeds lies between {100 * low:+.1f} and {100 * high:+.1f} with 95 % confidence"
                f"{otherwise}")

    def as_dict(self) -> dict[str, Any]:
        """For JSON; with the sentence."""
        return {**asdict(self), "significant": self.significant, "sentence": self.sentence}


def siblings(home: StudioHome, run_id: str) -> list[tuple[RunFolder, int]]:
    """Folder and seed of the other runs of this recipe by the same person, newest first; one of each seed.

    The owner of a Space sees the runs of visitors too, which belong in no card or report of theirs.
    """
    (key, seed), found = _key_of(home.run(run_id)), []
    taken, owner = {seed}, home.about(run_id)["owner"]
    for row in home.known_runs() if key else []:
        if row["kind"] != "train" or row["id"] == run_id or row["owner"] != owner:
            continue
        with contextlib.suppress(StudioError):  # deleted meanwhile
            other, its = _key_of(folder := home.run(row["id"]))
            if other == key and its not in taken:
                taken.add(its)
                found.append((folder, its))
    return found


def unfinished(home: StudioHome, others: Sequence[tuple[RunFolder, int]]) -> dict[int, State]:
    """The state of each seed of `siblings` that is not through: in work, waiting, or ended before."""
    found: dict[int, State] = {}
    for folder, seed in sorted(others, key=lambda other: other[1]):
        with contextlib.suppress(StudioError):  # its records are damaged
            if (state := state_of(home, folder).state) != "finished":
                found[seed] = state
    return found


def another_seed(home: StudioHome, run_id: str) -> Recipe:
    """The recipe of a run with the next seed that none of its siblings has; nothing is started."""
    recipe = home.run(run_id).recipe()
    seed = max([recipe.seed, *(its for _, its in siblings(home, run_id))]) + 1
    name = re.sub(r" \((seed \d+|copy)\)$", "", home.about(run_id)["name"])[:80]
    return recipe.model_copy(update={"seed": seed, "name": f"{name} (seed {seed})", "provenance": None})


def over_seeds(home: StudioHome, run_id: str, rows: Sequence[Row], expected: Sequence[dict[str, Any]] = (),
               others: Sequence[tuple[RunFolder, int]] | None = None) -> list[OverSeeds]:
    """The pairs of PAIRS over a run, whose answers to one benchmark are `rows`, and those of its siblings that have
    answered that benchmark, whole and in the same way. Empty without such a sibling. `others`: the siblings, where they
    are known already."""
    own = _models(contestants(rows, expected))
    if len(own) < 2:
        return []
    ways = {_way(c.settings) for c in own.values()}
    runs = [SeedRun(_key_of(home.run(run_id))[1], own)]
    for folder, seed in siblings(home, run_id) if others is None else others:
        with contextlib.suppress(StudioError):  # its records are damaged: this run's comparison does not need them
            stored, whole = load(folder, rows[0]["benchmark"])
            asked_so = {text for text in {row["settings"] for row in stored} if _way(settings_of(text)) in ways}
            models = _models(contestants([row for row in stored if row["settings"] in asked_so], whole))
            alike = {name: c for name, c in models.items()
                     if name in own and _way(c.settings) == _way(own[name].settings)}
            if len(alike) > 1:
                runs.append(SeedRun(seed, alike))
    return together(runs)


def trained(models: Collection[str]) -> bool:
    """Whether one of the models was trained, which another seed could let come out differently."""
    return bool({"sft", "grpo"} & set(models))


def heading(found: Sequence[OverSeeds]) -> str:
    """What stands above the sentences of several seeds; needs one pair at least."""
    return f"{max(len(pair.seeds) for pair in found)} seeds of this recipe together"


def footnote(found: Sequence[OverSeeds]) -> str:
    """How the sentences of several seeds were come by; without any, that one run is one run."""
    if not found:
        return ALONE
    return (f"p-values: exact sign-flip test by question, Holm-corrected over the {len(found)} comparisons; intervals: "
            "bootstrap over questions, for these models on other questions. How far the seeds lie apart says how much "
            "another training run may change.")


def together(runs: Sequence[SeedRun]) -> list[OverSeeds]:
    """Every pair of PAIRS, both asked in the same way, that two runs or more have; p-values Holm-corrected over these
    pairs."""
    found = []
    for a, b in PAIRS:
        pairs = [(run.seed, run.models[a], run.models[b]) for run in sorted(runs, key=lambda run: run.seed)
                 if {a, b} <= run.models.keys() and _comparable(run.models[a], run.models[b])]
        if len(pairs) > 1:
            found.append(_pair(pairs))
    corrected = holm([pair.p for pair in found])
    return [replace(pair, p_holm=p) for pair, p in zip(found, corrected, strict=True)]


def _comparable(a: Contestant, b: Contestant) -> bool:
    """Whether both were asked in the same way, and some of the same questions."""
    return _way(a.settings) == _way(b.settings) and bool(a.by_question.keys() & b.by_question.keys())


def _pair(pairs: Sequence[tuple[int, Contestant, Contestant]]) -> OverSeeds:
    scale = math.lcm(*(contestant.samples for _, a, b in pairs for contestant in (a, b)))
    differences = [_differences(a, b, scale) for _, a, b in pairs]
    each = tuple((seed, sum(of_seed.values()) / scale / len(of_seed))
                 for (seed, *_), of_seed in zip(pairs, differences, strict=True))
    whole = summed(differences, scale)
    _, a, b = pairs[0]
    return OverSeeds(a.key, b.key, each, whole.questions, whole.difference, whole.low, whole.high, whole.p, whole.p,
                     _spread([value for _, value in each]))


def _differences(a: Contestant, b: Contestant, scale: int) -> dict[str, int]:
    """Of every question (by its words) that both answered: right answers of `b` less those of `a`, of `scale`."""
    before, after = a.counts("exact"), b.counts("exact")
    return {json.dumps([a.by_question[q][0][name] for name in ("question", "reference")]):
            after[q] * (scale // b.samples) - before[q] * (scale // a.samples) for q in before.keys() & after.keys()}


class Summed(NamedTuple):
    """The differences of several seeds, summed question by question."""

    questions: int
    difference: float
    low: float
    high: float
    p: float


def summed(differences: Sequence[Mapping[Any, int]], scale: int) -> Summed:
    """What seeds say together. `differences` has of each seed and question how many more of `scale` answers are right
    after than before; seeds need not share their questions. Needs one question at least."""
    sums: Counter[Any] = Counter()
    asked: Counter[Any] = Counter()
    for of_seed in differences:
        for question, value in of_seed.items():
            sums[question] += value
            asked[question] += 1
    values, weights = [sums[question] / scale for question in asked], list(asked.values())
    low, high = bootstrap_ratio(values, weights)
    return Summed(len(asked), sum(values) / sum(weights), low, high, sign_flip([sums[question] for question in asked]))


def _spread(values: Sequence[float]) -> tuple[float, float] | None:
    if len(values) < 3:
        return None
    from scipy import stats  # half a second, and few comparisons need it

    mean = statistics.mean(values)
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return float(mean - half), float(mean + half)


def _models(found: Sequence[Contestant]) -> dict[str, Contestant]:
    return {c.key: c for c in found if c.key in ("base", "sft", "grpo") and not c.partial}


def _way(settings: Mapping[str, Any]) -> str:
    """How a model was asked, whatever the questions were: a seed may choose others from the data."""
    return way_of({**settings, "data": None})


def _key_of(folder: RunFolder) -> tuple[str, int]:
    """What the recipes of siblings share, as a hash, and the seed; an empty hash where it cannot be read."""
    try:
        at = folder.recipe_file.stat()
        return _read_key(folder.recipe_file, at.st_mtime_ns, at.st_size)
    except (OSError, StudioError):
        return "", 0


@lru_cache(maxsize=1000)
def _read_key(path: Path, changed: int, size: int) -> tuple[str, int]:
    recipe = Recipe.load(path).model_dump(mode="json")
    shared = {name: value for name, value in recipe.items() if name not in MAY_DIFFER}
    return hashlib.blake2b(json.dumps(shared, sort_keys=True).encode(), digest_size=12).hexdigest(), recipe["seed"]
