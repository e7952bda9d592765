"""Two visitors of one Space, each in a browser of their own: what one starts, the other neither sees nor stops."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import jobs, locks
from pipeline.studio_home import StudioHome

JOBS = Path(__file__).resolve().parents[1] / "jobs"


@pytest.fixture(scope="module")
def space(start_app: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, StudioHome]]:
    """The app as on a Space, with the fake stages of tests/jobs, slow enough to outlast a busy machine; afterwards
    nothing runs in its home."""
    home = StudioHome(tmp_path_factory.mktemp("space-home"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("SPACE_ID", "carla/space"), ("REASONING_STUDIO_STAGES", "fake_stages"),
                            ("PYTHONPATH", str(JOBS)), ("CUDA_VISIBLE_DEVICES", ""), ("FAKE_STEP_SECONDS", "5")):
            patch.setenv(name, value)
        url = start_app(home.path)
    yield url, home
    home.write("DELETE FROM queue")
    for card in jobs.list_runs(home, kinds=None):
        if pid := locks.holder(home.run(card.id).lock):
            os.kill(pid, signal.SIGKILL)


def open_runs(page: Any, url: str) -> None:
    page.goto(url)
    page.get_by_role("tab", name="Runs", exact=True).click()


def test_two_visitors_do_not_see_each_others_runs(space: tuple[str, StudioHome], page: Any, chromium: Any) -> None:
    """Anna starts the demo; Boris sees none, waits for a nameless one, and Anna's address and stop are not his."""
    from playwright.sync_api import expect

    url, home = space
    page.goto(url)
    page.get_by_role("button", name="Train the demo").click()
    page.locator(".live-state", has_text="Running").wait_for()
    run = jobs.list_runs(home)[0].id
    other = chromium.new_context(viewport={"width": 1280, "height": 900})
    boris = other.new_page()
    boris.set_default_timeout(120_000)
    open_runs(boris, url)
    boris.get_by_text("No runs yet.").first.wait_for()
    boris.goto(f"{url}?run={run}")
    boris.get_by_text(re.compile("No run yet|not here any more")).first.wait_for()
    assert boris.get_by_role("button", name="Stop and save").is_hidden()
    assert run not in boris.content() or boris.locator(f'[data-run="{run}"]').count() == 0
    boris.get_by_role("tab", name="Start", exact=True).click()
    boris.get_by_role("button", name="Train the demo").click()
    boris.get_by_text("Waiting for another visitor's run").first.wait_for()
    open_runs(boris, url)
    expect(boris.locator(".runs-card")).to_have_count(1)
    boris.locator(".runs-card").click()
    boris.locator("#runs-stop").click()
    boris.get_by_text("It was taken out of the queue").wait_for()
    other.close()
    assert jobs.state(home, run).state == "running"
    open_runs(page, url)
    expect(page.locator(".runs-card")).to_have_count(1)
    expect(page.locator(".runs-card")).to_contain_text("running")
