"""The Data tab in a real browser: upload, mapping, preview, loss mask, split; hostile texts stay text."""

import json
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from pipeline.dataset.sample import load_sample
from pipeline.recipe import DataStep
from tests.browser.conftest import HOLD

EVIL = "<script>window.hit=1</script><img src=x onerror=window.hit=2>"
PATIENCE = 120_000  # ms; the machine may be busy


def write_rows(folder: Path) -> Path:
    """Forty sums, the first with hostile texts, the columns with names that say little."""
    rows = [{"ask": f"{EVIL if not i else ''} What is {i} + {i}?", "how": f"We add {i} and {i}, which makes {2 * i}.",
             "out": 2 * i} for i in range(40)]
    path = folder / "sums.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"ask": "cut o', encoding="utf-8")
    return path


def test_on_a_phone_every_tab_and_source_is_in_sight_and_a_file_is_uploaded(
        page: Any, app_url: str, tmp_path: Path) -> None:
    """At 390 px, tabs that do not fit beside each other go on in the next line: none hides in a menu."""
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(app_url)
    expect(page.locator("#header-status")).to_contain_text(re.compile("Next|Now"), timeout=PATIENCE)
    for name in ("Start", "Rewards", "Train", "Live", "Compare", "Export", "Runs", "Data"):
        tab = page.locator(f'#tabs button[role="tab"][data-tab-id="{name.lower()}"]')
        expect(tab).to_be_in_viewport(ratio=1)
    tab.click()
    for name in ("Ready-made", "Paste rows", "Hugging Face", "Reasoning Gym", "File on this machine", "Upload a file"):
        source = page.locator("#data-sources").get_by_role("tab", name=name, exact=True)
        expect(source).to_be_in_viewport(ratio=1)
    source.click()
    page.locator("#data-upload input[type=file]").set_input_files(write_rows(tmp_path))
    expect(page.locator("#data-chosen")).to_contain_text("40 rows", timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_upload_mapping_preview_mask_and_split(page: Any, app_url: str, tmp_path: Path) -> None:
    page.goto(app_url)
    expect(page.locator("#header-status")).to_contain_text(re.compile("Next|Now"), timeout=PATIENCE)
    page.locator("#tabs").get_by_role("tab", name="Data", exact=True).first.click()
    expect(page.locator("#preview-html .chat-text")).to_be_visible(timeout=PATIENCE)

    page.get_by_role("tab", name="Upload a file").click()
    page.route("**/upload?*", lambda route: route.abort())  # the connection breaks
    page.locator("#data-upload input[type=file]").set_input_files(write_rows(tmp_path))
    expect(page.locator(".toast-body")).to_contain_text("cut off half-way")
    title = page.locator(".toast-title")
    expect(title).to_have_text(re.compile(r"^Error\s*$"))  # nobody's mistake
    page.get_by_test_id("toast-close").click()
    page.unroute("**/upload?*")
    (tmp_path / "rows.exe").write_text("?", encoding="utf-8")
    page.locator("#data-upload input[type=file]").set_input_files(tmp_path / "rows.exe")
    expect(title).to_have_text(re.compile(r"^This needs a change\s*$"))
    page.locator("#data-upload input[type=file]").set_input_files(write_rows(tmp_path))
    expect(page.locator("#data-chosen")).to_contain_text("40 rows", timeout=PATIENCE)
    expect(page.locator("#data-chosen")).to_contain_text("line 41 is not valid JSON")
    expect(page.locator("#data-reasons")).to_contain_text("hold a question mark")
    expect(page.locator("#preview-html")).to_contain_text("What is 0 + 0?", timeout=PATIENCE)

    page.locator("#preview-next").click()
    expect(page.locator("#preview-html .answer").last).to_have_text("2", timeout=PATIENCE)
    page.locator("#preview-view").get_by_text("What is trained").click()
    expect(page.locator("#preview-html .chat-text .trained")).to_contain_text("<answer>2</answer>", timeout=PATIENCE)
    page.locator("#tag-scheme").get_by_text("<think>").click()
    expect(page.locator("#preview-html .chat-text .trained")).to_contain_text("<think>", timeout=PATIENCE)

    page.locator("#check-data").click()
    expect(page.locator("#check-report")).to_contain_text("SFT (imitate)", timeout=PATIENCE)
    report = page.locator("#check-report").inner_text()
    assert re.search(r"41\s+rows in\s+40\s+rows kept\s+1\s+rows left out", report)
    assert re.search(r"12\s+SFT \(imitate\)\s+20\s+GRPO \(practise\)\s+4\s+Validation \(curves\)\s+4\s+Test", report)
    assert page.evaluate("window.hit") is None

    longest = page.locator("#grpo-longest textarea")
    longest.fill("80")
    longest.press("Tab")
    expect(page.locator("#shared-data textarea")).to_have_value(re.compile('"grpo_longest":80'), timeout=PATIENCE)
    page.locator("#header-model input").focus()
    for _ in range(3):  # over the header with Tab: what was only passed by was not chosen again
        page.keyboard.press("Tab")
    page.locator("#tag-scheme").get_by_text("<reasoning>").click()
    expect(page.locator("#shared-data textarea")).to_have_value(re.compile('"scheme":"reasoning"'), timeout=PATIENCE)
    expect(page.locator("#shared-data textarea")).to_have_value(re.compile('"grpo_longest":80'))


def test_what_is_changed_while_answers_are_under_way_is_kept(page: Any, app_url: str) -> None:
    """Columns, tags, prompt, shares and a limit, one after the other with every answer held back; the last share is
    still being typed when the answers come: the fields show all of it, and so does the choice. Before that, of the
    rows of the preview: three clicks on and one back lead from the first to the third."""
    page.add_init_script(HOLD)
    page.goto(app_url)
    expect(page.locator("#header-status")).to_contain_text(re.compile("Next|Now"), timeout=PATIENCE)
    page.locator("#tabs").get_by_role("tab", name="Data", exact=True).first.click()
    expect(page.locator("#preview-html .chat-text")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#column-reasoning input")).to_have_value("Guess: reasoning")
    page.evaluate("() => window.hold()")
    for button in ("next", "next", "next", "back"):
        page.locator(f"#preview-{button}").click()
    page.evaluate("() => window.answerNow()")
    third = dict(load_sample(DataStep(), 1).rows)[3]
    expect(page.locator("#preview-html .chat-text .question")).to_have_text(third["question"])
    expect(page.locator("#preview-row input")).to_have_value("3")
    page.evaluate("() => window.hold()")
    for role, column in (("reasoning", "None"), ("answer", "answer")):
        page.locator(f"#column-{role} input").click()
        page.get_by_role("option", name=column, exact=True).last.click()
    page.locator("#tag-scheme").get_by_text("<think>").click()
    typed = {"system-prompt": "Be brief.", "split-sft": "11", "split-grpo": "12", "split-validation": "3",
             "grpo-longest": "99", "split-test": "4"}
    boxes = {name: page.locator(f"#{name}").locator("input, textarea").first for name in typed}
    for name, text in typed.items():
        boxes[name].fill(text)  # the focus goes from box to box and stays in the last one
    page.evaluate("() => window.answerNow()")
    expect(page.locator("#preview-html .chat-text")).to_contain_text("Be brief.", timeout=PATIENCE)
    expect(page.locator("#tag-info")).to_contain_text("</think>")
    for name, text in typed.items():
        expect(boxes[name]).to_have_value(text)
    boxes["split-test"].press("Tab")
    expect(page.locator("#column-answer input")).to_have_value("answer")
    choice = page.locator("#shared-data").locator("input, textarea")
    expect(choice).to_have_value(re.compile('"test":4'))
    step = DataStep.model_validate_json(choice.input_value())
    assert (step.reasoning, step.answer, step.tags.scheme, step.system_prompt) == ("", "answer", "think", "Be brief.")
    assert (list(step.split.model_dump().values()), step.grpo_longest) == ([11, 12, 3, 4], 99)
    page.locator("#usual-system").click()
    expect(boxes["system-prompt"]).to_have_value(re.compile("Think step by step between <think>"))


def test_edits_made_while_data_arrive_or_are_read_are_kept(page: Any, app_url: str) -> None:
    """With every answer held back, rows are sent and then tags, prompt and a share edited; then the header's dataset is
    taken and the tags changed; then all rows are checked and a column chosen. What arrives undoes no edit."""
    page.add_init_script(HOLD)
    page.goto(app_url)
    expect(page.locator("#header-status")).to_contain_text(re.compile("Next|Now"), timeout=PATIENCE)
    page.locator("#tabs").get_by_role("tab", name="Data", exact=True).first.click()
    expect(page.locator("#preview-html .chat-text")).to_be_visible(timeout=PATIENCE)
    choice = page.locator("#shared-data").locator("input, textarea")

    def chosen() -> DataStep:
        return DataStep.model_validate_json(choice.input_value())

    page.get_by_role("tab", name="Paste rows").click()
    rows = "".join(f"What is {i} + {i}?,We add {i} and {i}.,{2 * i}\n" for i in range(30))
    page.locator("#data-paste textarea").fill("question,how,answer\n" + rows)
    page.evaluate("() => window.hold()")
    page.locator("#use-pasted").click()
    page.locator("#tag-scheme").get_by_text("<think>").click()
    page.locator("#system-prompt textarea").fill("Be brief.")
    page.locator("#split-test input").fill("5")
    page.locator("#split-test input").press("Tab")
    expect(choice).to_have_value(re.compile('"test":5'))
    page.evaluate("() => window.answerNow()")
    expect(page.locator("#data-chosen")).to_contain_text("30 rows", timeout=PATIENCE)
    assert (chosen().tags.scheme, chosen().system_prompt, chosen().split.test) == ("think", "Be brief.", 5)

    page.evaluate("() => window.hold()")
    page.locator("#split-grpo input").fill("7")
    page.locator("#check-data").dispatch_event("click")  # the box is not left, and what it holds counts
    page.locator("#column-reasoning input").click()
    page.get_by_role("option", name="how", exact=True).last.click()
    page.locator("#tag-scheme").get_by_text("<start_working_out>").click()
    page.evaluate("() => window.answerNow()")
    expect(page.locator("#check-report")).to_contain_text(re.compile(r"7\s*GRPO \(practise\)"), timeout=PATIENCE)
    expect(page.locator("#check-stale")).to_contain_text("the data settings changed")
    assert (chosen().reasoning, chosen().tags.scheme) == ("how", "solution")

    page.evaluate("() => window.hold()")
    page.locator("#header-data input").click()
    page.get_by_role("option", name="Demo: arithmetic word problems").first.click()
    page.locator("#tag-scheme").get_by_text("<reasoning>").click()
    page.evaluate("() => window.answerNow()")
    expect(choice).to_have_value(re.compile('"source":"demo"'))
    assert (chosen().reasoning, chosen().tags.scheme, chosen().system_prompt) == (None, "reasoning", "Be brief.")
