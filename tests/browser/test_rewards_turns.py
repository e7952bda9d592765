"""Changes of the reward set that follow each other faster than the app answers: none is lost, each finds its reward."""

import re
from collections.abc import Callable
from typing import Any

import pytest
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
    expect(chosen).to_have_attribute("value", "answer_exact")

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


def drawing(inputs: int) -> Callable[[Any], bool]:
    """Whether a request asks for what the open Rewards tab shows: 3 inputs draw the table, 4 the tab after YAML."""
    def asks(request: Any) -> bool:
        given = request.post_data_json["data"] if "/queue/join" in request.url else []
        return len(given) == inputs and given[0] == "rewards"

    return asks


def hold_back(page: Any, asks: Callable[[Any], bool]) -> list[Any]:
    """The requests of a kind from now on, none of which is sent before its `continue_()`."""
    held: list[Any] = []
    page.route("**/queue/join*", lambda route: held.append(route) if asks(route.request) else route.continue_())
    return held


def test_the_list_stays_as_new_as_the_set_when_the_table_comes_late(page: Any, app_url: str) -> None:
    """The table with a first weight of 8 is asked for before the first reward is removed, and drawn after that."""
    open_rewards(page, app_url)
    listed, form = page.locator("#reward-list label"), page.locator("#reward-form form")
    held = hold_back(page, drawing(3))
    page.locator("#reward-weight").fill("8")
    with page.expect_request(drawing(3)):
        page.locator("#reward-weight").press("Tab")
    page.locator("#reward-remove").click()
    expect(listed).to_have_count(3)
    held[0].continue_()
    expect(page.locator("#reward-set tr", has_text="format_exact")).to_contain_text("8")
    expect(listed).to_have_count(3)
    listed.filter(has_text="answer_exact").click()
    expect(form).to_have_attribute("data-name", "answer_exact")


@pytest.mark.parametrize(("clicked", "opened"), [
    ("answer_exact", "answer_exact"), ("answer_numeric", "format_approximate")])
def test_a_click_on_a_list_that_is_older_than_the_set_opens_that_reward(page: Any, app_url: str, clicked: str,
                                                                        opened: str) -> None:
    """YAML leaves the second and third of four rewards; before they are listed, the third is clicked, or the fourth,
    which has gone: then the first of those that are left stays open."""
    open_rewards(page, app_url)
    listed = page.locator("#reward-list label")
    held = hold_back(page, drawing(4))
    page.locator("#reward-yaml textarea").fill("[{kind: format_approximate}, {kind: answer_exact}]")
    with page.expect_request(drawing(4)):
        page.locator("#yaml-load").click()
    expect(listed).to_have_count(4)
    listed.filter(has_text=clicked).click()
    held[0].continue_()
    page.evaluate("() => window.rewardTurns.settled()")
    expect(listed).to_have_count(2)
    expect(page.locator("#reward-form form")).to_have_attribute("data-name", opened)
    expect(page.locator("#reward-list input:checked")).to_have_attribute("value", opened)


def test_an_edit_in_a_form_that_is_older_than_the_set_is_that_rewards(page: Any, app_url: str) -> None:
    """YAML leaves the second and third of four rewards; before the form is drawn anew, the second gets a weight."""
    open_rewards(page, app_url)
    page.locator("#reward-list label", has_text="format_approximate").click()
    expect(page.locator("#reward-form form")).to_have_attribute("data-name", "format_approximate")
    held = hold_back(page, drawing(4))
    page.locator("#reward-yaml textarea").fill("[{kind: format_approximate}, {kind: answer_exact}]")
    with page.expect_request(drawing(4)):
        page.locator("#yaml-load").click()
    page.locator("#reward-weight").fill("5")
    page.locator("#reward-weight").press("Tab")
    held[0].continue_()
    page.evaluate("() => window.rewardTurns.settled()")
    expect(page.locator("#reward-list label")).to_have_count(2)
    expect(page.locator("#reward-set tr", has_text="format_approximate")).to_contain_text("5")
    assert the_set(page) == {"format_approximate": 5, "answer_exact": 1}


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
    expect(page.locator("#reward-list input:checked")).to_have_attribute("value", "near")
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
