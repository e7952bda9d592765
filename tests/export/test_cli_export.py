"""`python -m pipeline export RUN`."""

import json

from pipeline.cli import main
from pipeline.studio_home import StudioHome


def run(finished, capsys, *arguments):
    home = finished.path.parent.parent
    StudioHome(home)
    code = main(["export", finished.id, *arguments, "--home", str(home), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_export_writes_what_is_asked_for_and_says_where(finished, capsys):
    code, found = run(finished, capsys, "model", "adapter", "recipe", "card", "repeat")
    assert code == 0 and found["stage"] == "grpo"
    assert set(found["files"]) == {"grpo-model.zip", "grpo-adapter.zip", "recipe.yaml", "grpo-README.md", "repeat.zip"}


def test_an_export_that_does_not_exist_is_bad_input(finished, capsys):
    code, found = run(finished, capsys, "onnx")
    assert code == 2 and "There is no export 'onnx'" in found["error"]
