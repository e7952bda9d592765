"""What recording costs, whether readers slow it down, and how fast a very long run opens.

    python -m benchmarks.store [--steps 10000] [--completions 64] [--out docs/results/store.json]

1. Recording: the wall time of everything that one GRPO step writes (20 metrics, 64 completions with their full-text
   index, progress), while the store grows to its full size. Bar: 5 ms, or 1 % of a step.
2. Readers: 20 pages read metrics, groups and events once a second each, in five processes, while a writer adds 50
   rows a second. Bar: no error on either side, and the writer at most 1 % slower.
3. Opening: all charts of the run, a group, a full-text search. Bars: 1 s, 200 ms, 500 ms.
"""

import argparse
import json
import multiprocessing
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import live_data, live_groups
from pipeline.run_folder import CompletionRecord, GroupRecord, RunFolder, RunReader, RunWriter

TEXT = "so we add the apples and then take away what was eaten which leaves exactly as many as before"
WORDS = TEXT.split(" ")
KEYS = [f"reward_raw/{i}" for i in range(6)] + [f"reward_weighted/{i}" for i in range(6)] + [
    "reward/total", "reward/std", "completion/mean_tokens", "completion/truncated", "completion/format_rate",
    "groups/zero_variance", "optim/lr", "time/step_seconds"]


def step_groups(randomness: random.Random, step: int, completions: int, size: int = 8) -> list[GroupRecord]:
    """The groups of a step: texts of about 60 words, a rare word every hundredth step."""
    groups = []
    for number in range(completions // size):
        records = []
        for _ in range(size):
            words = randomness.choices(WORDS, k=55) + [str(randomness.randrange(1000)) for _ in range(5)]
            text = f"<reasoning>{' '.join(words)}</reasoning><answer>{randomness.randrange(100)}</answer>"
            total = randomness.random()
            rewards = {"format": 1.0, "exact": total, "near": 0.5, "length": 0.1}
            records.append(CompletionRecord(text, 80, False, rewards, total, total - 0.5, "7"))
        if step % 100 == 0:
            records[0].text += " extraordinarily"
        groups.append(GroupRecord(f"Question {(step * 8 + number) % 2000}?", "7", records, right=3))
    return groups


def record(writer: RunWriter, steps: int, completions: int) -> tuple[list[float], list[float]]:
    """Write a whole run; gives the milliseconds of each step's writes: wall time and processor time."""
    randomness, times, processor = random.Random(1), [], []
    for step in range(1, steps + 1):
        groups = step_groups(randomness, step, completions)
        metrics = {key: randomness.random() for key in KEYS}
        began, began_processor = time.perf_counter(), time.thread_time()
        writer.add_groups("grpo", 1, step, groups)
        writer.add_metrics("grpo", 1, step, metrics)
        writer.set_stage("grpo", done=step, total=steps, unit="steps", seconds_left=1.0)
        times.append(1000 * (time.perf_counter() - began))
        processor.append(1000 * (time.thread_time() - began_processor))
    return times, processor


def page(folder: RunFolder, seconds: float, errors: Any) -> None:
    """One reader: what a page asks for once a second."""
    reader, last, until = RunReader(folder), 0, time.monotonic() + seconds
    time.sleep(random.random())
    while time.monotonic() < until:
        try:
            rows = reader.metrics(last, 2000)
            last = rows[-1]["id"] if rows else last
            reader.events(0)
            reader.stages()
            if found := reader.groups_at("grpo", 1):
                reader.completions_of(found[0]["id"])
        except Exception as error:  # any error at all fails the benchmark
            errors.put(repr(error))
            return
        time.sleep(1)


def pages(folder: RunFolder, count: int, seconds: float, errors: Any) -> None:
    """Several readers in one process."""
    threads = [threading.Thread(target=page, args=(folder, seconds, errors)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def write_rows(writer: RunWriter, seconds: float, first_step: int) -> float:
    """50 rows a second for a while, in writes of 10 rows; gives the share of the time spent on writing."""
    spent, rounds = 0.0, int(seconds * 5)
    began = time.perf_counter()
    for i in range(rounds):
        now = time.perf_counter()
        writer.add_metrics("sft", 1, first_step + i, {f"key/{k}": 1.0 for k in range(10)})
        spent += time.perf_counter() - now
        time.sleep(max(0.0, began + (i + 1) / 5 - time.perf_counter()))
    return spent / (time.perf_counter() - began)


def with_readers(writer: RunWriter, readers: int, seconds: float) -> dict[str, Any]:
    """The writer's time alone and with readers."""
    context = multiprocessing.get_context("spawn")
    errors = context.Queue()
    alone = write_rows(writer, seconds, 0)
    processes = [context.Process(target=pages, args=(writer.folder, readers // 5, seconds + 4, errors))
                 for _ in range(5)]
    for process in processes:
        process.start()
    time.sleep(3)
    together = write_rows(writer, seconds, 100_000)
    for process in processes:
        process.join()
    found = [] if errors.empty() else [errors.get()]
    return {"readers": readers, "errors": found, "failed_writes": writer.failed_writes,
            "writing_share_alone": round(alone, 5), "writing_share_with_readers": round(together, 5),
            "slow_down": round(together - alone, 5)}


def opening(folder: RunFolder) -> dict[str, float]:
    """Milliseconds for all charts, a group in the middle, and searches for a common and a rare word."""
    reader = RunReader(folder)

    def charts() -> None:
        for stage, keys in live_data.metric_keys(reader).items():
            stride = live_data.stride_for(live_data.last_step(reader, stage))
            live_data.series(reader, stage, keys, stride=stride)

    def one_group() -> None:
        row = live_groups.groups(reader, live_groups.GroupQuery(step=live_groups.nearest_step(reader, "grpo", 5000)))[0]
        live_groups.group(reader, row["id"])

    return {"open_ms": _ms(charts), "group_ms": _ms(one_group),
            "search_common_ms": _ms(lambda: live_groups.search(reader, "apples")),
            "search_rare_ms": _ms(lambda: live_groups.search(reader, "extraordinarily"))}


def _ms(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return round(1000 * (time.perf_counter() - began), 1)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--completions", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the test with readers")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        writer = RunWriter(RunFolder(Path(folder) / "run"))
        times, processor = record(writer, options.steps, options.completions)
        result: dict[str, Any] = {
            "steps": options.steps, "completions_per_step": options.completions,
            "record_ms": {"median": round(statistics.median(times), 2),
                          "p99": round(sorted(times)[int(0.99 * len(times))], 2), "max": round(max(times), 1)},
            "record_processor_ms_median": round(statistics.median(processor), 2),
            "megabytes": round(writer.folder.database.stat().st_size / 1e6), "opening": opening(writer.folder)}
        result["readers"] = with_readers(writer, 20, options.seconds)
        writer.close()
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
