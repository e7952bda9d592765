"""The Rewards tab in a real browser: compose, try on mutants, dry run, train, and find the same on the Live page."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from pipeline.recipe import Recipe
from pipeline.run_folder import RunReader
from pipeline.studio_home import StudioHome
from reasoning_ui.rewards_html import signed
from reasoning_ui.rewards_state import from_yaml
from tests.browser.conftest import HOLD

CODE = "def score(completion, reference, prompt): return len(completion) / 1000, 'its length'"
FAILING = "def score(completion, reference, prompt): return 1 / (len(completion) % 2)"  # on every other length
SHORT_RUN = {
    "name": "Rewards in the browser", "model": {"max_length": 512},
    "data": {"split": {"sft": 16, "grpo": 16, "validation": 4, "test": 4}}, "sft": {"enabled": False},
    "grpo": {"steps": 2, "num_generations": 4, "batch_size": 8, "max_completion_tokens": 48, "learning_rate": 1e-5},
    "evaluate": {"enabled": False}}


def open_tab(page: Any, name: str) -> None:
    page.locator("#tabs").get_by_role("tab", name=name, exact=True).first.click()


def open_rewards(page: Any, url: str) -> None:
    """Load the app and open the tab; the table is then drawn."""
    page.goto(url)
    expect(page.locator("#header-status")).to_contain_text(re.compile("Next|Now"), timeout=60_000)
    open_tab(page, "Rewards")
    expect(page.locator("#reward-set")).to_contain_text("format_exact")
    expect(page.locator("#reward-yaml textarea")).to_have_value(re.compile("format_exact"))


def choose(page: Any, box: str, words: str) -> None:
    """Pick from a dropdown by its words."""
    page.locator(f"{box} input").click()
    page.get_by_role("option", name=words, exact=True).click()


def test_a_set_is_composed_changed_and_kept(page: Any, app_url: str, tmp_path: Path) -> None:
    open_rewards(page, app_url)
    table = page.locator("#reward-set")
    expect(table).to_contain_text("+9.5")
    choose(page, "#reward-kind", "Length: Soft overlong punishment")
    page.locator("#reward-add").click()
    expect(table).to_contain_text("overlong")
    expect(page.locator("#reward-form")).to_contain_text("Soft overlong punishment")
    page.get_by_role("spinbutton", name="Weight").fill("2")
    page.get_by_role("spinbutton", name="Weight").press("Tab")
    expect(table.locator("tr", has_text="overlong")).to_contain_text("−2")
    page.locator("#reward-name").fill("length")
    page.locator("#reward-name").press("Tab")
    expect(table.locator("tr", has_text="length")).to_contain_text("−2")
    expect(table.locator("tr.total")).to_contain_text("−8")
    page.locator("#reward-p-limit").fill("100")
    page.locator("#reward-p-limit").press("Tab")
    expect(page.locator("#reward-note")).to_contain_text("does not fit")
    page.locator("#reward-p-buffer").fill("50")
    page.locator("#reward-p-buffer").press("Tab")
    expect(page.locator("#reward-note")).to_be_empty()
    yaml = page.locator("#reward-yaml textarea")
    expect(yaml).to_have_value(re.compile("limit: 100"))
    page.locator("#reward-up").click()
    expect(page.locator("#reward-list label").nth(3)).to_contain_text("4. length")
    page.locator("#reward-remove").click()
    expect(table).not_to_contain_text("length")
    expect(yaml).not_to_have_value(re.compile("length"))
    yaml.fill("- kind: format_exact\n- kind: text_match\n  name: says it\n  parameters: {mode: contains}\n")
    page.locator("#yaml-load").click()
    expect(table).to_contain_text("says it")
    expect(page.locator("#reward-list label")).to_have_count(2)
    expect(yaml).to_have_value(re.compile("combine: sum"))
    yaml.fill("- kind: nonsense\n")
    page.locator("#yaml-load").click()
    expect(page.get_by_text("There is no reward 'nonsense'")).to_be_visible()
    with page.expect_download() as download:
        page.locator("#yaml-save").click()
    kept = tmp_path / "kept.yaml"
    download.value.save_as(kept)
    assert [f.label for f in from_yaml(kept.read_text(encoding="utf-8")).functions] == ["format_exact", "says it"]
    page.locator("#bench-gaming").click()
    expect(page.locator("#bench-result")).to_contain_text("every number from 0 to 999» gets")
    choose(page, "#reward-preset", "R1 style")
    page.locator("#reward-use").click()
    expect(table).to_contain_text("accuracy")
    with page.expect_file_chooser() as chooser:
        page.locator("#yaml-open").click()
    chooser.value.set_files(kept)
    expect(table).to_contain_text("says it")
    expect(table).not_to_contain_text("accuracy")
    page.reload()
    expect(page.locator("#header-status")).to_contain_text(re.compile("Next|Now"), timeout=60_000)
    open_tab(page, "Rewards")
    expect(table).to_contain_text("says it")


def test_a_text_typed_before_the_first_drawing_stays_until_it_is_used(page: Any, app_url: str) -> None:
    """The app's answers are held back from before the tab opens until YAML is typed; later drawings leave it, too."""
    page.add_init_script(HOLD)
    page.goto(app_url)
    expect(page.locator("#header-status")).to_contain_text(re.compile("Next|Now"), timeout=60_000)
    page.evaluate("() => window.hold()")
    open_tab(page, "Rewards")
    yaml, table = page.locator("#reward-yaml textarea"), page.locator("#reward-set")
    yaml.fill("- kind: nonsense\n")
    page.evaluate("() => window.answerNow()")
    expect(table).to_contain_text("format_exact")
    page.locator("#reward-remove").click()
    expect(table).not_to_contain_text("format_exact")
    page.evaluate("() => window.hold()")
    page.locator("#yaml-load").click()
    yaml.press("Tab")  # what the app says of the text has not come yet
    page.evaluate("() => window.answerNow()")
    expect(page.get_by_text("There is no reward 'nonsense'")).to_be_visible()
    page.locator("#reward-add").click()
    expect(table).to_contain_text("format_exact")
    expect(yaml).to_have_value("- kind: nonsense\n")
    yaml.fill("- kind: text_match\n  name: says it\n  parameters: {mode: contains}\n")
    page.locator("#yaml-load").click()
    expect(table).to_contain_text("says it")
    expect(yaml).to_have_value(re.compile("combine: sum"))
    yaml.fill("")
    yaml.press("Tab")
    expect(yaml).to_have_value(re.compile("says it"))


def test_what_is_typed_while_answers_are_under_way_is_kept_and_trained(page: Any, app_url: str) -> None:
    """Weight, name and code changed one after the other with every answer held back; then code typed into the tab that
    has just been opened: the editor shows it still, and the choice holds all of it."""
    page.add_init_script(HOLD)
    open_rewards(page, app_url)
    choose(page, "#reward-kind", "Custom: Custom Python")
    page.locator("#reward-add").click()
    expect(page.locator("#reward-form")).to_contain_text("Empty takes «custom»")
    page.evaluate("() => window.hold()")
    page.locator("#reward-weight").fill("7")
    write_code(page, CODE)
    page.locator("#reward-name").fill("length")
    page.locator("#reward-name").press("Tab")
    page.evaluate("() => window.answerNow()")
    choice = page.locator("#shared-rewards").locator("input, textarea")
    expect(choice).to_have_value(re.compile('"name":"length".*"weight":7.0.*its length'))
    expect(page.locator("#reward-set")).to_contain_text("length")

    open_tab(page, "Data")
    page.wait_for_function("document.body.dataset.tab === 'data'")
    page.evaluate("() => window.hold()")
    open_tab(page, "Rewards")
    page.wait_for_function("document.body.dataset.tab === 'rewards'")
    write_code(page, CODE.replace("1000", "2000"))
    page.evaluate("() => window.answerNow()")
    expect(choice).to_have_value(re.compile('"name":"length".*"weight":7.0.*/ 2000'))
    expect(page.locator("#reward-note")).to_contain_text("The code works")
    expect(page.locator("#reward-code")).to_contain_text("/ 2000")


def test_a_phone_shows_the_tab_in_its_width(chromium: Any, app_url: str) -> None:
    phone = chromium.new_page(viewport={"width": 390, "height": 800})
    phone.set_default_timeout(60_000)
    open_rewards(phone, app_url)
    phone.locator("#bench-mutants").click()
    expect(phone.locator("#bench-result table")).to_be_visible()
    phone.locator("#bench-result summary").first.click()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.close()


@pytest.mark.timeout(900)
def test_a_custom_reward_is_tried_in_the_bench_and_the_dry_run_and_found_on_the_live_page(
        page: Any, start_app: Callable[..., str], tmp_path: Path) -> None:
    """The same names and values in the test bench, the dry run, the store and the Live page."""
    home = StudioHome(tmp_path / "home")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(Recipe.parse(SHORT_RUN).to_yaml(), encoding="utf-8")
    url = start_app(home.path)
    open_rewards(page, url)
    open_tab(page, "Train")
    page.get_by_role("button", name="The recipe as a file").click()
    page.locator('#review input[type="file"]').set_input_files(recipe)
    expect(page.locator("#setting-grpo-steps input")).to_have_value("2")

    open_tab(page, "Rewards")
    choose(page, "#reward-preset", "R1 style")
    page.locator("#reward-use").click()
    expect(page.locator("#reward-set")).to_contain_text("accuracy")
    choose(page, "#reward-kind", "Custom: Custom Python")
    page.locator("#reward-add").click()
    write_code(page, "def score(: pass")
    expect(page.locator("#reward-note")).to_contain_text("line 1")
    write_code(page, CODE)
    expect(page.locator("#reward-note")).to_contain_text("The code works")
    page.locator("#reward-name").fill("brevity")
    page.locator("#reward-name").press("Tab")
    expect(page.locator("#reward-set")).to_contain_text("brevity")

    page.locator("#bench-mutants").click()
    expect(page.locator("#bench-result")).to_contain_text("mutants score less than the original")
    expect(page.locator("#bench-result thead")).to_contain_text("brevity")
    page.locator("#reward-list label", has_text="accuracy").click()
    page.locator("#reward-remove").click()
    expect(page.locator("#reward-set")).not_to_contain_text("accuracy")
    page.locator("#bench-mutants").click()
    expect(page.locator("#bench-result .rs-warn")).to_contain_text("«wrong answer»")
    page.locator("#reward-add").click()
    expect(page.locator("#reward-form")).to_contain_text("Empty takes «custom»")
    write_code(page, FAILING)
    expect(page.locator("#reward-note")).to_contain_text("ZeroDivisionError")
    page.locator("#reward-name").fill("broken")
    page.locator("#reward-name").press("Tab")
    expect(page.locator("#reward-set")).to_contain_text("broken")

    page.locator("#dry-prompts input").fill("2")
    page.locator("#dry-start").click()
    report = page.locator("#dry-report")
    expect(report.locator(".r-charts")).to_contain_text("brevity", timeout=300_000)
    expect(report.locator(".rs-note")).to_contain_text("The reward 'broken' could not score")
    expect(report).to_contain_text(re.compile(r"Measured on training steps .* learning [\d.]+ m?s a step"))
    expect(report.locator(".d-facts")).to_contain_text("a training step")
    page.locator("#bench-source").get_by_label("The dry run").check()
    page.locator("#bench-score").click()
    expect(page.locator("#bench-result tr.question")).to_have_count(2)
    expect(page.locator("#bench-result .rs-warn")).to_contain_text("«broken» could not score")
    dry = home.run(next(row["id"] for row in home.known_runs() if row["kind"] == "dry_run"))
    pace = RunReader(dry).status()["dry_run"]["pace"]
    assert pace["step_seconds"] >= pace["generate_seconds"] > 0 < pace["learn_seconds"]

    open_tab(page, "Train")
    page.locator("#start-training").click()
    deadline = time.monotonic() + 400
    values: list[dict[str, Any]] = []
    while len(values) < 2 and time.monotonic() < deadline:
        time.sleep(1)
        runs = [row["id"] for row in home.known_runs() if row["kind"] == "train"]
        values = RunReader(home.run(runs[0])).metric("reward_raw/brevity") if runs else []
    assert len(values) == 2
    folder = home.run(runs[0])
    group = RunReader(folder).groups_at("grpo", 1)[0]
    completion = RunReader(folder).completions_of(group["id"])[0]
    assert completion["rewards"]["brevity"] == pytest.approx(min(1.0, len(completion["text"]) / 1000))
    assert (completion["rewards"]["broken"] is None) is (len(completion["text"]) % 2 == 0)
    assert folder.recipe().rewards.functions[1].code == CODE

    followed = page.locator('#tabs button[role="tab"][data-tab-id="compare"]').first
    expect(followed).to_have_attribute("aria-selected", "true", timeout=120_000)  # the page goes there at the run's end
    open_tab(page, "Live")
    chart = page.locator(".live-legend", has_text="brevity").first
    for label in ("format", "brevity"):
        newest = RunReader(folder).metric(f"reward_raw/{label}")[-1]["value"]
        expect(chart).to_contain_text(label)
        expect(chart).to_contain_text(f"{newest:.3f}", timeout=120_000)
    expect(page.locator(".live-findings")).to_contain_text("«broken» failed on")
    page.goto(f"{url}?run={folder.id}&group={group['id']}")
    shown = page.locator(f'[aria-label="Completion {completion["position"] + 1}"] .live-rewards')
    for label, value in completion["rewards"].items():
        row = shown.locator("tr", has_text=label)
        expect(row).to_contain_text("failed" if value is None else f"{value:.2f}")

    open_tab(page, "Rewards")
    page.locator("#bench-question textarea").fill(group["prompt"])
    page.locator("#bench-reference textarea, #bench-reference input").first.fill(group["reference"])
    page.locator("#bench-texts textarea").fill(completion["text"])
    page.locator("#bench-score").click()
    cells = page.locator("#bench-result tbody tr").first.locator("td.number")
    expected = [signed(completion["total"]), "0", *(signed(completion["rewards"][k]) for k in (
        "format", "brevity", "broken"))]
    expect(cells).to_have_text(expected)


def write_code(page: Any, text: str) -> None:
    """Replace what the code editor holds."""
    page.locator("#reward-code .cm-content").click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(text)
