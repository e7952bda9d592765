"""Quantisation levels of one model: the table, and the recommendation word for word."""

import json

import pytest

from pipeline import report
from pipeline.comparison import load
from pipeline.comparison import tests as paired_tests
from pipeline.run_folder import RunWriter


@pytest.fixture
def levels(make_run, answer):
    """levels(right8, right4): GRPO right on all but the last 10 of 400 questions, and so at 8 and 4 bits."""
    def make(right8, right4, facts=True):
        folder, entries = make_run({}), []
        writer = RunWriter(folder)
        for precision, right, size in (("16bit", range(390), 8e6), ("8bit", right8, 4e6), ("4bit", right4, 2e6)):
            settings = json.dumps({"precision": precision})
            writer.add_answers(answer("grpo", i, i in right, settings=settings) for i in range(400))
            entries.append({"model": "grpo", "benchmark": "test", "settings": settings, "questions": 400, "samples": 1})
            if facts:
                entries[-1] |= {"bytes": int(size), "peak_bytes": int(9e8 + size), "level_seconds": size / 1e8,
                                "method": {"16bit": "16-bit", "8bit": "bitsandbytes int8", "4bit": "bitsandbytes nf4"}[
                                    precision]}
        writer.set_status(evaluations=entries)
        writer.close()
        rows, expected = load(folder)
        return rows, paired_tests(rows, expected=expected), expected
    return make


def test_the_smallest_level_without_a_loss_is_recommended_with_its_size(levels):
    """4-bit agrees with 16-bit on every question: no points lost."""
    assert report.recommendation(*levels(range(390), range(390))) == (
        "Use GRPO 4-bit: 97.5 % against 97.5 % at 16-bit, at most 0.0 points lost with 95 % confidence "
        "(2.0 instead of 8.0 MB, bitsandbytes nf4).")


def test_a_level_that_loses_significantly_is_passed_over(levels):
    """4-bit loses 60 of 390; 8-bit loses one (0.25 points; the bootstrap of 1 in 400 reaches 0.75)."""
    text = report.recommendation(*levels(range(389), range(330)))
    assert text.startswith("Use GRPO 8-bit: 97.2 % against 97.5 % at 16-bit, at most 0.8 points lost with 95 %")
    assert "(4.0 instead of 8.0 MB, bitsandbytes int8)" in text


def test_where_every_level_loses_16_bit_stays(levels):
    assert report.recommendation(*levels(range(300), range(200))) == (
        "Stay with GRPO at 16-bit: every smaller level answers significantly fewer questions.")


def test_too_few_questions_ask_for_more_before_a_choice(make_run, answer):
    """20 questions, 4-bit loses 2 and gains 1: not significant, but 20 points may be lost."""
    folder = make_run({})
    writer = RunWriter(folder)
    for precision, right in (("16bit", range(18)), ("4bit", [*range(16), 19])):
        settings = json.dumps({"precision": precision})
        writer.add_answers(answer("grpo", i, i in right, settings=settings) for i in range(20))
    writer.close()
    rows, expected = load(folder)
    text = report.recommendation(rows, paired_tests(rows, expected=expected), expected)
    assert text.startswith("GRPO 4-bit shows no certain loss (85.0 % against 90.0 % at 16-bit), but a loss of up to ")
    assert text.endswith("points cannot be ruled out with 20 questions: evaluate more of them before you choose it.")


def test_one_level_alone_needs_no_recommendation(make_run):
    rows, expected = load(make_run({"sft": [True], "grpo": [True]}))
    assert report.recommendation(rows, paired_tests(rows), expected) == report.level_table(rows, expected) == ""


def test_the_table_names_method_size_memory_and_speed(levels):
    rows, _, expected = levels(range(390), range(330))
    lines = report.level_table(rows, expected).splitlines()
    assert lines[0] == "| level | method | exact | weights | peak memory | s/answer |"
    assert lines[2].startswith("| GRPO 16-bit | 16-bit | 97.5 % (95.5–98.6) | 8.0 MB | 908.0 MB | 0.080 |")
    assert lines[4].startswith("| GRPO 4-bit | bitsandbytes nf4 | 82.5 % ") and lines[4].endswith("902.0 MB | 0.020 |")
    unknown = report.level_table(*levels(range(390), range(390), facts=False)[::2])
    assert "| GRPO 8-bit | 8bit | 97.5 % (95.5–98.6) | – | – | 0.010 |" in unknown
