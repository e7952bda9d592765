"""One running run in five browsers, and a worker killed while its Live page is open: when each page tells the truth.

    python -m benchmarks.live_many [--kills 5] [--port 7855] [--out FILE]

The app on a temporary home, with the fake stages of the tests (a step each 0.3 s). Three browsers show Live, two Runs;
one presses Stop and all are watched, then each opens the other tab. Then, in one browser, the worker is killed with
SIGKILL at random moments and resumed from Live. Bars: the truth within 3 s, the app's process within 400 MB.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

PROJECT = Path(__file__).resolve().parent.parent
os.environ |= {"REASONING_STUDIO_STAGES": "fake_stages", "PYTHONPATH": str(PROJECT / "tests" / "jobs"),
               "CUDA_VISIBLE_DEVICES": "", "FAKE_STEP_SECONDS": "0.3"}

from pipeline import jobs, locks  # noqa: E402
from pipeline.recipe import Recipe  # noqa: E402
from pipeline.studio_home import StudioHome  # noqa: E402
from tests.browser.conftest import FLAGS, chromium_path, wait_for  # noqa: E402
from tests.jobs.waiting import at_step, end_everything, until  # noqa: E402

LIVE = "text => document.querySelector('.live-state')?.textContent === text"
RUNS = "text => [...document.querySelectorAll('.runs-card')].some(e => e.textContent.includes(text.toLowerCase()))"


def main() -> None:
    """Measure, print, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--port", type=int, default=7855)
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = StudioHome(Path(folder) / "home")
        log = Path(folder) / "app.log"
        with log.open("wb") as out:
            app = subprocess.Popen([sys.executable, str(PROJECT / "app.py"), "--port", str(args.port), "--no-browser",
                                    "--home", str(home.path)], stdout=out, stderr=out)
        url = f"http://127.0.0.1:{args.port}/"
        try:
            wait_for(url, app, log)
            browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
            result = measure(browser, home, url, psutil.Process(app.pid), args.kills)
        finally:
            app.kill()
            end_everything(home)
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


def measure(browser: Any, home: StudioHome, url: str, app: psutil.Process, kills: int) -> dict[str, Any]:
    """Both measurements on one run."""
    result: dict[str, Any] = {"cores": os.cpu_count(), "load_before": round(os.getloadavg()[0], 2),
                              "app_mb": {"idle": _mb(app)}}
    run = jobs.start(home, Recipe.parse({"name": "Watched", "grpo": {"steps": 9000}}))
    until(at_step(home, run, 3))
    pages = [browser.new_context().new_page() for _ in range(5)]
    for number, page in enumerate(pages):
        page.set_default_timeout(120_000)
        page.goto(f"{url}?run={run}" if number < 3 else url)
    for page in pages[3:]:
        page.get_by_role("tab", name="Runs", exact=True).click()
    _seen(pages, "Running")
    time.sleep(20)
    result["app_mb"]["five browsers for 20 s"] = _mb(app)
    pages[1].get_by_role("button", name="Stop and save").click()
    until(lambda: jobs.state(home, run).state == "stopped")
    result["stopped_seconds"] = _seen(pages, "Stopped")
    for page in pages:
        page.get_by_role("tab", name="Runs" if page in pages[:3] else "Live", exact=True).click()
    result["other_tab_seconds"] = _seen([*pages[3:], *pages[:3]], "Stopped", live=2)
    result["app_mb"]["each has seen both tabs"] = _mb(app)
    for page in (*pages[:3], pages[3]):
        page.context.close()
    result["killed_seconds"], result["resumed_seconds"] = _killed(pages[4], home, run, kills)
    result["app_mb"]["at the end"] = _mb(app)
    return result


def _killed(page: Any, home: StudioHome, run: str, kills: int) -> tuple[list[float], list[float]]:
    """Seconds from each SIGKILL to the word "Interrupted", and from the press on Resume to "Running"."""
    rng, told, resumed = random.Random(1), [], []
    for _ in range(kills):
        began = time.monotonic()
        page.get_by_role("button", name="Resume", exact=True).click()
        page.wait_for_function(LIVE, arg="Running")
        resumed.append(round(time.monotonic() - began, 2))
        time.sleep(rng.uniform(3, 5))
        pid = until(lambda: locks.holder(home.run(run).lock))
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        page.wait_for_function(LIVE, arg="Interrupted")
        told.append(round(time.monotonic() - began, 2))
    return told, resumed


def _seen(pages: list[Any], text: str, live: int = 3) -> list[float]:
    """Seconds from now until each page says it, asked one after the other: upper bounds. The first `live` show Live."""
    began, found = time.monotonic(), []
    for number, page in enumerate(pages):
        page.wait_for_function(LIVE if number < live else RUNS, arg=text)
        found.append(round(time.monotonic() - began, 2))
    return found


def _mb(process: psutil.Process) -> float:
    return round(process.memory_info().rss / 1e6, 1)


if __name__ == "__main__":
    main()
