"""The demo in a real browser and in real time: from one click over the comparison to the exported model."""

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from pipeline import jobs
from pipeline.demo import demo_recipe
from pipeline.studio_home import StudioHome
from pipeline.tags import SCHEMES, system_prompt

PATIENCE_MS = 180_000
DEMO_MS = 600_000  # the demo itself: about 200 s on two cores that do nothing else
CURVE = """points => [...document.querySelectorAll(".live-plot")]
  .some(plot => (plot.data || []).some(trace => trace.x && trace.x.length >= points))"""


LOAD = """import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer, model = AutoTokenizer.from_pretrained("."), AutoModelForCausalLM.from_pretrained(".")
ids = tokenizer.apply_chat_template([
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": "Zoe has 49 marbles. Leo brings 38 more. How many marbles does Zoe have now?"}],
    add_generation_prompt=True, return_tensors="pt", return_dict=True)
out = model.generate(**ids, max_new_tokens=96, do_sample=False)
assert not {"pipeline", "reasoning_ui"} & set(sys.modules)
print("answered", tokenizer.decode(out[0, ids["input_ids"].shape[1]:]))
""".replace("SYSTEM", repr(system_prompt(SCHEMES["reasoning"])))


def selected(page: Any, name: str, patience_ms: int = PATIENCE_MS) -> None:
    """Wait until a tab is the open one."""
    button = page.locator(f'#tabs button[role="tab"][data-tab-id="{name.lower()}"]').first
    expect(button).to_have_attribute("aria-selected", "true", timeout=patience_ms)


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
    _read_two_answers(page)
    expect(page.locator("#header-status")).to_contain_text("take the model with you")
    _ask_all_three(page)
    _export_everything(page)
    _load_it_elsewhere(page, tmp_path / "taken")


def _read_two_answers(page: Any) -> None:
    fixed = page.locator("#compare-filter label", has_text="Fixed by GRPO")
    count, questions = page.locator("#compare-count"), page.locator("#compare-questions details.q")
    expect(fixed).to_have_text(re.compile(r"\(\d+\)"))
    many = re.findall(r"\d+", fixed.inner_text())[-1]
    assert 2 <= int(many) < 300
    fixed.click()
    expect(count).to_have_text(re.compile(rf"^\s*{many} of 300 questions"))  # the list before was of all 300
    for question in (questions.nth(0), questions.nth(1)):
        right = question.locator(".facts b").first.inner_text()
        sft, grpo = question.locator(".col").nth(1), question.locator(".col").nth(2)
        expect(sft).to_have_class(re.compile("wrong"))
        expect(grpo).to_have_class(re.compile("right"))
        expect(grpo.locator(".answer")).to_have_text(right)
        expect(grpo.locator(".tag")).to_have_count(4)


def _ask_all_three(page: Any) -> None:
    page.get_by_role("button", name="Ask the models").click()
    ask = page.locator("#compare-ask")
    ask.get_by_label("Question", exact=True).fill("Zoe has 49 marbles. Leo brings 38 more. How many marbles are there?")
    ask.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#compare-ask-answers")).to_contain_text(
        re.compile(r"Base.*tokens in.*SFT.*tokens in.*GRPO.*tokens in", re.S), timeout=PATIENCE_MS)


def _export_everything(page: Any) -> None:
    """Every button of the Export tab; the merged model last, so that its file is the newest word."""
    page.locator('#tabs button[role="tab"][data-tab-id="export"]').first.click()
    said, files = page.locator("#export-said"), page.locator("#export-files")
    for button, words in (
            ("Recipe (YAML)", "recipe.yaml is ready"), ("Adapter (zip)", "grpo-adapter.zip is ready"),
            ("Script that repeats the run", "repeat.zip holds repeat.py"),
            ("Model card", "The model card is ready"), ("Check the merge", "greedy answers are equal"),
            ("Make the GGUF file", "grpo-q8_0.gguf passed its check: token ids are equal"),
            ("Merged model (zip)", "grpo-model.zip is ready")):
        page.get_by_role("button", name=button).click()
        expect(said).to_contain_text(words, timeout=PATIENCE_MS)
    page.locator("#export-gguf-kind label", has_text="f16").click()
    page.get_by_role("button", name="Make the GGUF file").click()
    expect(said).to_contain_text("grpo-f16.gguf passed its check", timeout=PATIENCE_MS)
    for name in ("recipe", "grpo-adapter", "repeat", "grpo-README", "grpo-q8_0", "grpo-f16", "grpo-model"):
        expect(files).to_contain_text(name)


def _load_it_elsewhere(page: Any, folder: Path) -> None:
    """The downloaded model in a folder of its own, loaded by plain transformers in a process without this project."""
    with page.expect_download() as waited:
        page.locator("#export-files tr").filter(has_text="grpo-model").get_by_role("link").click()
    zipfile.ZipFile(waited.value.path()).extractall(folder)
    done = subprocess.run([sys.executable, "-I", "-c", LOAD], cwd=folder, capture_output=True, text=True, timeout=200,
                          check=False)
    assert re.search(r"answered .*</reasoning>\s*<answer>\d+</answer>", done.stdout, re.S), done.stdout + done.stderr
