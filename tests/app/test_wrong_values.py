"""A wrong value is told with what would be right, the same way for recipes, rewards, evaluations and dry runs."""

import pytest
from pydantic import BaseModel, ValidationError

from pipeline.errors import StudioError
from pipeline.evaluation import EvaluationRequest
from pipeline.recipe import Recipe, RewardSpec
from pipeline.rewards.library import parameters_of
from pipeline.stages.dry_run import DryRunRequest
from pipeline.wrong_values import setting_name, wrong_value
from reasoning_ui.rewards_state import changed


@pytest.mark.parametrize(("values", "words"), [
    ({"grpo": {"steps": 0}}, "grpo.steps: must be a whole number from 1 to 1,000,000 (it is 0)"),
    ({"grpo": {"steps": 1.5}}, "grpo.steps: must be a whole number from 1 to 1,000,000 (it is 1.5)"),
    ({"grpo": {"steps": ""}}, "grpo.steps: must be a whole number from 1 to 1,000,000 (it is empty)"),
    ({"grpo": {"learning_rate": "fast"}},
     "grpo.learning_rate: must be a number above 0 and at most 0.1 (it is 'fast')"),
    ({"grpo": {"learning_rate": float("nan")}}, "must be a number above 0 and at most 0.1 (it is nan)"),
    ({"data": {"split": {"sft": -1}}}, "data.split.sft: must be a number of at least 0 (it is -1)"),
    ({"sft": {"max_steps": "few"}}, "sft.max_steps: must be a whole number of at least 1 (it is 'few')"),
    ({"model": {"precision": "3bit"}}, "model.precision: must be '16bit', '8bit', '4bit' or 'fp8' (it is '3bit')"),
    ({"evaluate": {"models": ["sft", "x"]}}, "evaluate.models.1: must be 'base', 'sft' or 'grpo' (it is 'x')"),
    ({"evaluate": {"models": "sft"}}, "evaluate.models: must be a list (it is 'sft')"),
    ({"grpo": {"enabled": "perhaps"}}, "grpo.enabled: must be true or false (it is 'perhaps')"),
    ({"model": {"source": ""}}, "model.source: must have at least 1 character (it is empty)"),
    ({"grpo": 3}, "grpo: must be settings, each with a name and a value (it is 3)"),
    ({"name": 3}, "name: must be text (it is 3)"),
    ({"name": "x" * 500}, "name: may have at most 100 characters (it is 'xxx"),
    ({"rewards": {"functions": [{"kind": "format_exact", "weight": None}]}},
     "rewards.functions.0.weight: must be a number from -1,000 to 1,000 (it is empty)"),
    ({"rewards": {"functions": [{"kind": "format_exact", "wieght": 1}]}},
     "rewards.functions.0.wieght: there is no such setting. Did you mean 'weight'?"),
    ({"parent": {"run": "a", "chekpoint": 1}},
     "parent.chekpoint: there is no such setting. Did you mean 'checkpoint'?"),
    ({"rewards": {"functions": [{"weight": 1}]}}, "rewards.functions.0.kind: is missing")])
def test_a_recipe_says_what_would_be_right(values, words):
    with pytest.raises(StudioError) as told:
        Recipe.parse(values)
    assert words in str(told.value) and len(str(told.value)) < 250


@pytest.mark.parametrize(("act", "words"), [
    (lambda: EvaluationRequest.of(Recipe.parse({}), {"samples": 0}), "samples: must be a whole number from 1 to "),
    (lambda: EvaluationRequest.of(Recipe.parse({}), {"models": []}), "models: must have at least 1 of them (it is [])"),
    (lambda: DryRunRequest.of({"prompts": 300}), "prompts: must be a whole number from 1 to 256 (it is 300)"),
    (lambda: parameters_of(RewardSpec(kind="answer_numeric", parameters={"relative_tolerance": "wide"})),
     "(it is 'wide')"),
    (lambda: changed(Recipe.parse({}).rewards, 0, weight=None),
     "Weight: must be a number from -1,000 to 1,000 (it is empty)"),
    (lambda: changed(Recipe.parse({}).rewards, 0, name="answer_exact"), "Name: two rewards are named")])
def test_so_do_the_others(act, words):
    with pytest.raises(StudioError) as told:
        act()
    assert words in str(told.value) and "Input should" not in str(told.value)


def test_what_it_does_not_know_is_told_as_pydantic_does():
    class Odd(BaseModel):
        when: bytes

    with pytest.raises(ValidationError) as caught:
        Odd(when=3)
    error = caught.value.errors()[0]
    assert wrong_value(error, Odd) == f"{error['msg']} (it is 3)" and setting_name(error, "odd") == "when"
    assert setting_name(error | {"loc": ()}, "odd") == "odd"
