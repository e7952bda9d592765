"""The Compare tab's handlers and HTML without a browser."""

from pathlib import Path

import pytest

from pipeline.run_folder import RunWriter
from pipeline.studio_home import StudioHome
from reasoning_ui import compare_data, compare_html, compare_tab
from reasoning_ui.compare_charts import CHARTS, figure
from reasoning_ui.compare_files import write_files

HOSTILE = "<reasoning>\n<script>alert(1)</script>\n</reasoning>\n<answer>\"><img src=x onerror=alert(2)></answer>"


@pytest.fixture
def home(tmp_path, make_run, answer):
    home = StudioHome(tmp_path)
    folder = make_run({"base": [False] * 60, "sft": [i % 2 == 0 for i in range(60)], "grpo": [True] * 60}, expected=60)
    writer = RunWriter(folder)
    writer.add_answers([answer("grpo", 0, False, text=HOSTILE, question="0 <b>x</b>"),
                        answer("sft", 0, True, question="0 <b>x</b>"), answer("base", 0, False, question="0 <b>x</b>")])
    writer.close()
    home.add_run("run-1", "Demo", "train", None)
    return home


def listing(home, kind="all", cell="", search="", sort="number", page=1):
    return compare_tab._listing(home, "run-1", "test", kind, cell, search, sort, page)


def test_text_from_models_and_data_is_escaped_everywhere(home):
    html = "".join(map(str, listing(home)[:3]))
    assert "<script" not in html and "<img" not in html and "<b>x" not in html
    assert "&lt;script&gt;" in html and "0 &lt;b&gt;x" in html


def test_the_top_shows_table_sentences_and_filters_and_is_quiet_when_nothing_is_new(home):
    top = compare_tab._top(home, "run-1", None, "", "", "all")
    assert "GRPO" in top[3] and "very unlikely" in top[4]
    assert ("Fixed by GRPO (30)", "fixed_grpo") in top[8]["choices"]
    again = compare_tab._top(home, "run-1", "test", top[0], "", "all")
    assert all(update.get("__type__") == "update" and len(update) == 1 for update in again)


def test_pages_hold_50_questions_and_stay_in_range(home):
    _, count, html, page = listing(home, page=9)
    assert html.count("<details class='q'") == 10
    assert "page 2 of 2" in count and page["value"] == 2


def test_a_cell_of_the_matrix_narrows_the_list(home):
    html = listing(home, cell="sft>grpo:wrong>right")
    assert "30 of 60 questions · SFT wrong → GRPO right" in html[1]


def test_a_run_without_answers_says_what_to_do(home, make_run):
    make_run({}, name="run-2")
    assert "Nothing to compare yet" in compare_tab._top(home, "run-2", None, "", "", "all")[3]
    assert "Nothing to compare yet" in compare_tab._top(home, "no-such-run", None, "", "", "all")[3]


def test_a_long_answer_is_shortened_in_a_list_and_whole_alone(home, answer):
    folder = home.run("run-1")
    writer = RunWriter(folder)
    writer.add_answers([answer("grpo", 5, True, text="x" * 9_000)])
    writer.close()
    assert "5,000 characters left out" in listing(home)[2]
    assert "left out" not in listing(home, search="#6")[2]


def test_every_chart_draws(home):
    found = compare_data.load(home.run("run-1"), "test")
    for name in CHARTS:
        assert figure(name, found).to_json()


def test_the_downloads_hold_every_answer_and_no_live_markup(home):
    csv, json_, md, page = write_files(home, "run-1", "test")
    texts = [Path(path).read_text(encoding="utf-8") for path in (csv, json_, md, page)]
    assert texts[0].count("\nbase,") + texts[0].count("\ngrpo,") + texts[0].count("\nsft,") == 180
    assert "very unlikely" in texts[2] and "```yaml" in texts[2]
    assert "<img src=x" not in texts[3] and "http" not in compare_html.ASSETS.joinpath("compare.css").read_text()
