"""Near duplicates by MinHash (Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900), hashed by `datasketch`.

A question is the set of its runs of three words. Signatures that agree in one of BANDS bands of ROWS_PER_BAND hashes
make candidates, which are then compared exactly: sets that share at least THRESHOLD of their union are near
duplicates. Groups are what is connected that way; a group beyond LARGEST_SHARE of all rows (one template with other
numbers) is taken apart again, as keeping it on one side would leave no split.
"""

import re
import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pipeline.dataset.examples import question_key
from pipeline.dataset.report import PreparedReport

Progress = Callable[[float, float | None, str], None]
BANDS, ROWS_PER_BAND = 13, 3
THRESHOLD = 0.6  # of 30 words, two are other ones
NEIGHBOURS = 3  # rows after it in its bucket that a row is compared with
LARGEST_SHARE = 0.2
MOST_WORDS = 400  # of a question; more adds nothing to telling duplicates
_WORD = re.compile(r"\w+")


def near_groups(questions: Sequence[str], report: PreparedReport, progress: Progress, watch: Callable[[], None],
                shingles: Sequence[np.ndarray] | None = None) -> list[list[int]]:
    """Indices of the questions in groups of equal or nearly equal ones, in the order of their first.

    `shingles` are those of `shingles_of`, where they are known already.
    """
    parent = list(range(len(questions)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    first: dict[str, int] = {}
    for i, question in enumerate(questions):
        parent[i] = first.setdefault(question_key(question), i)
    equal = list(parent)
    for a, b in near_pairs(shingles or [shingles_of(q) for q in questions], progress, watch):
        parent[max(root(a), root(b))] = min(root(a), root(b))
    groups: dict[int, list[int]] = {}
    for i in range(len(questions)):
        groups.setdefault(root(i), []).append(i)
    return list(_without_giants(groups, equal, len(questions), report))


def near_pairs(shingles: Sequence[np.ndarray], progress: Progress, watch: Callable[[], None]
               ) -> Iterator[tuple[int, int]]:
    """Pairs of nearly equal questions, each once: enough of them to connect each group."""
    signatures = _signatures(shingles, progress, watch)
    compared: set[tuple[int, int]] = set()
    for band in range(BANDS):
        watch()
        progress(band, BANDS, "looking for near duplicates")
        rows = np.ascontiguousarray(signatures[:, band * ROWS_PER_BAND : (band + 1) * ROWS_PER_BAND])
        keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * ROWS_PER_BAND))).ravel()
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        for gap in range(1, NEIGHBOURS + 1):
            for k in np.flatnonzero(ordered[gap:] == ordered[:-gap]):
                pair = (int(order[k]), int(order[k + gap]))
                if pair not in compared:
                    compared.add(pair)
                    if _jaccard(shingles[pair[0]], shingles[pair[1]]) >= THRESHOLD:
                        yield pair


def shingles_of(text: str) -> np.ndarray:
    """Sorted hashes of the runs of three words of a text (N,); of its words where it has fewer."""
    words = _WORD.findall(text.lower())[:MOST_WORDS]
    runs = [f"{a} {b} {c}" for a, b, c in zip(words, words[1:], words[2:], strict=False)] or words or [text]
    return np.array(sorted({zlib.crc32(r.encode("utf-8", "replace")) for r in runs}), np.uint32)


# ------------------------------------------------------------------------------------------------------------------


def _signatures(shingles: Sequence[np.ndarray], progress: Progress, watch: Callable[[], None]) -> np.ndarray:
    """MinHash signatures, one row per text (N, BANDS x ROWS_PER_BAND)."""
    from datasketch import MinHash

    out = np.empty((len(shingles), BANDS * ROWS_PER_BAND), np.uint32)
    made = MinHash.generator(shingles, num_perm=out.shape[1], hashfunc=int, scheme="affine32")
    for i, signature in enumerate(made):
        if i % 1000 == 0:
            watch()
            progress(i, len(shingles), "comparing questions")
        out[i] = signature.hashvalues
    return out


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


def _without_giants(groups: dict[int, list[int]], equal: list[int], total: int, report: PreparedReport
                    ) -> Iterator[list[int]]:
    for group in groups.values():
        if len(group) <= max(LARGEST_SHARE * total, 5):
            yield group
            continue
        report.warnings.append(f"{len(group):,} questions follow one pattern and differ in a few words. Such questions "
                               "may be in training and in test: the test then measures the pattern, not new problems.")
        apart: dict[int, list[int]] = {}
        for i in group:
            apart.setdefault(equal[i], []).append(i)
        yield from apart.values()
