"""The keyboard alone: no stop is lost, passing by asks for nothing, and what goes away leaves the focus on the page."""

import itertools
import re
from typing import Any

from playwright.sync_api import expect

from tests.browser.test_page import TABS, open_page, open_tab, tab_button

LEVELS = """() => [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter(h => h.getClientRects().length)
  .map(h => Number(h.tagName[1]))"""


def test_tab_goes_past_lists_without_a_lost_stop_or_a_message(page: Any, app_url: str) -> None:
    """A long list that opens when its box is reached is no stop of its own; and neither the rows to go to nor prepared
    datasets, of which there are none, are asked for by passing by. The next row is answered after that."""
    open_page(page, app_url)
    open_tab(page, "Rewards")
    page.locator("#reward-kind input").focus()
    expect(page.get_by_role("option", name="Exact format")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator("#reward-add")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#reward-kind input")).to_be_focused()
    open_tab(page, "Data")
    expect(page.locator("#preview-html .chat-text")).to_be_visible()
    for box, after in (("preview-jump", "#preview-search textarea"), ("prepared", "#prepared-use")):
        page.locator(f"#{box} input").focus()
        page.keyboard.press("Tab")
        expect(page.locator(after)).to_be_focused()
    page.locator("#preview-next").press("Enter")
    expect(page.locator("#preview-row input")).to_have_value("2")
    expect(page.locator(".toast-body")).to_have_count(0)


def test_the_focus_stays_on_the_page_when_what_had_it_goes(page: Any, app_url: str) -> None:
    """A choice in a list keeps it, with the list closed; of a row that is hidden it goes to the control after it, and
    of a tab that is left to the button of the other one. A click of the mouse moves nothing."""
    open_page(page, app_url)
    open_tab(page, "Data")
    column = page.locator("#column-reasoning input")
    expect(column).to_have_value("Guess: reasoning")
    column.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#shared-data").locator("input, textarea")).to_have_value(re.compile('"reasoning":""'))
    expect(column).to_be_focused()
    expect(column).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("ArrowDown")
    expect(column).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Escape")

    page.locator("#check-data").press("Enter")
    page.locator("#keep-data").press("Enter")
    expect(page.locator("#prepared-card")).to_contain_text("Demo problems")
    expect(page.locator("#prepared-use")).to_be_focused()
    page.locator("#prepared-delete").press("Enter")
    page.get_by_role("button", name="Next: say what a good answer is").press("Enter")
    expect(tab_button(page, "Rewards")).to_have_attribute("aria-selected", "true")
    expect(tab_button(page, "Rewards")).to_be_focused()
    page.get_by_role("button", name="Next: look over the settings and train").click()
    expect(tab_button(page, "Train")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#review-plan")).to_contain_text("GRPO takes")
    expect(tab_button(page, "Train")).not_to_be_focused()


def test_headings_skip_no_level(page: Any, app_url: str) -> None:
    """The page has one, each tab has one below it, and its sections come after that."""
    open_page(page, app_url)
    for name in TABS:
        open_tab(page, name)
        expect(page.get_by_role("heading", name=name, exact=True, level=2)).to_have_count(1)
        levels = page.evaluate(LEVELS)
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), (name, levels)
