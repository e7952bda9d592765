"""How long the app takes to its first paint, and how much memory its process holds: `python -m benchmarks.app_start`.

A fresh home and a fresh browser for each of the starts. "First paint" runs from the start of `python app.py` to the
moment a browser shows the first screen with its status line filled. Memory is the resident set of the app's process
(not of its workers), read when idle, after each tab was opened, and after a preview, a reward test and the comparison
of a finished run (where `--home` names a home that has one). Bars: 7 s cold, 400 MB. Prints one JSON document.
"""

import argparse
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

PROJECT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FILLED = "document.querySelector('.rs-status') && document.querySelector('#train-demo')?.offsetWidth > 0"
TABS = ("data", "rewards", "train", "live", "compare", "export", "runs")


def main(arguments: list[str] | None = None) -> None:
    """Start the app several times; look closely at the last one."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.app_start", description=__doc__)
    p.add_argument("--starts", type=int, default=3)
    p.add_argument("--home", type=Path, help="a home with a finished run, to compare it")
    p.add_argument("--out", type=Path, help="also write the result here")
    options = p.parse_args(arguments)
    from playwright.sync_api import sync_playwright

    result: dict[str, Any] = {"python": platform.python_version(), "cores": os.cpu_count(),
                              "load_before": round(os.getloadavg()[0], 2), "starts": []}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
        for number in range(options.starts):
            last = number == options.starts - 1
            home = options.home if last and options.home else Path(folder) / f"home-{number}"
            browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
            result["starts"].append(_start(browser, home, result if last else None))
            browser.close()
    seconds = sorted(start["first_paint_seconds"] for start in result["starts"])
    result["first_paint_seconds_median"] = seconds[len(seconds) // 2]
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def _start(browser: Any, home: Path, look: dict[str, Any] | None) -> dict[str, float]:
    """One start; with `look`, the memory after what a person does is added to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.set_default_timeout(120_000)
    began = time.monotonic()
    app = subprocess.Popen([sys.executable, str(PROJECT / "app.py"), "--port", str(port), "--no-browser", "--home",
                            str(home)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _answers(port, app)
        served = time.monotonic() - began
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_function(FILLED)
        painted = time.monotonic() - began
        process = psutil.Process(app.pid)
        if look is not None:
            look["memory_mb"] = {"idle": _mb(process)} | _use(page, process)
        return {"server_seconds": round(served, 2), "first_paint_seconds": round(painted, 2)}
    finally:
        page.close()
        app.terminate()
        app.wait(20)


def _use(page: Any, process: psutil.Process) -> dict[str, float]:
    """Open each tab, look at a preview, score an answer, and read the memory after each."""
    found = {}
    for name in TABS:
        began = time.monotonic()
        page.locator(f'#tabs button[role="tab"][data-tab-id="{name}"]').first.click()
        page.wait_for_selector(f'#tabs button[data-tab-id="{name}"][aria-selected="true"]')
        found[f"{name}_opens_seconds"] = round(time.monotonic() - began, 2)
        if name == "data":
            page.locator("#preview-next").click()
        if name == "rewards":
            page.locator("#bench-score").click()
        page.wait_for_timeout(3_000)
        found[name] = _mb(process)
    return found


def _answers(port: int, app: "subprocess.Popen[bytes]") -> None:
    while app.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit("The app ended before it answered: start `python app.py` to see why.")


def _mb(process: psutil.Process) -> float:
    return round(process.memory_info().rss / 1e6, 1)


if __name__ == "__main__":
    main()
