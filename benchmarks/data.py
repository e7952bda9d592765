"""The Data tab's numbers: first rows of a large file, the full report on 100,000 rows, the mask preview of a row.

    python -m benchmarks.data [--rows 100000] [--gigabytes 1.0] [--out docs/results/data.json]

Bars: first rows within 2 s, the report within 30 s on 2 cores and under 1.5 GB, a preview under 100 ms. Rows are GSM8K
shaped and made from a seed; memory is the peak of the measured process.
"""

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PERSONS = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gita", "Hugo", "Ines", "Jon", "Kira", "Leo")
THINGS = ("apples", "books", "cards", "coins", "shells", "pens", "stones", "stickers", "marbles", "stamps")
VERBS = ("buys", "finds", "is given", "collects", "wins", "makes", "borrows", "picks")


def make_row(rng: random.Random) -> dict[str, str]:
    """A question of about 45 words with a worked solution of four lines."""
    total, lines, story = rng.randrange(10, 99), [], []
    story.append(f"{rng.choice(PERSONS)} has {total} {rng.choice(THINGS)} on day {rng.randrange(1, 400)} of the year.")
    for _ in range(4):
        step = rng.randrange(2, 90)
        story.append(f"Then {rng.choice(PERSONS)} {rng.choice(VERBS)} {step} more, near {rng.choice(THINGS)} "
                     f"number {rng.randrange(10**6)}.")
        added = total + step
        lines.append(f"There were {total} and {step} more, so {total}+{step}=<<{total}+{step}={added}>>{added}.")
        total += step
    return {"question": " ".join(story) + " How many are there now?", "answer": "\n".join(lines) + f"\n#### {total}"}


def write_rows(path: Path, count: int, megabytes: float = 0) -> None:
    """JSONL with this many rows, or repeated up to a size."""
    rng = random.Random(1)
    block = "".join(json.dumps(make_row(rng)) + "\n" for _ in range(count))
    with path.open("w", encoding="utf-8") as file:
        file.write(block)
        while megabytes and file.tell() < megabytes * 1e6:
            file.write(block)


def first_rows(path: str) -> dict[str, float]:
    """Seconds from a path to the mapped first rows (a fresh process, imports apart)."""
    from pipeline.dataset.chat import ChatTokenizer
    from pipeline.dataset.sample import load_view
    from pipeline.recipe import DataStep

    chat = ChatTokenizer.load("tiny")
    started = time.perf_counter()
    view = load_view(DataStep(source=path), chat)
    shown = [view.example(n) for n in view.numbers[:5]]
    assert all(e and e.reference for e in shown), shown
    return {"seconds": time.perf_counter() - started, "gigabytes": os.path.getsize(path) / 1e9}


def full_report(path: str) -> dict[str, float]:
    """Seconds and peak memory of preparing all rows with the report."""
    from pipeline.dataset.chat import ChatTokenizer
    from pipeline.dataset.prepare import prepare_parts
    from pipeline.recipe import DataStep

    chat = ChatTokenizer.load("tiny")
    started, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as out:
        report = prepare_parts(DataStep(source=path), chat, seed=1, max_length=1024, max_completion_tokens=512,
                               out=Path(out))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu, "rows": report.rows_in,
            "kept": report.kept, "peak_gigabytes": peak / 1e9, "load": os.getloadavg()[0]}


def mask_preview(path: str) -> dict[str, float]:
    """Milliseconds to tokenise a row and draw its mask: median and slowest of 200 rows, and one at the limit shown."""
    from pipeline.dataset.chat import ChatTokenizer
    from pipeline.dataset.preview import MAX_TEXT, preview
    from pipeline.dataset.sample import load_view
    from pipeline.recipe import DataStep
    from pipeline.tags import SCHEMES
    from reasoning_ui.highlight import chat_html

    chat, scheme = ChatTokenizer.load("tiny"), SCHEMES["reasoning"]
    view = load_view(DataStep(source=path), chat)
    times = []
    for number in view.numbers[:200]:
        started = time.perf_counter()
        chat_html(preview(chat, view.example(number).record(), scheme), "mask", chat)
        times.append(1000 * (time.perf_counter() - started))
    long = {"question": "Why? " * (MAX_TEXT // 5), "system": "", "completion": "So it is. " * (MAX_TEXT // 10)}
    started = time.perf_counter()
    chat_html(preview(chat, long, scheme), "mask", chat)
    return {"median_ms": statistics.median(times), "slowest_ms": max(times),
            "longest_text_ms": 1000 * (time.perf_counter() - started)}


def measured(name: str, path: Path) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.data", "--measure", name, "--path", str(path)],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Make the files, measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--out", default="docs/results/data.json")
    parser.add_argument("--measure", choices=["first_rows", "full_report", "mask_preview"], help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(globals()[args.measure](args.path)))
        return
    with tempfile.TemporaryDirectory() as folder:
        large, many = Path(folder) / "large.jsonl", Path(folder) / "many.jsonl"
        write_rows(large, 20_000, 1000 * args.gigabytes)
        write_rows(many, args.rows)
        results = {"first_rows": measured("first_rows", large), "full_report": measured("full_report", many),
                   "mask_preview": measured("mask_preview", many),
                   "machine": {"cores": os.cpu_count(), "python": platform.python_version(),
                               "load": os.getloadavg()[0]}}
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    Path(args.out).write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
