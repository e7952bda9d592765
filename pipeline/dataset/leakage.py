"""Questions of the training data that are (nearly) in a benchmark: a score on it would flatter the model.

`assets/benchmarks.npz` holds fingerprints of the benchmarks' questions, not the questions: of the hashes of their runs
of three words (`duplicates.shingles_of`), every fourth. A question is taken for a benchmark's when it has most of the
fingerprint. Made again, where the benchmarks can be loaded, by `python -m pipeline.dataset.leakage`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.dataset.duplicates import shingles_of

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


def leaks(shingles: Sequence[np.ndarray], progress: Callable[[float, float | None, str], None],
          watch: Callable[[], None]) -> Iterator[tuple[str, int]]:
    """A benchmark's title and the index of a question, by its `shingles_of`, for each question that is in it."""
    hashes, owners, sizes, names = _fingerprints()
    if not len(hashes):
        return
    for i, found in enumerate(shingles):
        if i % 1000 == 0:
            watch()
            progress(i, len(shingles), "comparing with the benchmarks")
        left, right = np.searchsorted(hashes, found), np.searchsorted(hashes, found, side="right")
        near = np.flatnonzero(right > left)
        if len(near) < min(FEWEST, len(found)):
            continue
        hit = [owners[left[k] : right[k]] for k in near]
        who, count = np.unique(np.concatenate(hit), return_counts=True)
        matches = who[count >= np.maximum(SHARE * sizes[who], min(FEWEST, len(found)))]
        for name in dict.fromkeys(names[w] for w in matches):
            yield name, i


@lru_cache(maxsize=1)
def _fingerprints() -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Sorted hashes (H,), the benchmark question of each (H,), hashes per question (Q,), benchmark per question."""
    if not FINGERPRINTS.is_file():
        return np.empty(0, np.uint32), np.empty(0, np.uint16), np.empty(0), []
    with np.load(FINGERPRINTS, allow_pickle=False) as file:
        hashes, owners, starts, titles = file["hashes"], file["owners"], file["starts"], file["titles"]
    order = np.argsort(hashes, kind="stable")
    sizes = np.bincount(owners)
    which = np.searchsorted(starts, np.arange(len(sizes)), side="right") - 1
    return hashes[order], owners[order], sizes, [str(titles[w]) for w in which]


def build(out: Path = FINGERPRINTS) -> None:
    """Write the fingerprints of all benchmarks that can be loaded here."""
    from pipeline.dataset.prepare import load_benchmark
    from pipeline.dataset.sources import DATASETS
    from pipeline.errors import DatasetError

    hashes, owners, starts, titles = [], [], [], []
    count = 0
    for name in NAMES:
        try:
            rows = load_benchmark(name)
        except DatasetError as error:
            print(f"{name} is left out: {error}")
            continue
        starts.append(count)
        titles.append(f"{DATASETS[name].title}, test" if name == "gsm8k" else DATASETS[name].title)
        for row in rows:
            kept = fingerprint(row["question"])
            hashes.append(kept)
            owners.append(np.full(len(kept), count, np.uint16))
            count += 1
    np.savez_compressed(out, hashes=np.concatenate(hashes), owners=np.concatenate(owners),
                        starts=np.array(starts), titles=np.array(titles))
    print(f"{out}: {count} questions, {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    build()
