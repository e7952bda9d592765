"""When Unsloth's answers are not packed into one row; Unsloth itself needs a GPU (docs/gpu.md)."""

import os

import pytest

from pipeline.engines import unsloth_packing
from pipeline.engines.unsloth_packing import SWITCH, choose_rows
from pipeline.recipe import ModelStep


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
