"""A Live page left open while a run goes on: what it costs the browser and the wire, minute after minute.

    python -m benchmarks.live_soak [--minutes 60] [--runs 1] [--height 900] [--port 7849] [--json FILE]

Starts the app on a temporary home, writes one step a second into `--runs` runs (the first is looked at, the others are
drawn over it) and samples a headless Chromium every ten seconds: heap after a collection, DOM nodes, listeners, CPU
time of the page's main thread (thread ticks, so other programs do not count), and bytes of the Live page's requests.
Limits: heap within +5 MB of the second minute, nodes flat, 10 kB a tick, main thread under 25 %.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import locks
from pipeline.run_folder import RunFolder, RunWriter
from pipeline.studio_home import StudioHome
from tests.browser.conftest import FLAGS, chromium_path
from tests.live.synthetic import Synthetic, groups_of, healthy_grpo, write_run

SAMPLE_SECONDS = 10


def main() -> None:
    """Run the soak and print its summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--height", type=int, default=900, help="of the window; 2600 has all charts on screen")
    parser.add_argument("--port", type=int, default=7849)
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = StudioHome(Path(folder) / "home")
        plan = Synthetic(grpo_steps=200, state="running", total_steps=9999)
        runs = [write_run(home.runs_dir / f"soak-{i}", replace(plan, seed=i)) for i in range(args.runs)]
        for run in runs:
            locks.take(run.lock)  # a held lock is what makes a run alive
        app = subprocess.Popen([sys.executable, "app.py", "--port", str(args.port), "--no-browser", "--home",
                                str(home.path)], env=os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"},
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done = threading.Event()
        threading.Thread(target=write_steps, args=(runs, done), daemon=True).start()
        try:
            samples = watch(f"http://127.0.0.1:{args.port}/", args)
        finally:
            done.set()
            app.terminate()
            app.wait()
    report(samples, args)


def write_steps(runs: list[RunFolder], done: threading.Event) -> None:
    """One step a second into every run, as a worker would."""
    rng, curves, plan = random.Random(0), healthy_grpo(), Synthetic()
    writers = [RunWriter(run) for run in runs]
    step = 200
    while not done.wait(1.0):
        step += 1
        for run, writer in zip(runs, writers, strict=True):
            writer.add_metrics("grpo", 1, step, {k: c(step, min(1.0, step / 2000), rng) for k, c in curves.items()})
            writer.add_groups("grpo", 1, step, groups_of(plan, step, rng))
            writer.set_stage("grpo", done=step, seconds_left=float(9999 - step))
            writer.set_status(heartbeat=time.time())
            with run.log.open("a") as log:
                log.write(f"step {step}: ok\n")


def watch(url: str, args: argparse.Namespace) -> list[dict[str, float]]:
    """Open the page, draw the other runs over it, sample until the time is over."""
    from playwright.sync_api import sync_playwright

    for _ in range(240):
        with suppress(OSError), urllib.request.urlopen(url, timeout=5):
            break
        time.sleep(0.5)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": args.height})
        page.set_default_timeout(180_000)
        wire = Wire(page)
        page.goto(url + "?run=soak-0")
        page.locator(".live-plot .main-svg").first.wait_for()
        for i in range(1, args.runs):
            page.get_by_label("Draw another run over this one").select_option(f"soak-{i}")
        page.wait_for_timeout(5000)
        samples, started = [], time.monotonic()
        wire.reset()
        while time.monotonic() - started < 60 * args.minutes:
            page.wait_for_timeout(1000 * SAMPLE_SECONDS)
            samples.append(wire.sample() | {"minute": (time.monotonic() - started) / 60})
        samples[-1]["points"] = page.evaluate("document.querySelector('.live-plot').data.at(-1).x.length")
        browser.close()
    return samples


class Wire:
    """Counts the page's bytes (posted and received, as sent) and reads the browser's own numbers. A tick is one
    question of the Live page; the bytes of the page's clock (reasoning_ui/pulse.py) are counted with it."""

    def __init__(self, page: Any) -> None:
        self.cdp = page.context.new_cdp_session(page)
        self.cdp.send("Performance.enable", {"timeDomain": "threadTicks"})
        self.cdp.send("Network.enable")
        self.ours: dict[str, int] = {}  # request -> bytes asked
        self.ticks = self.sent = self.received = self.largest = 0
        self.cdp.on("Network.requestWillBeSent", self._asked)
        self.cdp.on("Network.loadingFinished", self._finished)
        self.reset()

    def _asked(self, event: dict[str, Any]) -> None:
        if "component_server" in event["request"]["url"]:
            asked = event["request"].get("postData", "")
            self.ours[event["requestId"]] = len(asked)
            self.sent += len(asked)
            self.ticks += '"live_show"' in asked

    def _finished(self, event: dict[str, Any]) -> None:
        if event["requestId"] in self.ours:
            received = int(event["encodedDataLength"])
            self.received += received
            self.largest = max(self.largest, received + self.ours.pop(event["requestId"]))

    def reset(self) -> None:
        """Start an interval."""
        self.ticks = self.sent = self.received = self.largest = 0
        self.began, self.busy = time.monotonic(), self._metrics()["TaskDuration"]

    def _metrics(self) -> dict[str, float]:
        return {m["name"]: m["value"] for m in self.cdp.send("Performance.getMetrics")["metrics"]}

    def sample(self) -> dict[str, float]:
        """The numbers of the interval that ends now."""
        busy, seconds = self._metrics()["TaskDuration"] - self.busy, time.monotonic() - self.began
        made = {"main_thread": busy / seconds, "ticks": self.ticks, "seconds": seconds,
                "bytes_a_tick": (self.sent + self.received) / max(1, self.ticks), "largest_tick": self.largest}
        self.cdp.send("HeapProfiler.collectGarbage")
        now = self._metrics()
        self.reset()
        return made | {"heap_mb": now["JSHeapUsedSize"] / 1e6, "nodes": now["Nodes"],
                       "listeners": now["JSEventListeners"]}


def report(samples: list[dict[str, float]], args: argparse.Namespace) -> None:
    """Print the summary, and keep all samples where asked."""
    settled = [s for s in samples if s["minute"] >= min(2.0, args.minutes / 4)]
    first, last = settled[0], settled[-1]
    print(f"{last['minute']:.1f} minutes, {args.runs} run(s), window 1280x{args.height}, "
          f"{sum(s['ticks'] for s in samples)} ticks, {last.get('points', 0)} points a trace")
    for key, unit in (("heap_mb", "MB"), ("nodes", ""), ("listeners", "")):
        print(f"{key:12} {first[key]:10.1f} -> {last[key]:10.1f} {unit}  ({last[key] - first[key]:+.1f})")
    print(f"main thread  {100 * statistics.median(s['main_thread'] for s in settled):.1f} % of a core (median), "
          f"{100 * max(s['main_thread'] for s in settled):.1f} % at most")
    print(f"wire         {statistics.median(s['bytes_a_tick'] for s in settled):.0f} bytes a tick (median), "
          f"{max(s['bytes_a_tick'] for s in settled):.0f} at most; the largest single one "
          f"{max(s['largest_tick'] for s in settled):.0f}")
    if args.json:
        args.json.write_text(json.dumps(samples, indent=1))


if __name__ == "__main__":
    main()
