"""The Data tab in a real browser, beyond the first look: the report's lists, stopping, keeping, the Hub."""

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.dataset.hub_stand_in import environment, serve

PATIENCE = 120_000  # ms; the machine may be busy
SUMS = [{"question": f"What is {i} + {i + 3}?", "solution": f"We add {i} and {i + 3}. That makes {2 * i + 3}.",
         "answer": 2 * i + 3} for i in range(60)]


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(r) + "\n" for r in rows).encode()


def open_data(page: Any, url: str) -> None:
    page.goto(url)
    expect(page.locator("#header-status")).to_contain_text(re.compile("Next|Now"), timeout=PATIENCE)
    page.locator("#tabs").get_by_role("tab", name="Data", exact=True).first.click()
    expect(page.locator("#preview-html .chat-text")).to_be_visible(timeout=PATIENCE)


def use_file(page: Any, file: Path, words: str) -> None:
    page.get_by_role("tab", name="File on this machine").click()
    page.locator("#data-path textarea, #data-path input").first.fill(str(file))
    page.locator("#use-path").click()
    expect(page.locator("#data-chosen")).to_contain_text(words, timeout=PATIENCE)


def test_a_report_leads_to_its_rows_and_what_was_checked_is_kept_downloaded_and_deleted(
        page: Any, app_url: str, tmp_path: Path) -> None:
    """60 sums, the second twice; a test file with three of them and two others: 57 rows are left to share out."""
    main, test = tmp_path / "sums.jsonl", tmp_path / "held-out.jsonl"
    main.write_bytes(as_jsonl([*SUMS, SUMS[1]]))
    test.write_bytes(as_jsonl([*SUMS[:3], {"question": "Is 7 prime, yes or no?", "answer": "yes"},
                               {"question": "How many legs have two spiders?", "answer": 16}]))
    open_data(page, app_url)
    use_file(page, main, "61 rows")
    page.locator("#test-source input, #test-source textarea").first.fill(str(test))
    page.locator("#test-source input, #test-source textarea").first.press("Enter")
    page.locator("#check-data").click()
    report = page.locator("#check-report")
    expect(report).to_contain_text("Test (held out)", timeout=PATIENCE)
    expect(report).to_contain_text(re.compile(r"5\s*Test \(held out\)"))
    expect(report).to_contain_text("3 rows left out: the question is (nearly) in the separate test data")
    expect(report).to_contain_text("Compared with GSM8K, test")

    report.get_by_text("the question was there before").click()
    report.get_by_role("button", name="row 61").click()
    expect(page.locator("#preview-row input")).to_have_value("61", timeout=PATIENCE)
    expect(page.locator("#preview-html .chat-text .question")).to_have_text("What is 1 + 4?")
    expect(page.locator("#preview-controls")).to_be_in_viewport()

    page.locator("#keep-name input, #keep-name textarea").first.fill("My sums")
    page.locator("#keep-data").click()
    expect(page.locator("#prepared-card")).to_contain_text("My sums", timeout=PATIENCE)
    for kind, begins in (("jsonl", b'{"id"'), ("parquet", b"PAR1")):
        page.locator(f"#prepared-{kind}").click()
        link = page.locator(f'#prepared-files a[href*=".{kind}"]').last
        expect(link).to_be_visible(timeout=PATIENCE)
        with page.expect_download() as download:
            link.click()
        assert Path(download.value.path()).read_bytes().startswith(begins)
    page.locator("#tag-scheme").get_by_text("<think>").click()
    expect(page.locator("#check-stale")).to_contain_text("the data settings changed", timeout=PATIENCE)
    page.locator("#prepared-delete").click()
    expect(page.locator("#prepared-card")).not_to_contain_text("My sums", timeout=PATIENCE)


def test_a_check_can_be_stopped_and_another_made(page: Any, app_url: str, tmp_path: Path) -> None:
    large, small = tmp_path / "large.jsonl", tmp_path / "small.jsonl"
    small.write_bytes(as_jsonl(SUMS))
    large.write_bytes(b"".join(as_jsonl([r | {"question": f"{i} {r['question']}"} for r in SUMS]) for i in range(3000)))
    open_data(page, app_url)
    use_file(page, large, "large.jsonl")
    page.locator("#check-data").click()
    expect(page.locator("#check-progress")).to_contain_text("reading rows", timeout=PATIENCE)
    page.locator("#preview-next").click()  # the page stays usable
    expect(page.locator("#preview-row input")).to_have_value("2", timeout=PATIENCE)
    page.locator("#check-stop").click()
    expect(page.locator("#check-progress")).to_contain_text("The check was stopped", timeout=PATIENCE)
    news = page.locator("#check-news").locator("input, textarea")
    news.evaluate("box => { box.value = 'reading rows: late'; box.dispatchEvent(new Event('input')); }")
    page.locator("#preview-next").click()  # answered after the late news
    expect(page.locator("#preview-row input")).to_have_value("3", timeout=PATIENCE)
    expect(page.locator("#check-progress")).to_contain_text("The check was stopped")
    use_file(page, small, "60 rows")
    page.locator("#check-data").click()
    expect(page.locator("#check-report")).to_contain_text(re.compile(r"60\s*rows kept"), timeout=PATIENCE)


def test_the_hubs_first_rows_show_while_the_rest_loads_and_gated_sets_say_what_to_do(
        page: Any, start_app: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in holds half of the second file back until the rows of the first were seen."""
    go_on = threading.Event()
    sets = {"me/slow": {"first.jsonl": as_jsonl(SUMS), "slow.jsonl": as_jsonl(SUMS)},
            "me/sums-gated": {"train.jsonl": as_jsonl(SUMS)}}
    with serve(sets, go_on) as (address, _asked):
        for name, value in environment(address, str(tmp_path / "hf")).items():
            monkeypatch.setenv(name, value)
        open_data(page, start_app())
        page.get_by_role("tab", name="Hugging Face").click()
        box = page.locator("#hub-id input, #hub-id textarea").first
        box.fill("me/sums-gated")
        page.locator("#use-hub").click()
        expect(page.locator("#data-chosen")).to_contain_text("is gated: accept its terms", timeout=PATIENCE)
        box.fill("me/slow")
        page.locator("#use-hub").click()
        expect(page.locator("#preview-html")).to_contain_text("What is 0 + 3?", timeout=PATIENCE)
        expect(page.locator("#data-chosen")).to_contain_text("more are being read")
        assert not go_on.is_set()
        go_on.set()
