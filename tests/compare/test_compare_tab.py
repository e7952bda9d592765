"""What the Compare page asks of Python, without a browser."""

import csv
import io
import json
import sqlite3

import pytest

from pipeline.run_folder import RunReader, RunWriter
from pipeline.studio_home import StudioHome
from reasoning_ui import compare_calls, compare_data, compare_html
from reasoning_ui.compare_charts import CHARTS, figure
from reasoning_ui.compare_files import FILES

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


def call(home, function, /, **asked):
    """What the browser's `server.<name>` gives."""
    functions = {f.__name__: f for f in compare_calls.server_functions(home)}
    return functions[function]({"run": "run-1", "benchmark": "test", **asked})


def listing(home, **asked):
    return call(home, "compare_list", **asked)


def test_text_from_models_and_data_is_escaped_everywhere(home):
    found = listing(home)
    html = found["html"] + found["matrices"] + found["count"]
    assert "<script" not in html and "<img" not in html and "<b>x" not in html
    assert "&lt;script&gt;" in html and "0 &lt;b&gt;x" in html


def test_the_top_shows_table_sentences_and_filters_and_is_quiet_when_nothing_is_new(home):
    top = call(home, "compare_look")
    assert "GRPO" in top["summary"] and "very unlikely" in top["words"]
    assert ["fixed_grpo", "Fixed by GRPO", 30] in top["filters"]
    assert "60 of 60 questions" in top["list"]["count"]
    assert call(home, "compare_look", seen=top["seen"]) == {"seen": top["seen"]}


def test_answers_beyond_an_open_first_question_are_told_and_not_judged(home):
    folder = home.run("run-1")
    with sqlite3.connect(folder.database) as db:
        db.execute("DELETE FROM evaluations WHERE question_index = 0")
    writer = RunWriter(folder)
    expected = [{"model": row["model"], "benchmark": "test", "settings": row["settings"], "questions": 60, "samples": 1}
                for row in RunReader(folder).rows("SELECT DISTINCT model, settings FROM evaluations")]
    writer.set_status(evaluations=expected)
    writer.close()
    assert "the first question is still open" in call(home, "compare_look")["nothing"]


def test_new_answers_of_an_evaluation_that_goes_on_do_not_redraw_what_is_read(home, answer):
    """Base has 60 of 70: the table changes with every answer, the questions on the screen stay."""
    writer = RunWriter(home.run("run-1"))
    writer.set_status(evaluations=[e | {"questions": 70} for e in RunReader(home.run("run-1")).status()["evaluations"]])
    writer.add_answers([answer("grpo", 60, True)])
    first = call(home, "compare_look")
    writer.add_answers([answer("grpo", 61, True)])
    writer.close()
    again = call(home, "compare_look", seen=first["seen"], drawn=first["drawn"])
    assert "Not all questions are answered yet" in again["words"] and "62" in again["summary"]
    assert "list" in first and "list" not in again


def test_the_header_goes_on_to_the_export_once_the_comparison_was_looked_at(home):
    assert call(home, "compare_look")["first"] is True
    assert compare_calls.LOOKED in home.votes("run-1")
    assert call(home, "compare_look")["first"] is False


def test_pages_hold_50_questions_and_stay_in_range(home):
    found = listing(home, page=9)
    assert found["html"].count("<details class='q'") == 10
    assert "page 2 of 2" in found["count"] and (found["page"], found["pages"]) == (2, 2)


def test_a_cell_of_the_matrix_narrows_the_list(home):
    assert "30 of 60 questions · SFT wrong → GRPO right" in listing(home, cell="sft>grpo:wrong>right")["count"]


@pytest.mark.parametrize("asked", [
    {"cell": "x>y:right>wrong"}, {"page": "many"}, {"run": "no-such-run"}, {"run": "../x"}])
def test_what_a_browser_should_not_ask_is_answered_in_words(home, asked):
    assert set(listing(home, **asked)) == {"error"}


def test_a_run_without_answers_says_what_to_do(home, make_run):
    make_run({}, name="run-2")
    assert "Nothing to compare yet" in call(home, "compare_look", run="run-2")["nothing"]
    assert "Nothing to compare yet" in call(home, "compare_look", run="")["nothing"]


def test_a_long_answer_is_shortened_in_a_list_and_whole_alone(home, answer):
    folder = home.run("run-1")
    writer = RunWriter(folder)
    writer.add_answers([answer("grpo", 5, True, text="x" * 9_000)])
    writer.close()
    assert "5,000 characters left out" in listing(home)["html"]
    assert "left out" not in listing(home, search="#6")["html"]


@pytest.mark.parametrize("name", list(CHARTS))
def test_every_chart_draws_and_gives_its_numbers(home, name):
    found = compare_data.load(home.run("run-1"), "test")
    assert figure(name, found).layout.title.text == CHARTS[name][0]
    assert "data" in call(home, "compare_chart", name=name)["figure"]
    lines = list(csv.DictReader(io.StringIO(call(home, "compare_chart", name=name, csv=True)["csv"])))
    by_model = {line["series"] for line in lines}
    assert by_model == (set() if name in ("by_subject", "precision") else {"Base", "SFT", "GRPO"})


def test_the_reward_chart_holds_the_scores_of_the_recipes_rewards(home):
    """GRPO: 59 right answers of 60 score +3 by answer_exact, and one that holds no number -1.5: mean 2.925."""
    lines = list(csv.DictReader(io.StringIO(call(home, "compare_chart", name="rewards", csv=True)["csv"])))
    value = {(line["series"], line["x"]): float(line["y"]) for line in lines}
    assert value["GRPO", "answer_exact"] == pytest.approx((59 * 3 - 1.5) / 60)
    assert value["Base", "answer_numeric"] == pytest.approx(-0.5)
    assert all(float(line["low"]) <= float(line["y"]) <= float(line["high"]) for line in lines)


def test_accuracy_by_subject_is_in_the_page_and_in_the_reports(home, answer):
    writer = RunWriter(home.run("run-1"))
    writer.add_answers(answer(model, i, i < 10, subject=f"{i % 2 + 1} <steps>") for model in ("sft", "grpo")
                       for i in range(60))
    writer.close()
    assert "1 &lt;steps&gt;" in call(home, "compare_look")["words"]
    assert "1 &lt;steps&gt;" in call(home, "compare_file", name="report.html")["text"]
    assert "## Exact accuracy by subject" in call(home, "compare_file", name="report.md")["text"]


def test_the_downloads_hold_every_answer_and_no_live_markup(home):
    texts = {name: call(home, "compare_file", name=name)["text"] for name in FILES}
    csv_ = texts["answers.csv"]
    assert csv_.count("\nbase,") + csv_.count("\ngrpo,") + csv_.count("\nsft,") == 180
    document = json.loads(texts["comparison.json"])
    assert len(document["answers"]) == 180 and document["rewards"]["answer_exact"]["grpo"]["n"] == 60
    grpo = document["summary"]["grpo"]
    assert grpo["total_tokens"] == 600 and grpo["extractable"]["rate"] == 1
    for words in ("very unlikely", "```yaml", "all tokens", "extractable", "s/answer", "| answer_exact |"):
        assert words in texts["report.md"]
    html = texts["report.html"]
    assert "<img src=x" not in html and "Plotly.newPlot" in html
    assert "link to this question" not in html and "data-cell=" not in html  # they need the app
    assert "http" not in compare_html.ASSETS.joinpath("compare.css").read_text()
