"""Changes of the reward set that follow each other faster than the app answers: none is lost, each finds its reward."""

import re
from typing import Any

from playwright.sync_api import expect

from pipeline.recipe import RewardsStep
from tests.browser.conftest import HOLD
from tests.browser.test_rewards import choose, open_rewards


def the_set(page: Any) -> dict[str, float]:
    """Names and weights as the choice has them."""
    text = page.locator("#shared-rewards").locator("input, textarea").input_value()
    return {f.label: f.weight for f in RewardsStep.model_validate_json(text).functions}


def test_changes_while_answers_are_under_way_are_made_one_after_the_other(page: Any, app_url: str) -> None:
    """Of format_exact, format_approximate, answer_exact and answer_numeric, the first is removed and the third chosen,
    by the list as it was; then a weight is typed and, with it on its way, the reward is moved, a reward added, the
    combination changed and the bench asked, which scores with all of that: 9 is the weight, and there is a 2nd
    format_exact."""
    page.add_init_script(HOLD)
    open_rewards(page, app_url)
    form, weight = page.locator("#reward-form"), page.locator("#reward-weight")
    chosen = page.locator("#reward-list input:checked")
    page.evaluate("() => window.hold()")
    page.locator("#reward-remove").click()
    page.locator("#reward-list label", has_text="answer_exact").click()
    page.evaluate("() => window.answerNow()")
    expect(form.locator("form")).to_have_attribute("data-place", "1")
    expect(form).to_contain_text("Answer, exact")
    expect(chosen).to_have_attribute("value", "1")

    page.evaluate("() => window.hold()")
    weight.fill("9")
    page.locator("#reward-up").click()
    page.locator("#reward-add").click()
    page.locator("#reward-add").click()
    choose(page, "#setting-rewards-combine", "normalised")
    page.locator("#bench-score").click()
    page.evaluate("() => window.answerNow()")
    heads = page.locator("#bench-result thead")
    expect(heads).to_contain_text("format_exact 2")
    expect(page.locator("#reward-set")).to_contain_text("format_exact 2")
    assert the_set(page) == {"answer_exact": 9, "format_approximate": 1, "answer_numeric": 1, "format_exact": 1,
                             "format_exact 2": 1}
    expect(page.locator("#shared-rewards").locator("input, textarea")).to_have_value(re.compile("normalised"))


def test_the_form_shows_the_chosen_rewards_values_and_not_what_was_typed_for_another(page: Any, app_url: str) -> None:
    """The first reward gets weight 8; the second has 1, and is shown and kept with 1 when its name is changed."""
    open_rewards(page, app_url)
    page.locator("#reward-weight").fill("8")
    page.locator("#reward-list label", has_text="format_approximate").click()
    expect(page.locator("#reward-form")).to_contain_text("Approximate format")
    expect(page.locator("#reward-weight")).to_have_value("1")
    page.locator("#reward-name").fill("near")
    page.locator("#reward-name").press("Tab")
    expect(page.locator("#reward-set")).to_contain_text("near")
    assert the_set(page) == {"format_exact": 8, "near": 1, "answer_exact": 1, "answer_numeric": 1}


def test_what_is_typed_while_the_form_is_redrawn_is_not_lost(page: Any, app_url: str) -> None:
    """With the answers held back, and without leaving the field: the weight of the first reward is typed while another
    is added, whose form takes the place; that of the second while it is moved up, and once more while it is removed;
    and that of the third in the moment in which it gets a name."""
    page.add_init_script(HOLD)
    open_rewards(page, app_url)
    form, weight = page.locator("#reward-form form"), page.locator("#reward-weight")
    chosen = page.locator("#reward-list")
    page.evaluate("() => window.hold()")
    page.locator("#reward-add").click()
    weight.fill("7")
    page.evaluate("() => window.answerNow()")
    expect(form).to_have_attribute("data-place", "4")
    expect(weight).to_have_value("1")
    expect(chosen.locator("input:checked")).to_be_focused()  # what is typed on would be another reward's weight
    expect(page.locator("#reward-set")).to_contain_text("7")
    assert the_set(page) == {"format_exact": 7, "format_approximate": 1, "answer_exact": 1, "answer_numeric": 1,
                             "format_exact 2": 1}

    chosen.locator("label", has_text="format_approximate").click()
    expect(form).to_have_attribute("data-place", "1")
    page.evaluate("() => window.hold()")
    page.locator("#reward-up").click()
    weight.fill("8")
    page.evaluate("() => window.answerNow()")
    expect(form).to_have_attribute("data-place", "0")
    expect(weight).to_have_value("8")
    expect(weight).to_be_focused()
    weight.press("Tab")
    expect(page.locator("#reward-set")).to_contain_text("8")

    page.evaluate("() => window.hold()")
    page.locator("#reward-remove").click()
    weight.fill("6")
    page.evaluate("() => window.answerNow()")
    expect(form).to_have_attribute("data-name", "format_exact")
    expect(weight).to_have_value("7")
    expect(chosen.locator("label")).to_have_count(4)  # drawn anew too

    chosen.locator("label", has_text="answer_exact").click()
    expect(form).to_have_attribute("data-name", "answer_exact")
    page.evaluate("() => window.hold()")
    page.locator("#reward-name").fill("right")
    weight.fill("5")
    page.locator("#reward-up").click()
    page.evaluate("() => window.answerNow()")
    expect(form).to_have_attribute("data-name", "right")
    expect(weight).to_have_value("5")
    expect(page.locator("#reward-note")).not_to_contain_text("Not taken over")
    assert the_set(page) == {"right": 5, "format_exact": 7, "answer_numeric": 1, "format_exact 2": 1}
