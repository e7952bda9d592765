"""What a person meets first: the page, its tabs, the header, keyboard, narrow screens, light and dark."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from pipeline import jobs
from pipeline.studio_home import StudioHome
from tests.browser.conftest import HOLD

JOBS = Path(__file__).resolve().parents[1] / "jobs"
TABS = ["Start", "Data", "Rewards", "Train", "Live", "Compare", "Export", "Runs"]


def open_page(page: Any, url: str, query: str = "") -> None:
    """Load the app and wait until its server has answered once: the header's status line is then filled."""
    page.goto(url + query)
    expect(page.locator("#header-status")).to_contain_text(re.compile("Next|Now"), timeout=60_000)


def tab_button(page: Any, name: str) -> Any:
    """The button of a tab. Found by its id: a search by role would look at every element of eight tabs."""
    return page.locator(f'#tabs button[role="tab"][data-tab-id="{name.lower()}"]').first


def open_tab(page: Any, name: str) -> None:
    """Open a tab, and wait until it is the open one."""
    tab_button(page, name).click()
    expect(tab_button(page, name)).to_have_attribute("aria-selected", "true")


def test_the_first_screen_says_what_the_app_does_and_offers_the_demo(page: Any, app_url: str) -> None:
    open_page(page, app_url)
    expect(page.get_by_role("heading", name="Teach a small language model to reason")).to_be_visible()
    expect(page.get_by_role("button", name="Train the demo")).to_be_visible()
    expect(page.locator("#header-status")).to_contain_text("Train the demo")
    assert page.title() == "Reasoning Studio"


def test_every_tab_opens_without_an_error_and_nothing_is_fetched_from_elsewhere(page: Any, app_url: str) -> None:
    open_page(page, app_url)
    for name in TABS:
        open_tab(page, name)
        expect(page.locator(".toast-body.error")).to_have_count(0)


def test_a_reload_keeps_the_model_the_settings_and_the_tab(page: Any, app_url: str) -> None:
    open_page(page, app_url)
    open_tab(page, "Train")
    steps = page.locator("#setting-grpo-steps input")
    steps.fill("33")
    expect(page.locator("#review-plan")).to_contain_text("GRPO takes 33 steps")
    model = page.locator("#header-model input")
    model.click()
    model.fill("/no/such/model")
    model.press("Enter")
    expect(page.locator("#header-status")).to_contain_text("There is no folder /no/such/model")
    page.reload()
    expect(page.locator("#header-status")).to_contain_text("There is no folder /no/such/model", timeout=60_000)
    expect(tab_button(page, "Train")).to_have_attribute("aria-selected", "true")
    expect(steps).to_have_value("33")
    expect(page.locator("#setting-model-source").locator("input, textarea").first).to_have_value("/no/such/model")


def test_a_start_is_chosen_with_the_keyboard_and_says_what_to_expect(page: Any, app_url: str) -> None:
    """The third start: GSM8K. Its model is not here, and the check says so before anything starts."""
    open_page(page, app_url)
    open_tab(page, "Train")
    start = page.locator("#preset input")
    start.focus()
    expect(page.get_by_role("option", name="GSM8K with a small model")).to_be_visible()
    for _ in range(3):
        start.press("ArrowDown")
    start.press("Enter")
    expect(page.locator("#preset-expect")).to_contain_text("it is too small for most of them")
    expect(page.locator("#review-about")).to_contain_text("GSM8K: school mathematics")
    expect(page.locator("#setting-grpo-steps input")).to_have_value("75")
    expect(page.locator("#review-problems")).to_contain_text("SmolLM2-135M-Instruct is not on this machine")


def test_a_wrong_setting_is_explained_in_one_box_and_training_does_not_start(page: Any, app_url: str) -> None:
    open_page(page, app_url)
    open_tab(page, "Train")
    page.locator("#setting-grpo-batch_size input").fill("12")
    expect(page.locator("#review-problems")).to_contain_text("set the batch size to 16")
    page.get_by_role("button", name="Start training").click()
    expect(page.locator(".toast-body")).to_contain_text("set the batch size to 16")
    expect(page.locator(".toast-title")).to_have_text(re.compile(r"^This needs a change\s*$"))
    expect(page.locator(".toast-message-text strong")).to_be_hidden()  # the title is said once
    expect(tab_button(page, "Train")).to_have_attribute("aria-selected", "true")


def test_settings_that_are_left_or_made_empty_are_not_set(page: Any, app_url: str) -> None:
    """Every optional number of the form, seen on the screen: untouched, filled and emptied again."""
    open_page(page, app_url)
    open_tab(page, "Train")
    for group in ("sft", "grpo", "evaluate"):
        while (part := page.locator(f"#group-{group} button.label-wrap:not(.open)")).count():
            part.first.click()
    recipe = page.locator("#shared-training").locator("input, textarea")
    empty = {("sft", "max_steps"): "70", ("grpo", "epsilon_high"): "0.28", ("evaluate", "limit"): "12",
             ("evaluate", "max_completion_tokens"): "99"}
    page.locator("#setting-grpo-steps input").fill("34")
    expect(recipe).to_have_value(re.compile('"steps": 34'))
    values = json.loads(recipe.input_value())
    assert {values[step][name] for step, name in empty} == {None}
    for whole in (True, False):
        for (step, name), value in empty.items():
            box = page.locator(f"#setting-{step}-{name}").locator("input, textarea")
            box.fill(value if whole else "")
            box.blur()
        expect(recipe).to_have_value(re.compile(f'"max_completion_tokens": {"99" if whole else "null"}'))
    values = json.loads(recipe.input_value())
    assert {values[step][name] for step, name in empty} == {None}
    expect(page.locator("#review-problems")).not_to_contain_text("Change this")


def test_a_tab_that_is_clicked_while_the_page_loads_stays_the_open_one(page: Any, app_url: str) -> None:
    """A run in the address opens Live, but the person was first: with every answer held back, Runs is clicked."""
    page.add_init_script(HOLD + "window.hold();")
    page.goto(f"{app_url}?run=some-run", wait_until="commit")
    tab_button(page, "Runs").click()
    page.evaluate("() => window.answerNow()")
    expect(page.locator("#header-status")).to_contain_text(re.compile("Next|Now"))
    expect(tab_button(page, "Runs")).to_have_attribute("aria-selected", "true")
    page.wait_for_function("() => document.body.dataset.tab === 'runs'")
    expect(page.locator("#shared-run").locator("input, textarea")).to_have_value("some-run")


def test_start_waits_for_an_opened_recipe_and_says_so(page: Any, start_app: Callable[..., str], tmp_path: Path) -> None:
    """From the choice of a file, with every answer held back, Start cannot be pressed; a file that is no recipe and one
    that changes nothing give it back; what is pressed then trains the file's recipe, not the form's before."""
    home = StudioHome(tmp_path / "home")
    for name in ("bad", "opened", "same", "again"):  # a browser does not tell of the same file twice
        text = "grpo: {steps: many}" if name == "bad" else "name: From the file\ngrpo: {steps: 7}"
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    page.add_init_script(HOLD)
    open_page(page, start_app(home.path, REASONING_STUDIO_STAGES="fake_stages", PYTHONPATH=str(JOBS)))
    open_tab(page, "Train")
    start, chosen = page.locator("#start-training"), page.locator('#review input[type="file"]')
    expect(page.locator("#review-plan")).to_contain_text("GRPO takes")
    page.get_by_role("button", name="The recipe as a file").click()
    steps = page.locator("#setting-grpo-steps input")
    for name, then in (("bad", "200"), ("opened", "7"), ("same", "7")):
        page.evaluate("() => window.hold()")
        chosen.set_input_files(tmp_path / f"{name}.yaml")
        assert start.is_disabled(), "a click in the same moment would train the recipe before"
        expect(start).to_have_text("Filling in the recipe…")
        page.evaluate("() => window.answerNow()")
        expect(start).to_have_text("Start training")
        expect(start).to_be_enabled()
        expect(steps).to_have_value(then)
    steps.fill("9")
    page.evaluate("() => window.hold()")
    chosen.set_input_files(tmp_path / "again.yaml")
    page.evaluate("() => window.answerNow()")
    start.click()
    expect(tab_button(page, "Live")).to_have_attribute("aria-selected", "true")
    run, = jobs.list_runs(home)
    assert (run.name, home.run(run.id).recipe().grpo.steps) == ("From the file", 7)


def test_on_a_phone_the_demo_opens_live_and_a_reload_finds_it_again(page: Any, start_app: Callable[..., str]) -> None:
    """Pressed with the keyboard; the tab that the server opens is known to the page, however late it is drawn."""
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, start_app(REASONING_STUDIO_STAGES="fake_stages", PYTHONPATH=str(JOBS)))
    page.get_by_role("button", name="Train the demo").press("Enter")
    page.wait_for_function("() => document.body.dataset.tab === 'live'")
    page.reload()
    expect(page.locator("#header-status")).to_contain_text(re.compile("Next|Now"))
    page.wait_for_function("() => document.body.dataset.tab === 'live'")
    tab_button(page, "Start").click()
    page.wait_for_function("() => document.body.dataset.tab === 'start'")
    tab_button(page, "Train").click()  # Live's own tabs are drawn before Train's
    expect(page.locator("#review-plan")).to_contain_text("GRPO takes")


def test_sft_alone_leaves_grpo_out_of_the_recipe(page: Any, app_url: str) -> None:
    open_page(page, app_url)
    open_tab(page, "Train")
    page.get_by_label("SFT alone").check()
    expect(page.locator("#review-plan")).not_to_contain_text("GRPO takes")
    expect(page.locator("#review-plan")).to_contain_text("SFT imitates")
    page.get_by_label("GRPO alone").check()
    expect(page.locator("#review-plan")).to_contain_text("GRPO takes")
    expect(page.locator("#review-plan")).not_to_contain_text("SFT imitates")


def test_tab_key_and_enter_reach_the_demo_button(page: Any, app_url: str) -> None:
    """From the top of the page, at most 25 presses of Tab lead to the button, and it shows that it has the focus."""
    open_page(page, app_url)
    button = page.get_by_role("button", name="Train the demo")
    page.keyboard.press("Tab")
    expect(page.locator("#header-model input")).to_have_attribute("aria-expanded", "true")
    for _ in range(25):
        page.keyboard.press("Tab")
        if button.evaluate("element => element === document.activeElement"):
            break
    expect(button).to_be_focused()
    expect(page.locator('input[aria-expanded="true"]')).to_have_count(0)  # a list closes when it is left
    shown = button.evaluate("e => getComputedStyle(e).outlineStyle + getComputedStyle(e).boxShadow")
    assert shown != "nonenone", "the focused button looks like any other"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_screen_needs_no_sideways_scrolling(page: Any, app_url: str, theme: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, app_url, f"?__theme={theme}")
    for name in TABS:
        open_tab(page, name)
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
    assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")


CONTRAST = """() => {
  const channel = c => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3]));
  const ground = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      const style = getComputedStyle(e);
      if (style.backgroundImage !== "none") return null;
      layers.push(parse(style.backgroundColor));
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    const box = element.getBoundingClientRect(), style = getComputedStyle(element);
    if (!own || !box.width || !box.height || style.visibility === "hidden" || +style.opacity < 0.99) continue;
    if (element.closest("[disabled], .hide, .sr-only, svg, [aria-hidden=true]")) continue;
    const under = ground(element);
    if (!under) continue;
    const [a, b] = [light(over(parse(style.color), under)), light(under)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.6 && +style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) {
      const text = element.textContent.trim().slice(0, 40);
      poor.push(`${ratio.toFixed(2)} ${element.tagName} ${element.className}: ${text}`);
    }
  }
  return poor;
}"""


PICTURED = """() => [...document.querySelectorAll("button")].filter(button => button.getClientRects().length &&
  button.textContent.trim() && getComputedStyle(button).backgroundImage !== "none").map(button => button.textContent)"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_holds_the_contrast_of_4_5_to_1(page: Any, app_url: str, theme: str) -> None:
    """WCAG 2 AA: the ratio of the luminances (L1 + 0.05) / (L2 + 0.05) is at least 4.5, or 3 for large text;
    of the text of all tabs, and of all buttons that can be pressed."""
    open_page(page, app_url, f"?__theme={theme}")
    poor = {}
    for name in TABS:
        open_tab(page, name)
        page.wait_for_timeout(700)
        poor |= dict.fromkeys(page.evaluate(CONTRAST), name)
        assert page.evaluate(PICTURED) == [], "a button with a picture behind its words was not measured"
    assert not poor, "\n".join(f"{tab}: {line}" for line, tab in poor.items())


def test_the_browser_offers_to_install_the_app(page: Any, app_url: str) -> None:
    """Chromium finds nothing wrong with the manifest and its icons; that a test's window is private is all it minds."""
    open_page(page, app_url)
    browser = page.context.new_cdp_session(page)
    assert browser.send("Page.getAppManifest")["errors"] == []
    found = {error["errorId"] for error in browser.send("Page.getInstallabilityErrors")["installabilityErrors"]}
    assert found <= {"in-incognito"}
