"""Sampling without the small operations of adapters: the same answers, and the model comes back bit for bit."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM

from pipeline.dataset.chat import model_folder
from pipeline.engines import transformers_sampling
from pipeline.engines.loading import quantisation
from pipeline.engines.transformers_sampling import sampling
from pipeline.engines.trl import TrlEngine

PROMPTS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
TIED = {"target_modules": ["q_proj", "lm_head"]}


def adapted(dtype=torch.float32, quantised=None, **lora):
    """The bundled model with an adapter that has learnt something."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(model_folder("tiny"), dtype=dtype,
                                                quantization_config=quantised and quantisation(quantised))
    model = get_peft_model(base, LoraConfig(**{"r": 4, "lora_alpha": 8, "lora_dropout": 0.5,
                                               "target_modules": "all-linear", **lora}))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model.eval()


def logits(model):
    with torch.no_grad():
        return model(input_ids=PROMPTS).logits


def layers(model):
    return [module for module in model.modules() if isinstance(module, LoraLayer)]


def lean_layers(model):
    return [layer for layer in layers(model) if "forward" in vars(layer)]


def test_the_sums_answer_as_the_adapter_does_and_the_base_comes_back():
    model = adapted()
    before, trained = copy.deepcopy(model.state_dict()), [n for n, w in model.named_parameters() if w.requires_grad]
    expected = logits(model)
    with sampling(model):
        assert all(layer.disable_adapters for layer in layers(model)) and not lean_layers(model)
        found = logits(model)
    with model.disable_adapter():
        bare = logits(model)
    assert torch.allclose(found, expected, atol=1e-3) and not torch.allclose(bare, expected, atol=1e-2)
    assert torch.equal(logits(model), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [n for n, w in model.named_parameters() if w.requires_grad] == trained


@pytest.mark.parametrize(("made", "close"), [
    ({"dtype": torch.bfloat16}, 0.02), ({"quantised": "4bit"}, 1e-4), ({"quantised": "8bit"}, 0.02), (TIED, 1e-4)])
def test_beside_a_base_that_cannot_hold_sums_the_lean_adapter_answers_as_pefts_does(made, close):
    """bfloat16 has 8 bits, logits are about 4: they may differ by hundredths, the adapter moves them by tenths."""
    model = adapted(**made)
    expected = logits(model)
    before = {name: value.clone() for name, value in model.named_parameters()}
    with model.disable_adapter():
        bare = (logits(model) - expected).abs().mean()
    with sampling(model):
        assert lean_layers(model) == layers(model)
        off = (logits(model) - expected).abs().mean()
    assert off < close and off < bare / 20
    assert not lean_layers(model) and torch.equal(logits(model), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())


def test_both_sample_without_the_adapters_dropout():
    for model in (adapted(), adapted(**TIED)):
        expected = logits(model)
        with sampling(model.train()):
            assert torch.allclose(logits(model), expected, atol=1e-4)


@pytest.mark.parametrize("made", [{"quantised": "4bit"}, {"quantised": "8bit"}, TIED])
def test_under_autocast_as_unsloth_samples_the_lean_adapter_answers_too(made):
    """A base that answers in 32 bits meets a product that autocast has made shorter."""
    model = adapted(**made)
    with torch.autocast("cpu", torch.bfloat16):
        expected = logits(model)
        with model.disable_adapter():
            bare = (logits(model) - expected).abs().mean()
        with sampling(model):
            assert lean_layers(model) == layers(model)
            assert (logits(model) - expected).abs().mean() < bare / 10


def test_a_layer_with_a_forward_of_its_own_keeps_it():
    model = adapted(**TIED)
    asked, layer = [], layers(model)[0]
    plain = layer.forward
    layer.forward = lambda *given, **more: asked.append(1) or plain(*given, **more)
    expected = logits(model)
    with sampling(model):
        assert torch.allclose(logits(model), expected, atol=1e-4)
    logits(model)
    assert len(asked) == 3


@pytest.mark.parametrize("made", [{"use_dora": True}, {"lora_bias": True}])
@pytest.mark.parametrize("target", [["lm_head"], ["q_proj"]])
def test_another_adapter_than_plain_lora_stays_as_it_is(made, target):
    model = adapted(target_modules=target, **made)
    expected = logits(model)
    with sampling(model):
        assert not lean_layers(model)
        assert torch.equal(logits(model), expected)


@pytest.mark.parametrize("made", [{}, TIED])
def test_it_comes_back_when_sampling_fails_too(made):
    model = adapted(**made)
    expected = logits(model)
    with pytest.raises(KeyboardInterrupt), sampling(model):
        raise KeyboardInterrupt
    assert torch.equal(logits(model), expected)


def test_grpo_samples_from_sums(make_run, monkeypatch):
    run, seen = make_run(), []
    plain = transformers_sampling.sum_with_adapters
    monkeypatch.setattr(transformers_sampling, "sum_with_adapters",
                        lambda *given: seen.append(1) or plain(*given))
    run.begin("grpo", 1)
    TrlEngine().train_grpo(run, run.model_before("sft"))
    assert seen
