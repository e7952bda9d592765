"""How fast the Compare page opens and filters with 1,319 questions × 3 models, in a real Chromium.

    python -m benchmarks.compare_page [--out docs/results/compare_page.json]

The run is synthetic: questions as long as GSM8K's and answers of 60 to 220 words. Opening is from the click on the tab
to the first questions on the screen; it is measured in a fresh page each time, the first with nothing read yet on the
server. Filtering, searching and paging are from the click or key to the changed list. Bars: 1 s and 200 ms.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.recipe import Recipe
from pipeline.run_folder import AnswerRecord, RunFolder, RunWriter
from pipeline.studio_home import StudioHome
from tests.browser.conftest import FLAGS, _free_port, chromium_path, wait_for

PROJECT = Path(__file__).resolve().parent.parent
QUESTIONS = 1319
SETTINGS = json.dumps({"precision": "16bit", "max_completion_tokens": 512})
WORDS = """add the next number then carry one and write the rest below so that twelve and seven make nineteen because
each box holds four apples we multiply first divide by three check the result again total remains""".split()  # noqa: SIM905
OPEN = """async () => { const start = performance.now();
  document.querySelector('#tabs button[role="tab"][data-tab-id="compare"]').click();
  const shown = () => document.querySelectorAll('#compare-questions details.q').length;
  while (shown() < 50) await new Promise(requestAnimationFrame);
  return performance.now() - start; }"""
CHANGE = """async change => { const start = performance.now();
  const list = document.querySelector('#compare-questions'), before = list.firstChild;
  const box = document.querySelector(change.at);
  if (change.value === undefined) box.click();
  else { box.value = change.value; box.dispatchEvent(new Event(change.event, {bubbles: true})); }
  while (list.firstChild === before) await new Promise(requestAnimationFrame);
  list.getBoundingClientRect();  // with its layout
  return performance.now() - start; }"""
CHANGES: dict[str, dict[str, str]] = {
    "filter: fixed by GRPO": {"at": "#compare-filter input[value=fixed_grpo]"},
    "filter: all wrong": {"at": "#compare-filter input[value=all_wrong]"},
    "cell of a matrix": {"at": '[data-cell="base>grpo:wrong>right"]'},
    "filter: all": {"at": "#compare-filter input[value=all]"},
    "search: a word": {"at": "#compare-search input", "value": "apples", "event": "input"},
    "search: emptied": {"at": "#compare-search input", "value": "", "event": "input"},
    "sort: longest": {"at": "#compare-sort select", "value": "longest", "event": "change"},
    "page 2": {"at": "#compare-page input", "value": "2", "event": "change"}}


def make(home: StudioHome) -> None:
    """A finished run with 3,957 stored answers."""
    folder, rng = RunFolder(home.runs_dir / "many-questions"), random.Random(1)
    writer = RunWriter(folder)
    folder.recipe_file.write_text(Recipe(name="Many questions").to_yaml(), encoding="utf-8")
    questions = [" ".join(rng.choices(WORDS, k=45)) + f" {i}?" for i in range(QUESTIONS)]
    for model, share in (("base", 0.2), ("sft", 0.45), ("grpo", 0.6)):
        writer.add_answers(_answers(model, share, questions, rng))
    writer.set_status(state="finished")
    writer.close()


def _answers(model: str, share: float, questions: list[str], rng: random.Random) -> Iterable[AnswerRecord]:
    for i, question in enumerate(questions):
        right = rng.random() < share
        given = str(i) if right else str(i + rng.randint(1, 50))
        words = " ".join(rng.choices(WORDS, k=rng.randint(60, 220)))
        text = f"<reasoning>\n{words}\n</reasoning>\n<answer>{given}</answer>"
        yield AnswerRecord(model, "test", SETTINGS, i, 0, question, str(i), text, given, right, right, right, True,
                           len(text) // 4, False, 0.1)


def measure(url: str, pages: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each thing, every time it was done."""
    from playwright.sync_api import sync_playwright

    times: dict[str, list[float]] = {"open": []} | {name: [] for name in CHANGES}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        for _ in range(pages):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"{url}?run=many-questions")
            page.wait_for_selector(".rs-chip")
            page.wait_for_timeout(3000)  # the page is at rest: what is measured is the tab
            times["open"].append(page.evaluate(OPEN))
            page.wait_for_selector("#compare-plot .main-svg")
            page.wait_for_timeout(1500)
            for _ in range(rounds):
                for name, change in CHANGES.items():
                    times[name].append(page.evaluate(CHANGE, change))
            page.close()
        browser.close()
    return times


def main() -> None:
    """Make, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="also write the numbers here as JSON")
    parser.add_argument("--pages", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home, log, port = StudioHome(Path(folder) / "home"), Path(folder) / "app.log", _free_port()
        make(home)
        command = [sys.executable, str(PROJECT / "app.py"), "--port", str(port), "--no-browser", "--home",
                   str(home.path)]
        with log.open("wb") as stream:
            app = subprocess.Popen(command, stdout=stream, stderr=stream)
        try:
            wait_for(f"http://127.0.0.1:{port}/", app, log)
            times = measure(f"http://127.0.0.1:{port}/", args.pages, args.rounds)
        finally:
            app.terminate()
            app.wait(20)
    result: dict[str, Any] = {"questions": QUESTIONS, "models": 3, "load": os.getloadavg()[0], "milliseconds": {
        name: {"median": round(statistics.median(found), 1), "worst": round(max(found), 1), "n": len(found)}
        for name, found in times.items()}}
    for name, found in result["milliseconds"].items():
        print(f"{name:24s} median {found['median']:7.1f} ms   worst {found['worst']:7.1f} ms   of {found['n']}")
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
