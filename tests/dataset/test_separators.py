"""Answers with a dot between thousands or a comma before the decimals: asked about, in words, and never read anew."""

import json
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.dataset.examples import make_example
from pipeline.dataset.mapping import Mapping
from pipeline.dataset.report import PreparedReport
from pipeline.dataset.separators import notice_separators
from pipeline.recipe import Recipe
from pipeline.rewards.answers import same_answer
from pipeline.run import Run
from pipeline.run_folder import RunFolder, RunReader, RunWriter
from pipeline.stages.prepare import prepare
from pipeline.tags import SCHEMES
from reasoning_ui.data_html import report_html

FUEL = ["1.799", "1.859", "1.649", "1.739", "1.899"]


def report_of(answers: list[str], rule: str = "column") -> PreparedReport:
    """What the check says of rows with these answers."""
    mapping = Mapping(question="q", reasoning="w", answer="a", rule=rule)
    rows = [{"q": f"How much is it in case {i}?", "w": "It is plain to see.", "a": a} for i, a in enumerate(answers)]
    made = [make_example(i, row, mapping, SCHEMES["reasoning"], "") for i, row in enumerate(rows, 1)]
    report = PreparedReport("these")
    notice_separators([example for example in made if example is not None], report)
    return report


def rows_of(report: PreparedReport) -> dict[int, str]:
    return dict(report.noticed["separators"].rows) if "separators" in report.noticed else {}


def test_five_answers_with_three_digits_after_the_dot_and_none_with_another_number_are_asked_about():
    """The question names an answer, how it is read, how to write it, and that prices are all right."""
    report = report_of(["12", "1.234", "20.000 €", "-7.500", "€ 3.250", "**999.999 km**", "88", "1234"])
    (words,) = report.warnings
    assert words.startswith("Are 5 answers written with a dot between thousands, as in German? Here a dot begins")
    assert "1.234 (row 2) is read as a decimal, not as 1234." in words and "write 1.234 as 1234 in the data" in words
    assert words.endswith("If they are decimals, such as prices with three places, leave them.")
    assert list(rows_of(report)) == [2, 3, 4, 5, 6]
    assert rows_of(report)[3] == "20.000 is read as a decimal, not as 20000"


def test_prices_with_three_decimals_are_asked_about_and_told_to_stay():
    assert "such as prices with three places, leave them." in report_of(FUEL).warnings[0]


@pytest.mark.parametrize("other", ["2.5", "0.125", "1234.567", ".75", "3.14 m", "12345", "12,345", "1,234.5"])
def test_one_answer_of_the_other_way_of_writing_ends_the_doubt(other):
    """Another number of decimals, a zero before the dot, more than three digits there, or thousands without a dot."""
    assert report_of([*FUEL, "1/2", "x^2"]).warnings and report_of([*FUEL, "1/2", "x^2", other]).warnings == []


def test_fewer_than_five_different_ones_say_nothing():
    assert report_of([*FUEL[:4], *FUEL[:4], "7"]).warnings == []


def test_what_cannot_be_a_decimal_is_asked_about_from_two_on_with_what_is_read():
    """1.234.567 is no number here, and 1.234,5 neither: each is right in its own spelling alone. No way back to prices.
    """
    report = report_of(["1.234.567", "3", "1.234,5", "8.500", "6"])
    (words,) = report.warnings
    assert words.startswith("Are 3 answers written with a dot between thousands and a comma before the decimals, as in")
    assert "8.500 (row 4) is read as a decimal, not as 8500; 1.234.567 (row 1) is not read as a number" in words
    assert "leave them" not in words
    assert not same_answer("1234567", "1.234.567") and same_answer("1.234.567", "1.234.567")
    assert report_of(["1.234.567", "3"]).warnings == []


def test_a_slip_among_many_that_cannot_be_decimals_does_not_end_the_doubt():
    assert len(rows_of(report_of([f"{i}.000.000" for i in range(1, 22)] + ["2.5", "4.000"]))) == 22


def test_commas_before_the_decimals_are_asked_about_where_they_are_a_third_of_all():
    report = report_of([f"{i},50 €" for i in range(10)] + ["7"] * 20)
    assert "written with a comma before the decimals" in report.warnings[0]
    assert "0,50 (row 1) is not read as a number" in report.warnings[0] and "write 0,50 as 0.50" in report.warnings[0]
    assert report_of([f"{i},50 €" for i in range(10)] + ["7"] * 21).warnings == []


def test_pairs_and_lists_in_brackets_are_no_numbers():
    assert report_of([f"({i},{i + 1})" for i in range(20)] + [f"[{i},5]" for i in range(20)]).warnings == []


def test_the_rule_of_the_last_number_says_that_it_took_only_a_part():
    """Of «1.234,5» it takes the 5, of «Autos: 3 zu 1.234.567» the 3: right answers would never be rewarded."""
    report = report_of(["Das macht 1.234,5 Euro.", "Es sind 3 zu 1.234.567", "Also 12."], rule="last_number")
    assert rows_of(report) == {1: "1.234,5 is read as 5", 2: "1.234.567 is read as 3"}
    assert report_of(["It costs $1,234.50.", "So 12,000 of 3/4", "That is -5."], rule="last_number").warnings == []


def test_the_question_is_told_when_a_run_prepares_data_that_nobody_checked(tmp_path: Path):
    """In the run's events, which the terminal shows, and its log, which Live shows."""
    file = tmp_path / "prices.jsonl"
    file.write_text("".join(json.dumps({"question": f"What does house number {i} cost?", "answer": f"{i}.500"}) + "\n"
                            for i in range(1, 31)), encoding="utf-8")
    recipe = Recipe.parse({"data": {"source": str(file)}, "sft": {"enabled": False}})
    folder = RunFolder(tmp_path / "a-run")
    folder.path.mkdir()
    writer = RunWriter(folder)
    prepare(Run(folder, recipe, writer))
    writer.close()
    told = [event["text"] for event in RunReader(folder).events() if event["level"] == "warning"]
    assert any(words.startswith("Are 30 answers written with a dot between thousands") for words in told), told


def test_the_question_is_in_the_report_of_a_file_and_its_rows_can_be_opened(tmp_path: Path, capsys):
    file = tmp_path / "preise.csv"
    lines = [f'Wie viel kostet Haus Nummer {i}?,"Wir rechnen es zusammen: {i}.500 Euro.",{i}.500' for i in range(1, 31)]
    file.write_text("\n".join(["question,reasoning,answer", *lines]), encoding="utf-8")
    assert main(["data", str(file), "--json", "--out", str(tmp_path / "out"), "--home", str(tmp_path / "home")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert any(words.startswith("Are 30 answers written with a dot between") for words in document["warnings"])
    html = report_html(PreparedReport.load(tmp_path / "out" / "report.json"))
    assert "1.500 (row 1) is read as a decimal, not as 1500" in html and 'data-row="30"' in html
    assert "<b>30</b> rows kept: whose answer has a dot or comma" in html
