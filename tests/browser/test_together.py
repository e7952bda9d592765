"""One run seen from many places: five browsers on one app, a worker killed on screen, two apps on one home."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import expect

from pipeline import jobs, locks
from pipeline.recipe import Recipe
from pipeline.run_folder import RunReader
from pipeline.studio_home import StudioHome
from tests.jobs.waiting import at_step, until

JOBS = Path(__file__).resolve().parents[1] / "jobs"
SEEN = "least => document.querySelector('.live-root')?.live?.board.cards.get('grpo.reward')" \
       "?.of(document.querySelector('.live-root').live.run, 'reward/total')?.[0].at(-1) >= least"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudioHome]:
    """A home whose workers run the fake stages of tests/jobs."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("REASONING_STUDIO_STAGES", "fake_stages"), ("PYTHONPATH", str(JOBS)),
                            ("CUDA_VISIBLE_DEVICES", ""), ("FAKE_STEP_SECONDS", "0.3")):
            patch.setenv(name, value)
        yield StudioHome(tmp_path_factory.mktemp("shared-home"))


@pytest.fixture(scope="module")
def apps(start_app: Callable[..., str], home: StudioHome) -> list[str]:
    """Two apps on that home."""
    return [start_app(home.path), start_app(home.path)]


@pytest.fixture
def run(home: StudioHome, apps: list[str]) -> Iterator[str]:
    """A run that has got to GRPO and goes on for many minutes."""
    run_id = jobs.start(home, Recipe.parse({"name": "Watched", "data": {"source": "gsm8k"}, "grpo": {"steps": 3000}}))
    until(at_step(home, run_id, 1))
    yield run_id
    home.write("DELETE FROM queue")
    for card in jobs.list_runs(home, kinds=None):
        if pid := locks.holder(home.run(card.id).lock):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def five(chromium: Any) -> Iterator[list[Any]]:
    """A page in each of five browsers; none of their scripts may fail."""
    contexts = [chromium.new_context(viewport={"width": 1000, "height": 700}) for _ in range(5)]
    pages, errors = [context.new_page() for context in contexts], []
    for one in pages:
        one.set_default_timeout(120_000)
        one.on("pageerror", lambda error: errors.append(str(error)))
    yield pages
    for context in contexts:
        context.close()
    assert not errors


def open_tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def open_runs(page: Any, url: str) -> None:
    page.goto(url)
    open_tab(page, "Runs")
    page.locator(".runs-card").first.wait_for()


def test_five_browsers_watch_one_run_and_one_of_them_stops_it(
        home: StudioHome, apps: list[str], run: str, five: list[Any]) -> None:
    """Three on Live and two on Runs; then one of each looks at the other tab. The app holds at most 400 MB."""
    for number, page in enumerate(five):  # all load at once
        page.goto(f"{apps[0]}?run={run}" if number < 3 else apps[0], wait_until="commit")
    for page in five[3:]:
        open_tab(page, "Runs")
    card = f'.runs-card[data-run="{run}"]'
    for page in five[:3]:
        expect(page.locator(".live-state")).to_have_text("Running")
        page.wait_for_function(SEEN, arg=RunReader(home.run(run)).metric("reward/total")[-1]["step"] + 1)
    for page in five[3:]:
        expect(page.locator(card)).to_contain_text("● running")
    five[1].get_by_role("button", name="Stop and save").click()
    for page in five[:3]:
        expect(page.locator(".live-state")).to_have_text("Stopped")
    for page in five[3:]:
        expect(page.locator(card)).to_contain_text("stopped")
    last = RunReader(home.run(run)).metric("reward/total")[-1]["step"]
    for page in five[:3]:
        page.wait_for_function(SEEN, arg=last)
    open_tab(five[0], "Runs")
    expect(five[0].locator(card)).to_contain_text("stopped")
    open_tab(five[4], "Live")
    expect(five[4].locator(".live-state")).to_have_text("Stopped")
    five[4].wait_for_function(SEEN, arg=last)
    assert memory_of(home) <= 400e6


def test_a_worker_killed_before_the_eyes_of_a_person_is_told_and_resumed(
        home: StudioHome, apps: list[str], run: str, page: Any) -> None:
    """A browser that was never here is led to the run. Live says what happens within a few seconds, and its Resume goes
    on without a gap or a double."""
    page.goto(apps[0])
    expect(page.locator("#header-status")).to_contain_text("«Watched» is at work.")
    page.locator("#header-go").click()
    state = page.locator(".live-state")
    expect(state).to_have_text("Running")
    until(at_step(home, run, 7))
    os.kill(locks.holder(home.run(run).lock) or 0, signal.SIGKILL)
    expect(state).to_have_text("Interrupted", timeout=20_000)
    expect(page.locator(".live-reason")).to_contain_text(re.compile("resume", re.I))
    last = RunReader(home.run(run)).metric("reward/total")[-1]["step"]
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(state).to_have_text("Running")
    page.wait_for_function(SEEN, arg=last + 2)
    steps = [row["step"] for row in RunReader(home.run(run)).metric("reward/total") if row["stage"] == "grpo"]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) >= last + 2


def test_two_apps_on_one_home_show_the_same_and_start_each_run_once(
        home: StudioHome, apps: list[str], run: str, page: Any, five: list[Any]) -> None:
    """Started from one, seen, renamed and stopped in the other; what waits is started once, though both tend to it."""
    other = five[0]
    open_runs(page, apps[0])
    open_runs(other, apps[1])
    open_tab(page, "Start")
    page.get_by_role("button", name="Train the demo").click()
    waiting = other.locator(".runs-card", has_text="Demo (seed")
    expect(waiting).to_contain_text("Waiting for «Watched»")
    watched = other.locator(f'.runs-card[data-run="{run}"]')
    watched.click()
    expect(other.locator("#runs-name input, #runs-name textarea").first).to_have_value("Watched")
    other.locator("#runs-name input, #runs-name textarea").first.fill("Renamed elsewhere")
    other.get_by_role("button", name="Save name and note").click()
    open_tab(page, "Runs")
    expect(page.locator(f'.runs-card[data-run="{run}"]')).to_contain_text("Renamed elsewhere")
    other.locator("#runs-stop").click()
    for each in (page, other):
        expect(each.locator(f'.runs-card[data-run="{run}"]')).to_contain_text("stopped")
        expect(each.locator(".runs-card", has_text="Demo (seed")).to_contain_text("● running")
    (demo,) = [card.id for card in jobs.list_runs(home) if card.name.startswith("Demo")]
    assert {row["attempt"] for row in RunReader(home.run(demo)).stages()} == {1}
    app_of(home, apps[0]).kill()
    expect(other.locator(f'.runs-card[data-run="{demo}"]')).to_contain_text("● running")
    reached = RunReader(home.run(demo)).stages()[-1]["done"]
    until(lambda: RunReader(home.run(demo)).stages()[-1]["done"] != reached)


def app_of(home: StudioHome, url: str) -> psutil.Process:
    """The process of the app at an address."""
    port = url.rstrip("/").rsplit(":", 1)[1]
    return next(process for process in psutil.process_iter(["cmdline"])
                if {port, str(home.path)} <= set(process.info["cmdline"] or ()))


def memory_of(home: StudioHome) -> float:
    """The resident bytes of the largest app of a home."""
    return max(process.memory_info().rss for process in psutil.process_iter(["cmdline"])
               if {"--home", str(home.path)} <= set(process.info["cmdline"] or ()))
