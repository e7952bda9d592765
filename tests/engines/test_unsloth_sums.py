"""Unsloth's sampling from sums in the weights that it shares with vLLM. Both need a GPU; the weights are real here, and
shared as Unsloth shares them: the model's are rows of what vLLM has put together."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from pipeline.engine_choice import samples_from_sums
from pipeline.engines.unsloth_sums import (
    SamplesFromSums,
    name_no_adapter,
    sums_in_place,
    without_adapters,
)
from pipeline.engines.vllm_weights import summed_weights
from pipeline.errors import EngineError
from pipeline.recipe import ModelStep
from tests.engines.test_vllm_weights import learnt

PARTS = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


class Vllm:
    """What of a `vllm.LLM` in this process is looked at; its model's weights are those of `model`."""

    def __init__(self, model: PeftModel) -> None:
        self.model, self.resets, self.busy = torch.nn.Module(), 0, False
        for number, layer in enumerate(model.base_model.model.model.layers):
            for group in (layer.self_attn, layer.mlp):
                for name, parts in {**PARTS, "o_proj": ("o_proj",), "down_proj": ("down_proj",)}.items():
                    if found := [getattr(group, part).get_base_layer() for part in parts if hasattr(group, part)]:
                        self._share(f"{number}_{name}", found)
        runner = SimpleNamespace(model=self.model)
        self.llm_engine = SimpleNamespace(
            model_executor=SimpleNamespace(driver_worker=SimpleNamespace(model_runner=runner)))

    def _share(self, name: str, layers: list[Any]) -> None:
        whole = torch.cat([layer.weight.data for layer in layers])
        self.model.register_parameter(name, torch.nn.Parameter(whole, requires_grad=False))
        with torch.inference_mode():  # as Unsloth looks for them
            rows = whole.split([layer.weight.shape[0] for layer in layers])
        for layer, part in zip(layers, rows, strict=True):
            layer.weight = torch.nn.Parameter(part, requires_grad=False)

    def reset_prefix_cache(self) -> bool:
        self.resets += 1
        return not self.busy

    def read(self) -> dict[str, torch.Tensor]:
        """Its weights as they are now."""
        return {name: weight.data.clone() for name, weight in self.model.named_parameters()}


def sums_as_trl_gives_them(model: PeftModel) -> dict[str, torch.Tensor]:
    given = {name.removeprefix("model.layers."): value for name, value in summed_weights(model, everything=False)}
    whole = {}
    for number in range(len(model.base_model.model.model.layers)):
        for name, parts in PARTS.items():
            inside = "self_attn" if name == "qkv_proj" else "mlp"
            whole[f"{number}_{name}"] = torch.cat([given[f"{number}.{inside}.{part}.weight"] for part in parts])
        whole[f"{number}_o_proj"] = given[f"{number}.self_attn.o_proj.weight"]
        whole[f"{number}_down_proj"] = given[f"{number}.mlp.down_proj.weight"]
    return whole


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("size", [2e-4, 1e-2])
def test_vllm_reads_the_sums_that_trl_gives_and_afterwards_the_base_bit_for_bit(size: float) -> None:
    model = learnt(torch.bfloat16, size)
    llm = Vllm(model)
    base, expected = llm.read(), sums_as_trl_gives_them(model)
    for resets in (1, 2):
        with sums_in_place(model, llm):
            assert same(llm.read(), expected) and not same(expected, base)
            assert llm.resets == resets  # what the base had answered is forgotten
        assert same(llm.read(), base)


def test_the_base_comes_back_when_sampling_fails_and_the_model_can_learn_then() -> None:
    model = learnt(torch.bfloat16, 1e-2)
    llm = Vllm(model)
    base, tokens = llm.read(), torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        before = model(input_ids=tokens).logits
    with pytest.raises(RuntimeError, match="no room"), sums_in_place(model, llm):
        raise RuntimeError("no room")
    assert same(llm.read(), base)
    answer = model(input_ids=tokens, labels=tokens)
    assert torch.equal(answer.logits, before)
    answer.loss.backward()
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in learning)
    assert {id(weight) for weight in learning} == {
        id(weight) for name, weight in model.named_parameters() if "lora_" in name}


def test_a_vllm_with_other_weights_is_refused_before_anything_changes() -> None:
    model = learnt(torch.bfloat16, 1e-2)
    llm = Vllm(model)
    layer = next(module for module in model.modules() if isinstance(module, LoraLayer)).get_base_layer()
    layer.weight = torch.nn.Parameter(layer.weight.clone(), requires_grad=False)
    base = llm.read()
    with pytest.raises(EngineError, match="engine trl"), sums_in_place(model, llm):
        raise AssertionError("it must not sample")
    assert same(llm.read(), base) and llm.resets == 0


def test_while_it_samples_the_trainer_has_the_sums_and_no_adapter_is_named() -> None:
    model = learnt(torch.bfloat16, 1e-2)
    llm = Vllm(model)
    expected = sums_as_trl_gives_them(model)

    class Sampling:
        def _generate_single_turn(self, prompts: list[list[int]], number: int) -> Any:
            return prompts, number, same(llm.read(), expected), self.model.load_lora("here", load_tensors=True)

    class Trainer(SamplesFromSums, Sampling):
        vllm_generation = SimpleNamespace(llm=llm)

    name_no_adapter(model)
    trainer = Trainer()
    trainer.model = model
    assert trainer._generate_single_turn([[1, 2]], number=3) == ([[1, 2]], 3, True, None)
    assert not trainer.scores_once()


def test_a_vllm_that_keeps_what_it_has_cached_does_not_sample() -> None:
    model = learnt(torch.bfloat16, 1e-2)
    llm = Vllm(model)
    base, llm.busy = llm.read(), True
    with pytest.raises(EngineError, match="earlier answers"), sums_in_place(model, llm):
        raise AssertionError("it must not sample")
    assert same(llm.read(), base)


def test_vllm_is_made_without_adapters_only_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    class LLM:
        def __init__(self, **options: Any) -> None:
            self.options = options

    vllm = SimpleNamespace(LLM=LLM)
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    asked = {"model": "here", "enable_lora": True, "max_loras": 1, "max_lora_rank": 64, "max_num_seqs": 8}
    with pytest.raises(RuntimeError), without_adapters():
        assert vllm.LLM(**asked).options == {"model": "here", "max_num_seqs": 8} and issubclass(vllm.LLM, LLM)
        raise RuntimeError("it fails to load")
    assert vllm.LLM is LLM


def test_for_known_small_bases_in_16_bits_alone() -> None:
    step = ModelStep()
    assert samples_from_sums(step, "llama", 1_073_809_408)
    assert not samples_from_sums(step, "gemma3_text", 1_073_809_408)
    assert not any(samples_from_sums(step, "llama", parameters) for parameters in (0, 1_300_000_000))
    assert not any(samples_from_sums(ModelStep(precision=precision), "llama", 135_000_000)
                   for precision in ("8bit", "4bit", "fp8"))
