"""Runs behind the scoring process's pipe (see math_process.py): compares two expressions with math-verify.

It loads the libraries once and reads some expressions, then forks the process that answers. That one ends itself when a
request burns more than its processor time (the kernel does it, also in the middle of a huge power), or is killed from
outside at the wall-clock limit; either way the next one is forked within milliseconds, with everything loaded.

Lines in: `[number, last moment, processor seconds, given, reference]`; lines out: `["ready", pid]` from each new
process, then `[number, true | false | null]`. A request whose moment has passed is skipped. Started
in Python's isolated mode, so that neither the working folder nor the environment can change what is imported; the
arguments are folders with libraries that are found in no other way then.
"""

import contextlib
import json
import os
import resource
import signal
import sys
import time

MEMORY_BYTES = 1_500_000_000
WARM_UP = (
    ("1", "1"), ("y=2x+1", "y=1+2x"), (r"\{1, \sqrt{2}\}", r"\{\sqrt{2}, 1\}"), ("(1, 2]", "(1,2]"),
    ("12(3+4)", "24_7"), (r"-\frac{3\sqrt{3}}{4}", "x^3 - 3x + 1"), (r"\frac{\pi}{6}", "5.5.1"),
    ("1+2i", r"11\sqrt2"), (r"(3, \frac{\pi}{2})", r"(-\infty, 4]"), (r"x \in [-2,7]", "4210_{5}"),
    ("2*3/4/5-6+7", "2^10"), ("[0,1)", "[0,1]"))
"""Shapes of answers. The parser (ANTLR) learns how to go on after each kind of token when it first meets it, which for
some takes a quarter of a second; what it learnt here, every forked process knows."""


def compare(given: str, reference: str) -> bool | None:
    """Whether math-verify finds both equal; None when it cannot read one of them or gives up."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig(), ExprExtractionConfig()]
    try:
        gold, found = (parse(f"${text}$", extraction_config=config, parsing_timeout=None)
                       for text in (reference, given))
        return bool(gold and found and verify(gold, found, timeout_seconds=None))
    except (Exception, RecursionError, MemoryError):
        return None


def answer_requests() -> None:
    """Answer until the input ends. SIGPROF, which the timer sends, ends the process by default."""
    with contextlib.suppress(ValueError, OSError):  # macOS refuses it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    tell(["ready", os.getpid()])
    buffer = b""
    while chunk := os.read(0, 65536):
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            number, until, seconds, given, reference = json.loads(line)
            if time.monotonic() > until:
                continue
            signal.setitimer(signal.ITIMER_PROF, seconds)
            equal = compare(given, reference)
            signal.setitimer(signal.ITIMER_PROF, 0)
            tell([number, equal])


def tell(message: list[object]) -> None:
    """One line on the output, in one write."""
    os.write(OUT, json.dumps(message).encode() + b"\n")


def main() -> None:
    """Load, then keep one answering process alive until the input ends. Without the library it ends at once."""
    import logging

    sys.path += sys.argv[1:]  # after all others: they replace none of Python's own modules
    import math_verify  # noqa: F401

    logging.disable(logging.CRITICAL)
    for given, reference in WARM_UP:
        compare(given, reference)
    while True:
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BrokenPipeError):
                answer_requests()
                status = 0
            os._exit(status)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):  # the input ended; a killed one is replaced
            return


if __name__ == "__main__":
    OUT = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints does not get into the answers
    main()
