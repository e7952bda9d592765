"""Zips, the model card, and the script that repeats a run."""

import ast
import json
import re
import sys
import types
import zipfile

import pytest

from pipeline import export
from pipeline.errors import RunError
from pipeline.export_card import card
from pipeline.export_script import script
from pipeline.merge_check import Check
from pipeline.recipe import Recipe
from pipeline.report import as_text
from pipeline.rewards import RewardSet
from pipeline.rewards.library import LIBRARY
from pipeline.run_folder import RunFolder
from pipeline.tags import SCHEMES, wrap


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


def test_the_card_has_results_with_intervals_prompt_recipe_and_limits(home, finished):
    text = card(home, finished, "grpo", "me/x")
    assert text.startswith("---\n") and "library_name: transformers" in text
    assert "| GRPO | 40 |" in text and "75.0 % (59.8–85.8)" in text  # Wilson of 30 of 40
    assert "very unlikely to be chance" in text and "## Limits" in text and "```yaml\nname: Demo" in text
    assert "Think step by step between <reasoning>" in text


def test_the_script_is_python_that_imports_only_public_libraries(finished):
    for recipe in (finished.recipe(), every_reward()):
        text = script(recipe)
        imported = {n.names[0].name if isinstance(n, ast.Import) else n.module for n in ast.walk(ast.parse(text))
                    if isinstance(n, ast.Import | ast.ImportFrom)}
        assert not any(name.startswith(("pipeline", "reasoning_ui", "pydantic")) for name in imported)
        assert re.search(r"pip install torch==\S+ transformers==", text)
    assert " jsonschema==" in text and " regex==" in text and "jsonschema" not in script(finished.recipe())


def test_settings_cannot_become_code(finished):
    name = '"); import os; os.system("echo hacked") #'
    recipe = Recipe.parse({"data": {"tags": {"scheme": "custom", "reasoning_open": name, "reasoning_close": "'''",
                                             "answer_open": '"""', "answer_close": "\\'"}}})
    space = _run_functions(script(recipe))
    assert space["TAGS"] == ["custom", name, "'''", '"""', "\\'"]


def test_a_reward_that_the_script_cannot_repeat_is_named():
    code = "def score(completion, reference, prompt):\n    return 1.0\n"
    recipe = Recipe.parse({"rewards": {"functions": [{"kind": "format_exact"},
                                                     {"kind": "custom", "name": "my taste", "code": code}]}})
    with pytest.raises(RunError, match=r"the reward my taste is your own code.*pipeline run recipe\.yaml"):
        script(recipe)


def every_reward(tags="reasoning"):
    """A recipe with all rewards of the library but custom code, several of them with other settings too."""
    other = [
        {"kind": "answer_exact", "parameters": {"several": "agree"}},
        {"kind": "answer_numeric", "parameters": {"units": "refuse", "several": "wrong", "relative_tolerance": 0.1}},
        {"kind": "text_match", "parameters": {"mode": "regex", "expected": r"\d+", "where": "reasoning"}},
        {"kind": "json_schema", "parameters": {"partial": 0.5, "schema_text": SCHEMA}},
        {"kind": "overlong", "parameters": {"limit": 20, "buffer": 10}},
        {"kind": "length_target", "parameters": {"shortest": 10, "longest": 15, "fade": 20}},
        {"kind": "reasoning_length", "parameters": {"enough": 8}}]
    functions = [{"kind": kind} for kind in LIBRARY if kind != "custom"]
    functions += [spec | {"name": f"{spec['kind']} 2"} for spec in other]
    return Recipe.parse({"data": {"tags": {"scheme": tags}}, "rewards": {"functions": functions}})


def _run_functions(text):
    """The script's names, without running main()."""
    sys.modules["repeat"] = module = types.ModuleType("repeat")  # where dataclasses look for their module
    exec(compile(text, "repeat.py", "exec"), vars(module))
    return vars(module)


class Words:
    """A tokenizer of words."""

    eos_token_id = pad_token_id = 0

    def encode(self, text, add_special_tokens=False):
        return list(range(1, 1 + len(text.split())))


SCHEMA = '{"required": ["a"], "properties": {"a": {"minimum": 2}}}'
ANSWERS = ("42", " 42 ", "42.0", "$42", "42 dollars", "45", "49", "7", "", "about 42 apples", "41 or 42", "x",
           "(B) Paris", r"\frac{84}{2}", "6*7", '{"a": 3}', '{"a": 1}', "{a: 3}", "As an AI, I cannot say")


@pytest.mark.parametrize("tags", ["reasoning", "boxed"])
@pytest.mark.parametrize("reference", ["42", "B", '{"a": 3}'])
def test_the_scripts_rewards_are_the_apps(tags, reference):
    """All rewards, two tag schemes, on answers of every kind: right, near, wrong, rewritten, missing, repeated, ..."""
    good, recipe = (lambda answer: wrap(SCHEMES[tags], "so it is, so it is, so it is 7", answer)), every_reward(tags)
    texts = [good(answer) for answer in ANSWERS]
    texts += ["42", "<answer>42</answer>", good("42") + " more", good("1") + good("42"), good("42") + good("42"),
              "<answer>42</answer><reasoning>so</reasoning>", "<reasoning>so</reasoning><answer>42", ""]
    ids = [[*Words().encode(text), *([0] if i % 3 else [])] for i, text in enumerate(texts)]  # every third was cut off
    with RewardSet(recipe.rewards, SCHEMES[tags], lambda text: len(Words().encode(text))) as rewards:
        expected = rewards.score(texts, [reference] * len(texts), ["?"] * len(texts), [len(i) for i in ids],
                                 [not i or i[-1] != 0 for i in ids]).raw
    functions, weights = _run_functions(script(recipe))["reward_functions"](Words())
    assert len(functions) == len(expected) == len(weights)
    for function in functions:
        found = function(completions=[[{"content": t}] for t in texts], reference=[reference] * len(texts),
                         prompts=[[{"content": "?"}]] * len(texts), completion_ids=ids)
        assert json.dumps(found) == json.dumps(expected[function.__name__]), function.__name__


def test_names_of_others_load_nothing_in_a_card_or_a_report() -> None:
    """An opened recipe or a dataset may bring them: their images, links, tags and cells stay text, on one line."""
    assert as_text("Demo (seed 1), a_b*c") == "Demo (seed 1), a_b*c"
    assert as_text("<img src=x>\n![a](http://b) `c` | d") == r"\<img src=x> !\[a\](http://b) \`c\` \| d"
