"""A real run through the page: start it, watch it, end on the comparison; and the demo's one click."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from pipeline import jobs
from pipeline.demo import demo_recipe
from pipeline.recipe import Recipe
from pipeline.studio_home import StudioHome

PATIENCE_MS = 180_000
DEMO_MS = 600_000  # the demo itself: about 200 s on two cores that do nothing else
CURVE = """points => [...document.querySelectorAll(".live-plot")]
  .some(plot => (plot.data || []).some(trace => trace.x && trace.x.length >= points))"""


def short_recipe() -> Recipe:
    """The demo in small: 2 SFT steps, 2 GRPO steps of 2 questions × 4 answers, and 6 test questions for each model."""
    values = demo_recipe(1).model_dump()
    values["name"] = "Short demo"
    values["data"]["split"] = {"sft": 16, "grpo": 4, "validation": 4, "test": 6}
    values["sft"] |= {"max_steps": 2, "batch_size": 8}
    values["grpo"] |= {"steps": 2, "num_generations": 4, "batch_size": 8, "max_completion_tokens": 24, "eval_every": 0}
    return Recipe.model_validate(values)


def selected(page: Any, name: str, patience_ms: int = PATIENCE_MS) -> None:
    """Wait until a tab is the open one."""
    button = page.locator(f'#tabs button[role="tab"][data-tab-id="{name.lower()}"]').first
    expect(button).to_have_attribute("aria-selected", "true", timeout=patience_ms)


def test_a_recipe_file_trains_and_the_page_ends_on_the_comparison(page: Any, start_app: Callable[..., str],
                                                                  tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(short_recipe().to_yaml(), encoding="utf-8")
    page.goto(start_app(tmp_path / "home"))
    page.locator('#tabs button[role="tab"][data-tab-id="train"]').first.click()
    page.get_by_role("button", name="The recipe as a file").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Open a recipe file").click()
    chooser.value.set_files(file)
    expect(page.locator("#review-plan")).to_contain_text("each of 2 questions gets 4 answers")
    page.get_by_role("button", name="Start training").click()
    selected(page, "Live")
    expect(page.locator("#header-status")).to_contain_text("Short demo")
    selected(page, "Compare")
    expect(page.locator("#header-status")).to_contain_text("finished")
    table = page.locator("table", has_text="Base").first
    expect(table).to_contain_text("SFT")
    expect(table).to_contain_text("GRPO")
    page.reload()
    expect(page.locator("#header-status")).to_contain_text("Short demo")


def test_one_click_trains_the_demo_and_ends_on_the_comparison(page: Any, start_app: Callable[..., str],
                                                               tmp_path: Path) -> None:
    """The whole promise, in real time: one click, curves while it learns, a reload on the way, and the comparison."""
    home = StudioHome(tmp_path / "home")
    page.goto(start_app(home.path))
    page.get_by_role("button", name="Train the demo").click()
    selected(page, "Live")
    expect(page.locator("#header-status")).to_contain_text(re.compile("running.*Demo"))
    page.reload()
    selected(page, "Live")
    expect(page.locator("#header-status")).to_contain_text("Demo (seed 1)")
    page.wait_for_function(CURVE, arg=5, timeout=DEMO_MS)
    (card,) = jobs.list_runs(home)
    recipe = home.run(card.id).recipe()
    assert recipe.model_copy(update={"provenance": None}) == demo_recipe(1)
    selected(page, "Compare", DEMO_MS)
    expect(page.locator("#header-status")).to_contain_text("finished")
    assert jobs.state(home, card.id).state == "finished"
    rows = page.locator("#compare-summary tbody tr")
    for model in ("Base", "SFT", "GRPO"):
        expect(rows.filter(has_text=model).first).to_contain_text("%")
    page.locator('#tabs button[role="tab"][data-tab-id="export"]').first.click()
    page.get_by_role("button", name="Recipe (YAML)").click()
    expect(page.locator("#export-files")).to_contain_text("recipe")
