"""How long math-verify takes to compare two answers, with the usual shapes read before the fork and without.

    python -m benchmarks.answer_check [--out docs/results/answer_check.json]

The scoring process (`pipeline/rewards/math_child.py`) reads a dozen shapes of answers, then forks the process that
answers. Measured are its own function and its own shapes: each pair in a fork of its own, as after a comparison that
was ended, and all pairs in one fork, as they come in training. Without: the libraries are loaded and `1` is compared
with itself. The pairs are made here in the shapes that answers of mathematics data sets have, half of them equal; all
are such that the cheap comparison cannot tell. A decision counts as right when it agrees with how the pair was made.
"""

import argparse
import itertools
import json
import logging
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.rewards import answers, math_child
from pipeline.rewards.math_process import SHARED

LIBRARIES_ALONE = math_child.WARM_UP[:1]
WAYS = {"without": LIBRARIES_ALONE, "with": math_child.WARM_UP}


class Pair(NamedTuple):
    """Two answers and whether they are the same."""

    shape: str
    given: str
    reference: str
    same: bool


# Reference, the same in another spelling, and a different answer. A, B and C are numbers from 2 to 9; S is A + B, T the
# sum of all three, M is A times B, and Q is A squared times B.
SHAPES = {
    "root in a fraction": (r"\frac{A\sqrt{B}}{C}", r"\frac{A}{C}\sqrt{B}", r"\frac{A\sqrt{B}}{T}"),
    "root": (r"A\sqrt{B}", r"\sqrt{Q}", r"A\sqrt{S}"),
    "power": ("A^{B}+C", "C+A^B", "A^B-C"),
    "power of ten": (r"A\cdot 10^{B}+x", "x+10^B*A", r"A\cdot 10^{S}+x"),
    "set": (r"\{A,S,T\}", r"\{S, A, T\}", r"\{A,S\}"),
    "point": ("(A,B,x+C)", "(A, B, C+x)", "(A,B,x-C)"),
    "union": (r"(-\infty,-A)\cup(B,T]", r"(B,T]\cup(-\infty,-A)", r"(-\infty,-A)\cup[B,T]"),
    "polynomial": ("x^2+Sx+M", "(x+A)(x+B)", "x^2+Sx-M"),
    "line": ("y=Ax+B", "y=B+Ax", "y=Ax-C"),
    "complex number": ("A+Bi", "Bi+A", "A-Ci"),
    "part of pi": (r"\frac{A\pi}{B}", r"\frac{A}{B}\pi", r"\frac{A\pi}{S}"),
    "polar form": (r"(A,\frac{\pi}{B})", r"(A,\pi/B)", r"(A,\frac{\pi}{S})"),
    "logarithm": (r"\ln(A)+Bx", r"Bx+\ln(A)", r"\ln(T)+Bx"),
    "binomial": (r"\binom{S}{B}x", r"\binom{S}{A}x", r"\binom{T}{B}x"),
    "sum of fractions": (r"\frac{A}{B}+\frac{x}{C}", r"\frac{x}{C}+\frac{A}{B}", r"\frac{A}{B}-\frac{x}{C}"),
}


def pairs(each: int = 10, seed: int = 1) -> Iterator[Pair]:
    """`each` pairs of every shape, equal and different in turn, none of which the cheap comparison can settle."""
    rng = random.Random(seed)
    for shape, (reference, equal, different) in SHAPES.items():
        done = 0
        for same in itertools.cycle((True, False)):
            given, wanted = _filled(rng, equal if same else different, reference)
            if answers.settle(given, wanted) is None:
                yield Pair(shape, given, wanted, same)
                done += 1
            if done == each:
                break


def _filled(rng: random.Random, *texts: str) -> list[str]:
    a, b, c = (rng.randint(2, 9) for _ in range(3))
    values = {"A": a, "B": b, "C": c, "S": a + b, "T": a + b + c, "M": a * b, "Q": a * a * b}
    return [re.sub("[ABCSTMQ]", lambda found: str(values[found[0]]), text) for text in texts]


def measure_here(way: str, questions: list[Pair]) -> list[list[Any]]:
    """In this process, which must be fresh: load, read the shapes, and give `[milliseconds in a fork of its own, in one
    fork for all, decision]` of each pair."""
    logging.disable(logging.CRITICAL)
    for given, reference in WAYS[way]:
        math_child.compare(given, reference)
    alone = [_in_fork([pair])[0] for pair in questions]
    together = _in_fork(questions)
    return [[one, both, decision] for (one, decision), (both, _) in zip(alone, together, strict=True)]


def _in_fork(questions: list[Pair]) -> list[tuple[float, bool | None]]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        out = []
        for pair in questions:
            started = time.perf_counter()
            decision = math_child.compare(pair.given, pair.reference)
            out.append((1000 * (time.perf_counter() - started), decision))
        with os.fdopen(writing, "w") as file:
            json.dump(out, file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        found = json.load(file)
    os.waitpid(child, 0)
    return [(milliseconds, decision) for milliseconds, decision in found]


def measure(questions: list[Pair]) -> dict[str, Any]:
    """Both ways, each in a process of its own; and the whole way of a comparison, through the pipe."""
    found: dict[str, Any] = {}
    for way in WAYS:
        out = subprocess.run([sys.executable, "-m", "benchmarks.answer_check", "--measure", way, "--each",
                              str(len(questions) // len(SHAPES))], capture_output=True, text=True, check=True).stdout
        rows = json.loads(out.splitlines()[-1])
        found[way] = {"alone": summary([row[0] for row in rows]), "together": summary([row[1] for row in rows]),
                      "right": sum(row[2] is pair.same for row, pair in zip(rows, questions, strict=True)),
                      "rows": [[round(one, 2), round(both, 2), decision] for one, both, decision in rows]}
    SHARED.equal("1", "1")
    times = []
    for pair in questions:
        started = time.perf_counter()
        answers.compare(pair.given, pair.reference)
        times.append(1000 * (time.perf_counter() - started))
    return found | {"through the pipe": summary(times)}


def summary(milliseconds: list[float]) -> dict[str, float]:
    """Median, the tenth that takes longest begins at, and the longest, in milliseconds."""
    return {"median": statistics.median(milliseconds), "ninety": statistics.quantiles(milliseconds, n=10)[-1],
            "longest": max(milliseconds)}


def as_text(found: dict[str, Any]) -> str:
    """The numbers as a Markdown table."""
    lines = ["| shapes read before the fork | each pair in a fork of its own: median, 90 %, longest | all in one fork |"
             " right decisions |", "|---|---|---|---|"]
    lines += [f"| {'none' if way == 'without' else len(WAYS[way]) - 1} | {_words(found[way]['alone'])} | "
              f"{_words(found[way]['together'])} | {found[way]['right']} of {found['pairs']} |" for way in WAYS]
    return "\n".join([*lines, "", f"Through the pipe, as a reward asks: {_words(found['through the pipe'])}."])


def _words(values: dict[str, float]) -> str:
    return ", ".join(f"{values[name]:.0f} ms" for name in ("median", "ninety", "longest"))


def main() -> None:
    """Measure, print, and write the raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--each", type=int, default=10, help="pairs of each shape")
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    questions = list(pairs(options.each))
    if options.measure:
        print(json.dumps(measure_here(options.measure, questions)))
        return
    found = {"python": platform.python_version(), "cores": os.cpu_count(), "load": os.getloadavg()[0],
             "pairs": len(questions), **measure(questions), "questions": questions}
    print(as_text(found))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
