"""Runs in the scoring process (see math_process.py): reads `[given, reference]` lines, answers true, false or null.

Started in Python's isolated mode, so that neither the working folder nor the environment can change what is imported.
"""

import contextlib
import json
import resource
import sys

CPU_SECONDS = 3
MEMORY_BYTES = 1_500_000_000
WARM_UP = (("1", "1"), ("y=2x+1", "y=1+2x"), (r"\{1, \sqrt{2}\}", r"\{\sqrt{2}, 1\}"), ("(1, 2]", "(1,2]"))


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


def limit_processor_time() -> None:
    """Let the kernel end this process when the coming request uses CPU_SECONDS more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def main() -> None:
    """Answer until the input ends."""
    import logging

    logging.disable(logging.CRITICAL)
    for given, reference in WARM_UP:
        compare(given, reference)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    out, sys.stdout = sys.stdout, sys.stderr
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        limit_processor_time()
        print(json.dumps(compare(*json.loads(line))), file=out, flush=True)


if __name__ == "__main__":
    main()
