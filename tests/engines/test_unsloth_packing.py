"""When Unsloth's answers are not packed into one row; Unsloth itself needs a GPU (docs/gpu.md)."""

import os
import sys
from types import SimpleNamespace

import pytest

from pipeline.engines import choose, unsloth_packing
from pipeline.engines.unsloth_packing import SWITCH, choose_rows
from pipeline.recipe import ModelStep, Recipe


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "")  # so that it is put back afterwards
    monkeypatch.delenv(SWITCH)
    monkeypatch.setattr(unsloth_packing, "KERNELS", ("no_such_package",))


def test_a_small_models_answers_are_rows_of_one_length_where_no_kernel_packs_them() -> None:
    choose_rows(ModelStep(source="tiny"))
    assert os.environ[SWITCH] == "0"


def test_they_stay_packed_where_a_kernel_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsloth_packing, "KERNELS", ("no_such_package", "torch"))
    choose_rows(ModelStep(source="tiny"))
    assert SWITCH not in os.environ


def test_they_stay_packed_for_a_model_that_is_not_known_to_be_small() -> None:
    choose_rows(ModelStep(source="/no/such/folder"))
    assert SWITCH not in os.environ


def test_what_a_person_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "1")
    choose_rows(ModelStep(source="tiny"))
    assert os.environ[SWITCH] == "1"


def test_the_switch_is_set_before_unsloth_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """In Unsloth's place stands a module that tells what the switch was when its engine was asked for."""
    monkeypatch.setitem(sys.modules, "pipeline.engines.unsloth",
                        SimpleNamespace(UnslothEngine=lambda: os.environ.get(SWITCH)))
    monkeypatch.setattr(choose, "engine_of", lambda recipe: "unsloth")
    assert choose.engine_for(Recipe()) == "0"
