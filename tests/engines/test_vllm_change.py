"""The next model of an evaluation in the vLLM of the one before: which may, and that its weights are looked at.

vLLM needs a GPU; the model that its process holds is transformers' here, whose weights have the same names.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from pipeline.dataset.models import model_folder
from pipeline.engines.loading import load_tokenizer
from pipeline.engines.vllm_sampling import VllmGenerator, same_shape
from pipeline.engines.vllm_worker import WorkerReport
from pipeline.recipe import ModelStep


@pytest.fixture
def learnt(tmp_path: Path) -> Path:
    """The bundled model with other weights, as a merge leaves it."""
    folder = Path(shutil.copytree(model_folder("tiny"), tmp_path / "learnt"))
    weights = load_file(folder / "model.safetensors")
    save_file({name: value + 0.1 if "o_proj" in name else value for name, value in weights.items()},
              folder / "model.safetensors", metadata={"format": "pt"})
    edit(folder / "config.json", _name_or_path="elsewhere", transformers_version="4.0.0")
    return folder


def edit(file: Path, **values: Any) -> None:
    """Change values of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


class Llm:
    """A worker and its model; `reload_weights` is what a test says it does."""

    def __init__(self, reload: Callable[[Any, str], None]) -> None:
        self.worker, self.reload, self.forgot = WorkerReport(), reload, 0
        model = AutoModelForCausalLM.from_pretrained(model_folder("tiny"), dtype=torch.bfloat16)
        self.worker.model_runner = SimpleNamespace(get_model=lambda: model)

    def collective_rpc(self, name: str, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> list[Any]:
        if name == "reload_weights":
            return [self.reload(self.worker.model_runner.get_model(), **(kwargs or {}))]
        return [getattr(self.worker, name)(*args)]

    def reset_prefix_cache(self) -> None:
        self.forgot += 1


def loaded(reload: Callable[[Any, str], None]) -> VllmGenerator:
    """A generator that holds the bundled model."""
    generator = VllmGenerator(model_folder("tiny"), ModelStep())
    generator.llm, generator.tokenizer = Llm(reload), load_tokenizer(model_folder("tiny"), ModelStep())
    return generator


def takes_all(model: Any, weights_path: str) -> None:
    """As vLLM should."""
    model.load_state_dict(load_file(Path(weights_path) / "model.safetensors"), strict=False)


def takes_half(model: Any, weights_path: str) -> None:
    """A vLLM that forgets some without a word."""
    weights = load_file(Path(weights_path) / "model.safetensors")
    model.load_state_dict({name: value for name, value in weights.items() if ".0." in name}, strict=False)


def takes_none(model: Any, weights_path: str) -> None:
    """A vLLM that read its old folder again."""


def fails(model: Any, weights_path: str) -> None:
    """A vLLM that cannot."""
    raise NotImplementedError("Model reloading with `gguf` format")


def test_a_model_that_differs_in_its_weights_alone_takes_the_place_of_the_one_before(learnt: Path) -> None:
    generator = loaded(takes_all)
    assert generator.change_model(learnt, None, "16bit") and generator.llm.forgot == 1
    assert generator.llm.worker.compare_weights(str(learnt)) == []
    before = generator.llm.worker.compare_weights(str(model_folder("tiny")))
    assert before and all("o_proj" in name for name in before)
    assert generator.change_model(model_folder("tiny"), None, "16bit")


@pytest.mark.parametrize("reload", [takes_half, takes_none, fails])
def test_what_was_not_taken_whole_is_started_again(
        learnt: Path, reload: Callable[[Any, str], None], caplog: pytest.LogCaptureFixture) -> None:
    assert not loaded(reload).change_model(learnt, None, "16bit")
    assert "started again" in caplog.text


def test_where_nothing_that_can_be_looked_at_would_change_it_is_loaded_anew(tmp_path: Path) -> None:
    """Then nothing could tell whether the others did: vLLM packs many of its weights together."""
    same = Path(shutil.copytree(model_folder("tiny"), tmp_path / "same"))
    assert not loaded(takes_all).change_model(same, None, "16bit")


def test_another_head_that_shares_the_embedding_is_seen(learnt: Path) -> None:
    """Where vLLM kept the old head beside a new embedding, the answers would be neither model's."""
    generator = loaded(takes_all)
    held = generator.llm.worker.model_runner.get_model()
    held.lm_head.weight = torch.nn.Parameter(held.lm_head.weight.detach() + 1)
    assert generator.llm.worker.compare_weights(str(model_folder("tiny"))) == ["lm_head.weight"]


@pytest.mark.parametrize(("adapter", "precision"), [(Path("adapters/grpo"), "16bit"), (None, "8bit"), (None, "4bit")])
def test_adapters_and_quantised_models_are_loaded_anew(learnt: Path, adapter: Path | None, precision: str) -> None:
    assert not loaded(takes_all).change_model(learnt, adapter, precision)


@pytest.mark.parametrize(("file", "values"), [
    ("config.json", {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}),
    ("config.json", {"num_hidden_layers": 2}), ("config.json", {"dtype": "float16"}),
    ("generation_config.json", {"eos_token_id": [0, 5]})])
def test_a_model_of_another_shape_is_loaded_anew(learnt: Path, file: str, values: dict[str, Any]) -> None:
    assert same_shape(model_folder("tiny"), learnt)
    edit(learnt / file, **values)
    assert not same_shape(model_folder("tiny"), learnt)
