"""The evaluation stage with a stand-in engine: it stores, resumes, stops, reuses and refuses."""

import json
from pathlib import Path

import pytest

from pipeline.comparison import as_table, load, summary
from pipeline.engines.base import Sample
from pipeline.errors import EngineError, RecipeError, RunError
from pipeline.evaluation import (
    EvaluationRequest,
    answer_record,
    checkpoints,
    folder_hash,
    tokenizer_hash,
    usable_rows,
)
from pipeline.evaluation_check import Limits
from pipeline.recipe import Recipe
from pipeline.run import Run, Stopped
from pipeline.run_folder import RunFolder, RunReader, RunWriter
from pipeline.stages import evaluate as stage

ROWS = [{"system": "Use tags.", "question": f"{i} + 1?", "reference": str(i + 1), "subject": f"{i % 2 + 1} steps"}
        for i in range(10)]


class Fake:
    """An engine and generator in one: answers in batches of 4, always rightly, and remembers what it was asked."""

    method, weight_bytes = "16-bit", 1_000_000

    def peak_bytes(self):
        return 20_000_000

    def change_model(self, model, adapter, precision):
        return False

    def __init__(self):
        self.asked, self.loaded = [], []

    def generator(self, run, model, adapter=None, precision="16bit", length=0, answers=0):
        self.loaded.append((str(model), precision, adapter))
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def generate(self, prompts, sampling, on_batch=None, should_stop=None):
        given = []
        for first in range(0, len(prompts), 4):
            if should_stop and should_stop():
                break
            batch = prompts[first:first + 4]
            self.asked += batch
            text = "<reasoning>\nso\n</reasoning>\n<answer>{}</answer>"
            answers = [[Sample(text.format(p[0] + 1), 7, False, 0.1)] * sampling.samples for p in batch]
            on_batch(range(first, first + len(batch)), answers)
            given += answers
        return given


@pytest.fixture
def run(tmp_path, monkeypatch):
    base = tmp_path / "base"
    base.mkdir()
    (base / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(stage, "read_part", lambda path: ROWS)
    monkeypatch.setattr(stage, "model_folder", lambda source, revision=None: source)
    monkeypatch.setattr(stage, "check_model", lambda *a: Limits(None, None))  # the weights are seven bytes
    monkeypatch.setattr(stage.ChatTokenizer, "load", classmethod(lambda cls, *a, **k: None))
    monkeypatch.setattr(stage, "prompt_ids", lambda chat, row: [int(row["question"].split()[0])])
    recipe = Recipe.parse({"model": {"source": str(base)}, "evaluate": {"models": ["base"]}})
    return new_run(tmp_path / "runs" / "one", recipe)


def new_run(path, recipe):
    folder = RunFolder(path)
    run = Run(folder, recipe, RunWriter(folder))
    run.begin("evaluate", 1)
    return run


def test_every_answer_is_judged_and_stored_with_its_question(run):
    stage.evaluate_request(run, EvaluationRequest.of(run.recipe), Fake())
    answers = RunReader(run.folder).answers("test", "base")
    assert len(answers) == 10
    assert all(a["exact"] and a["lenient"] and a["format"] and a["extracted"] == a["reference"] for a in answers)
    assert answers[3]["subject"] == "2 steps" and answers[3]["question"] == "3 + 1?"
    assert RunReader(run.folder).stages()[0]["done"] == 10
    assert RunReader(run.folder).status()["evaluations"][0]["questions"] == 10


def test_what_compares_formulas_starts_before_the_model_loads_and_only_when_there_is_something_to_ask(
        run, monkeypatch):
    """Its start takes a second or two, a tenth of what a GPU needs for the whole GSM8K test."""
    told, engine = [], Fake()
    monkeypatch.setattr(stage.math_process.SHARED, "start", lambda: told.append(len(engine.loaded)))
    stage.evaluate_request(run, EvaluationRequest.of(run.recipe), engine)
    stage.evaluate_request(run, EvaluationRequest.of(run.recipe), engine)
    assert told == [0] and len(engine.loaded) == 1


def test_a_stopped_evaluation_continues_with_the_questions_that_are_missing(run):
    calls = iter([False, False, True, True])
    run.stop_requested = lambda: next(calls)
    with pytest.raises(Stopped):
        stage.evaluate_request(run, EvaluationRequest.of(run.recipe), Fake())
    assert len(RunReader(run.folder).answers("test")) == 4
    again = Fake()
    run.stop_requested = lambda: False
    stage.evaluate_request(run, EvaluationRequest.of(run.recipe), again)
    assert again.asked == [[i] for i in range(4, 10)]
    assert len(RunReader(run.folder).answers("test")) == 10


def test_a_result_of_another_run_is_taken_over_when_model_questions_and_settings_agree(run, tmp_path):
    stage.evaluate_request(run, EvaluationRequest.of(run.recipe), Fake())
    second, engine = new_run(tmp_path / "runs" / "two", run.recipe), Fake()
    stage.evaluate_request(second, EvaluationRequest.of(run.recipe), engine)
    assert engine.loaded == [] and len(RunReader(second.folder).answers("test", "base")) == 10
    longer = EvaluationRequest(models=["base"], max_completion_tokens=33)
    stage.evaluate_request(second, longer, engine)
    assert len(engine.loaded) == 1


def test_changed_weights_are_evaluated_again(run):
    stage.evaluate_request(run, EvaluationRequest.of(run.recipe), Fake())
    Path(run.recipe.model.source, "model.safetensors").write_bytes(b"other")
    engine = Fake()
    stage.evaluate_request(run, EvaluationRequest.of(run.recipe), engine)
    assert len(engine.asked) == 10


def test_several_precisions_and_samples_are_contestants_of_their_own(run):
    engine = Fake()
    request = EvaluationRequest(models=["base"], precisions=["16bit", "4bit"], samples=3, temperature=0.7, limit=5)
    stage.evaluate_request(run, request, engine)
    assert [precision for _, precision, _ in engine.loaded] == ["16bit", "4bit"]
    assert len(RunReader(run.folder).answers("test")) == 2 * 5 * 3
    assert {json.loads(a["settings"])["precision"] for a in RunReader(run.folder).answers("test")} == {"16bit", "4bit"}


def test_a_checkpoint_is_an_adapter_on_the_model_that_it_was_trained_on(run):
    path = run.folder.checkpoints("sft") / "checkpoint-5"
    path.mkdir(parents=True)
    (path / "adapter_config.json").write_text("{}")
    (path / "complete").touch()
    engine = Fake()
    assert checkpoints(run.folder) == ["sft/checkpoint-5"]
    stage.evaluate_request(run, EvaluationRequest(models=["sft/checkpoint-5"], limit=2), engine)
    assert engine.loaded == [(run.recipe.model.source, "16bit", path)]


def test_a_model_that_is_missing_is_named_and_the_others_answer(run):
    stage.evaluate_request(run, EvaluationRequest(models=["base", "grpo", "sft/checkpoint-9"]), Fake())
    texts = [e["text"] for e in RunReader(run.folder).events()]
    assert any("GRPO model is not there yet" in t for t in texts)
    assert any("no checkpoint 'sft/checkpoint-9'" in t for t in texts)
    with pytest.raises(RunError, match="no model to evaluate"):
        stage.evaluate_request(run, EvaluationRequest(models=["grpo"]), Fake())


def test_rows_without_an_answer_or_with_a_repeated_question_are_left_out_in_words():
    rows, notes = usable_rows([*ROWS[:2], ROWS[0], {"question": "x", "reference": None}], "mine.csv")
    assert len(rows) == 2
    assert notes == ["1 of 4 rows of 'mine.csv' have no question or no answer and are left out.",
                     "1 of 4 rows of 'mine.csv' repeat a question and are left out."]
    with pytest.raises(RecipeError, match="None of the 1 rows"):
        usable_rows([{"question": "x", "reference": ""}], "mine.csv")


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(EngineError, match="No model weights"):
        folder_hash([tmp_path])


def test_a_tokenizer_that_was_only_written_anew_is_the_same(tmp_path):
    """The merged model's file has an idle post-processor and other brackets; one more token makes it another."""
    tiny = Path(__file__).resolve().parents[2] / "assets" / "tiny-reasoner"
    data = json.loads((tiny / "tokenizer.json").read_text())
    data["post_processor"] = {"type": "TemplateProcessing"}
    data["model"]["merges"] = [pair if isinstance(pair, str) else " ".join(pair) for pair in data["model"]["merges"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    assert tokenizer_hash(tmp_path) == tokenizer_hash(tiny) != ""
    data["added_tokens"].append({"id": 1024, "content": "<more>"})
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    assert tokenizer_hash(tmp_path) not in ("", tokenizer_hash(tiny))
    (tmp_path / "tokenizer.json").write_text("{}")
    assert tokenizer_hash(tmp_path) == tokenizer_hash(tmp_path / "nothing") == ""


def test_an_answer_outside_the_tags_is_lenient_but_not_exact():
    from pipeline.evaluation import Contender
    from pipeline.tags import SCHEMES
    record = answer_record(Contender("base", "x"), "test", "{}", 0, 0, ROWS[0], "It is 1", 4, False, 0.1,
                           SCHEMES["reasoning"])
    assert (record.exact, record.lenient, record.format, record.extracted) == (False, True, False, None)


def test_a_request_changes_the_recipes_evaluation_and_is_checked_in_words(run):
    run.request = {"limit": 3, "models": ["base"]}
    request = EvaluationRequest.of(run.recipe, run.request)
    assert (request.limit, request.precisions) == (3, ["16bit"])
    with pytest.raises(RecipeError, match="set the temperature"):
        EvaluationRequest.of(run.recipe, {"samples": 4})


def test_another_tolerance_judges_the_stored_answers_again_instead_of_asking(run):
    """Base says 1 more than asked and is right; a stored answer 15 % off becomes plausible at 20 %."""
    stage.evaluate_request(run, EvaluationRequest.of(run.recipe), Fake())
    run.writer._db.execute("UPDATE evaluations SET extracted = '11.5', exact = 0, plausible = 0 WHERE reference = '10'")
    engine = Fake()
    stage.evaluate_request(run, EvaluationRequest.of(run.recipe, {"plausible_tolerance": 0.2}), engine)
    assert engine.asked == []
    rows, expected = load(run.folder)
    found = summary(rows, expected)["base"]
    assert (found["tolerance"], found["plausible"]["count"], found["exact"]["count"]) == (0.2, 10, 9)
    assert "plausible (±20 %)" in as_table(rows, expected)


def test_several_precisions_are_measured_even_when_their_answers_are_there(run):
    stage.evaluate_request(run, EvaluationRequest.of(run.recipe), Fake())
    engine = Fake()
    stage.evaluate_request(run, EvaluationRequest.of(run.recipe, {"measure": True}), engine)
    (entry,) = RunReader(run.folder).status()["evaluations"]
    assert entry["peak_bytes"] > 10_000_000 and entry["level_seconds"] == pytest.approx(0.1)
    assert len(engine.asked) == 10 and len(RunReader(run.folder).answers("test")) == 10


@pytest.fixture
def in_turn(run, monkeypatch):
    """Each precision as in a process of its own, with a stand-in engine; gives what the page was told each time."""
    told = []

    def child(part):
        fresh = Run(part.folder, part.recipe, part.writer, stage="evaluate", request=part.request, part=part.part)
        stage.evaluate_request(fresh, EvaluationRequest.of(part.recipe, part.request), Fake())

    def set_stage(name, *, real=run.writer.set_stage, **values):
        told.append(values)
        real(name, **values)

    monkeypatch.setattr(stage, "run_in_child", child)
    monkeypatch.setattr(run.writer, "set_stage", set_stage)
    return told


def test_three_precisions_show_one_progress_with_the_time_left_of_the_whole_job(run, in_turn):
    """10 questions at 3 levels are 30 answers in batches of 4, 4 and 2; a level starts with the pace of the last."""
    run.request = {"precisions": ["16bit", "8bit", "4bit"]}
    stage.evaluate.__wrapped__(run)
    done = [values["done"] for values in in_turn]
    assert done == sorted(done) and {4, 8, 10, 14, 24, 30} <= set(done)
    assert {values["total"] for values in in_turn} == {30}
    starts = [values for values in in_turn if values["message"] == "Loading"]
    assert [values["done"] for values in starts] == [0, 10, 20]
    assert [values["seconds_left"] is None for values in starts] == [True, False, False]
    assert in_turn[-1]["seconds_left"] == 0 and [v["message"] for v in in_turn].count("All answers are in.") == 1


def test_answers_that_were_stored_before_are_no_measure_of_the_time_left(run, in_turn):
    """The 10 answers at 16-bit are there: they took no time now, and 4-bit starts with no estimate."""
    stage.evaluate_request(run, EvaluationRequest.of(run.recipe), Fake())
    in_turn.clear()
    run.begin("evaluate", 2)
    run.request = {"precisions": ["16bit", "4bit"]}
    stage.evaluate.__wrapped__(run)
    start = next(values for values in in_turn if values.get("message") == "Loading" and values["done"] == 10)
    assert start["seconds_left"] is None and in_turn[-1]["done"] == in_turn[-1]["total"] == 20


def test_a_model_that_is_missing_does_not_end_a_job_over_several_precisions(run, in_turn):
    run.request = {"models": ["base", "grpo"], "precisions": ["16bit", "4bit"]}
    stage.evaluate.__wrapped__(run)
    assert [e["text"][:30] for e in RunReader(run.folder).events()] == ["The GRPO model is not there ye"]
    assert in_turn[-1]["done"] == in_turn[-1]["total"] == 20
    run.request = {"models": ["grpo"], "precisions": ["16bit", "4bit"]}
    with pytest.raises(RunError, match="no model to evaluate"):
        stage.evaluate.__wrapped__(run)
