"""One run from the click to the end, with everything in between that a person or the machine does to it: the reward is
watched, a group read, the run stopped, the page reloaded, the run resumed, the app killed and started again, and the
three models compared."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from pipeline import jobs
from pipeline.demo import demo_recipe
from pipeline.recipe import Recipe
from pipeline.run_folder import RunReader
from pipeline.studio_home import StudioHome
from tests.browser.conftest import PROJECT, _free_port, wait_for

STEPS = 20
REWARDS = """() => document.querySelector('.live-root')?.live?.board.cards.get('grpo.reward')
    ?.of(document.querySelector('.live-root').live.run, 'reward/total')?.[1] || []"""
RISING = "() => { const all = (" + REWARDS + ")(), mean = part => part.reduce((a, b) => a + b) / part.length; " \
         "return all.length >= 6 && mean(all.slice(-3)) > mean(all.slice(0, 3)); }"


def short_recipe() -> Recipe:
    """The demo in small: 20 SFT steps, so that the tags are half learnt, 32 answers a GRPO step, 8 test questions."""
    values = demo_recipe(1).model_dump()
    values["name"] = "The whole way"
    values["data"]["split"] = {"sft": 320, "grpo": 80, "validation": 8, "test": 8}
    values["sft"] |= {"eval_every": 100, "save_every": 100}
    values["grpo"] |= {"steps": STEPS, "batch_size": 32, "max_completion_tokens": 48, "save_every": 100}
    return Recipe.model_validate(values)


class App:
    """The app as a process that can be killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, _free_port()
        self.home = StudioHome(folder / "home")
        self.url = f"http://127.0.0.1:{self.port}/"
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "app.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(PROJECT / "app.py"), "--port", str(self.port), "--no-browser", "--home",
                 str(self.home.path)], cwd=self.folder, stdout=log, stderr=log)
        wait_for(self.url, self.process, self.folder / "app.log")

    def kill(self) -> None:
        """As `kill -9` does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """The app on an empty home."""
    running = App(tmp_path)
    yield running
    running.kill()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page whose requests may fail, as they do while no app is there."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    found = context.new_page()
    found.set_default_timeout(300_000)
    expect.set_options(timeout=300_000)
    yield found
    expect.set_options(timeout=60_000)  # as conftest.py has it
    context.close()


@pytest.mark.timeout(900)
def test_start_watch_read_stop_reload_resume_kill_the_app_and_finish(page: Any, app: App, tmp_path: Path) -> None:
    _start(page, app.url, tmp_path)
    state = page.locator(".live-state")
    expect(state).to_have_text("Running")
    page.wait_for_function(RISING)
    page.get_by_role("button", name="Stop and save").click()  # at once: on a slow page the run would end before
    expect(page.locator(".live-reason")).to_contain_text(re.compile("stops (after step|at the next|as soon)"))
    plot = page.locator('[data-stage="grpo"] .live-plot').first
    plot.click()
    page.get_by_text(re.compile(r"Groups of step \d+")).wait_for()
    page.locator(".live-row").first.click()
    page.get_by_role("heading", name=re.compile(r"Step \d+, group \d+")).wait_for()
    assert page.locator(".live-completion").count() == 8
    expect(state).to_have_text("Stopped")
    page.reload()
    page.get_by_role("heading", name=re.compile(r"Step \d+, group \d+")).wait_for()
    expect(state).to_have_text("Stopped")
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(state).to_have_text("Running")
    app.kill()
    page.locator(".live-lost").wait_for()
    app.start()
    page.locator(".live-lost").wait_for(state="hidden")
    expect(state).to_have_text(re.compile("Running|Finished"))
    tab = page.locator('#tabs button[role="tab"][data-tab-id="compare"]').first
    expect(tab).to_have_attribute("aria-selected", "true")  # the page goes there when the run has ended
    expect(page.locator("#header-status")).to_contain_text("finished")
    rows = page.locator("#compare-summary tbody tr")
    for model in ("Base", "SFT", "GRPO"):
        expect(rows.filter(has_text=model).first).to_contain_text("%")
    page.reload()
    expect(page.locator("#header-status")).to_contain_text("The whole way")
    page.get_by_role("tab", name="Live", exact=True).click()
    expect(state).to_have_text("Finished")
    (card,) = jobs.list_runs(app.home)
    found = RunReader(app.home.run(card.id)).metric("reward/total")
    assert [row["step"] for row in found] == list(range(1, STEPS + 1))


def _start(page: Any, url: str, folder: Path) -> None:
    """Open the recipe on the Train tab and press the button; the Live tab opens by itself."""
    file = folder / "recipe.yaml"
    file.write_text(short_recipe().to_yaml(), encoding="utf-8")
    page.goto(url)
    page.get_by_role("tab", name="Train", exact=True).click()
    page.get_by_role("button", name="The recipe as a file").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Open a recipe file").click()
    chooser.value.set_files(file)
    expect(page.locator("#review-plan")).to_contain_text("each of 4 questions gets 8 answers")
    page.get_by_role("button", name="Start training").click()
