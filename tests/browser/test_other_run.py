"""What is still on its way for one run when a person looks at another one: nothing of it is shown for that."""

import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from pipeline.recipe import Recipe
from pipeline.run_folder import RunFolder, RunWriter
from pipeline.studio_home import StudioHome
from tests.browser.conftest import HOLD, held, let_go, open_run
from tests.browser.test_compare import TINY, _answer

PLACES = {"first-run": 12, "second-run": 5}  # questions; base has none right, GRPO the even ones


@pytest.fixture(scope="module")
def url(start_app: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """An app on a home with two finished runs."""
    home = StudioHome(tmp_path_factory.mktemp("two-runs"))
    for run, questions in PLACES.items():
        folder = RunFolder(home.runs_dir / run)
        writer = RunWriter(folder)
        folder.recipe_file.write_text(Recipe(name=run).to_yaml(), encoding="utf-8")
        for stage in ("sft", "grpo"):
            shutil.copytree(TINY, folder.model(stage))
        for model in ("base", "grpo"):
            writer.add_answers(_answer(model, i, model == "grpo" and i % 2 == 0) for i in range(questions))
        writer.set_stage("evaluate", state="finished")
        writer.set_status(state="finished")
        writer.close()
    return start_app(home.path)


def open_tab(page: Any, url: str, name: str) -> None:
    """Load the first run's page and open a tab."""
    open_run(page, url, "first-run", name)


def look_at(page: Any, run: str) -> None:
    """Make a run the current one, in the same moment."""
    set_box(page, "shared-run", run)


def set_box(page: Any, name: str, text: str) -> None:
    """Fill a hidden textbox."""
    page.locator(f"#{name}").locator("input, textarea").evaluate(
        "(box, text) => { box.value = text; box.dispatchEvent(new Event('input', {bubbles: true})); }", text)


def test_questions_of_the_run_before_do_not_come_late(page: Any, url: str) -> None:
    """Its filtered list is answered after the other run's page is there."""
    open_tab(page, url, "Compare")
    count = page.locator("#compare-count")
    expect(count).to_contain_text("12 of 12")
    late = held(page, "compare_list", "first-run")
    page.locator("#compare-filter label", has_text="Fixed by GRPO").click()
    look_at(page, "second-run")
    expect(count).to_contain_text("5 of 5")
    with page.expect_response("**/component_server/"):
        (route,) = late
        route.continue_()
    page.locator("#compare-filter label", has_text="Fixed by GRPO").click()  # answered after the late list
    expect(count).to_contain_text("3 of 5")
    expect(page.locator("#compare-questions details.q")).to_have_count(3)


def test_a_filter_chosen_while_the_page_is_asked_for_anew_stays(page: Any, url: str) -> None:
    """As when an evaluation has just ended: the answer with all questions comes after the choice, and before it one
    that there is nothing new, which was true when it was asked for."""
    open_tab(page, url, "Compare")
    count = page.locator("#compare-count")
    expect(count).to_contain_text("12 of 12")
    late = held(page, "compare_look", "first-run")
    page.evaluate("() => { studioCompare.look(); Object.assign(studioCompare, {seen: '', drawn: ''}); "
                  "studioCompare.look(); }")
    page.locator("#compare-filter label", has_text="Fixed by GRPO").click()
    expect(count).to_contain_text("6 of 12")
    let_go(page, late)
    page.wait_for_function("() => studioCompare.drawn")
    expect(page.get_by_role("radio", name="Fixed by GRPO")).to_be_checked()
    expect(count).to_contain_text("6 of 12")


def test_a_file_that_was_asked_for_appears_with_its_own_run(page: Any, url: str) -> None:
    """The recipe of the first run is made while the second is looked at, whose model stays as it was chosen."""
    open_tab(page, url, "Export")
    expect(page.locator("#export-status")).to_contain_text("first-run")
    late: list[Any] = []
    button = page.evaluate("window.gradio_config.components.find(c => c.props.value === 'Recipe (YAML)').id")
    asked = f'"trigger_id":{button},'  # not what the clock asks for meanwhile
    page.route("**/queue/join*", lambda route: late.append(route) if asked in (route.request.post_data or "")
               else route.continue_())
    page.get_by_role("button", name="Recipe (YAML)").click()
    while not late:
        page.wait_for_timeout(50)
    look_at(page, "second-run")
    expect(page.locator("#export-status")).to_contain_text("second-run")
    page.locator("#export-stage label", has_text="SFT").click()
    page.get_by_role("button", name="Model card").click()
    expect(page.locator("#export-files")).to_contain_text("sft-README")
    for route in late:
        route.continue_()
    expect(page.locator("#export-made").locator("input, textarea")).to_have_value(re.compile("first-run"))
    expect(page.locator("#export-files")).to_contain_text("sft-README")
    expect(page.locator("#export-files")).not_to_contain_text("recipe")
    expect(page.locator("#export-said")).to_contain_text("The model card is ready")
    page.locator("#tabs").get_by_role("tab", name="Start", exact=True).first.click()
    page.locator("#tabs").get_by_role("tab", name="Export", exact=True).first.click()
    look_at(page, "first-run")
    expect(page.locator("#export-files")).to_contain_text("recipe")


def test_export_keeps_the_chosen_model_and_shows_the_code_of_the_run_that_is_looked_at(page: Any, url: str) -> None:
    """SFT stays chosen when the tab is asked for anew, by its own opening and by a change in the header; with the other
    run GRPO is, as there at first, and the code for the first run's SFT model, which comes then, is not shown."""
    open_tab(page, url, "Export")
    sft, grpo = (page.locator(f'#export-stage input[value="{stage}"]') for stage in ("sft", "grpo"))
    code = page.locator("#export-usage .cm-content")
    page.get_by_role("button", name="How to use the model").click()
    expect(code).to_contain_text("first-run/models/grpo")
    sft.check()
    expect(code).to_contain_text("first-run/models/sft")
    page.locator("#tabs").get_by_role("tab", name="Start", exact=True).first.click()
    with page.expect_response("**/queue/join*"):
        page.locator("#tabs").get_by_role("tab", name="Export", exact=True).first.click()
    set_box(page, "shared-model", '{"source": "/no/such/model"}')
    expect(page.locator("#header-status")).to_contain_text("/no/such/model")
    expect(sft).to_be_checked()
    expect(code).to_contain_text("first-run/models/sft")

    late: list[Any] = []
    page.route("**/queue/join*", lambda route: late.append(route) if '["first-run","grpo"]' in
               (route.request.post_data or "") else route.continue_())
    grpo.check()
    while not late:
        page.wait_for_timeout(50)
    sft.check()
    expect(code).to_contain_text("first-run/models/sft")
    look_at(page, "second-run")
    expect(page.locator("#export-status")).to_contain_text("second-run")
    expect(grpo).to_be_checked()
    for route in late:
        route.continue_()
    page.get_by_role("button", name="Recipe (YAML)").click()  # answered after the late code
    expect(page.locator("#export-said")).to_contain_text("recipe.yaml is ready")
    expect(code).to_contain_text("second-run/models/grpo")
    look_at(page, "first-run")
    expect(code).to_contain_text("first-run/models/grpo")
    sft.check()
    expect(code).to_contain_text("first-run/models/sft")


def test_the_header_chooses_a_run_without_the_server_and_takes_passing_by_for_no_choice(page: Any, url: str) -> None:
    page.add_init_script(HOLD)
    open_tab(page, url, "Compare")
    box = page.locator("#shared-run").locator("input, textarea")
    expect(page.locator("#header-run input")).to_have_value(re.compile("first-run"))
    page.evaluate("window.hold()")
    look_at(page, "second-run")  # opened elsewhere; the header, which has not heard of it, still shows the first
    page.locator("#header-run input").focus()
    page.keyboard.press("Tab")
    expect(box).to_have_value("second-run")
    page.evaluate("window.answerNow()")
    expect(page.locator("#header-run input")).to_have_value(re.compile("second-run"))
    page.evaluate("window.hold()")
    page.locator("#header-run input").click()
    page.get_by_role("option", name="first-run").click()
    expect(box).to_have_value("first-run")  # while no answer reaches the page
    page.evaluate("window.answerNow()")
    expect(page.locator("#header-status")).to_contain_text("first-run")
