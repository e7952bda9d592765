"""Properties of the answer check: on generated answers, and on the GSM8K references where they are at hand."""

import json
import os
import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.rewards import RewardSet
from pipeline.rewards.answers import lenient_match, settle
from pipeline.rewards.numbers import canonical, number
from pipeline.rewards.presets import PRESETS
from pipeline.tags import SCHEMES, wrap

SAMPLE = ["18", "3", "70000", "540", "1,450", "-7", "0", "64", "5.25", "125,000", "33.5", "460", "1.5", "0.5", "9,999"]
NASTY = st.text(alphabet=st.sampled_from(list("0123456789,.-+$€%\\{}()[]<>/=^_* abxe\u2212\u00a0\nfracboxtsqr|~!'\"")),
                max_size=60)


def spellings(reference: str) -> list[str]:
    """Five ways in which a model may write the same number."""
    plain = reference.replace(",", "")
    whole = "." not in plain
    return [plain, f"${reference}", f"{plain}.0" if whole else f"{plain}0", f"**{reference}**.",
            rf"\boxed{{{reference}}}", f"{plain} dollars"]


def check(reference: str) -> None:
    for spelling in spellings(reference):
        assert settle(spelling, reference) is True, (spelling, reference)
    value = Fraction(reference.replace(",", ""))
    for neighbour in (value + 1, value - 1):
        text = str(neighbour) if neighbour.denominator == 1 else str(float(neighbour))
        assert settle(text, reference) is False, (text, reference)
    assert settle(f"the answer {reference} is not right but 7777777 is", reference) is False


@pytest.mark.parametrize("reference", SAMPLE)
def test_a_reference_equals_itself_in_six_spellings_and_not_its_neighbours(reference: str) -> None:
    check(reference)


def test_all_gsm8k_references_equal_themselves_and_not_their_neighbours() -> None:
    folder = Path(os.environ.get("REASONING_STUDIO_DATA", "/nonexistent")) / "gsm8k"
    if not folder.is_dir():
        pytest.skip("set REASONING_STUDIO_DATA to a folder with gsm8k/train.jsonl and gsm8k/test.jsonl")
    answers = [json.loads(line)["answer"] for part in ("train", "test")
               for line in (folder / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()]
    references = [answer.rsplit("#### ", 1)[1].strip() for answer in answers]
    assert len(references) == 8792
    for reference in references:
        check(reference)
    solutions = sum(lenient_match(answer, ref) for answer, ref in zip(answers, references, strict=True))
    assert solutions == 8792


@given(st.integers(-10**15, 10**15))
@settings(deadline=None)
def test_whole_numbers_equal_their_spellings_and_nothing_else(n: int) -> None:
    for spelling in (f"{n:,}", f"{n}.0", f"${n}", f"{n} apples", rf"\text{{{n}}}", str(n).replace("-", "\u2212")):
        same = number(spelling)
        assert same is not None and same.value == n
    rounded = number(f"{n:e}")
    assert rounded is not None and rounded.value == Fraction(f"{n:e}")
    assert settle(str(n), f"{n:,}") is True
    assert settle(str(n + 1), str(n)) is False and settle(str(-n - 1), str(n)) is (-n - 1 == n)


@given(st.integers(-999, 999), st.integers(1, 999))
@settings(deadline=None)
def test_fractions_are_compared_by_value(a: int, b: int) -> None:
    assert settle(rf"\frac{{{a}}}{{{b}}}", f"{a}/{b}") is True
    assert settle(f"{2 * a}/{2 * b}", f"{a}/{b}") is True
    assert settle(f"{a}/{b}", f"{a + b}/{b}") is False


@given(NASTY, NASTY)
@settings(deadline=None, max_examples=400)
def test_the_cheap_comparison_never_raises_and_is_symmetric(a: str, b: str) -> None:
    assert settle(a, b) == settle(b, a)
    assert settle(a, a) is bool(canonical(a))


@given(st.text(max_size=300), st.one_of(st.none(), st.text(max_size=40)), st.sampled_from(list(SCHEMES)))
@settings(deadline=None, max_examples=150)
def test_no_text_makes_a_preset_raise_or_leave_its_range(text: str, reference: str | None, scheme: str) -> None:
    """Every total lies in the possible range (0 added for what could not be scored)."""
    tag = SCHEMES[scheme]
    for name in ("seed", "structured", "short"):
        with RewardSet(PRESETS[name].step, tag) as rewards:
            low, high = rewards.possible_range
            completions = [text, text + tag.answer_open + text + tag.answer_close, wrap(tag, text, text)]
            scores = rewards.score(completions, [reference] * 3, [""] * 3)
            for total in scores.totals:
                assert total is None or min(low, 0) - 1e-9 <= total <= max(high, 0) + 1e-9
            for i in range(3):
                assert all(isinstance(reason, str) for _, _, _, reason in scores.explain(i))


def test_numbers_that_only_appear_in_the_text_are_never_the_answer() -> None:
    for text in ("I counted 7, then 42", "42 is not it", "between 41 and 43: 42", "x42", "42abc!!", "4 2", "(42"):
        assert settle(text, "42") is not True or re.fullmatch(r"\W*42\W*", text), text
