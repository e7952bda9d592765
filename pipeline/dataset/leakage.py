"""Questions of the training data that are (nearly) in a benchmark: a score on it would flatter the model.

`assets/benchmarks.npz` holds fingerprints of the benchmarks' questions, not the questions: of the hashes of their runs
of three words (`duplicates.shingles_of`), every fourth. A question is taken for a benchmark's when it has most of the
fingerprint. Made again, where the benchmarks can be loaded, by `python -m pipeline.dataset.leakage`. Those of a
benchmark that is not among them are made when its rows are read for the first time (`remembering`), and kept beside the
Hub's cache.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.dataset.duplicates import shingles_of
from pipeline.dataset.files import read_rows
from pipeline.dataset.rows import Broken, Rows
from pipeline.dataset.sources import DATASETS, local_file

FINGERPRINTS = Path(__file__).resolve().parents[2] / "assets" / "benchmarks.npz"
NAMES = ("gsm8k", "math500", "aime2024", "aime2025")
KEPT_OF = 4  # one hash in so many is kept
SHARE = 0.65  # of a fingerprint that a leaked question has
FEWEST = 4  # hashes that can tell; a question with fewer keeps all of its hashes


def fingerprint(question: str) -> np.ndarray:
    """The kept hashes of a question (N,); all of them where it is too short for a choice."""
    hashes = shingles_of(question)
    kept = hashes[hashes % KEPT_OF == 0]
    return kept if len(kept) >= FEWEST else hashes


@dataclass(frozen=True)
class Benchmarks:
    """Fingerprints: sorted hashes (H,), the question of each (H,), hashes per question (Q,), benchmark per question."""

    hashes: np.ndarray
    owners: np.ndarray
    sizes: np.ndarray
    names: list[str]
    missing: dict[str, str]  # benchmarks that nothing can be compared with here, and why, in words

    @property
    def titles(self) -> list[str]:
        """What questions are compared with."""
        return list(dict.fromkeys(self.names))


def leaks(shingles: Sequence[np.ndarray], progress: Callable[[float, float | None, str], None],
          watch: Callable[[], None], benchmarks: Benchmarks | None = None) -> Iterator[tuple[str, int]]:
    """A benchmark's title and the index of a question, by its `shingles_of`, for each question that is in it."""
    known = benchmarks or all_benchmarks()
    if not len(known.hashes):
        return
    for i, found in enumerate(shingles):
        if i % 1000 == 0:
            watch()
            progress(i, len(shingles), "comparing with the benchmarks")
        left, right = np.searchsorted(known.hashes, found), np.searchsorted(known.hashes, found, side="right")
        near = np.flatnonzero(right > left)
        if len(near) < min(FEWEST, len(found)):
            continue
        hit = [known.owners[left[k] : right[k]] for k in near]
        who, count = np.unique(np.concatenate(hit), return_counts=True)
        matches = who[count >= np.maximum(SHARE * known.sizes[who], min(FEWEST, len(found)))]
        for name in dict.fromkeys(known.names[w] for w in matches):
            yield name, i


def all_benchmarks() -> Benchmarks:
    """The bundled fingerprints with those that were made here, and which benchmarks lack any."""
    packs, missing = [_bundled()], {}
    for name in NAMES:
        if title_of(name) in packs[0][2]:
            continue
        if (questions := _local_questions(name)) is not None:
            packs.append(_pack([(title_of(name), questions)]))
        elif remembered(name).is_file():
            packs.append(_packed(remembered(name)))
        else:
            missing[title_of(name)] = ("its questions are not on this machine; open it once under Ready-made, and the "
                                       "next check compares with it")
    return _joined(packs, missing)


def remembering(name: str, rows: Rows) -> Rows:
    """The rows of a benchmark; when all have been read, its fingerprints are kept, unless they are bundled."""
    if name not in NAMES or title_of(name) in _bundled()[2]:
        return rows
    column = DATASETS[name].mapping["question"]

    def passing() -> Iterator[Any]:
        questions = []
        for item in rows:
            if not isinstance(item, Broken) and isinstance(item[1].get(column), str):
                questions.append(item[1][column])
            yield item
        if questions:
            with contextlib.suppress(OSError):  # a full disk: compared with next time
                _write(remembered(name), [(title_of(name), questions)])

    return replace(rows, rows=passing())


def remembered(name: str) -> Path:
    """Where the fingerprints of a benchmark are kept that was read from the Hub."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "reasoning-studio" / f"{name}.npz"


def title_of(name: str) -> str:
    """What a benchmark is called in a report."""
    return f"{DATASETS[name].title}, test" if name == "gsm8k" else DATASETS[name].title


def build(out: Path = FINGERPRINTS) -> None:
    """Write the fingerprints of all benchmarks that can be loaded here."""
    from pipeline.dataset.prepare import load_benchmark
    from pipeline.errors import DatasetError

    found = []
    for name in NAMES:
        try:
            found.append((title_of(name), [row["question"] for row in load_benchmark(name)]))
        except DatasetError as error:
            print(f"{name} is left out: {error}")
    _write(out, found)
    print(f"{out}: {sum(len(q) for _, q in found)} questions, {out.stat().st_size:,} bytes")


# ------------------------------------------------------------------------------------------------------------------

Pack = tuple[list[np.ndarray], list[int], list[str]]  # hashes per question, questions per benchmark, titles


def _pack(found: Sequence[tuple[str, Sequence[str]]]) -> Pack:
    return ([fingerprint(q) for _, questions in found for q in questions], [len(q) for _, q in found],
            [title for title, _ in found])


def _write(path: Path, found: Sequence[tuple[str, Sequence[str]]]) -> None:
    kept, counts, titles = _pack(found)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{os.getpid()}.npz")
    owners = [np.full(len(hashes), i, np.uint16) for i, hashes in enumerate(kept)]
    np.savez_compressed(temporary, hashes=np.concatenate(kept), owners=np.concatenate(owners),
                        starts=np.cumsum([0, *counts[:-1]]), titles=np.array(titles))
    temporary.replace(path)


def _bundled() -> Pack:
    return _packed(FINGERPRINTS) if FINGERPRINTS.is_file() else ([], [], [])


@lru_cache(maxsize=8)
def _packed(path: Path) -> Pack:
    with np.load(path, allow_pickle=False) as file:
        hashes, owners, starts, titles = file["hashes"], file["owners"], file["starts"], file["titles"]
    total = int(owners[-1]) + 1
    kept = np.split(hashes, np.cumsum(np.bincount(owners, minlength=total))[:-1])
    return kept, np.diff([*starts, total]).tolist(), [str(t) for t in titles]


def _joined(packs: Sequence[Pack], missing: dict[str, str]) -> Benchmarks:
    kept = [hashes for pack in packs for hashes in pack[0]]
    names = [title for pack in packs for count, title in zip(pack[1], pack[2], strict=True) for _ in range(count)]
    hashes = np.concatenate([np.empty(0, np.uint32), *kept])
    owners = np.repeat(np.arange(len(kept)), [len(h) for h in kept])
    order = np.argsort(hashes, kind="stable")
    return Benchmarks(hashes[order], owners[order], np.array([len(h) for h in kept]), names, missing)


def _local_questions(name: str) -> list[str] | None:
    """The questions of a benchmark in the folder that REASONING_STUDIO_DATA names."""
    known = DATASETS[name]
    path = local_file(known, known.test_split or known.split)
    if path is None:
        return None
    rows = (item[1].get(known.mapping["question"]) for item in read_rows(path) if not isinstance(item, Broken))
    return [question for question in rows if isinstance(question, str)] or None


if __name__ == "__main__":
    build()
