"""The intervals around what a run measures on its validation part."""

import pytest

from pipeline import held_out, tags
from pipeline.run_folder import CompletionRecord, GroupRecord
from reasoning_ui import charts

SCHEME = tags.SCHEMES["reasoning"]


def group(right, answers=1, total=1.0):
    """One question with so many right answers of `answers`; all are well formed."""
    text = tags.wrap(SCHEME, "1 + 1", "2")
    return GroupRecord("q", "2", [CompletionRecord(text, 10, False, {}, total, None, "2")] * answers, right)


def test_one_answer_a_question_gives_wilsons_interval():
    """10 of 200 right: Wilson 2.74 to 8.96 %; 200 of 200 well formed: 98.1 to 100 %; all lengths are equal."""
    found = held_out.bounds([group(int(i < 10)) for i in range(200)], SCHEME)
    pair = [found[f"validation_{side}/completion/exact_rate"] for side in ("low", "high")]
    assert pair == pytest.approx([0.0274, 0.0896], abs=1e-4)
    assert found["validation_low/completion/format_rate"] == pytest.approx(0.981, abs=1e-3)
    assert found["validation_low/completion/mean_tokens"] == found["validation_high/completion/mean_tokens"] == 10


def test_several_answers_a_question_count_as_one_question_not_as_many():
    """20 questions, each with all 8 answers right or none: the interval is that of about 20 tosses, not of 160."""
    found = held_out.bounds([group(8 * (i < 10), answers=8) for i in range(20)], SCHEME)
    low, high = (found[f"validation_{side}/completion/exact_rate"] for side in ("low", "high"))
    assert 0.25 < low < 0.35 and 0.65 < high < 0.75


def test_the_mean_reward_is_resampled_and_what_failed_is_left_out():
    """Rewards 0 and 2 in equal number, 100 questions: 1 ± 1.96 / 10; the one without a score does not count."""
    groups = [group(1, total=2.0 * (i % 2)) for i in range(100)] + [group(None, total=None)]
    found = held_out.bounds(groups, SCHEME)
    assert found["validation_low/reward/total"] == pytest.approx(0.804, abs=0.03)
    assert found["validation_high/reward/total"] == pytest.approx(1.196, abs=0.03)


def test_nothing_measured_has_no_bounds():
    assert held_out.bounds([], SCHEME) == {}
    assert "validation_low/completion/exact_rate" not in held_out.bounds([group(None)], SCHEME)


def test_a_chart_draws_the_bounds_of_runs_that_have_them():
    """An older run has none; a bound alone is none; the training series has none by nature."""
    keys = ["completion/exact_rate", "validation/completion/exact_rate", "validation_low/completion/exact_rate"]
    older = charts.for_keys({"grpo": keys})[0]
    assert charts.keys_of(older) == keys[:2]
    chart = charts.for_keys({"grpo": [*keys, "validation_high/completion/exact_rate"]})[0]
    assert chart["series"][1]["high"] == "validation_high/completion/exact_rate" and "low" not in chart["series"][0]
    assert charts.keys_of(chart) == [*keys, "validation_high/completion/exact_rate"]
