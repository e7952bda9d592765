"""Sampling from the sums of a 32-bit base and its adapter: the same answers, and the base comes back bit for bit."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM

from pipeline.dataset.chat import model_folder
from pipeline.engines import summed_sampling
from pipeline.engines.summed_sampling import summed
from pipeline.engines.trl import TrlEngine

PROMPTS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])


def adapted(dtype=torch.float32, target_modules="all-linear"):
    """The bundled model with an adapter that has learnt something."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(model_folder("tiny"), dtype=dtype)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, lora_dropout=0.5, target_modules=target_modules))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    return model.eval()


def logits(model):
    with torch.no_grad():
        return model(input_ids=PROMPTS).logits


def test_the_sums_answer_as_the_adapter_does_and_the_base_comes_back():
    model = adapted()
    before, trained = copy.deepcopy(model.state_dict()), [n for n, w in model.named_parameters() if w.requires_grad]
    expected = logits(model)
    with summed(model):
        assert all(layer.disable_adapters for layer in model.modules() if isinstance(layer, LoraLayer))
        found = logits(model)
    with model.disable_adapter():
        bare = logits(model)
    assert torch.allclose(found, expected, atol=1e-4) and not torch.allclose(bare, expected, atol=1e-2)
    assert torch.equal(logits(model), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [n for n, w in model.named_parameters() if w.requires_grad] == trained


def test_it_comes_back_when_sampling_fails_too():
    model = adapted()
    expected = logits(model)
    with pytest.raises(KeyboardInterrupt), summed(model):
        raise KeyboardInterrupt
    assert torch.equal(logits(model), expected)


@pytest.mark.parametrize("more", [{"dtype": torch.bfloat16}, {"target_modules": ["q_proj", "lm_head"]}])
def test_a_base_in_16_bits_and_a_weight_used_twice_are_left_alone(more):
    model = adapted(**more)
    with summed(model):
        assert not any(layer.disable_adapters for layer in model.modules() if isinstance(layer, LoraLayer))


def test_grpo_samples_from_sums(make_run, monkeypatch):
    run, seen = make_run(), []
    plain = summed_sampling.sum_with_adapters
    monkeypatch.setattr(summed_sampling, "sum_with_adapters", lambda *given: seen.append(1) or plain(*given))
    run.begin("grpo", 1)
    TrlEngine().train_grpo(run, run.model_before("sft"))
    assert seen
