"""The exported script, run for real on the bundled model: the same answers as the app's own evaluation."""

import json
import sys

from pipeline.dataset.chat import ChatTokenizer
from pipeline.dataset.models import model_folder
from pipeline.dataset.prepare import prepare_parts
from pipeline.evaluation import EvaluationRequest
from pipeline.export_script import script
from pipeline.recipe import Recipe
from pipeline.run import Run
from pipeline.run_folder import RunFolder, RunReader, RunWriter
from pipeline.stages.evaluate import evaluate_request

RECIPE = {
    "model": {"source": "tiny", "max_length": 512}, "lora": {"gradient_checkpointing": False},
    "data": {"source": "demo", "split": {"sft": 16, "grpo": 8, "validation": 4, "test": 24}},
    "sft": {"max_steps": 2, "batch_size": 8}, "grpo": {"steps": 1, "batch_size": 8, "num_generations": 4,
                                                       "max_completion_tokens": 24}}


def test_the_script_trains_and_answers_as_the_app_does(tmp_path, monkeypatch, capsys):
    """Two SFT steps and one GRPO step; the base's counts on 24 questions must equal the app's to the last one."""
    recipe, folder = Recipe.parse(RECIPE), RunFolder(tmp_path / "runs" / "one")
    run = Run(folder, recipe, RunWriter(folder))
    prepare_parts(recipe.data, ChatTokenizer.load("tiny"), seed=recipe.seed, max_length=512, max_completion_tokens=24,
                  out=folder.path / "data")
    evaluate_request(run, EvaluationRequest(models=["base"], max_completion_tokens=24))
    rows = RunReader(folder).answers("test", "base")
    expected = {name: sum(row[name] for row in rows) for name in ("format", "exact", "lenient")}

    monkeypatch.setattr(sys, "argv", ["repeat.py", "--data", str(folder.path / "data"), "--model",
                                      str(model_folder("tiny")), "--out", str(tmp_path / "out")])
    space = {"__name__": "repeat", "__file__": str(tmp_path / "repeat.py")}
    exec(compile(script(recipe), "repeat.py", "exec"), space)
    space["main"]()
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert {name: found["base"][name]["count"] for name in expected} == expected
    assert found["grpo"]["exact"]["n"] == 24
    assert (tmp_path / "out" / "grpo" / "merged" / "model.safetensors").is_file()
