"""The exported script, run for real on the bundled model: the same accuracy as the app."""

import json
import sys
import types

from pipeline.comparison import summary
from pipeline.dataset.chat import ChatTokenizer
from pipeline.dataset.models import model_folder
from pipeline.dataset.prepare import prepare_parts
from pipeline.evaluation import EvaluationRequest
from pipeline.export_script import script
from pipeline.recipe import Recipe
from pipeline.run import Run
from pipeline.run_folder import RunFolder, RunReader, RunWriter
from pipeline.stages import stage_work
from pipeline.stages.evaluate import evaluate_request

RECIPE = {
    "model": {"source": "tiny", "max_length": 512}, "lora": {"gradient_checkpointing": False},
    "data": {"source": "demo", "split": {"sft": 64, "grpo": 8, "validation": 4, "test": 40}},
    "sft": {"max_steps": 5, "batch_size": 8},
    "rewards": {"functions": [{"kind": kind} for kind in ("format_exact", "math_equal", "overlong", "repetition",
                                                          "reasoning_length")]},
    "grpo": {"steps": 2, "batch_size": 8, "num_generations": 4, "max_completion_tokens": 32, "learning_rate": 1e-3}}
METRICS = ("format", "exact", "lenient")


def test_the_script_gets_the_accuracy_of_the_app(tmp_path, monkeypatch, capsys):
    """The same small run in both: 5 SFT steps, 2 GRPO steps with five rewards, 40 questions.

    Base answers without training, so its counts are equal to the last one. Of the trained models each rate must lie in
    the other's 95 % interval (the same seed makes them equal on one machine; another processor may round otherwise).
    """
    recipe, folder = Recipe.parse(RECIPE), RunFolder(tmp_path / "runs" / "one")
    run = Run(folder, recipe, RunWriter(folder))
    prepare_parts(recipe.data, ChatTokenizer.load("tiny"), seed=recipe.seed, max_length=512, max_completion_tokens=32,
                  out=folder.path / "data")
    for stage in ("sft", "merge_sft", "grpo", "merge_grpo"):
        run.begin(stage, 1)
        stage_work(stage)(run)
    evaluate_request(run, EvaluationRequest(max_completion_tokens=32))
    expected = summary(RunReader(folder).answers("test"))

    monkeypatch.setattr(sys, "argv", ["repeat.py", "--data", str(folder.path / "data"), "--model",
                                      str(model_folder("tiny")), "--out", str(tmp_path / "out")])
    sys.modules["repeat"] = script_module = types.ModuleType("repeat")
    vars(script_module)["__file__"] = str(tmp_path / "repeat.py")
    exec(compile(script(recipe), "repeat.py", "exec"), vars(script_module))
    capsys.readouterr()
    script_module.main()
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])

    assert {m: found["base"][m]["count"] for m in METRICS} == {m: expected["base"][m]["count"] for m in METRICS}
    for stage in ("sft", "grpo"):
        for metric in METRICS:
            ours = expected[stage][metric]
            assert ours["low"] <= found[stage][metric]["rate"] <= ours["high"], (stage, metric, ours, found[stage])
    assert found["grpo"]["lenient"]["count"] > 0, "with nothing right, equal counts would say nothing"
    assert (tmp_path / "out" / "grpo" / "merged" / "model.safetensors").is_file()
