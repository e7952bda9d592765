"""Ask: the files between page and worker, the blind order, and the worker's side on the bundled model."""

import pytest

from pipeline import ask as box
from pipeline.errors import RunError
from pipeline.recipe import Recipe
from pipeline.run import Run
from pipeline.run_folder import RunFolder, RunWriter
from pipeline.tags import SCHEMES
from reasoning_ui import compare_ask


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "one")
    RunWriter(folder).close()
    folder.recipe_file.write_text(Recipe().to_yaml())
    return folder


def test_a_question_waits_until_it_is_answered(folder):
    asked = box.put(folder, box.Question("2 + 2?", ("base",)))
    assert [q.text for q in box.waiting(folder)] == ["2 + 2?"]
    assert box.answer(folder, asked) is None
    box.save(folder, asked, box.Answer(texts={"base": "4"}, states={"base": "done"}))
    assert box.waiting(folder) == [] and box.answer(folder, asked).over


@pytest.mark.parametrize(("question", "words"), [
    (box.Question(" ", ("base",)), "Type a question"), (box.Question("x" * 30_000, ("base",)), "at most 20,000"),
    (box.Question("x", ()), "at least one model"), (box.Question("x", ("base",), temperature=9), "Temperature is")])
def test_a_question_that_cannot_be_asked_is_refused_in_words(folder, question, words):
    with pytest.raises(RunError, match=words):
        box.put(folder, question)


def test_a_blind_vote_can_be_resolved_later_and_is_counted():
    models = ("base", "sft", "grpo")
    orders = {tuple(compare_ask.order_of(f"q{i}", models)) for i in range(40)}
    assert len(orders) == 6 and compare_ask.order_of("q1", models) == compare_ask.order_of("q1", models)
    votes = {"ask-1": {"winner": "grpo"}, "ask-2": {"winner": "grpo"}, "ask-3": {"winner": ""}, "other": 1}
    assert "GRPO 2, none 1" in compare_ask.tally_html(votes)


def test_blind_answers_hide_names_and_escape_text():
    found = box.Answer(texts={"base": "<script>1</script>", "grpo": "x"}, states={"base": "done", "grpo": "writing"},
                       tokens={"base": 3}, seconds={"base": 1.0})
    html = compare_ask.answers_html(found, ["grpo", "base"], SCHEMES["reasoning"], hidden=True)
    assert "<script" not in html and "GRPO" not in html and "Base" not in html and "tokens in" not in html


def test_the_worker_streams_answers_stops_and_ends_when_idle(folder, monkeypatch):
    """On the bundled model: the first question is answered in full, the second is stopped after its first words."""
    stage = pytest.importorskip("pipeline.stages.ask")
    run = Run(folder, Recipe(), RunWriter(folder))
    monkeypatch.setattr(stage, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(stage, "SAVE_SECONDS", 0.0)
    text = "Tom has 2 apples and buys 3. How many?"
    first = box.put(folder, box.Question(text, ("base", "grpo"), max_completion_tokens=24))
    second = box.put(folder, box.Question("And 4 more?", ("base",), max_completion_tokens=400, temperature=1.0))
    grown, save = [], box.save

    def watch(folder, question_id, so_far):
        save(folder, question_id, so_far)
        grown.append(len(so_far.texts.get("base", "")))
        if question_id == second and so_far.tokens.get("base", 0) >= 3:
            box.stop(folder, second)

    monkeypatch.setattr(box, "save", watch)
    stage.ask(run)
    answer = box.answer(folder, first)
    assert answer.states == {"base": "done", "grpo": "failed"} and "not there yet" in answer.texts["grpo"]
    assert 0 < answer.tokens["base"] <= 24 and len(set(grown)) > 3
    assert box.answer(folder, second).states == {"base": "stopped"}
