"""A real Chromium and a real app for the browser tests.

Without a Chromium or Chrome they are skipped with a line that says how to get one; where CI is set they fail instead.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
HOLD = """const ask = window.fetch; window.answers = Promise.resolve();
window.fetch = async (...what) => { const found = await ask(...what); await window.answers; return found; };
window.hold = () => { window.answers = new Promise(done => { window.answerNow = done; }); };"""
"""An init script: from `hold()` until `answerNow()`, no answer of the app reaches the page."""
HOW = ("no Chromium or Chrome was found: `apt-get install chromium`, or `python -m playwright install chromium`, or "
       "set CHROMIUM to its path")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is a browser test, and one page may take its time on a busy machine."""
    for item in items:
        if Path(item.fspath).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(900))


def chromium_path() -> str | None:
    """The browser to drive, or None."""
    for name in (os.environ.get("CHROMIUM"), *NAMES):
        if name and (found := shutil.which(name)):
            return found
    return str(MAC) if MAC.exists() else None


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The running browser (a Playwright Browser)."""
    from playwright.sync_api import Error, expect, sync_playwright

    expect.set_options(timeout=60_000)  # a busy machine is slow, not wrong
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        except Error as error:
            if chromium_path() is not None:
                raise
            if os.environ.get("CI"):
                pytest.fail(f"CI needs a browser: {HOW} ({error})")
            pytest.skip(HOW)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A fresh page, 1280 by 900; afterwards it must not have logged an error or asked another host for anything."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    found = context.new_page()
    found.set_default_timeout(120_000)
    strangers: list[str] = []
    errors: list[str] = []
    found.on("request", lambda r: None if _is_local(r.url) else strangers.append(r.url))
    found.on("pageerror", lambda e: errors.append(str(e)))
    yield found
    context.close()
    assert not strangers, f"the page asked other hosts: {strangers[:3]}"
    assert not errors, f"the page's scripts failed: {errors[:3]}"


@pytest.fixture(scope="module")
def start_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """`start_app(home=None, *arguments, **environment)` starts `python app.py` and gives its address; all are ended
    with the file's last test, since an idle app keeps 250 MB and 6 % of a core."""
    with _apps(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def app_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An app with an empty home, shared by the tests that start nothing."""
    with _apps(tmp_path_factory) as start:
        yield start()


@contextlib.contextmanager
def _apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(home: Path | None = None, *arguments: str, **environment: str) -> str:
        folder = tmp_path_factory.mktemp("app")
        port = _free_port()
        command = [sys.executable, str(PROJECT / "app.py"), "--port", str(port), "--no-browser", "--home",
                   str(home or folder / "home"), *arguments]
        with (folder / "app.log").open("wb") as log:
            started.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log,
                                            env={**os.environ, **environment}))
        wait_for(f"http://127.0.0.1:{port}/", started[-1], folder / "app.log")
        return f"http://127.0.0.1:{port}/"

    try:
        yield start
    finally:
        for process in started:
            process.terminate()
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def open_run(page: Any, url: str, run: str, tab: str) -> None:
    """Load the page of a run, wait until its server has answered once, and open a tab."""
    from playwright.sync_api import expect

    page.goto(f"{url}?run={run}")
    expect(page.locator("#header-status")).to_contain_text(re.compile("Next|Now"))
    page.locator("#tabs").get_by_role("tab", name=tab, exact=True).first.click()


def held(page: Any, name: str, words: str = "") -> list[Any]:
    """Questions to a function of the server that hold the words are kept back from now on, in this list."""
    late: list[Any] = []

    def keep(route: Any) -> None:
        body = route.request.post_data or ""
        late.append(route) if name in body and words in body else route.continue_()

    page.route("**/component_server/", keep)
    return late


def let_go(page: Any, late: list[Any]) -> None:
    """What was held reaches the server now, and what comes after it at once."""
    page.route("**/component_server/", lambda route: route.continue_())  # the newest rule is asked first
    for route in late:
        route.continue_()


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path, seconds: float = 120) -> None:
    """Wait until an app answers. Fails with its output when it ended or takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    pytest.fail(f"the app did not answer at {url}:\n{log.read_text(errors='replace')[-3000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "http://localhost:", "data:", "blob:", "ws://127.0.0.1:"))
