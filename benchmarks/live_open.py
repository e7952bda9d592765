"""How fast a finished run of 10,000 steps x 64 completions opens on the Live page: first tick, any group, a search.

    python -m benchmarks.live_open [--home FOLDER] [--steps 10000] [--json]

Makes the run in FOLDER on first use (some minutes, about 0.5 GB) and times the same functions that the page calls.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.run_folder import RunReader
from pipeline.studio_home import StudioHome
from reasoning_ui import charts, live_calls, live_findings
from tests.live.synthetic import Synthetic, write_run

RUN = "ten-thousand-steps"
WORDS = """add the next number then carry one and write the rest below so that twelve and seven make nineteen because
each box holds four apples we multiply first divide by three check the result again total remains""".split()  # noqa: SIM905
LIMITS = {"open": 1.0, "group": 0.2, "step": 0.2, "filter": 0.2, "search": 0.5}


def long_text(step: int, position: int, right: bool, rng: random.Random) -> str:
    """About 400 characters of reasoning with varied words, and an answer."""
    words = " ".join(rng.choices(WORDS, k=60))
    number, answer = rng.randint(0, 99_999), rng.randint(0, 99)
    return f"<reasoning>\n{words} {step} and {number}\n</reasoning>\n<answer>{answer}</answer>"


def make(home: StudioHome, steps: int) -> None:
    """Write the run, unless it is there."""
    if not (home.runs_dir / RUN / "finished").exists():
        write_run(home.runs_dir / RUN, Synthetic(sft_steps=500, grpo_steps=steps, groups_per_step=8, group_size=8,
                                                 texts=long_text))
        (home.runs_dir / RUN / "finished").touch()


def measure(home: StudioHome, steps: int, repeats: int = 30) -> dict[str, dict[str, float]]:
    """Median and worst seconds (wall; and of processor time, as if nothing else ran) of what a person does."""
    call = {f.__name__: f for f in live_calls.server_functions(home)}
    rng = random.Random(1)
    groups = RunReader(home.run(RUN)).rows("SELECT max(id) AS n FROM groups")[0]["n"]
    filters = [(f, o) for f in ("mixed", "all_wrong", "truncated", "equal") for o in ("newest", "best", "spread")]
    things: dict[str, Callable[[int], Any]] = {
        "open": lambda i: open_page(call),
        "group": lambda i: call["live_group"]({"run": RUN, "group": rng.randint(1, groups)}),
        "step": lambda i: call["live_groups"]({"run": RUN, "step": rng.randint(1, steps)}),
        "filter": lambda i: call["live_groups"](
            {"run": RUN, "filter": filters[i % 12][0], "order": filters[i % 12][1]}),
        "search": lambda i: call["live_search"]({"run": RUN, "text": searches(rng)[i % 5]}),
    }
    measured = {}
    for name, thing in things.items():
        times = [seconds(thing, i) for i in range(5 if name == "open" else repeats)]
        walls, cpus = zip(*times, strict=True)
        measured[name] = {"median": statistics.median(walls), "worst": max(walls), "limit": LIMITS[name],
                          "cpu_median": statistics.median(cpus), "cpu_worst": max(cpus)}
    return measured


def searches(rng: random.Random) -> list[str]:
    """Rare, common, several words, a phrase, a beginning."""
    return [str(rng.randint(10_000, 99_999)), "apples", "apples boxes twelve carry", '"the next number"', "mult*"]


def open_page(call: dict[str, Any]) -> None:
    """The two ticks with which a page opens: what there is, then the points of the charts on the screen."""
    live_findings.forget()
    first = call["live_show"]({"run": RUN, "have": {}})
    cards = [[[c["id"]], RUN, "", 1, 0, -1] for c in first["charts"]]
    call["live_show"]({"run": RUN, "have": first["have"], "cards": cards})
    assert len(cards) >= len(charts.CHARTS) - 2


def seconds(thing: Callable[[int], Any], i: int) -> tuple[float, float]:
    """Wall and processor time of one call; an answer with an error ends the measurement."""
    started, cpu = time.perf_counter(), time.process_time()
    answer = thing(i)
    taken = time.perf_counter() - started, time.process_time() - cpu
    assert not (answer or {}).get("error"), answer
    return taken


def main() -> None:
    """Make, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "reasoning-studio-bench")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    home = StudioHome(args.home)
    make(home, args.steps)
    measured = measure(home, args.steps)
    if args.json:
        print(json.dumps(measured))
        return
    for name, m in measured.items():
        verdict = "ok" if m["worst"] <= m["limit"] else "too slow"
        print(f"{name:8} median {1000 * m['median']:7.1f} ms  worst {1000 * m['worst']:7.1f} ms  limit "
              f"{1000 * m['limit']:.0f} ms  {verdict}  (processor: {1000 * m['cpu_median']:.1f}, "
              f"{1000 * m['cpu_worst']:.1f})")


if __name__ == "__main__":
    main()
