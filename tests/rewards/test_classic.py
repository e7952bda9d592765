"""The four classic rewards, the reward set and its range, and the examples of the whole library."""

import pytest

from pipeline.errors import RewardError
from pipeline.recipe import RewardSpec, RewardsStep
from pipeline.rewards import LIBRARY, RewardSet
from pipeline.rewards.base import Item
from pipeline.tags import SCHEMES, TagScheme, extract

SCHEME = SCHEMES["reasoning"]
GOOD = "<reasoning>\n6 x 7 = 42\n</reasoning>\n<answer>42</answer>"


def score(text: str, reference: str | None = "42", scheme: TagScheme = SCHEME, **kind: dict) -> dict[str, float | None]:
    specs = [RewardSpec(kind=k, parameters=p) for k, p in kind.items()] or RewardsStep().functions
    with RewardSet(RewardsStep(functions=specs), scheme) as rewards:
        return {label: values[0] for label, values in rewards.score([text], [reference], ["6 x 7?"]).raw.items()}


@pytest.mark.parametrize("kind", LIBRARY)
def test_examples_score_what_the_library_says_and_stay_in_range(kind: str) -> None:
    entry = LIBRARY[kind]
    for example in entry.examples:
        parameters = entry.parameters.model_validate(example.parameters or {})
        value, reason = entry.score(Item(example.completion, example.reference, "", SCHEME), parameters)
        low, high = entry.bounds(parameters, SCHEME)
        assert value == pytest.approx(example.score), example
        assert low <= example.score <= high
        assert reason if isinstance(reason, str) else reason()


def test_a_good_answer_gets_the_classic_scores() -> None:
    """+3 format, 4 tags x 0.5, +3 exact answer, +1.5 number: 9.5 in all."""
    with RewardSet(RewardsStep(), SCHEME) as rewards:
        scores = rewards.score([GOOD], ["42"], ["6 x 7?"])
        assert {k: v[0] for k, v in scores.raw.items()} == {
            "format_exact": 3.0, "format_approximate": 2.0, "answer_exact": 3.0, "answer_numeric": 1.5}
        assert scores.totals == [9.5]
        assert scores.extracted == ["42"]
        assert rewards.possible_range == (-6.0, 9.5)


@pytest.mark.parametrize(("answer", "expected"), [
    ("42", (3.0, 1.5)), (" 42 ", (1.5, 1.5)), ("42.0", (1.5, 1.5)), ("$42", (1.5, 1.5)), ("45", (1.0, -0.5)),
    ("38", (1.0, -0.5)), ("50", (0.5, -0.5)), ("7", (-1.5, -0.5)), ("cat", (-1.5, -0.5)), ("-42", (-1.5, -0.5)),
    ("42 or 43", (-1.5, -0.5)), ("It is 42.", (-1.5, 1.5)), ("0 1 2 3 42", (-1.5, -0.5))])
def test_answers_get_the_classic_bands(answer: str, expected: tuple[float, float]) -> None:
    """10 % of 42 is 4.2 and 20 % is 8.4: 45 and 38 are within 10 %, 50 within 20 %, 7 is wrong."""
    got = score(GOOD.replace("<answer>42", f"<answer>{answer}"))
    assert (got["answer_exact"], got["answer_numeric"]) == expected


@pytest.mark.parametrize("text", ["42", "", "<answer>42", "<answer></answer>", "it is 42", "</answer>42<answer>"])
def test_without_a_closed_answer_the_answer_rewards_stay_neutral(text: str) -> None:
    got = score(text)
    assert (got["answer_exact"], got["answer_numeric"], got["format_exact"]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("text", "expected"), [
    (GOOD, 2.0), ("", -4.0), (GOOD + "</answer>", 0.5), (GOOD.replace("<reasoning>", ""), 0.5),
    ("<answer>1</answer><reasoning>2</reasoning>", 2.0), (GOOD + GOOD, -4.0)])
def test_approximate_format_counts_every_tag(text: str, expected: float) -> None:
    """0.5 for a tag seen once, -1 for one that is missing or repeated: 3 x 0.5 - 1 = 0.5 with one tag wrong."""
    assert score(text)["format_approximate"] == expected


def test_the_order_of_tags_can_be_penalised() -> None:
    text = "<answer>1</answer><reasoning>2</reasoning>"
    assert score(text, format_approximate={"out_of_order": -1.0})["format_approximate"] == 1.0


def test_the_last_answer_counts_unless_told_otherwise() -> None:
    text = GOOD.replace("42</answer>", "7</answer>") + "<answer>42</answer>"
    assert score(text)["answer_exact"] == 3.0 and extract(SCHEME, text) == "42"
    assert score(text, answer_exact={"several": "wrong"})["answer_exact"] == -1.5
    assert score(text, answer_exact={"several": "agree"})["answer_exact"] == -1.5
    assert score(GOOD + "<answer>42.0</answer>", answer_exact={"several": "agree"})["answer_exact"] == 1.5


def test_the_reasoning_does_not_count_as_an_answer() -> None:
    got = score("<reasoning>the answer is 42</reasoning><answer>41</answer>")
    assert got["answer_exact"] == 1.0 and got["answer_numeric"] == -0.5


def test_a_box_is_an_answer_too() -> None:
    got = score(r"so \boxed{42}", scheme=SCHEMES["boxed"])
    assert got == {"format_exact": 3.0, "format_approximate": 0.5, "answer_exact": 3.0, "answer_numeric": 1.5}


def test_an_answer_that_cannot_be_scored_is_none_and_counted() -> None:
    with RewardSet(RewardsStep(), SCHEME) as rewards:
        scores = rewards.score([GOOD, GOOD], [None, "a cat"], ["", ""])
        assert scores.raw["answer_exact"] == [None, -1.5]
        assert scores.raw["answer_numeric"] == [None, None]
        assert scores.totals == [5.0, 3.5]
        assert rewards.failed["answer_numeric"] == 2 and len(scores.failures["answer_numeric"]) == 2


def test_scores_say_why() -> None:
    with RewardSet(RewardsStep(), SCHEME) as rewards:
        scores = rewards.score([GOOD + "</answer>"], ["42"], [""])
        why = {label: reason for label, _, _, reason in scores.explain(0)}
        assert "</answer> appears twice: -1" in why["format_approximate"]
        assert why["format_exact"] == "</answer> appears 2 times"


def test_weights_names_and_switches_are_obeyed() -> None:
    step = RewardsStep(functions=[RewardSpec(kind="format_exact", name="shape", weight=2),
                                  RewardSpec(kind="answer_exact", enabled=False)])
    with RewardSet(step, SCHEME) as rewards:
        scores = rewards.score([GOOD], ["42"], [""])
        assert rewards.labels == ["shape"] and scores.totals == [6.0]
        assert scores.explain(0)[0][:3] == ("shape", 3.0, 6.0)
        assert rewards.possible_range == (0.0, 6.0)


@pytest.mark.parametrize(("spec", "words"), [
    ({"kind": "nonsense"}, "Known are"), ({"kind": "format_exact", "parameters": {"rigth": 1}}, "right"),
    ({"kind": "format_exact", "parameters": {"right": "much"}}, "right:")])
def test_a_wrong_reward_is_refused_in_words(spec: dict, words: str) -> None:
    with pytest.raises(RewardError, match=words):
        RewardSet(RewardsStep(functions=[RewardSpec(**spec)]), SCHEME)
