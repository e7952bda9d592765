"""The README's pictures and those of docs/compare.md, of a real demo run in a temporary home: `make screenshots`. Takes
as long as the demo and an evaluation of its last model at three precisions.

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
from typing import Any

from pipeline import jobs
from pipeline.demo import demo_recipe
from pipeline.studio_home import StudioHome

PROJECT = Path(__file__).resolve().parent.parent
OUT = PROJECT / "assets" / "screenshots"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUESTION = "Zoe has 49 marbles. Leo brings 38 more, and then 5 break. How many marbles are left?"
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
            _shoot_comparison(home, url, run)


def _finished(home: StudioHome) -> str | None:
    return next((card.id for card in jobs.list_runs(home) if card.state.state == "finished"), None)


def _train(home: StudioHome) -> str:
    run = jobs.start(home, demo_recipe(1))
    _wait(home, run)
    return run


def _wait(home: StudioHome, run: str) -> None:
    while (state := jobs.state(home, run)).state in ("waiting", "running"):
        print(state.words, flush=True)
        time.sleep(10)
    if state.state != "finished":
        raise SystemExit(f"The run is {state.state}: {state.reason}")


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


@contextlib.contextmanager
def _browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


def _shoot(url: str, run: str) -> None:
    with _browser() as browser:
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


def _shoot_comparison(home: StudioHome, url: str, run: str) -> None:
    """The parts of the Compare page, as docs/compare.md shows them."""
    with _browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(240_000)

        def picture(name: str, part: str) -> None:
            page.wait_for_timeout(1_500)
            page.locator(part).first.evaluate("part => part.scrollIntoView()")
            page.wait_for_timeout(1_000)
            page.screenshot(path=OUT / f"{name}.png")

        def opened() -> None:
            page.goto(f"{url}?run={run}&__theme=light")
            page.wait_for_selector(".rs-chip")
            page.locator('#tabs button[role="tab"][data-tab-id="compare"]').first.click()
            page.wait_for_selector(TABS["compare"], state="visible")

        opened()
        picture("compare-chart", "#compare-sentences")
        page.locator("#compare-filter label", has_text="Fixed by GRPO").click()
        picture("compare-questions", "#compare-side")
        page.get_by_role("button", name="Compare others").click()
        picture("compare-more", "#compare-more")
        jobs.submit(home, "evaluate", run, request={"models": ["grpo"], "precisions": ["16bit", "8bit", "4bit"]})
        _wait(home, run)
        opened()
        picture("compare-levels", "#compare-sentences >> text=Precision:")
        page.get_by_role("button", name="Ask them a question").click()
        page.locator("#compare-ask textarea").first.fill(QUESTION)
        page.locator("#compare-ask").get_by_role("button", name="Ask", exact=True).click()
        page.wait_for_function("[...document.querySelectorAll('#compare-ask-answers .facts')]"
                               ".filter(one => / tokens in /.test(one.textContent)).length > 2")
        picture("ask", "#compare-ask")


if __name__ == "__main__":
    main()
