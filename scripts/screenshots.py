"""The README's pictures, of a real demo run in a temporary home: `make screenshots`. Takes as long as the demo.

`--home FOLDER` shows the newest finished run of an existing home instead of training a new one.
"""

import argparse
import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from pipeline import jobs
from pipeline.demo import demo_recipe
from pipeline.studio_home import StudioHome

PROJECT = Path(__file__).resolve().parent.parent
OUT = PROJECT / "assets" / "screenshots"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
TABS = {"start": "Start", "train": "Train", "live": "Live", "compare": "Compare"}


def main(arguments: list[str] | None = None) -> None:
    """Take every picture."""
    p = argparse.ArgumentParser(prog="make screenshots", description=__doc__)
    p.add_argument("--home", type=Path, help="an existing home with a finished run")
    options = p.parse_args(arguments)
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        home = StudioHome(options.home or Path(temporary) / "home")
        run = _finished(home) or _train(home)
        with _app(home) as url:
            _shoot(url, run)


def _finished(home: StudioHome) -> str | None:
    return next((card.id for card in jobs.list_runs(home) if card.state.state == "finished"), None)


def _train(home: StudioHome) -> str:
    run = jobs.start(home, demo_recipe(1))
    while (state := jobs.state(home, run)).state in ("waiting", "running"):
        print(state.words, flush=True)
        time.sleep(10)
    if state.state != "finished":
        raise SystemExit(f"The demo is {state.state}: {state.reason}")
    return run


@contextlib.contextmanager
def _app(home: StudioHome) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    app = subprocess.Popen([sys.executable, str(PROJECT / "app.py"), "--port", str(port), "--no-browser", "--home",
                            str(home.path)])
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                break
            time.sleep(0.2)
        yield url
    finally:
        app.terminate()
        app.wait(20)


def _shoot(url: str, run: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(120_000)
        page.goto(f"{url}?run={run}")
        page.wait_for_selector(".rs-chip")
        for name, title in TABS.items():
            page.locator("#tabs").get_by_role("tab", name=title, exact=True).first.click()
            page.wait_for_timeout(8_000)  # charts are drawn after their data has come
            page.screenshot(path=OUT / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
