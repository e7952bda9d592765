"""Zips, the model card, and the script that repeats a run."""

import ast
import json
import re
import zipfile

import pytest

from pipeline import export
from pipeline.errors import RunError
from pipeline.export_card import card
from pipeline.export_script import TEMPLATE, script
from pipeline.merge_check import Check
from pipeline.recipe import Recipe
from pipeline.rewards import RewardSet
from pipeline.run_folder import RunFolder
from pipeline.tags import SCHEMES


def names(path):
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_the_adapter_zip_names_its_base_without_a_path_of_this_machine(finished):
    path = export.adapter_zip(finished, "grpo", "card")
    assert names(path) == {"adapter_config.json", "adapter_model.safetensors", "README.md"}
    with zipfile.ZipFile(path) as archive:
        assert "secret" not in "".join(archive.read(n).decode() for n in archive.namelist())


def test_the_model_zip_holds_weights_tokenizer_template_and_generation_config(finished):
    assert {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
            "generation_config.json"} <= names(export.model_zip(finished, "sft"))


def test_the_repeat_zip_needs_nothing_else(finished):
    found = names(export.repeat_zip(finished))
    assert {"repeat.py", "recipe.yaml", "data/sft.parquet", "data/grpo.parquet", "data/test.parquet",
            "model/model.safetensors"} <= found


def test_too_little_space_is_found_before_anything_is_written(finished, monkeypatch):
    import shutil
    from collections import namedtuple
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    for make in (lambda: export.model_zip(finished, "grpo"), lambda: export.gguf_file(finished, "grpo", "f16")):
        with pytest.raises(Exception, match="make room first"):
            make()
    assert list(export.exports(finished).iterdir()) == []


def test_a_stage_without_a_model_is_refused(tmp_path):
    folder = RunFolder(tmp_path)
    folder.recipe_file.write_text(Recipe().to_yaml())
    assert export.exportable(folder) == []
    with pytest.raises(RunError, match="finish that stage first"):
        export.model_zip(folder, "grpo")


def test_a_gguf_file_that_fails_its_check_is_deleted(finished, monkeypatch):
    monkeypatch.setattr(export, "run_check", lambda *a: Check("m.gguf", False, 0.5, 9.0, 0.1, ids_equal=False))
    with pytest.raises(RunError, match="TOKEN IDS DIFFER"):
        export.gguf_file(finished, "grpo", "f16")
    assert list(export.exports(finished).glob("*.gguf*")) == []


def test_the_card_has_results_with_intervals_prompt_recipe_and_limits(finished):
    text = card(finished, "grpo", "me/x")
    assert text.startswith("---\n") and "library_name: transformers" in text
    assert "| GRPO | 40 |" in text and "75.0 % (59.8–85.8)" in text  # Wilson of 30 of 40
    assert "very unlikely to be chance" in text and "## Limits" in text and "```yaml\nname: Demo" in text
    assert "Think step by step between <reasoning>" in text


def test_the_script_is_python_that_imports_only_public_libraries(finished):
    text = script(finished.recipe())
    tree = ast.parse(text)
    imported = {n.names[0].name if isinstance(n, ast.Import) else n.module for n in ast.walk(tree)
                if isinstance(n, ast.Import | ast.ImportFrom)}
    assert not any(name.startswith(("pipeline", "reasoning_ui")) for name in imported)
    assert re.search(r"pip install torch==\S+ transformers==", text)


def test_settings_cannot_become_code(finished):
    name = '"); import os; os.system("echo hacked") #'
    recipe = Recipe.parse({"data": {"tags": {"scheme": "custom", "reasoning_open": name, "reasoning_close": "'''",
                                             "answer_open": '"""', "answer_close": "\\'"}}})
    space = _run_functions(script(recipe))
    assert space["TAGS"] == [name, "'''", '"""', "\\'"]


def test_a_recipe_that_the_script_cannot_repeat_is_refused_in_words():
    recipe = Recipe.parse({"rewards": {"functions": [{"kind": "reasoning_length"}]}})
    with pytest.raises(RunError, match="not reasoning_length"):
        script(recipe)


def _run_functions(text):
    """The script's names, without running main()."""
    space = {"__name__": "repeat", "__file__": str(TEMPLATE)}
    exec(compile(text, "repeat.py", "exec"), space)
    return space


def test_the_scripts_rewards_and_checks_agree_with_the_apps(finished):
    """On answers of every kind: right, near, wrong, rewritten, missing, repeated, out of order."""
    good = "<reasoning>\nso\n</reasoning>\n<answer>{}</answer>"
    texts = [good.format(a) for a in ("42", " 42 ", "42.0", "$42", "45", "49", "7", "", "about 42 apples", "x")]
    texts += ["42", "<answer>42</answer>", good.format(42) + " more", good.format(1) + "<answer>42</answer>",
              "<answer>42</answer><reasoning>so</reasoning>", "<reasoning>so</reasoning><answer>42"]
    recipe = finished.recipe()
    with RewardSet(recipe.rewards, SCHEMES["reasoning"]) as rewards:
        expected = rewards.score(texts, ["42"] * len(texts), ["?"] * len(texts)).raw
    functions, _ = _run_functions(script(recipe))["reward_functions"]()
    for function in functions:
        found = function(completions=[[{"content": t}] for t in texts], reference=["42"] * len(texts))
        assert json.dumps(found) == json.dumps(expected[function.__name__]), function.__name__
