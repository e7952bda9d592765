"""Reasoning Gym's tasks as a source: with the real package where it is installed, and what is said without it."""

import importlib.util

import pytest

from pipeline.dataset import gym
from pipeline.dataset.gym import GymTask, gym_rows, task_names
from pipeline.dataset.prepare import prepare_parts
from pipeline.dataset.sample import load_sample
from pipeline.dataset.sources import open_named
from pipeline.errors import DatasetError
from pipeline.recipe import DataStep, Split
from reasoning_ui.data_source import _from_gym, _tasks, new_source

needs_gym = pytest.mark.skipif(importlib.util.find_spec("reasoning_gym") is None,
                               reason="reasoning-gym is not installed: pip install -r requirements-gym.txt")
CHAIN = GymTask("chain_sum", 40, 7, 2)


def test_without_the_extra_the_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(gym, "is_installed", lambda: False)
    for call in (task_names, lambda: open_named(CHAIN.source)):
        with pytest.raises(DatasetError, match=r"pip install -r requirements-gym\.txt"):
            call()


def test_a_task_is_written_and_read_as_a_source():
    assert CHAIN.source == "reasoning-gym:chain_sum?size=40&seed=7&difficulty=2"
    assert GymTask.parse(CHAIN.source) == CHAIN
    assert GymTask.parse("reasoning-gym:gcd") == GymTask("gcd")


@pytest.mark.parametrize("wrong", ["size=0", "size=many", "seed=-1", "difficulty=99", "speed=3", "size="])
def test_numbers_that_are_none_are_refused(wrong):
    with pytest.raises(DatasetError, match="is not possible"):
        GymTask.parse(f"reasoning-gym:gcd?{wrong}")


@needs_gym
def test_a_task_makes_the_rows_asked_for_and_the_seed_decides(chat, tmp_path):
    """Level 2 of chain_sum has two to four terms of up to three digits; 40 questions, none with a worked solution."""
    rows = list(gym_rows(CHAIN.source))
    assert len(rows) == 40
    assert rows == list(gym_rows(CHAIN.source))
    assert rows != list(gym_rows(GymTask("chain_sum", 40, 8, 2).source))
    for _, row in rows:
        assert eval(row["question"].split(":")[1].strip(" =")) == int(row["answer"])  # sums of plain numbers
    data = DataStep(source=CHAIN.source, split=Split(sft=0, grpo=0.8, validation=0.1, test=0.1))
    report = prepare_parts(data, chat, seed=1, max_length=900, max_completion_tokens=200, out=tmp_path)
    assert report.references_found == 40
    assert report.parts["sft"] == 0


@needs_gym
def test_difficulty_makes_other_questions_and_the_sample_stays_small():
    easy, hard = (list(gym_rows(GymTask("chain_sum", 20, 1, d).source)) for d in (0, 5))
    assert sum(len(r["answer"]) for _, r in easy) < sum(len(r["answer"]) for _, r in hard)
    sample = load_sample(DataStep(source=GymTask("gcd", 5000).source))
    assert len(sample.rows) < 5000
    assert sample.total == 5000


@needs_gym
def test_an_unknown_task_names_close_ones():
    with pytest.raises(DatasetError, match="chain_sum"):
        gym_rows("reasoning-gym:chain_sums")


@needs_gym
def test_the_page_offers_the_tasks_and_leaves_sft_out_of_the_split():
    assert ("chain sum", "chain_sum") in _tasks(None).choices
    step = DataStep.model_validate_json(_from_gym("gcd", 50, 3, 1, DataStep().model_dump_json()))
    assert step.source == "reasoning-gym:gcd?size=50&seed=3&difficulty=1"
    assert step.split.sft == 0
    back = DataStep.model_validate_json(new_source(step.model_dump_json(), "gsm8k"))
    assert back.split == DataStep().split
