"""Several seeds of one recipe: which runs belong together, and what they say, against sums done by hand."""

import json
from html import escape
from math import sqrt
from unittest.mock import Mock

import pytest

from pipeline import cli, jobs, run_queue, seeds
from pipeline.comparison import load
from pipeline.errors import EngineError
from pipeline.export_card import card
from pipeline.owned_home import OwnedHome, Visitor
from pipeline.recipe import GrpoStep, Recipe
from pipeline.run_folder import RunWriter
from pipeline.run_state import RunState
from pipeline.seeds import another_seed, over_seeds, siblings, summed
from pipeline.statistics import bootstrap_mean, bootstrap_ratio
from pipeline.studio_home import StudioHome
from reasoning_ui import compare_calls
from tests.compare.conftest import SETTINGS


@pytest.fixture
def home(tmp_path):
    return StudioHome(tmp_path)


def of(seed, name="A run", **steps):
    return Recipe(seed=seed, name=name, **steps)


def ids(home, run):
    return {folder.id: seed for folder, seed in siblings(home, run)}


def pairs(home, run="run-1"):
    return {(pair.a, pair.b): pair for pair in over_seeds(home, run, *load(home.run(run)))}


def test_siblings_differ_in_name_seed_and_evaluation_alone_and_each_seed_counts_once(home, make_run):
    make_run({}, name="run-1", recipe=of(1))
    make_run({}, name="run-2", recipe=of(2, "Another name", evaluate={"limit": 7}))
    make_run({}, name="run-3", recipe=of(1, "The same again"))
    make_run({}, name="run-4", recipe=of(3, grpo=GrpoStep(learning_rate=1e-4)))
    make_run({}, name="run-5", recipe=of(5)).recipe_file.write_text("seed: [")
    make_run({}, name="run-6", recipe=of(6))
    assert ids(home, "run-1") == {"run-2": 2, "run-6": 6}
    home.write("UPDATE runs SET deleted = 1 WHERE id = 'run-6'")
    assert ids(home, "run-1") == {"run-2": 2}
    assert ids(home, "run-4") == ids(home, "run-5") == {}


def test_two_seeds_on_the_same_questions_are_summed_question_by_question(home, make_run):
    """Ten questions. Seed 1 gains 0-3 and loses 4: +0.3. Seed 2 gains 0 and 1: +0.2. Sums of the questions: 2, 2, 1, 1,
    -1, and five zeros. Of the 2^5 sign flips those with |sum| >= 5: all + or - (7), or one 1 flipped (5), 3 of each
    sign: p = 2 * (1 + 3) / 32."""
    make_run({"sft": [False] * 4 + [True] + [False] * 5, "grpo": [True] * 4 + [False] * 6}, recipe=of(1))
    make_run({"sft": [False] * 10, "grpo": [True] * 2 + [False] * 8}, name="run-2", recipe=of(2))
    [pair] = pairs(home).values()
    assert (pair.a, pair.b, pair.questions, pair.spread) == ("sft", "grpo", 10, None)
    assert pair.seeds == ((1, pytest.approx(0.3)), (2, pytest.approx(0.2)))
    assert pair.difference == pytest.approx(0.25) and pair.low < 0.25 < pair.high
    assert pair.p == pair.p_holm == pytest.approx(8 / 32)
    assert pair.sentence.startswith("GRPO and SFT: no difference can be claimed (+25.0 points")
    assert pair.sentence.endswith("Seed by seed: seed 1 +30.0, seed 2 +20.0.")
    assert pairs(home, "run-2")["sft", "grpo"] == pair  # whichever of them is open


def test_seeds_with_questions_of_their_own_count_each_question_once(home, make_run, answer):
    """A part of one's own data is split by the seed. 60 and 60 questions, all gained: p = 2 * 2^-120."""
    make_run({"sft": [False] * 60, "grpo": [True] * 60}, recipe=of(1))
    folder = make_run({}, name="run-2", recipe=of(2))
    writer = RunWriter(folder)
    settings = json.dumps(json.loads(SETTINGS) | {"data": "other"})
    for model, right in (("sft", False), ("grpo", True)):
        writer.add_answers([answer(model, i, right, question=f"Other {i}?", settings=settings) for i in range(60)])
    writer.close()
    [pair] = pairs(home).values()
    assert pair.questions == 120 and pair.difference == 1 and pair.p == pytest.approx(2 * 0.5**120)
    assert pair.significant and pair.sentence.startswith("GRPO is better than SFT in these 2 runs (+100.0 points")


def test_three_seeds_give_the_interval_of_their_mean(home, make_run):
    """Differences 0.1, 0.2 and 0.6 of ten questions: mean 0.3, standard deviation sqrt(0.07), t(2) = 4.302653."""
    for seed, gained in ((1, 1), (2, 2), (3, 6)):
        make_run({"base": [False] * 10, "sft": [False] * 10, "grpo": [True] * gained + [False] * (10 - gained)},
                 name=f"run-{seed}", recipe=of(seed))
    found = pairs(home)
    half = 4.302653 * sqrt(0.07) / sqrt(3)
    assert list(found) == [("sft", "grpo"), ("base", "grpo"), ("base", "sft")]
    assert found["sft", "grpo"].spread == (pytest.approx(0.3 - half, abs=1e-6), pytest.approx(0.3 + half, abs=1e-6))
    assert found["sft", "grpo"].sentence.endswith("the mean over all seeds lies between -35.7 and +95.7 with 95 % "
                                                  "confidence, so another seed may come out the other way.")
    assert found["base", "sft"].p == 1 and found["sft", "grpo"].p_holm == pytest.approx(3 * found["sft", "grpo"].p)


def test_a_sibling_that_was_stopped_or_asked_otherwise_does_not_count(home, make_run, answer):
    make_run({"sft": [False] * 10, "grpo": [True] * 10}, recipe=of(1))
    make_run({"sft": [False] * 10, "grpo": [True] * 10}, name="run-2", recipe=of(2), expected=20)
    folder = make_run({}, name="run-3", recipe=of(3))
    writer = RunWriter(folder)
    for model in ("sft", "grpo"):
        settings = json.dumps(json.loads(SETTINGS) | {"temperature": 0.5})
        writer.add_answers([answer(model, i, True, settings=settings) for i in range(10)])
    assert pairs(home) == {}
    for model in ("sft", "grpo"):
        writer.add_answers([answer(model, i, model == "grpo") for i in range(10)])
        writer.add_answers([answer(model, 0, True, settings=settings)])  # asked otherwise once more, and last
    writer.close()
    assert pairs(home)["sft", "grpo"].seeds == ((1, 1.0), (3, 1.0))


def test_the_interval_of_a_ratio_is_that_of_a_mean_where_all_count_alike():
    values = [0.5, -1, 0, 0, 1, 1]
    assert bootstrap_ratio(values, [1] * 6) == bootstrap_mean(values)
    low, high = bootstrap_ratio([2, 2], [2, 2])
    assert low == high == 1
    assert summed([{"a": 1, "b": 0}, {"a": 1}], 1).difference == pytest.approx(2 / 3)


def test_the_page_and_the_command_line_tell_it_and_look_again_when_a_sibling_has_answered(
        home, tmp_path, make_run, answer, capsys):
    ask = {f.__name__: f for f in compare_calls.server_functions(home)}["compare_look"]
    make_run({"sft": [False] * 10, "grpo": [True] * 10}, recipe=of(1))
    alone = ask({"run": "run-1"})
    assert "This is one training run" in alone["words"] and "Train another seed" in alone["words"]
    folder = make_run({"sft": [False] * 10}, name="run-2", recipe=of(2))
    writer = RunWriter(folder)
    writer.add_answers([answer("grpo", i, i < 9) for i in range(10)])
    writer.close()
    both = ask({"run": "run-1", "seen": alone["seen"]})
    assert "2 seeds of this recipe together" in both["words"] and "seed 2 +90.0" in both["words"]
    assert ask({"run": "run-1", "seen": both["seen"]}) == {"seen": both["seen"]}

    assert cli.main(["compare", "run-1", "--home", str(tmp_path), "--json"]) == 0
    [told] = json.loads(capsys.readouterr().out)["seeds"]
    assert told["seeds"] == [[1, 1.0], [2, 0.9]] and escape(told["sentence"]) in both["words"]


def test_a_sibling_whose_records_are_damaged_is_left_out(home, make_run):
    ask = {f.__name__: f for f in compare_calls.server_functions(home)}["compare_look"]
    for seed in (1, 2, 3):
        make_run({"sft": [False] * 10, "grpo": [True] * 10}, name=f"run-{seed}", recipe=of(seed))
    store = home.run("run-2").database
    for file in store.parent.glob("run.db*"):
        file.unlink()
    store.write_bytes(b"rubbish" * 1000)
    assert [seed for seed, _ in pairs(home)["sft", "grpo"].seeds] == [1, 3]
    assert "2 seeds of this recipe together" in ask({"run": "run-1"})["words"]


def test_another_seed_is_the_recipe_with_the_next_seed_and_is_told_while_it_is_on_its_way(home, make_run, monkeypatch):
    functions = {f.__name__: f for f in compare_calls.server_functions(home)}
    make_run({"sft": [False] * 10, "grpo": [True] * 10}, recipe=of(4, "Mine"))
    make_run({}, name="run-2", recipe=of(7))
    home.known_runs()
    home.write("UPDATE runs SET name = 'Mine (seed 4)' WHERE id = 'run-1'")
    wanted = another_seed(home, "run-1")
    assert (wanted.seed, wanted.name, wanted.provenance) == (8, "Mine (seed 8)", None)
    assert wanted.grpo == of(4).grpo

    before = functions["compare_look"]({"run": "run-1"})
    monkeypatch.setattr(run_queue, "advance", lambda home: [])  # it stays in the queue
    started = functions["compare_again"]({"run": "run-1"})
    assert started["name"] == "Mine (seed 8)" and home.run(started["run"]).recipe().seed == 8
    after = functions["compare_look"]({"run": "run-1", "seen": before["seen"]})
    assert "Seed 8 is being trained or waiting" in after["words"] and "Train one more seed" in after["words"]
    assert another_seed(home, "run-1").seed == 9


@pytest.mark.parametrize("seeds_done", [1, 2])
def test_reports_and_cards_say_what_the_seeds_say_together_or_that_this_is_one(home, make_run, seeds_done):
    """Every seed gains all ten questions, which is +100 points in each."""
    ask = {f.__name__: f for f in compare_calls.server_functions(home)}["compare_file"]
    answers = {"base": [False] * 10, "sft": [False] * 10, "grpo": [True] * 10}
    for seed in range(1, seeds_done + 1):
        folder = make_run(answers, name=f"run-{seed}", recipe=of(seed, "<b>Mine"))
    files = {name: ask({"run": folder.id, "name": name})["text"] for name in ("report.md", "report.html")}
    files |= {stage: card(home, folder, stage) for stage in ("sft", "grpo")}
    assert "data-another-seed" not in files["report.html"]
    found = json.loads(ask({"run": folder.id, "name": "comparison.json"})["text"])["seeds"]
    if seeds_done == 1:
        assert found == [] and all(seeds.ALONE in text for text in files.values())
        return
    assert len(found) == 3 and not any(seeds.ALONE in text for text in files.values())
    for text in files.values():
        assert "2 seeds of this recipe together" in text and "Holm-corrected over the 3 comparisons" in text
        assert "GRPO is better than SFT in these 2 runs (+100.0 points" in text
    assert "GRPO is better than Base in these 2 runs" not in files["sft"]  # another model's card


def test_a_report_or_card_of_the_owner_of_a_space_holds_nothing_of_its_visitors(tmp_path, make_run):
    """The owner sees everybody's runs, and publishes their own."""
    who = {"is": Visitor("hf:owner", trusted=True)}
    home = OwnedHome(tmp_path, who=lambda: who["is"])
    answers = {"sft": [False] * 10, "grpo": [True] * 10}
    for seed in (1, 2):
        make_run(answers, name=f"run-{seed}", recipe=of(seed))
    home.add_run("run-1", "Mine", "train")
    who["is"] = Visitor("cookie:anna")
    home.add_run("run-2", "Anna's", "train")
    assert ids(home, "run-2") == {}
    who["is"] = Visitor("hf:owner", trusted=True)
    assert len(home.known_runs()) == 2 and ids(home, "run-1") == {}
    assert seeds.ALONE in card(home, home.run("run-1"), "grpo")


def test_models_that_were_asked_in_different_ways_are_not_put_together_over_seeds(home, make_run, answer):
    """GRPO was asked again at another temperature: its answers say nothing about SFT's."""
    warm = json.dumps(json.loads(SETTINGS) | {"temperature": 1.0})
    for seed in (1, 2):
        folder = make_run({"base": [False] * 10, "sft": [False] * 10}, name=f"run-{seed}", recipe=of(seed))
        writer = RunWriter(folder)
        writer.add_answers(answer("grpo", i, True, settings=warm) for i in range(10))
        writer.close()
    assert set(pairs(home)) == {("base", "sft")}
    assert seeds.ALONE not in (text := card(home, folder, "grpo")) and "seeds of this recipe" not in text


def test_a_report_of_a_base_model_alone_speaks_of_no_training(home, make_run):
    ask = {f.__name__: f for f in compare_calls.server_functions(home)}["compare_file"]
    folder = make_run({"base": [True, False]}, recipe=of(1))
    for text in (ask({"run": folder.id, "name": name})["text"] for name in ("report.md", "report.html")):
        assert "seed of the same recipe" not in text and "seeds of this" not in text


def test_a_seed_that_ended_before_it_was_through_is_told(home, make_run, monkeypatch):
    ask = {f.__name__: f for f in compare_calls.server_functions(home)}["compare_look"]
    make_run({"sft": [False] * 10, "grpo": [True] * 10}, recipe=of(1))
    monkeypatch.setattr(run_queue, "advance", lambda home: [])
    stopped, failed = (home.run(jobs.start(home, of(seed))) for seed in (2, 3))
    jobs.stop(home, stopped.id)
    home.write("DELETE FROM queue")
    run_queue.record_end(failed, "failed", "The disk is full.", "Make room.")
    words = ask({"run": "run-1"})["words"]
    assert "Seed 2 was stopped before it was through" in words and "Seed 3 failed before it was through" in words
    assert "being trained" not in words and "Train one more seed" in words


def test_answers_of_a_seed_in_work_do_not_redraw_what_is_being_read(home, make_run, monkeypatch):
    """Its first answers and those that follow change nothing; its end does."""
    ask = {f.__name__: f for f in compare_calls.server_functions(home)}["compare_look"]
    make_run({"sft": [False] * 10, "grpo": [True] * 10}, recipe=of(1))
    make_run({}, name="run-2", recipe=of(2))
    state = {"run-2": "running"}
    monkeypatch.setattr(seeds, "state_of", lambda home, folder: RunState(state[folder.id]))
    before = ask({"run": "run-1"})
    assert "Seed 2 is being trained" in before["words"]
    make_run({"sft": [False] * 5}, name="run-2", recipe=of(2))
    assert ask({"run": "run-1", "seen": before["seen"]}) == {"seen": before["seen"]}
    make_run({"sft": [False] * 10, "grpo": [True] * 10}, name="run-2", recipe=of(2))
    state["run-2"] = "finished"
    assert "2 seeds of this recipe together" in ask({"run": "run-1", "seen": before["seen"]})["words"]


def test_what_forbids_a_start_is_told(home, make_run, monkeypatch):
    make_run({"sft": [False], "grpo": [True]})
    monkeypatch.setattr(jobs.devices, "check_enough", Mock(side_effect=EngineError("There is no such GPU.")))
    functions = {f.__name__: f for f in compare_calls.server_functions(home)}
    assert functions["compare_again"]({"run": "run-1"}) == {"error": "There is no such GPU."}
