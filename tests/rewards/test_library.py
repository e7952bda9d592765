"""Edge cases of every reward in the library beyond its examples, and the library's own completeness."""

import contextlib
import json
import time
from typing import Any

import jsonschema
import pytest

from pipeline.errors import RewardError
from pipeline.recipe import RewardSpec, RewardsStep
from pipeline.rewards import LIBRARY, RewardSet
from pipeline.rewards.mutants import bench, mutants
from pipeline.rewards.presets import PRESETS
from pipeline.rewards.probes import gaming_check, probes
from pipeline.rewards.schema import misfit
from pipeline.tags import SCHEMES, wrap

SCHEME = SCHEMES["reasoning"]
WANTED = {"format_exact", "format_approximate", "answer_exact", "answer_numeric", "math_equal", "multiple_choice",
          "text_match", "json_valid", "json_schema", "length_target", "overlong", "repetition", "reasoning_length",
          "arithmetic", "forbidden_words", "custom"}


def score(kind: str, text: str, reference: str | None = "42", tokens: int | None = None, truncated: bool = False,
          **parameters: Any) -> float | None:
    with RewardSet(RewardsStep(functions=[RewardSpec(kind=kind, parameters=parameters)]), SCHEME) as rewards:
        counts = None if tokens is None else [tokens]
        got = rewards.score([text], [reference], [""], tokens=counts, truncated=[truncated])
        return got.raw[kind][0]


def answer(text: str) -> str:
    return wrap(SCHEME, "I think.", text)


def test_the_library_is_complete_and_every_parameter_is_explained() -> None:
    assert set(LIBRARY) == WANTED
    for kind in LIBRARY.values():
        assert kind.sentence.endswith(".") and len(kind.examples) >= 2 and kind.range[0] <= kind.range[1]
        for name, field in kind.parameters.model_fields.items():
            assert field.title and field.description and field.description.endswith("."), (kind.kind, name)


@pytest.mark.parametrize(("kind", "text", "reference", "parameters", "expected"), [
    ("answer_numeric", answer("43"), "42", {"absolute_tolerance": 1}, 1.5),
    ("answer_numeric", answer("43"), "42", {"near_band": 0.2, "near": 0.5}, 0.5),
    ("answer_numeric", answer("60"), "42", {"near_band": 0.2, "near": 0.5}, -0.5),
    ("answer_numeric", answer("$42"), "42", {"units": "refuse"}, -0.5),
    ("answer_numeric", answer("5 cm"), "5 km", {}, -0.5),
    ("answer_numeric", answer("0.001"), "0", {"absolute_tolerance": 0.01}, 1.5),
    ("math_equal", answer("3, 1, 2"), "1, 2, 3", {}, 1.0), ("math_equal", answer("(3, 1)"), "(1, 3)", {}, 0.0),
    ("math_equal", answer(r"x \in [0, 1)"), "[0,1)", {}, 1.0),
    ("math_equal", answer("y = 2x + 1"), "y = 1 + 2x", {}, 1.0),
    ("multiple_choice", answer("b"), "(B)", {}, 1.0), ("multiple_choice", answer("Option B: Paris"), "B", {}, 1.0),
    ("multiple_choice", answer(r"\text{(B)}"), "B", {}, 1.0), ("multiple_choice", answer("Both"), "B", {}, 0.0),
    ("multiple_choice", answer("A cat"), "A", {}, 0.0), ("multiple_choice", answer("E"), "B", {}, 0.0),
    ("multiple_choice", answer("E"), "E", {"options": 5}, 1.0), ("multiple_choice", answer("B"), "Paris", {}, None),
    ("multiple_choice", answer("A B C D"), "B", {}, 0.0),
    ("text_match", answer("PARIS"), "Paris", {"ignore_case": False}, 0.0),
    ("text_match", answer("in Paris"), "Paris", {"mode": "contains"}, 1.0),
    ("text_match", answer("x"), None, {}, None), ("text_match", "nothing", "x", {}, 0.0),
    ("text_match", answer("ab12"), None, {"mode": "regex", "expected": r"^[a-z]+\d+$"}, 1.0),
    ("json_valid", answer("[1, 2]"), None, {}, 1.0), ("json_valid", answer("5"), None, {"objects_only": False}, 1.0),
    ("json_valid", answer('```json\n{"a": 1}\n```'), None, {}, 1.0), ("json_valid", answer("[" * 9000), None, {}, 0.0),
    ("json_valid", answer("{}" + "x" * 30_000), None, {}, 0.0),
    ("json_schema", answer('{"a": "xyz"}'), None, {"schema_text": '{"properties": {"a": {"pattern": "^x"}}}'}, 1.0),
    ("json_schema", answer('{"a": "abc"}'), None, {"schema_text": '{"properties": {"a": {"pattern": "^x"}}}'}, 0.0),
    ("forbidden_words", "wait wait wait wait wait", None, {"words": ["wait"]}, -2.0),
    ("forbidden_words", "waiting await", None, {"words": ["wait"]}, 0.0),
    ("repetition", "a b c d e f g h i j k l", None, {}, 0.0), ("repetition", "", None, {}, 0.0),
    ("reasoning_length", answer("1"), None, {"enough": 2}, 1.0)])
def test_rewards_score_their_edge_cases(kind: str, text: str, reference: str | None, parameters: dict[str, Any],
                                        expected: float | None) -> None:
    assert score(kind, text, reference, **parameters) == expected


@pytest.mark.parametrize(("tokens", "expected"), [(10, 0.9), (20, 1.0), (200, 1.0), (250, 0.5), (999, 0.0)])
def test_a_length_target_falls_in_a_straight_line(tokens: int, expected: float) -> None:
    """From 20 to 200 full, then 1/100 a token: 10 is 10 short (0.9), 250 is 50 over (0.5)."""
    assert score("length_target", "x", tokens=tokens) == pytest.approx(expected)


@pytest.mark.parametrize(("tokens", "cut", "expected"), [
    (100, False, 0.0), (384, False, 0.0), (448, False, -0.5), (512, False, -1.0), (600, False, -1.0),
    (100, True, -1.0)])
def test_overlong_answers_are_punished_softly(tokens: int, cut: bool, expected: float) -> None:
    """Limit 512, buffer 128: nothing up to 384, half of it at 448."""
    assert score("overlong", "x", tokens=tokens, truncated=cut) == pytest.approx(expected)


@pytest.mark.parametrize(("kind", "text", "parameters"), [
    ("text_match", answer("a" * 5000 + "b"), {"mode": "regex", "expected": "(a|aa)+$"}),
    ("json_schema", answer('{"a": "' + "a" * 5000 + 'b"}'),
     {"schema_text": '{"properties": {"a": {"pattern": "^(a|aa)+$"}}}'})])
def test_a_pattern_that_back_tracks_is_stopped(kind: str, text: str, parameters: dict[str, Any]) -> None:
    started = time.monotonic()
    assert score(kind, text, None, **parameters) in (None, 0.0)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(("kind", "parameters", "words"), [
    ("text_match", {"mode": "regex", "expected": "("}, "not a regular expression"),
    ("json_schema", {"schema_text": "{"}, "not valid JSON"), ("json_schema", {"schema_text": "[]"}, "JSON object"),
    ("json_schema", {"schema_text": '{"type": "nonsense"}'}, "schema is wrong"),
    ("json_schema", {"schema_text": '{"patternProperties": {"(": {}}}'}, "not a regular expression"),
    ("json_schema", {"schema_text": '{"properties": {"a": {"pattern": "["}}}'}, "not a regular expression"),
    ("json_schema", {"schema_text": '{"patternProperties": {"^x": {}}, "unevaluatedProperties": false}'},
     "cannot be used together"),
    ("overlong", {"limit": 100, "buffer": 100}, "does not fit"), ("length_target", {"shortest": 300}, "empty"),
    ("answer_exact", {"exact": float("nan")}, "exact"), ("multiple_choice", {"options": 99}, "options")])
def test_wrong_parameters_are_refused_in_words(kind: str, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(RewardError, match=words):
        RewardSet(RewardsStep(functions=[RewardSpec(kind=kind, parameters=parameters)]), SCHEME)


LONG = {
    "a word": "a" * 200_000, "the same words": "so it is " * 25_000, "opening tags": "<reasoning>" * 20_000,
    "blocks": "<reasoning></reasoning><answer>1</answer>" * 5000, "many answers":
    "".join(f"<answer>{i}+x</answer>" for i in range(10_000)), "nested tags": "<answer>" * 9000 + "</answer>" * 9000,
    "nested brackets": answer("[" * 100_000), "nested objects": answer('{"a":' * 3000 + "1" + "}" * 3000),
    "digits": answer("1" * 200_000), "numbers": answer("1 " * 100_000), "spaces": " " * 200_000, "boxes":
    r"\boxed{" * 30_000, "letters": answer("B " * 100_000), "signs": "<" * 200_000, "forbidden": "I cannot " * 20_000}
WAYS: dict[str, list[dict[str, Any]]] = {
    "text_match": [{"mode": m, "where": w} for m in ("exact", "contains") for w in ("completion", "reasoning")],
    **{key: [{"several": s} for s in ("last", "agree")] for key in ("answer_exact", "answer_numeric", "math_equal")}}


@pytest.mark.parametrize("name", LONG)
def test_no_completion_takes_a_reward_long(name: str) -> None:
    """200,000 characters, tags nested and repeated: 0.1 s of processor time at most, the better of two tries."""
    for scheme in ("reasoning", "boxed"):
        for kind in WANTED - {"custom"}:
            for parameters in WAYS.get(kind, [{}]):
                step = RewardsStep(functions=[RewardSpec(kind=kind, parameters=parameters)])
                with RewardSet(step, SCHEMES[scheme]) as rewards:
                    tries: list[float] = []
                    while len(tries) < 2 and (not tries or min(tries) >= 0.1):
                        used = time.thread_time()
                        rewards.score([LONG[name]], ["7"], ["What is 6 + 1?"])
                        tries.append(time.thread_time() - used)
                assert min(tries) < 0.1, (kind, parameters)


NAMES = {"patternProperties": {"^x_": {"type": "integer"}}, "properties": {"id": {}}, "additionalProperties": False}


@pytest.mark.parametrize(("schema", "document", "fits"), [
    (NAMES, {"x_a": 1, "id": "b"}, True), (NAMES, {"x_a": "1"}, False), (NAMES, {"y": 1}, False), (NAMES, {}, True),
    ({"additionalProperties": {"type": "string"}, "patternProperties": {"^n": {}}}, {"n": 1, "t": "x"}, True),
    ({"additionalProperties": {"type": "string"}}, {"t": 1}, False),
    ({"uniqueItems": True}, [1, True, "1", [1], {"a": 1}, {"a": True}], True), ({"uniqueItems": True}, [1, 1.0], False),
    ({"uniqueItems": True}, [{"a": 1, "b": [2]}, {"b": [2], "a": 1}], False), ({"uniqueItems": False}, [1, 1], True),
    ({"unevaluatedProperties": False, "properties": {"a": {}}}, {"b": 1}, False),
    ({"anyOf": [{"type": "string"}, {"minimum": 3}]}, 2, False), ({"type": ["object", "null"]}, None, True)])
def test_documents_fit_a_schema_as_the_library_says(schema: dict[str, Any], document: Any, fits: bool) -> None:
    """The same verdict as jsonschema's own validator, also for the keywords that we replace."""
    assert jsonschema.Draft202012Validator(schema).is_valid(document) is fits
    assert (misfit(json.dumps(schema), document) is None) is fits


@pytest.mark.parametrize(("schema", "document"), [
    ({"uniqueItems": True}, [{"a": i} for i in range(1800)]),
    ({"patternProperties": {"^(a|aa)+$": {}}}, {"a" * 40 + f"b{i}": 1 for i in range(400)}),
    ({"items": {"pattern": "(x+x+)+y"}}, ["x" * 30] * 600),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"anyOf": [{"$ref": "#/$defs/a"}] * 9 + [{"type": "null"}]}}}},
     json.loads("[" * 40 + "1" + "]" * 40))], ids=["unique", "names", "patterns", "recursion"])
def test_no_document_takes_long_to_check(schema: dict[str, Any], document: Any) -> None:
    """0.1 s of processor time at most; 0.08 s is where the check gives up."""
    text = json.dumps(schema)
    with contextlib.suppress(TimeoutError):
        misfit(text, 1)  # the schema is read once for a whole run
    used = time.thread_time()
    with contextlib.suppress(TimeoutError):
        misfit(text, document)
    assert time.thread_time() - used < 0.1


def test_a_schema_that_points_elsewhere_fetches_nothing() -> None:
    assert score("json_schema", answer("{}"), None, schema_text='{"$ref": "http://127.0.0.1:1/x.json"}') is None


def test_a_reward_that_raises_is_none_and_the_batch_goes_on() -> None:
    deep = '{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}'
    assert score("json_schema", answer("{}"), None, schema_text=deep) is None


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("preset", ["seed", "r1", "short"])
def test_presets_for_answers_catch_every_mutant_and_every_probe(scheme: str, preset: str) -> None:
    with RewardSet(PRESETS[preset].step, SCHEMES[scheme]) as rewards:
        found = bench(rewards, wrap(SCHEMES[scheme], "6 boxes of 7 are 42.", "42"), "42", "6 boxes of 7?")
        assert found.sentences == []
        assert gaming_check(rewards, "Tom has 6 boxes of 7 pens. How many?", "42").warnings == []


@pytest.mark.parametrize("reference", ["42", "1,234.5", "B", "Paris", r"\frac{1}{2}", "x+1", "-3", "0"])
def test_the_wrong_answers_of_mutants_and_probes_are_wrong(reference: str) -> None:
    with RewardSet(PRESETS["r1"].step, SCHEME) as rewards:
        found = bench(rewards, wrap(SCHEME, "So.", reference), reference, "?")
        totals = dict(zip([m.name for m in found.mutants], found.scores.totals, strict=True))
        assert totals["original"] == 2.0 and totals["wrong answer"] == 1.0
        assert gaming_check(rewards, "What?", reference).warnings == []


def test_a_format_reward_alone_is_found_out() -> None:
    step = RewardsStep(functions=[RewardSpec(kind="format_exact")])
    with RewardSet(step, SCHEME) as rewards:
        found = bench(rewards, wrap(SCHEME, "So.", "42"), "42", "?")
        assert {"wrong answer", "right answer outside its tag"} <= {m.name for m in found.gaps}
        assert any("wrong answer" in s and "no reward notices" in s for s in found.sentences)
        warnings = gaming_check(rewards, "How many?", "42").warnings
        assert "worth as much as a right one" in warnings[0]
        assert any("every number from 0 to 999" in w for w in warnings)


def test_a_reward_for_a_number_anywhere_is_found_out() -> None:
    step = RewardsStep(functions=[RewardSpec(kind="text_match", parameters={"mode": "contains"})])
    with RewardSet(step, SCHEME) as rewards:
        warnings = gaming_check(rewards, "How many?", "42").warnings
        assert any("every number from 0 to 999" in w and "honest right answer" in w for w in warnings)


def test_a_true_equation_about_nothing_is_found_out_where_it_pays() -> None:
    """What a small model learnt from it: docs/gpu-benchmarks.md."""
    for only_right in (True, False):
        step = RewardsStep(functions=[RewardSpec(kind="math_equal"),
                                      RewardSpec(kind="arithmetic", parameters={"only_right": only_right})])
        with RewardSet(step, SCHEME) as rewards:
            warnings = gaming_check(rewards, "How many?", "42").warnings
        assert any("a true equation about nothing" in w for w in warnings) is not only_right


def test_mutants_cover_the_ways_in_which_answers_go_wrong() -> None:
    names = " ".join(m.name for m in mutants(SCHEME, wrap(SCHEME, "So.", "42"), "42"))
    for word in ("missing", "doubled", "misspelt", "before the reasoning", "wrong answer", "outside its tag", "cut off",
                 "empty", "spam"):
        assert word in names
    assert len(probes(SCHEME, "How many?", "42")) == 10


def test_presets_can_be_saved_and_loaded() -> None:
    for preset in PRESETS.values():
        assert RewardsStep.model_validate(preset.step.model_dump(mode="json")) == preset.step
        with RewardSet(preset.step, SCHEME) as rewards:
            assert rewards.possible_range[1] > 0
