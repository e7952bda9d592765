"""Compare, Ask and the upload in a real browser, on a finished run: read, ask all three, see what is refused."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from pipeline import jobs
from pipeline.dataset.chat import ChatTokenizer
from pipeline.dataset.prepare import prepare_parts
from pipeline.recipe import DataStep, Recipe, Split
from pipeline.run_folder import AnswerRecord, RunFolder, RunWriter
from pipeline.studio_home import StudioHome
from pipeline.tags import extract, scheme_of
from reasoning_ui import compare_data, compare_files
from reasoning_ui.compare_charts import CHARTS
from tests.browser.conftest import held, let_go, open_run
from tests.export.hub_standin import serving

TINY = Path(__file__).resolve().parents[2] / "assets" / "tiny-reasoner"
SETTINGS = json.dumps({"precision": "16bit", "max_completion_tokens": 96})
QUESTIONS = 120
HOSTILE = "<script>window.hit=1</script><img src=x onerror=window.hit=2>"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> StudioHome:
    """A finished run: SFT and GRPO are copies of the bundled model, and of 120 answers base has 0 right (no tags),
    SFT the even ones (60), GRPO the first 110: so GRPO fixes 55 of the 60 odd ones, and breaks 5 even ones."""
    home = StudioHome(tmp_path_factory.mktemp("compare-home"))
    folder = RunFolder(home.runs_dir / "demo-run")
    writer = RunWriter(folder)
    folder.recipe_file.write_text(Recipe(name="Demo").to_yaml(), encoding="utf-8")
    prepare_parts(DataStep(split=Split(sft=0, grpo=0, validation=0, test=2)), ChatTokenizer.load("tiny"), seed=1,
                  max_length=512, max_completion_tokens=64, out=folder.path / "data")
    for stage in ("sft", "grpo"):
        shutil.copytree(TINY, folder.model(stage))
    for model, right in (("base", lambda i: False), ("sft", lambda i: i % 2 == 0), ("grpo", lambda i: i < 110)):
        writer.add_answers(_answer(model, i, right(i)) for i in range(QUESTIONS))
    writer.set_stage("evaluate", state="finished")
    writer.set_status(state="finished")
    writer.close()
    return home


def _answer(model: str, i: int, right: bool) -> AnswerRecord:
    given = str(i + 1) if right else "0"
    text = f"zebra {HOSTILE}" if model == "base" else f"<reasoning>\n{i}+1\n</reasoning>\n<answer>{given}</answer>"
    extracted = extract(scheme_of(Recipe().data.tags), text)
    return AnswerRecord(model, "test", SETTINGS, i, 0, f"What is {i} + 1? {HOSTILE if i == 1 else ''}", str(i + 1),
                        text, extracted, right, right, right, model != "base", 20 + i, False, 0.01)


@pytest.fixture(scope="module")
def url(start_app: Callable[..., str], home: StudioHome) -> str:
    """One app for the tests of this file."""
    return start_app(home.path)


def open_tab(page: Any, url: str, name: str) -> None:
    """Load the run's page and open a tab."""
    open_run(page, url, "demo-run", name)


def test_answers_are_filtered_read_searched_paged_and_linked(page: Any, url: str) -> None:
    open_tab(page, url, "Compare")
    expect(page.locator("#compare-summary tbody tr")).to_have_count(3)
    expect(page.locator("#compare-sentences")).to_contain_text("very unlikely to be chance")
    count, questions = page.locator("#compare-count"), page.locator("#compare-questions details.q")

    page.locator("#compare-filter label", has_text="Fixed by GRPO").click()
    expect(count).to_contain_text("55 of 120")
    expect(questions).to_have_count(50)
    for i, answer in ((0, "2"), (4, "10")):
        if i > 2:
            questions.nth(i).locator("summary").click()
        expect(questions.nth(i).locator(".col").nth(2).locator(".answer")).to_have_text(answer)
        expect(questions.nth(i).locator(".col").nth(0)).to_contain_text("zebra <script>")
    page.locator("#compare-page input").fill("2")
    page.locator("#compare-page input").press("Tab")
    expect(questions).to_have_count(5)

    page.locator('[data-cell="sft>grpo:right>wrong"]').click()
    expect(count).to_have_text(re.compile(r"^\s*5 of 120"))
    page.locator("#compare-filter label", has_text="All questions").click()
    expect(count).to_contain_text("120 of 120")
    page.locator("#compare-sort select").select_option("longest")
    expect(questions.first).to_contain_text("#120")
    page.locator("#compare-search").get_by_label("Search").fill("what is 117 ")
    expect(count).to_have_text(re.compile(r"^\s*1 of 120"))
    page.goto(f"{url}{questions.first.locator('a').get_attribute('href')}")
    expect(count).to_have_text(re.compile(r"^\s*1 of 120"))
    expect(questions.first).to_contain_text("#118")
    assert page.evaluate("window.hit") is None
    expect(page.locator("#header-status")).to_contain_text("take the model with you")


def test_a_run_that_was_deleted_in_another_window_leaves_nothing_behind_on_compare_and_live(
        page: Any, url: str, home: StudioHome) -> None:
    """Its table and its curves would pass for those of a run that is there; it comes back from the trash."""
    open_tab(page, url, "Compare")
    expect(page.locator("#compare-summary tbody tr")).to_have_count(3)
    jobs.delete(home, "demo-run")
    try:
        expect(page.locator(".cmp-lost")).to_contain_text("demo-run")
        expect(page.locator("#compare-summary table")).to_have_count(0)
        expect(page.locator("#compare-side")).to_be_hidden()
        page.locator("#tabs").get_by_role("tab", name="Live", exact=True).first.click()
        expect(page.locator(".live-reason")).to_contain_text("No run yet")
        expect(page.locator(".live-views")).to_be_hidden()
        expect(page.locator(".live-board")).to_be_hidden()
    finally:
        jobs.restore(home, "demo-run")
    expect(page.locator(".live-board")).to_be_visible()
    expect(page.locator(".live-stages")).to_contain_text("done")


def test_tables_and_pictures_have_names_and_nothing_is_read_aloud_again_and_again(page: Any, url: str) -> None:
    """On Compare and Live: every heading of a table and every picture has words, the page has a title, and the state
    of a run, a live region, is not written anew with the same words at every tick."""
    nameless = """() => [...document.querySelectorAll('th, [role=img], h1')].filter(part => part.offsetParent
      && !(part.getAttribute('aria-label') || part.textContent).trim()).map(part => part.outerHTML.slice(0, 100))"""
    open_tab(page, url, "Compare")
    expect(page.locator("#compare-summary tbody tr")).to_have_count(3)
    assert page.evaluate(nameless) == [] and page.locator("h1", has_text="Reasoning Studio").count() == 1
    page.locator("#tabs").get_by_role("tab", name="Live", exact=True).first.click()
    expect(page.locator(".live-state")).to_have_text("Finished")
    assert page.evaluate(nameless) == []
    page.evaluate("""() => { window.told = 0; const root = document.querySelector('.live-root');
      new MutationObserver(all => { window.told += all.length; }).observe(root.querySelector('.live-state'),
        { childList: true, characterData: true, subtree: true });
      for (let i = 0; i < 3; i++) root.live.head.take({ ...root.live, state: 'finished', reason: '', stages: [] });
    }""")
    assert page.evaluate("window.told") == 0


def test_every_chart_is_drawn_and_its_files_and_the_reports_are_saved(page: Any, url: str, tmp_path: Path) -> None:
    open_tab(page, url, "Compare")
    for name in CHARTS:
        page.locator("#compare-chart select").select_option(name)
        expect(page.locator(f'#compare-plot[data-chart="{name}"] .main-svg').first).to_be_visible()
    saved = {title: download(page, title, tmp_path) for title in (
        "PNG", "CSV", "JSON", "All answers (CSV)", "Everything (JSON)", "Report (Markdown)", "Report (one HTML page)")}
    assert saved["PNG"].read_bytes().startswith(b"\x89PNG") and saved["PNG"].name.endswith(f"{name}.png")
    assert saved["CSV"].read_text().startswith("series,x,y,low,high\n")
    assert json.loads(saved["JSON"].read_text())["layout"]["title"]["text"] == CHARTS[name][0]
    assert saved["All answers (CSV)"].read_text().count("\ngrpo,") == QUESTIONS
    assert len(json.loads(saved["Everything (JSON)"].read_text())["answers"]) == 3 * QUESTIONS
    assert "very unlikely to be chance" in saved["Report (Markdown)"].read_text()
    report = page.context.browser.new_page()  # with no app behind it
    asked: list[str] = []
    report.on("request", lambda r: asked.append(r.url))
    report.goto(saved["Report (one HTML page)"].as_uri())
    expect(report.locator(".main-svg").first).to_be_visible()
    expect(report.locator("body")).to_contain_text("very unlikely to be chance")
    assert report.evaluate("window.hit") is None and len(asked) == 1, asked
    report.close()


def download(page: Any, title: str, folder: Path) -> Path:
    """Press the Compare page's button and keep the file that the browser saves."""
    with page.expect_download() as waited:
        page.locator("#compare").get_by_role("button", name=title, exact=True).click()
    waited.value.save_as(folder / waited.value.suggested_filename)
    return folder / waited.value.suggested_filename


@pytest.mark.parametrize(("width", "colours"), [(1280, "light"), (390, "dark")])
def test_the_report_needs_no_sideways_scrolling_and_follows_the_colours_of_the_system(
        page: Any, home: StudioHome, width: int, colours: str) -> None:
    """Opened as a file, without the app: on a phone each line of the table is a card whose cells name their heads."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=colours)
    page.set_content(compare_files.text("report.html", "demo-run", compare_data.load(home.run("demo-run"), "test")))
    expect(page.locator(".rates tbody tr")).to_have_count(3)
    assert page.evaluate("() => [...document.querySelectorAll('html, .cmp, .rates')].filter("
                         "e => e.scrollWidth > e.clientWidth).map(e => e.className)") == []
    expect(page.locator(".rates thead")).to_have_css("position", "absolute" if width < 1000 else "static")
    expect(page.locator("html")).to_have_css("background-color", "rgb(255, 255, 255)" if colours == "light" else
                                             "rgb(17, 24, 39)")
    page.get_by_text("Lenient: the last number anywhere").click()
    expect(page.locator("ul.sentences").nth(1)).to_contain_text("finds the number")


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_a_file_is_exported_with_the_keyboard_alone(page: Any, url: str, width: int, height: int) -> None:
    """Tab to the tab, Enter; Tab to the button, Enter; the file then is in sight, and Tab and Enter download it."""
    page.set_viewport_size({"width": width, "height": height})
    page.goto(f"{url}?run=demo-run")
    expect(page.locator("#header-status")).to_contain_text(re.compile("Next|Now"))
    press_tab_to(page, '[data-tab-id="export"]')
    page.keyboard.press("Enter")
    recipe = page.get_by_role("button", name="Recipe (YAML)")
    expect(recipe).to_be_visible()
    press_tab_to(page, "#export-stage input")
    press_tab_to(page, "button", "Recipe (YAML)")
    page.keyboard.press("Enter")
    expect(page.locator("#export-said")).to_contain_text("recipe.yaml is ready")
    expect(page.locator("#export-files")).to_be_in_viewport()
    press_tab_to(page, "#export-files a")
    with page.expect_download() as waited:
        page.keyboard.press("Enter")
    assert waited.value.suggested_filename == "recipe.yaml"


def press_tab_to(page: Any, selector: str, words: str = "") -> None:
    """Press Tab, at most 40 times, until what has the focus is what is looked for."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("([selector, words]) => document.activeElement.matches(selector) && "
                         "document.activeElement.textContent.includes(words)", [selector, words]):
            return
    pytest.fail(f"40 presses of Tab did not reach {selector} {words}")


def test_a_model_that_cannot_answer_is_refused_where_it_was_asked_for(page: Any, url: str, tmp_path: Path) -> None:
    """The evaluation runs in its worker; its words come back to the form."""
    broken = Path(shutil.copytree(TINY, tmp_path / "broken"))
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    open_tab(page, url, "Compare")
    page.locator("#compare-questions details.q").first.wait_for()
    page.get_by_role("button", name="Evaluate more").click()
    models = page.locator("#more-models input")
    models.press("Backspace")
    models.fill(str(broken))
    models.press("Enter")
    page.locator("#compare-more").get_by_role("button", name="Evaluate", exact=True).click()
    words = re.compile(r"model.safetensors is truncated: [\d,]+ of [\d,]+ bytes")
    expect(page.locator("#more-state")).to_contain_text(words, timeout=120_000)
    expect(page.locator("#compare-summary tbody tr")).to_have_count(3)


def test_all_three_are_asked_and_a_question_is_stopped(page: Any, url: str) -> None:
    open_tab(page, url, "Compare")
    page.locator("#compare-questions details.q").first.wait_for()
    page.get_by_role("button", name="Ask them a question").click()
    expect(page.get_by_role("button", name="Ask the models")).to_be_in_viewport()
    ask, answers = page.locator("#compare-ask"), page.locator("#compare-ask-answers")
    ask.get_by_label("Question", exact=True).fill("Zoe has 49 marbles. Leo brings 38 more.")
    ask.get_by_role("button", name="Ask", exact=True).click()
    expect(answers).to_contain_text(re.compile("Starting|Loading"))
    expect(ask.get_by_role("button", name="Ask", exact=True)).to_be_disabled()  # a click would be lost
    ask.get_by_role("button", name="Stop", exact=True).click()
    expect(answers).to_contain_text("Stopped before")
    ask.get_by_role("button", name="Ask", exact=True).click()
    expect(answers).to_contain_text(re.compile(r"Base.*tokens in.*SFT.*tokens in.*GRPO.*tokens in", re.S),
                                    timeout=120_000)
    ask.get_by_label(re.compile("Blind")).check()
    ask.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_role("button", name="A is best").click()
    expect(page.locator("#compare-ask-tally")).to_contain_text("Votes so far")


def test_a_broken_upload_to_the_hub_is_told_and_goes_on(page: Any, start_app: Callable[..., str],
                                                        home: StudioHome) -> None:
    with serving() as (hub, address):
        environment = {"HF_ENDPOINT": address, "HF_TOKEN": "hf_for_this_test", "HF_HUB_OFFLINE": "0"}
        open_tab(page, start_app(home.path, **environment), "Export")
        page.get_by_role("button", name="Upload to the Hugging Face Hub").click()
        part, table = page.locator("#export-hub"), page.locator("#export-hub-files")
        part.get_by_label("Repository").fill("me/reasoner")
        part.get_by_role("button", name="List the files").click()
        expect(table.locator("tbody tr").filter(has_text="model.safetensors")).to_contain_text("to send")
        assert hub.repos == {} and part.get_by_label("Private").is_checked()
        hub.fail_shards = 1
        part.get_by_role("button", name="Upload", exact=True).click()
        expect(table).to_contain_text("broke off while sending model.safetensors")
        expect(table).to_contain_text("Upload again to continue")
        part.get_by_role("button", name="Upload", exact=True).click()
        expect(table).to_contain_text(f"Done: {address}/me/reasoner (private)")
        assert "model.safetensors" in hub.repos["me/reasoner"] and hub.private == {"me/reasoner": True}
        part.get_by_role("button", name="List the files").click()
        expect(table.locator("tbody tr").filter(has_text="to send")).to_have_count(0)


def test_another_seed_is_trained_from_the_page_and_announced(page: Any, url: str, home: StudioHome) -> None:
    """By keyboard, while the page waits for an answer of a moment ago; the run that starts is deleted again."""
    open_tab(page, url, "Compare")
    sentences = page.locator("#compare-sentences")
    expect(sentences).to_contain_text("This is one training run")
    late = held(page, "compare_look")
    page.evaluate("() => { studioCompare.look(); }")
    page.get_by_role("button", name="Train another seed").focus()
    with page.expect_response(lambda answer: "compare_again" in (answer.request.post_data or "")):
        page.keyboard.press("Enter")
    let_go(page, late)
    expect(sentences).to_contain_text("Seed 2 is being trained or waiting")
    expect(page.get_by_role("button", name="Train one more seed")).to_be_focused()
    [run] = [card.id for card in jobs.list_runs(home) if card.id != "demo-run"]
    assert home.run(run).recipe().seed == 2 and home.about(run)["name"] == "Demo (seed 2)"
    jobs.stop(home, run)
    expect(sentences).to_contain_text("Seed 2 was stopped before it was through")
    jobs.delete(home, run)
    expect(sentences).not_to_contain_text("Seed 2")
