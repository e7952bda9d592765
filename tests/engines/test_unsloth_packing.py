"""When Unsloth's answers are not packed into one row; Unsloth itself needs a GPU (docs/gpu.md)."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pipeline.engines import choose
from pipeline.engines.unsloth_packing import SWITCH, choose_rows, packs_well
from pipeline.recipe import ModelStep, Recipe


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "")  # so that it is put back afterwards
    monkeypatch.delenv(SWITCH)
    monkeypatch.setattr(torch.version, "cuda", "13.0")


def installed(monkeypatch: pytest.MonkeyPatch, folder: Path, package: str, about: str | None = None) -> None:
    """A package of that name, with xformers' file about its build."""
    (folder / package).mkdir()
    (folder / package / "__init__.py").touch()
    if about is not None:
        (folder / package / "cpp_lib.json").write_text(about)
    monkeypatch.syspath_prepend(folder)


def test_a_small_models_answers_are_rows_of_one_length_where_no_kernel_packs_them() -> None:
    choose_rows(ModelStep(source="tiny"))
    assert os.environ[SWITCH] == "0"


@pytest.mark.parametrize(("package", "about", "packed"), [
    ("flash_attn", None, True), ("xformers", '{"version": {"cuda": 1300}}', True), ("xformers", "{", True),
    ("xformers", None, True), ("xformers", '{"version": {"cuda": null}}', True),
    ("xformers", '{"version": {"cuda": 1208}}', False)])  # PyPI's, which does not load beside torch for CUDA 13
def test_they_stay_packed_where_a_kernel_is_installed_that_loads(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, about: str | None, packed: bool) -> None:
    installed(monkeypatch, tmp_path, package, about)
    choose_rows(ModelStep(source="tiny"))
    assert packs_well() == packed == (SWITCH not in os.environ)


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
