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
TABS = {"start": "#train-demo", "train": "#review-plan h3", "live": ".live-plot .main-svg",  # what tells: it is drawn
        "compare": "#compare-questions details.q", "export": "#export-stage", "runs": ".runs-card"}
VIEWS = (("", 1280, 860, "light"), ("-dark", 1280, 860, "dark"), ("-phone", 390, 844, "light"),
         ("-phone-dark", 390, 844, "dark"))  # the end of the file's name, width, height, theme


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
        for suffix, width, height, theme in VIEWS:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(120_000)
            page.goto(f"{url}?run={run}&__theme={theme}")
            page.wait_for_selector(".rs-chip")
            for name in TABS:
                page.locator(f'#tabs button[role="tab"][data-tab-id="{name}"]').first.click()
                page.wait_for_selector(TABS[name], state="visible")
                page.wait_for_timeout(1_500)  # what is drawn after its data has come
                page.screenshot(path=OUT / f"{name}{suffix}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
