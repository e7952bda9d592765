"""What vLLM is given while the TRL engine learns: sums that keep the adapter, a base that stays as it is, and adapters
in its requests where the base has 4 bits. vLLM itself needs a GPU; what reaches it is looked at here."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM
from trl.trainer import grpo_trainer

from pipeline.dataset.chat import model_folder
from pipeline.engines import loading, trl
from pipeline.engines.loading import adapter_layers
from pipeline.engines.vllm_weights import AdapterRequests, SummedWeights, exact_sampling, summed_weights
from pipeline.recipe import ModelStep
from pipeline.run import Run


def learnt(dtype: torch.dtype, size: float) -> PeftModel:
    """The bundled model with an adapter whose updates are about this large."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(model_folder("tiny"), dtype=dtype)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=4, target_modules=adapter_layers(base)))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=size)
    return model


def kept(model: PeftModel, given: Iterator[tuple[str, torch.Tensor]]) -> float:
    """The share of the adapter's update that arrives in the given weights, in its own direction."""
    exact = {path.removeprefix("base_model.model.") + ".weight": layer.get_delta_weight("default").double()
             for path, layer in model.named_modules() if hasattr(layer, "lora_A") and hasattr(layer, "base_layer")}
    before = {name.replace(".base_layer", "").removeprefix("base_model.model."): value.double()
              for name, value in model.state_dict().items() if "lora_" not in name}
    arrived = total = 0.0
    for name, value in given:
        if name in exact:
            arrived += float(((value.double() - before[name]) * exact[name]).sum())
            total += float((exact[name] ** 2).sum())
    return arrived / total


def test_an_update_too_small_for_16_bits_reaches_vllm_and_the_base_does_not_change() -> None:
    model = learnt(torch.bfloat16, 2e-4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    given = dict(summed_weights(model, everything=False))
    assert kept(model, iter(given.items())) == pytest.approx(1, abs=0.05)
    nearest = {name: (value.float() + delta.float()).bfloat16() for name, value, delta in _layers(model)}
    assert kept(model, iter(nearest.items())) < 0.5  # what a plain sum in 16 bits keeps
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(value, given[name]) for name, value in summed_weights(model, everything=False))


def _layers(model: PeftModel) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    for path, layer in model.named_modules():
        if hasattr(layer, "lora_A") and hasattr(layer, "base_layer"):
            yield (path.removeprefix("base_model.model.") + ".weight", layer.base_layer.weight.data,
                   layer.get_delta_weight("default").detach())


def test_names_and_types_are_those_of_the_base_and_without_sleep_only_adapted_layers_are_sent() -> None:
    model = learnt(torch.bfloat16, 1e-2)
    base = AutoModelForCausalLM.from_pretrained(model_folder("tiny"), dtype=torch.bfloat16)
    every, adapted = dict(summed_weights(model, everything=True)), dict(summed_weights(model, everything=False))
    assert set(every) == {name for name, _ in base.named_parameters()}
    assert all(value.dtype == torch.bfloat16 and value.shape == base.get_parameter(name).shape
               for name, value in every.items())
    assert {name.rsplit(".", 2)[1] for name in adapted} == set(adapter_layers(base))
    assert all(torch.equal(value, base.get_parameter(name)) for name, value in every.items() if name not in adapted)


def test_a_float32_base_gets_the_exact_sums_that_plain_merging_gives() -> None:
    model = learnt(torch.float32, 1e-2)
    given = dict(summed_weights(model, everything=True))
    merged = model.merge_and_unload()
    assert all(torch.allclose(value, given[name], atol=1e-6) for name, value in merged.named_parameters())


def test_the_trainer_gets_the_one_that_suits_the_base_and_afterwards_its_own() -> None:
    own = grpo_trainer.VLLMGeneration
    for precision, wanted in (("16bit", SummedWeights), ("4bit", AdapterRequests)):
        with exact_sampling(precision):
            assert grpo_trainer.VLLMGeneration is wanted
        assert grpo_trainer.VLLMGeneration is own
    assert "sync_weights" in grpo_trainer.GRPOTrainer._generate_single_turn.__code__.co_names


@pytest.mark.parametrize("sleeps", [False, True])
def test_vllm_is_woken_gets_all_sums_at_once_and_forgets_what_it_kept_of_prompts(sleeps: bool) -> None:
    model, told = learnt(torch.bfloat16, 1e-2), []  # type: ignore[var-annotated]
    loaded = SimpleNamespace(load_weights=lambda given: told.append(dict(given)))
    runner = SimpleNamespace(driver_worker=SimpleNamespace(model_runner=SimpleNamespace(model=loaded)))
    generation = SummedWeights.__new__(SummedWeights)
    generation.model, generation.enable_sleep_mode, generation._llm_weights_sleeping = model, sleeps, sleeps
    generation.llm = SimpleNamespace(llm_engine=SimpleNamespace(model_executor=runner),
                                     wake_up=lambda tags: told.append(tags),
                                     reset_prefix_cache=lambda: told.append("forgotten"))
    generation.sync_weights()
    *woken, given, forgotten = told
    assert (woken, forgotten, generation._llm_weights_sleeping) == ([["weights"]] * sleeps, "forgotten", False)
    assert set(given) == {name for name, _ in summed_weights(model, everything=sleeps)}


def test_tokens_not_answers_are_weighted_for_the_difference_to_vllm(
        make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trl, "uses_vllm", lambda run: True)
    config = trl.grpo_config(make_run(), SimpleNamespace(labels=["right"], weights={"right": 1.0}))
    assert config.vllm_importance_sampling_correction and config.vllm_importance_sampling_mode == "token_truncate"
    assert (config.vllm_importance_sampling_clip_min, config.vllm_importance_sampling_clip_max) == (None, 2.0)
    assert config.generation_kwargs == {"detokenize": False}


def test_vllm_gets_the_folder_of_the_pinned_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the recipe's model; a merged one of the run has no revision."""
    monkeypatch.setattr(loading, "model_folder", lambda source, revision: (source, revision))
    step = ModelStep(source="owner/name", revision="v2")
    assert loading.snapshot("owner/name", step) == ("owner/name", "v2")
    assert loading.snapshot(Path("models/sft"), step) == ("models/sft", None)


def test_every_step_has_an_adapter_of_its_own_in_the_requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The requests name what was written last; sleeping keeps the weights, which no adapter could give back."""
    asked: list[Any] = []

    class Llm:
        def __init__(self, **options: Any) -> None:
            self.options = options

        def generate(self, prompts: list[Any], lora_request: Any, **more: Any) -> list[Any]:
            asked.append(lora_request)
            return []

        def sleep(self, level: int) -> int:
            return level

        def wake_up(self, tags: list[str]) -> None:
            asked.append(tags)

        def reset_prefix_cache(self) -> None:
            asked.append("reset")

    def start(self: Any) -> None:
        self.llm = generation.LLM(model=self.model.name_or_path, max_num_seqs=12)

    from trl.generation import vllm_generation as generation

    monkeypatch.setattr(generation, "LLM", Llm, raising=False)
    monkeypatch.setattr(generation.VLLMGeneration, "_init_vllm", start)
    monkeypatch.setitem(__import__("sys").modules, "vllm.lora.request",
                        SimpleNamespace(LoRARequest=lambda name, number, path: (name, number, path)))
    made = AdapterRequests.__new__(AdapterRequests)
    made.model, made.enable_sleep_mode = learnt(torch.float32, 1e-2), True
    registry = SimpleNamespace(_run_in_subprocess=None)
    monkeypatch.setitem(__import__("sys").modules, "vllm.model_executor.models", SimpleNamespace(registry=registry))
    switches = {"VLLM_USE_FLASHINFER_SAMPLER": lambda: True}
    monkeypatch.setitem(__import__("sys").modules, "vllm",
                        SimpleNamespace(envs=SimpleNamespace(environment_variables=switches)))
    made._init_vllm()
    assert registry._run_in_subprocess(lambda: "looked at here") == "looked at here"
    assert not switches["VLLM_USE_FLASHINFER_SAMPLER"]()
    assert generation.LLM is Llm
    assert made.llm.options["enable_lora"] and made.llm.options["max_lora_rank"] == 8
    assert made.llm.options["compilation_config"] == {"cudagraph_capture_sizes": [1, 2, 4, 8, 12]}
    for step in (1, 2):
        made.sync_weights()
        made.llm.generate(["a prompt"])
        assert asked[-1][1] == step
    folder = asked[-1][2]
    assert [entry for entry in asked if entry == ["weights"] or entry == "reset"] == [["weights"], "reset"] * 2
    assert made.llm.sleep(level=2) == 1
    read = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_folder("tiny")), folder)
    mine = made.model.state_dict()
    assert all(torch.equal(value, mine[name]) for name, value in read.state_dict().items() if "lora_" in name)
