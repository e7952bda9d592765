"""The test bench and the dry run in a real browser: every source of answers, start and stop; custom code switched off;
the keyboard alone."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from pipeline import custom_code, jobs
from pipeline.dataset.models import TINY_FOLDER
from pipeline.recipe import Recipe, RewardSpec, RewardsStep
from pipeline.rewards.custom import TEMPLATE
from pipeline.studio_home import StudioHome
from tests.browser.test_rewards import choose, open_rewards, open_tab

CUSTOM = RewardsStep(functions=[RewardSpec(kind="format_exact"), RewardSpec(kind="custom", name="mine", code=TEMPLATE)])


@pytest.fixture
def home(tmp_path: Path) -> StudioHome:
    """A home with one run that has an SFT model: the bundled one, copied."""
    home = StudioHome(tmp_path / "home")
    home.add_run("run-with-sft", "Imitated", "train")
    folder = home.runs_dir / "run-with-sft"
    shutil.copytree(TINY_FOLDER, folder / "models" / "sft")
    (folder / "recipe.yaml").write_text(Recipe().to_yaml(), encoding="utf-8")
    return home


def test_answers_come_from_the_dataset_from_a_model_and_from_a_dry_run_that_can_be_stopped(
        page: Any, start_app: Callable[..., str], home: StudioHome) -> None:
    open_rewards(page, start_app(home.path))
    source, result = page.locator("#bench-source"), page.locator("#bench-result")
    source.get_by_label("The dataset's solutions").check()
    page.locator("#bench-number input").fill("3")
    page.locator("#bench-take").click()
    expect(page.locator("#bench-question textarea")).not_to_have_value("What is 6 x 7?")
    expect(page.locator("#bench-texts textarea")).to_have_value(re.compile("<answer>"))
    page.locator("#bench-score").click()
    expect(result.locator("tbody tr").first).to_contain_text("+9.5")

    source.get_by_label("A model").check()
    expect(page.locator("#bench-texts")).to_be_hidden()
    page.locator("#bench-score").click()
    expect(page.get_by_text("No model has answered yet")).to_be_visible()
    choose(page, "#bench-model", "«Imitated» after SFT")
    page.locator("#bench-questions input").fill("2")
    page.locator("#bench-answers input").fill("3")
    page.locator("#bench-sample").click()
    expect(result.locator("tr.question")).to_have_count(2, timeout=300_000)
    expect(result.locator("tr.why")).to_have_count(6)
    for column in ("Total", "Advantage", "Answer found", "format_exact", "answer_numeric"):
        expect(result.locator("thead")).to_contain_text(column)
    result.locator("summary").first.click()
    expect(result.locator("tr.why").first).to_contain_text("format_approximate")
    (sampled,) = [row["id"] for row in home.known_runs() if row["kind"] == "sample"]
    page.locator("#reward-remove").click()
    expect(page.locator("#reward-set")).not_to_contain_text("format_exact")
    page.locator("#bench-score").click()
    expect(result.locator("thead")).not_to_contain_text("format_exact")
    expect(result.locator("tr.question")).to_have_count(2)
    assert [row["id"] for row in home.known_runs() if row["kind"] == "sample"] == [sampled]

    choose(page, "#dry-model", "«Imitated» after SFT")
    page.locator("#dry-prompts input").fill("256")
    page.locator("#dry-start").click()
    expect(page.locator("#dry-report .rs-running")).to_be_visible(timeout=300_000)
    page.locator("#dry-stop").click()
    expect(page.locator("#dry-report .rs-note")).to_contain_text("stopped", timeout=300_000)
    expect(page.locator("#dry-stop")).to_be_hidden()
    (dry,) = [row["id"] for row in home.known_runs() if row["kind"] == "dry_run"]
    assert jobs.state(home, dry).state == "stopped"


def test_where_custom_code_is_switched_off_the_page_says_so_and_refuses_it(
        page: Any, start_app: Callable[..., str], home: StudioHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
        ) -> None:
    monkeypatch.setenv(custom_code.SETTING, "1")
    open_rewards(page, start_app(home.path))
    expect(page.locator("#custom-off")).to_contain_text("Custom code is switched off here")
    page.locator("#reward-kind input").click()
    expect(page.get_by_role("option", name="Format: Exact format")).to_be_visible()
    expect(page.get_by_role("option", name="Custom: Custom Python")).to_have_count(0)
    page.keyboard.press("Escape")

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(Recipe(rewards=CUSTOM).to_yaml(), encoding="utf-8")
    open_tab(page, "Train")
    page.get_by_role("button", name="The recipe as a file").click()
    page.locator('#review input[type="file"]').set_input_files(recipe)
    expect(page.locator("#review-problems")).to_contain_text("Remove or switch off 'mine' in the Rewards tab")
    page.locator("#start-training").click()
    expect(page.get_by_role("status").filter(has_text="Remove or switch off 'mine'").last).to_be_visible()
    open_tab(page, "Rewards")
    page.locator("#reward-list label", has_text="mine").click()
    expect(page.locator("#reward-form")).to_contain_text("«mine» is custom code")
    expect(page.locator("#reward-code")).to_be_hidden()
    assert [row["id"] for row in home.known_runs()] == ["run-with-sft"]


def test_a_set_is_changed_and_scored_with_the_keyboard_alone(page: Any, app_url: str) -> None:
    open_rewards(page, app_url)
    table, keys = page.locator("#reward-set"), page.keyboard
    page.locator("#reward-list input").first.focus()
    keys.press("Tab")  # Gradio makes each choice a stop of its own
    keys.press("Space")
    expect(page.locator("#reward-form")).to_contain_text("Approximate format")
    titles = ("Exact format", "Answer, as a number", "Exact format", "Approximate format")
    for key, title in zip(("ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight"), titles, strict=True):
        keys.press(key)
        expect(page.locator("#reward-form")).to_contain_text(title)
    tab_to(page, "reward-weight")
    keys.press("ControlOrMeta+a")
    keys.type("3")
    keys.press("Tab")
    expect(table.locator("tr", has_text="format_approximate")).to_contain_text("−12")
    tab_to(page, "bench-source")
    tab_to(page, "bench-mutants")
    keys.press("Enter")
    expect(page.locator("#bench-result .rs-good")).to_contain_text("mutants score less")
    tab_to(page, "bench-result")
    page.wait_for_function("document.activeElement.closest('.r-scroll') !== null")
    keys.press("Tab")
    keys.press("Enter")
    expect(page.locator("#bench-result details").first).to_have_attribute("open", "")


def test_scores_do_not_pass_for_those_of_what_was_changed_or_refused(page: Any, app_url: str) -> None:
    """After a change the table says that it is from before; 65 completions, one too many, are refused in its place."""
    open_rewards(page, app_url)
    result, texts = page.locator("#bench-result"), page.locator("#bench-texts textarea")
    before = "() => getComputedStyle(document.querySelector('#bench-result'), '::before').content"
    page.locator("#bench-score").click()
    expect(result.locator("tbody tr").first).to_contain_text("+9.5")
    assert page.evaluate(before) == "none"
    texts.fill("<answer>41</answer>")
    page.wait_for_function(f"({before})().includes('from before your last change')")
    page.locator("#bench-score").click()
    expect(result.locator("tbody tr").first).not_to_contain_text("+9.5")
    page.wait_for_function(f"({before})() === 'none'")
    texts.fill("\n---\n".join("65 answers"[: i % 9] for i in range(65)))
    page.locator("#bench-score").click()
    expect(result.get_by_role("alert")).to_contain_text("These are 65 completions; at most 64")
    expect(result.locator("table")).to_have_count(0)


def tab_to(page: Any, name: str) -> None:
    """Press Tab until something in the element of this id has the focus; at most forty times."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("id => !!document.activeElement.closest('#' + id)", name):
            return
    pytest.fail(f"{name} is not reached with the keyboard")
