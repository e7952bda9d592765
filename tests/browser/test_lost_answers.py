"""A network that drops a request without a word: what asks again and again must not wait for that answer for ever."""

import re
from typing import Any

from playwright.sync_api import expect

from pipeline import jobs, locks
from pipeline.seeds import another_seed
from pipeline.studio_home import StudioHome
from tests.browser.conftest import open_run
from tests.browser.test_compare import home, open_tab, url  # noqa: F401  the finished run and the app that shows it


def lose_one(page: Any, name: str) -> list[Any]:
    """The next question to a function of the server never gets there; it is in the list then."""
    lost: list[Any] = []

    def keep(route: Any) -> None:
        if not lost and name in (route.request.post_data or ""):
            lost.append(route)
        else:
            route.continue_()

    page.route("**/component_server/", keep)
    return lost


def test_the_pages_clock_goes_on(page: Any, url: str, home: StudioHome) -> None:  # noqa: F811
    open_tab(page, url, "Runs")
    expect(page.get_by_text("permanent address")).to_be_visible()
    lost = lose_one(page, "pulse")
    page.evaluate("() => { studio.patience = 0.5; }")
    while not lost:
        page.wait_for_timeout(100)
    jobs.rename(home, "demo-run", "Another name")
    expect(page.get_by_text("Another name").locator("visible=true").first).to_be_visible(timeout=15_000)
    jobs.rename(home, "demo-run", "Demo")


def test_compare_asks_again(page: Any, url: str) -> None:  # noqa: F811
    open_tab(page, url, "Compare")
    expect(page.locator("#compare-sentences")).to_contain_text("This is one training run")
    lost = lose_one(page, "compare_look")
    page.evaluate("() => { studioCompare.patience = 0.5; studioCompare.look().then(() => { window.looked = true; }); }")
    page.wait_for_function("() => window.looked", timeout=15_000)
    assert len(lost) == 1


def test_compare_hears_of_a_change_though_no_listener_of_gradio_is_answered(
        page: Any, url: str, home: StudioHome) -> None:  # noqa: F811
    open_tab(page, url, "Compare")
    sentences = page.locator("#compare-sentences")
    expect(sentences).to_contain_text("This is one training run")
    unanswered: list[Any] = []
    page.route(re.compile("gradio_api/(queue/join|run/)"), lambda route: unanswered.append(route))
    with locks.holding(home.device_lock("cpu")):  # so that the run waits, and one thing changes
        run = jobs.start(home, another_seed(home, "demo-run"))
        expect(sentences).to_contain_text("Seed 2 is being trained or waiting", timeout=15_000)
        jobs.stop(home, run)
    jobs.delete(home, run)
    assert unanswered


def test_live_asks_again(page: Any, url: str) -> None:  # noqa: F811
    open_run(page, url, "demo-run", "Live")
    page.evaluate("() => { document.querySelector('.live-root').live.patience = 0.5; }")
    lost = lose_one(page, "live_show")
    while not lost:
        page.wait_for_timeout(100)
    with page.expect_response(lambda answer: "live_show" in (answer.request.post_data or ""), timeout=15_000):
        pass
    expect(page.locator(".live-lost")).to_be_hidden()
