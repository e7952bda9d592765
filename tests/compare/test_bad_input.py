"""Models and questions that an evaluation cannot use are refused in words, by the real code on real files."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.errors import DatasetError, EngineError, StudioError
from pipeline.evaluation import EvaluationRequest
from pipeline.recipe import Recipe
from pipeline.run import Run
from pipeline.run_folder import RunFolder, RunReader, RunWriter
from pipeline.stages.evaluate import evaluate_request

TINY = Path(__file__).resolve().parents[2] / "assets" / "tiny-reasoner"
ROWS = "question,answer\nWhat is 1 + 1?,2\nWhat is 2 + 1?,3\nWhat is 1 + 1?,2\nWhat is 9 + 9?,\n"


class NoEngine:
    """None of these evaluations may come as far as loading a model."""

    def generator(self, *_, **__):
        raise AssertionError("a model was loaded")


class Quiet:
    """An engine that loads nothing and answers nothing."""

    method, weight_bytes = "16-bit", 1_000_000

    def change_model(self, model, adapter, precision):
        return False

    def peak_bytes(self):
        return 20_000_000

    def generator(self, *_, **__):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def generate(self, prompts, sampling, on_batch=None, should_stop=None):
        self.sampling, self.prompts = sampling, prompts
        return []


@pytest.fixture
def model(tmp_path):
    return Path(shutil.copytree(TINY, tmp_path / "model"))


def change(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def evaluate(tmp_path, model, engine=None, **changes):
    """Ask a model folder the questions of a file; gives the run."""
    file = tmp_path / "questions.csv"
    if not file.exists():
        file.write_text(ROWS)
    recipe = Recipe.parse({"model": {"source": str(model)}, "evaluate": {
        "models": ["base"], "benchmarks": [str(file)], "max_completion_tokens": 64}})
    folder = RunFolder(tmp_path / "runs" / "one")
    run = Run(folder, recipe, RunWriter(folder))
    run.begin("evaluate", 1)
    evaluate_request(run, EvaluationRequest.of(recipe, changes), engine or NoEngine())
    return run


def test_truncated_weights_are_refused(tmp_path, model):
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(EngineError, match=r"model.safetensors is truncated: [\d,]+ of [\d,]+ bytes"):
        evaluate(tmp_path, model)


def test_an_architecture_that_does_not_write_text_is_refused(tmp_path, model):
    change(model / "config.json", architectures=["BertForMaskedLM"])
    with pytest.raises(EngineError, match="BertForMaskedLM, not a causal language model"):
        evaluate(tmp_path, model)


def test_a_model_without_a_chat_template_says_how_to_give_it_one(tmp_path, model):
    (model / "chat_template.jinja").unlink()
    change(model / "tokenizer_config.json", chat_template=None)
    with pytest.raises(EngineError, match=r"no chat template.*'plain'"):
        evaluate(tmp_path, model)


def test_the_tokenizer_of_another_model_is_refused(tmp_path, model):
    change(model / "config.json", vocab_size=200)
    with pytest.raises(EngineError, match="the model knows only 200: they do not belong together"):
        evaluate(tmp_path, model)


def test_an_adapter_alone_is_no_model(tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}')
    with pytest.raises(EngineError, match="is an adapter for owner/base, not a model"):
        evaluate(tmp_path, folder)


def test_an_answer_longer_than_the_model_can_hold_is_refused_and_32k_fits_a_model_that_can(tmp_path, model):
    """The bundled model holds 2,048 tokens; with 40,960 positions the same request goes on to the sampler."""
    with pytest.raises(EngineError, match=r"Base can hold 2,048 tokens.*answer of 32,768 does not fit. Set .* 2,000"):
        evaluate(tmp_path, model, max_completion_tokens=32_768)
    change(model / "config.json", max_position_embeddings=40_960)
    engine = Quiet()
    evaluate(tmp_path, model, engine, max_completion_tokens=32_768)
    assert engine.sampling.max_completion_tokens == 32_768


def test_sampling_settings_reach_the_sampler(tmp_path, model):
    engine = Quiet()
    evaluate(tmp_path, model, engine, temperature=0.7, top_p=0.9, top_k=20, samples=4, seed=11)
    assert (engine.sampling.temperature, engine.sampling.top_p, engine.sampling.top_k) == (0.7, 0.9, 20)
    assert (engine.sampling.samples, engine.sampling.seed) == (4, 11)


def test_rows_without_an_answer_and_repeated_questions_are_left_out_and_counted(tmp_path, model):
    engine = Quiet()
    run = evaluate(tmp_path, model, engine)
    texts = [e["text"] for e in RunReader(run.folder).events()]
    assert len(engine.prompts) == 2
    assert any("1 of 4 rows" in t and "no question or no answer" in t for t in texts)
    assert any("1 of 4 rows" in t and "repeat a question" in t for t in texts)


def test_a_file_without_answers_is_refused(tmp_path, model):
    (tmp_path / "questions.csv").write_text("question,answer\nWhat is 1 + 1?,\nWhat is 2 + 1?,\n")
    with pytest.raises(DatasetError, match="has both a question and an answer"):
        evaluate(tmp_path, model)
    (tmp_path / "questions.csv").write_text("name,age\nAda,36\n")
    with pytest.raises(StudioError, match="column"):
        evaluate(tmp_path, model)


def test_aime_2025_is_read_from_a_local_copy(tmp_path, model, monkeypatch):
    """Two made-up rows in the columns of the set on the Hub (math-ai/aime25)."""
    rows = [{"problem": f"Find the integer $n$ with $n = {i}^2$.", "answer": str(i * i), "id": str(i)} for i in (7, 9)]
    (tmp_path / "aime25.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setenv("REASONING_STUDIO_DATA", str(tmp_path))
    engine = Quiet()
    run = evaluate(tmp_path, model, engine, benchmarks=["aime2025"])
    (entry,) = RunReader(run.folder).status()["evaluations"]
    assert (entry["benchmark"], entry["questions"], len(engine.prompts)) == ("aime2025", 2, 2)
