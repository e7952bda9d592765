"""The comparison of stored answers: numbers, words, and what it refuses."""

import json

import pytest

from pipeline import cli, cli_runs, comparison
from pipeline.comparison import answered, benchmarks, by_subject, load, result, summary, transitions
from pipeline.comparison import tests as paired_tests
from pipeline.errors import RunError
from pipeline.paired_tests import KINDS, by_kind, p_text
from pipeline.report import claims
from pipeline.run_folder import RunWriter
from pipeline.studio_home import StudioHome
from tests.compare.conftest import SETTINGS


def pattern(both, gained, lost, neither):
    """(sft, grpo) right or wrong for so many questions of each kind."""
    pairs = [(1, 1)] * both + [(0, 1)] * gained + [(1, 0)] * lost + [(0, 0)] * neither
    return [bool(a) for a, _ in pairs], [bool(b) for _, b in pairs]


def test_a_summary_counts_and_gives_wilson_intervals(make_run):
    """50 of 100 right: Wilson 40.4-59.6 %."""
    rows, expected = load(make_run({"base": [True, False] * 50}))
    values = summary(rows, expected)["base"]
    assert {k: values["exact"][k] for k in ("count", "n", "rate")} == {"count": 50, "n": 100, "rate": 0.5}
    assert (round(values["exact"]["low"], 3), round(values["exact"]["high"], 3)) == (0.404, 0.596)
    assert (values["mean_tokens"], values["total_tokens"], values["partial"]) == (10, 1000, False)


def test_a_gain_is_told_in_words_with_its_p_value(make_run):
    """41 gained, 6 lost of 300: exact McNemar p = 2 x P(X <= 6 | 47, 1/2) = 1.8e-7."""
    sft, grpo = pattern(150, 41, 6, 103)
    rows, _ = load(make_run({"sft": sft, "grpo": grpo}))
    exact = next(t for t in paired_tests(rows) if t.metric == "exact")
    assert (exact.a, exact.b, exact.gained, exact.lost, exact.n) == ("sft", "grpo", 41, 6, 300)
    assert exact.p == pytest.approx(1.77e-7, rel=0.02)
    assert exact.sentence.startswith(
        "GRPO answers 41 of 300 questions that SFT gets wrong, and loses 6 that SFT gets right: very unlikely")
    assert exact.low < 35 / 300 < exact.high


@pytest.mark.parametrize(("p", "text"), [(1.0, "1"), (0.9996, "1"), (0.0312, "0.031"), (4e-5, "4e-05"),
                                         (0.0, "1e-300 or less")])
def test_p_values_are_short_and_never_nothing(p, text):
    assert p_text(p) == text


def test_no_difference_is_claimed_without_evidence_and_the_needed_number_is_named(make_run):
    """6 gained, 4 lost of 100: 10 % discordant, so a 3-point gain needs (1.96 √.1 + .84 √(.1-.0009))²/.03² = 870."""
    sft, grpo = pattern(50, 6, 4, 40)
    rows, _ = load(make_run({"sft": sft, "grpo": grpo}))
    exact = next(t for t in paired_tests(rows) if t.metric == "exact")
    assert exact.sentence.startswith("No difference between SFT and GRPO can be claimed")
    assert 860 <= exact.needed <= 880
    assert "about 8" in exact.sentence


def test_holm_corrects_over_the_three_pairs_of_a_metric(make_run):
    base, grpo = pattern(10, 30, 0, 60)
    sft, _ = pattern(10, 30, 0, 60)
    rows, _ = load(make_run({"base": base, "sft": sft, "grpo": grpo}))
    of_exact = {(t.a, t.b): t for t in paired_tests(rows) if t.metric == "exact"}
    assert list(of_exact) == [("base", "sft"), ("base", "grpo"), ("sft", "grpo")]
    assert of_exact["base", "grpo"].p_holm == pytest.approx(3 * of_exact["base", "grpo"].p)


def test_how_many_precisions_were_tried_does_not_touch_what_is_claimed_of_training(make_run, answer):
    """SFT and GRPO alone are one pair; two smaller GRPO models make a family of three precisions, and one of two pairs
    that differ in both. 30 gained, none lost: p = 2 · 2⁻³⁰."""
    sft, grpo = pattern(10, 30, 0, 60)
    folder = make_run({"sft": sft, "grpo": grpo})
    [alone] = [t for t in paired_tests(load(folder)[0]) if t.metric == "exact"]
    assert alone.p_holm == alone.p == pytest.approx(2 * 2**-30)

    writer = RunWriter(folder)
    for name, right in (("8bit", 36), ("4bit", 20)):  # of the 40 that GRPO has right
        settings = json.dumps(json.loads(SETTINGS) | {"precision": name})
        writer.add_answers(answer("grpo", i, i < right, settings=settings) for i in range(100))
    writer.close()
    rows, _ = load(folder)
    found = [t for t in paired_tests(rows) if t.metric == "exact"]
    kinds = {(t.a, t.b): t.kind for t in found}
    assert kinds == {("sft", "grpo"): "models", ("sft", "grpo@8bit"): "both", ("sft", "grpo@4bit"): "both",
                     ("grpo", "grpo@8bit"): "precisions", ("grpo", "grpo@4bit"): "precisions",
                     ("grpo@8bit", "grpo@4bit"): "precisions"}
    assert next(t for t in found if t.kind == "models").p_holm == alone.p
    smallest = min((t for t in found if t.kind == "precisions"), key=lambda t: t.p)
    assert smallest.p_holm == pytest.approx(3 * smallest.p)
    text = claims(found)
    assert "**Exact**: which model is better" in text and "within each group and precision" in text
    assert list(by_kind(found)) == list(KINDS.values())


def test_answers_to_different_questions_are_not_paired(make_run, answer):
    from pipeline.run_folder import RunWriter
    folder = make_run({"sft": [True, True]})
    writer = RunWriter(folder)
    writer.add_answers([answer("grpo", 0, True), answer("grpo", 1, True, question="Something else?")])
    writer.close()
    with pytest.raises(RunError, match="different questions \\(question 2 is not the same\\)"):
        paired_tests(load(folder)[0])


def test_a_stopped_evaluation_is_marked_and_paired_on_what_both_answered(make_run):
    folder = make_run({"sft": [True] * 10, "grpo": [True] * 6}, expected=10)
    rows, expected = load(folder)
    assert summary(rows, expected)["grpo"]["partial"] is True
    exact = next(t for t in paired_tests(rows, expected=expected) if t.metric == "exact")
    assert exact.n == 6
    assert "GRPO was stopped after 6 of 10 questions" in exact.sentence


def test_of_a_stopped_evaluation_the_questions_before_the_first_open_one_count(make_run, answer):
    """Short answers end first, so the others that are there are no fair sample; of a whole evaluation all count."""
    folder = make_run({"sft": [True] * 10, "grpo": [True] * 4}, expected=10)
    writer = RunWriter(folder)
    writer.add_answers(answer("grpo", index, True) for index in (5, 7, 8))
    writer.close()
    rows, expected = load(folder)
    assert {row["question_index"] for row in rows if row["model"] == "grpo"} == {0, 1, 2, 3}
    assert sum(row["model"] == "sft" for row in rows) == 10
    values = summary(rows, expected)["grpo"]
    assert values["partial"] and (values["questions"], values["expected"]) == (4, 10)


def test_while_the_first_question_is_open_nothing_is_compared_and_it_is_told(make_run, answer):
    from reasoning_ui import compare_data

    folder = make_run({"grpo": []}, expected=10)
    writer = RunWriter(folder)
    writer.add_answers(answer("grpo", index, True) for index in range(1, 10))
    writer.close()
    assert load(folder)[0] == [] and compare_data.load(folder, "test") is None
    for benchmark in (None, "test"):
        with pytest.raises(RunError, match="not far enough to compare: its first question is still open"):
            answered(folder, benchmark)
    with pytest.raises(RunError, match="no answers to 'other', only to test"):
        answered(folder, "other")


def test_several_answers_a_question_keep_the_question_as_the_unit(make_run, answer):
    """4 answers to 20 questions; half of grpo's questions always right: pass@1 = 0.5, majority@4 = 0.5."""
    from pipeline.run_folder import RunWriter
    folder = make_run({})
    writer = RunWriter(folder)
    for model, right in (("sft", lambda q, s: False), ("grpo", lambda q, s: q < 10)):
        writer.add_answers(answer(model, q, right(q, s), sample=s) for q in range(20) for s in range(4))
    writer.close()
    rows, _ = load(folder)
    values = summary(rows)["grpo"]
    assert values["pass_at_k"] == {1: 0.5, 2: 0.5, 4: 0.5}
    assert values["majority_at_k"][4] == 0.5
    exact = next(t for t in paired_tests(rows) if t.metric == "exact")
    assert exact.method.startswith("exact sign-flip") and exact.p == pytest.approx(2 / 2**10)


def test_transitions_count_every_common_question_once(make_run):
    sft, grpo = pattern(5, 4, 3, 2)
    rows, _ = load(make_run({"sft": sft, "grpo": grpo}))
    assert transitions(rows, "sft", "grpo") == {
        (True, True): 5, (False, True): 4, (True, False): 3, (False, False): 2}


def test_precisions_of_one_model_are_contestants_of_their_own(make_run, answer):
    from pipeline.run_folder import RunWriter
    folder = make_run({"grpo": [True] * 4})
    writer = RunWriter(folder)
    writer.add_answers(answer("grpo", i, i < 3, settings=json.dumps({"precision": "4bit"})) for i in range(4))
    writer.close()
    assert [v["title"] for v in summary(load(folder)[0]).values()] == ["GRPO", "GRPO 4-bit"]


def test_rates_are_given_by_subject(make_run, answer):
    from pipeline.run_folder import RunWriter
    folder = make_run({})
    writer = RunWriter(folder)
    writer.add_answers(answer("sft", i, i % 2 == 0, subject=f"{i % 3 + 9} steps") for i in range(12))
    writer.close()
    rates = by_subject(load(folder)[0])
    assert list(rates) == ["9 steps", "10 steps", "11 steps"]
    assert rates["9 steps"]["sft"]["count"] == 2


def test_the_result_is_one_json_document_with_the_documented_keys(make_run):
    folder = make_run({"base": [False] * 5, "sft": [True] * 5, "grpo": [True] * 5})
    rows, expected = load(folder)
    document = json.loads(json.dumps(result(rows, expected, paired_tests(rows, expected=expected))))
    for model in ("base", "sft", "grpo"):
        for metric in ("format", "exact", "lenient"):
            assert set(document[model][metric]) == {"count", "n", "rate", "low", "high"}
    assert {"metric", "a", "b", "p", "p_holm", "sentence"} <= set(document["tests"][0])
    assert benchmarks(folder) == ["test"]


def test_a_run_without_answers_says_what_to_do(make_run):
    with pytest.raises(RunError, match="pipeline evaluate run-1"):
        answered(make_run({}))


@pytest.fixture
def compare(tmp_path, capsys):
    """compare(run) -> exit code, JSON document and text of `python -m pipeline compare RUN`."""
    def call(name):
        code = cli.main(["compare", name, "--home", str(tmp_path), "--json"])
        document = json.loads(capsys.readouterr().out)
        cli.main(["compare", name, "--home", str(tmp_path)])
        return code, document, capsys.readouterr().out
    return call


def test_compare_prints_the_table_and_the_sentences_of_one_reading(make_run, compare, monkeypatch):
    """The document's sentences are those below the table; each call reads the answers once and tests once."""
    make_run({"base": [False] * 8, "sft": [True] * 8})
    calls = []

    def counted(name):
        real = getattr(comparison, name)
        return lambda *a, **k: calls.append(name) or real(*a, **k)

    for name in ("load", "tests"):
        monkeypatch.setattr(comparison, name, counted(name))
    code, document, text = compare("run-1")
    assert code == 0 and calls == ["load", "tests"] * 2
    assert document["sft"]["exact"]["count"] == 8 and len(document["tests"]) == 3
    assert text.startswith("| model | questions |")
    assert all(test["sentence"] in text.splitlines() for test in document["tests"])


def test_compare_refuses_answers_to_different_questions_in_words(make_run, answer, compare, tmp_path, capsys):
    from pipeline.run_folder import RunWriter
    writer = RunWriter(make_run({"sft": [True]}))
    writer.add_answers([answer("grpo", 0, True, question="Something else?")])
    writer.close()
    code, document, _ = compare("run-1")
    assert code == 2 and "SFT and GRPO cannot be compared: they were asked different questions" in document["error"]
    _, words = cli_runs.comparison_or_why_not(StudioHome(tmp_path), "run-1")
    assert words == document["error"]
