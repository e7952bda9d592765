"""The Runs tab in a real browser: cards tell the truth, and everything that can be done with a run works."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

JOBS = Path(__file__).resolve().parents[1] / "jobs"


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A home whose workers run the fake stages of tests/jobs."""
    from pipeline.studio_home import StudioHome

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REASONING_STUDIO_STAGES", "fake_stages")
        patch.setenv("PYTHONPATH", str(JOBS))
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.setenv("FAKE_STEP_SECONDS", "0.3")
        yield StudioHome(tmp_path_factory.mktemp("runs-home"))


@pytest.fixture(scope="module")
def url(start_app: Callable[..., str], shared_home: Any) -> str:
    """One app on that home for all tests of this file."""
    return start_app(shared_home.path)


@pytest.fixture
def fake_home(shared_home: Any) -> Iterator[Any]:
    """The shared home; afterwards nothing waits or runs in it."""
    yield shared_home
    shared_home.write("DELETE FROM queue")
    from pipeline import jobs, locks
    for card in jobs.list_runs(shared_home, kinds=None):
        if pid := locks.holder(shared_home.run(card.id).lock):
            os.kill(pid, signal.SIGKILL)


def start(home: Any, name: str, steps: int = 3000) -> str:
    from pipeline import jobs
    from pipeline.recipe import Recipe

    return jobs.start(home, Recipe.parse({"name": name, "grpo": {"steps": steps}}))


def open_runs(page: Any, url: str) -> None:
    page.goto(url)
    page.get_by_role("tab", name="Runs", exact=True).click()
    page.locator(".runs-card").first.wait_for()


def test_a_run_is_watched_killed_resumed_stopped_renamed_and_deleted_with_undo(
        fake_home: Any, url: str, page: Any) -> None:
    from playwright.sync_api import expect

    from pipeline import locks

    first = start(fake_home, "First <b>bold</b>")
    start(fake_home, "Second", 2)
    open_runs(page, url)
    card = page.locator(f'[data-run="{first}"]')
    expect(card).to_contain_text("● running")
    expect(card).to_contain_text("First <b>bold</b>")
    expect(page.locator(".runs-card", has_text="Second")).to_contain_text("Waiting for «First <b>bold</b>»")
    card.click()
    expect(card).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#runs-name input, #runs-name textarea").first).to_have_value("First <b>bold</b>")

    page.locator("#runs-name input, #runs-name textarea").first.fill("Renamed")
    page.locator("#runs-note textarea").fill("it learns")
    page.get_by_role("button", name="Save name and note").click()
    expect(card).to_contain_text("Renamed")
    expect(card).to_contain_text("it learns")

    os.kill(locks.holder(fake_home.run(first).lock) or 0, signal.SIGKILL)
    expect(card).to_contain_text("interrupted")
    expect(page.locator(".runs-card", has_text="Second")).to_contain_text("✓ finished")
    page.locator("#runs-resume").click()
    expect(card).to_contain_text("● running")
    page.locator("#runs-stop").click()
    expect(page.locator("#runs-said")).to_contain_text("It stops")
    expect(card).to_contain_text("stopped")

    page.get_by_role("button", name="Resume it").click()  # above the tabs: resumes, and shows how it goes on
    expect(page.get_by_role("tab", name="Live", exact=True)).to_have_attribute("aria-selected", "true")
    page.get_by_role("tab", name="Runs", exact=True).click()
    expect(card).to_contain_text("● running")
    page.locator("#runs-stop").click()
    expect(card).to_contain_text("stopped")

    page.locator("#runs-delete").click()
    expect(card).to_have_count(0)
    page.locator("#runs-undo").click()
    expect(card).to_contain_text("Renamed")
    page.locator("#runs-duplicate").click()
    expect(page.get_by_role("tab", name="Train", exact=True)).to_have_attribute("aria-selected", "true")


HOLD = """const ask = window.fetch; window.answers = Promise.resolve();
window.fetch = async (...what) => { const found = await ask(...what); await window.answers; return found; };
window.hold = () => { window.answers = new Promise(done => { window.answerNow = done; }); };"""


def test_what_is_typed_before_the_answers_come_is_stored_for_the_chosen_run(
        fake_home: Any, url: str, page: Any) -> None:
    """All answers, those to the page's first questions too, are held back from before a card is chosen until name and
    note are typed; those to the saving until more is typed. Neither overwrites anything, and what was not typed keeps
    what is stored, though its box still shows the run before."""
    from playwright.sync_api import expect

    from pipeline import jobs

    one, two = start(fake_home, "One", 2), start(fake_home, "Two", 2)
    jobs.set_note(fake_home, one, "note of one")
    jobs.set_note(fake_home, two, "note of two")
    name, note = page.locator("#runs-name input, #runs-name textarea").first, page.locator("#runs-note textarea")
    late: list[Any] = []
    page.add_init_script(HOLD)
    page.route("**/queue/join*", lambda route: late.append(route))  # Playwright takes no bound method
    open_runs(page, url)
    page.locator(f'[data-run="{one}"]').click()
    expect(note).to_have_value("note of one")
    page.evaluate("() => window.hold()")
    page.locator(f'[data-run="{two}"]').click()
    name.fill("Renamed")
    page.locator("#runs-save").click()
    page.evaluate("() => window.answerNow()")
    expect(page.locator(f'[data-run="{two}"]')).to_contain_text("Renamed")
    expect(note).to_have_value("note of two")
    expect(name).to_have_value("Renamed")
    assert fake_home.about(two)["note"] == "note of two" and fake_home.about(one)["name"] == "One"

    page.evaluate("() => window.hold()")
    name.fill("Named again")
    page.locator("#runs-save").click()
    note.fill("it learns")
    page.route("**/queue/join*", lambda route: route.continue_())
    for route in late:
        route.continue_()
    page.evaluate("() => window.answerNow()")
    expect(page.locator(f'[data-run="{two}"]')).to_contain_text("Named again")
    expect(page.locator("#header-status")).to_contain_text("Named again")
    page.locator("#runs-save").click()
    expect(page.locator(f'[data-run="{two}"]')).to_contain_text("it learns")
    expect(page.locator(f'[data-run="{two}"]')).to_have_attribute("aria-pressed", "true")
    expect(name).to_have_value("Named again")


def test_the_order_of_the_queue_is_changed_with_buttons(
        fake_home: Any, url: str, page: Any) -> None:
    from playwright.sync_api import expect

    busy = start(fake_home, "Busy")
    start(fake_home, "One", 2)
    two = start(fake_home, "Two", 2)
    open_runs(page, url)
    expect(page.locator(f'[data-run="{busy}"]')).to_contain_text("● running")  # a run of another test may end first
    page.locator(f'[data-run="{two}"]').click()
    page.locator("#runs-earlier").click()
    expect(page.locator("#runs-said")).to_contain_text("number 1 in the queue")


def test_a_made_up_run_in_the_address_shows_no_file(url: str, fake_home: Any, page: Any) -> None:
    from playwright.sync_api import expect

    start(fake_home, "Real", 2)
    page.goto(f"{url}?run=../../../../etc/passwd")
    page.get_by_role("tab", name="Runs", exact=True).click()
    expect(page.locator("#runs-details")).to_contain_text("Choose a run")
    expect(page.locator("body")).not_to_contain_text("root:x")


def test_a_run_without_memory_goes_on_with_less_after_one_click(fake_home: Any, url: str, page: Any) -> None:
    """The card says what ran out; the button names what it lowers; the new run becomes the current one."""
    from playwright.sync_api import expect

    run = start(fake_home, "Too big", 5)
    (fake_home.run(run).path / "misbehave").write_text("oom")
    open_runs(page, url)
    card = page.locator(f'[data-run="{run}"]')
    expect(card).to_contain_text("SFT ran out of GPU memory (it asked for 2.50 GiB more)")
    card.click()
    page.locator("#runs-lighter").click()
    expect(page.locator("#runs-said")).to_contain_text("SFT batch size from 8 to 4 with accumulation 2")
    new = page.locator(".runs-card", has_text="Too big (less memory)")
    expect(new).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#runs-lighter")).to_be_hidden()
    expect(new).to_contain_text("finished")


def test_what_a_button_cannot_do_is_told_in_words(fake_home: Any, url: str, page: Any) -> None:
    """The recipe of a run is overwritten with noise while its card is open; Duplicate says what is wrong with it."""
    from playwright.sync_api import expect

    run = start(fake_home, "Damaged", 2)
    open_runs(page, url)
    page.locator(f'[data-run="{run}"]').click()
    expect(page.locator(f'[data-run="{run}"]')).to_have_attribute("aria-pressed", "true")
    fake_home.run(run).recipe_file.write_bytes(b"\xc9\xff")
    page.locator("#runs-duplicate").click()
    expect(page.locator("#runs-said")).to_contain_text("is no recipe: it holds no text")
