"""What is found out about a model before any work: its size, its configuration, and whether the machine can do it."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import model_check
from pipeline.hardware import Gpu, Hardware
from pipeline.model_check import check_model, trainable_parameters
from pipeline.model_facts import ModelFacts, read_facts
from pipeline.recipe import ModelStep
from tests.app.model_folders import model_folder, problems

CPU = Hardware(cpus=2, memory_gib=8, available_gib=6)
H200 = Hardware(8, 128, 100, (Gpu(0, "NVIDIA H200", 140, 0.5, (9, 0)),), "580.95", None,
                {"torch": "2.11.0", "vllm": "0.26.0", "unsloth": "2026.10.5", "unsloth_zoo": "2026.10.7",
                 "bitsandbytes": "0.50.2"})


def test_parameters_and_the_adapters_share_are_counted_from_the_shapes(tmp_path: Path) -> None:
    """Per layer 64 + 32 + 32 + 64 + 3·128 + 8 (norm) = 584; twice, and 80 embeddings: 1,248 in all.

    A rank-2 adapter has 2·(in + out) per layer: q 32, k 24, v 24, o 32, three of the MLP 48 each = 256; twice: 512.
    With q_proj alone: 2·2·16 = 64.
    """
    facts = read_facts(model_folder(tmp_path / "m"))
    assert facts.parameters == 1248
    assert facts.linear_parameters == 2 * (64 + 32 + 32 + 64 + 3 * 128)
    assert trainable_parameters(facts, 2, []) == 512
    assert trainable_parameters(facts, 2, ["q_proj"]) == 64
    assert (facts.layers, facts.kv_heads, facts.head_dim) == (2, 1, 4)


def test_a_sound_folder_has_no_problems(tmp_path: Path) -> None:
    check = check_model(ModelStep(source=model_folder(tmp_path / "m")), CPU, tmp_path)
    assert check.ok and check.problems == ()


def test_the_bundled_model_passes() -> None:
    check = check_model(ModelStep(source="tiny"), CPU)
    assert check.ok, check.problems
    assert check.facts is not None and check.facts.size_bytes < 8_000_000


@pytest.mark.parametrize(("config", "says"), [
    ({"architectures": ["BertForMaskedLM"], "model_type": "bert"}, "not a causal language model"),
    ({"architectures": []}, "names no architecture"),
    ({"architectures": ["MadeUpForCausalLM"]}, "does not know the architecture MadeUpForCausalLM"),
    ({"architectures": ["OwnForCausalLM"], "auto_map": {"AutoModel": "own.Own"}}, "brings its own Python code"),
    ({"quantization_config": {"quant_method": "gptq"}}, "already quantised (GPTQ)"),
    ({"quantization_config": {"quant_method": "awq"}}, "already quantised (AWQ)"),
])
def test_a_config_that_cannot_be_trained_is_refused_in_words(tmp_path: Path, config: dict[str, Any], says: str) -> None:
    check = check_model(ModelStep(source=model_folder(tmp_path / "m", config)))
    assert says in problems(check) and check.facts is None


@pytest.mark.parametrize(("config", "says"), [
    ({"quantization_config": "gptq"}, "is already quantised (GPTQ)"),
    ({"quantization_config": ["gptq"]}, "is already quantised."),
    ({"quantization_config": {"load_in_4bit": True}}, "is already quantised (bitsandbytes)"),
    ({"quantization_config": {"quant_method": 4}}, "is already quantised."),
    ({"architectures": "LlamaForCausalLM"}, "names no architecture"),
    ({"architectures": {"a": 1}}, "names no architecture"), ({"architectures": [None]}, "names no architecture")])
def test_a_config_of_another_shape_is_told_in_words_too(tmp_path: Path, config: dict[str, Any], says: str) -> None:
    assert says in problems(check_model(ModelStep(source=model_folder(tmp_path / "m", config))))


@pytest.mark.parametrize("change", [{"hidden_size": "8"}, {"num_hidden_layers": -2}, {"vocab_size": 0}])
def test_a_size_that_is_not_told_makes_the_estimate_doubtful(tmp_path: Path, change: dict[str, Any]) -> None:
    check = check_model(ModelStep(source=model_folder(tmp_path / "m", change)), H200)
    assert check.ok and "the memory estimate is far too low" in check.warnings[0]


def test_too_little_disk_is_told_in_units_that_fit_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,248 parameters in 16 bits are 2.4 kB; 0.1 GiB is below the 0.2 that a run needs besides."""
    monkeypatch.setattr(model_check, "free_disk_gib", lambda home: 0.1)
    words = problems(check_model(ModelStep(source=model_folder(tmp_path / "m")), CPU, tmp_path))
    assert "two merged models of 2.4 kB each" in words and "has 102 MB left: free some space" in words


def test_a_model_without_chat_template_is_offered_the_plain_one(tmp_path: Path) -> None:
    source = model_folder(tmp_path / "m", template=False)
    assert "Set the chat template to plain" in problems(check_model(ModelStep(source=source)))
    assert check_model(ModelStep(source=source, chat_template="plain")).ok


def test_a_sequence_longer_than_the_model_knows_names_the_limit(tmp_path: Path) -> None:
    said = problems(check_model(ModelStep(source=model_folder(tmp_path / "m"), max_length=4096)))
    assert "set it to 2048 or less" in said


@pytest.mark.parametrize(("memory_gib", "precision", "says"), [
    (4.0, "16bit", r"in 16bit; the GPU has 4.0 GiB: choose 4bit, in which they take 1.5 GiB, or a smaller model"),
    (1.0, "4bit", r"in 4bit; the GPU has 1.0 GiB: choose a smaller model, of about 1.3 billion parameters at most in"),
])
def test_weights_larger_than_the_gpu_are_refused_with_what_would_fit(
        monkeypatch: pytest.MonkeyPatch, memory_gib: float, precision: str, says: str) -> None:
    """2.6 billion parameters, 4.84 GiB in 16 bit. In 4 bit the 2.5 billion of the linear layers take 0.5625 bytes each
    and the rest two: 1.50 GiB. Three quarters of 1 GiB hold 2.6 billion · 0.75 / 1.50 = 1.3 billion of such."""
    facts = ModelFacts("owner/big", "LlamaForCausalLM", "llama", 2_600_000_000, 0, 2, 8, 16, 10, 1, 4, None, True,
                       {"q_proj": ((50_000, 50_000),)})
    monkeypatch.setattr(model_check, "read_facts", lambda *_: facts)
    machine = replace(H200, gpus=(Gpu(0, "Small", memory_gib, 0, (8, 9)),))
    said = problems(check_model(ModelStep(source="owner/big", precision=precision), machine))
    assert re.search(says, said), said


def test_weights_larger_than_the_machine_are_refused_without_naming_4_bit(tmp_path: Path) -> None:
    """1,248 parameters in float32 take 4,992 bytes: more than a machine with a millionth of a GiB (1,074 bytes). On a
    CPU the precision changes nothing."""
    small = Hardware(cpus=1, memory_gib=1e-6, available_gib=1e-6)
    said = problems(check_model(ModelStep(source=model_folder(tmp_path / "m")), small))
    assert "choose a smaller model" in said and "4bit" not in said


def test_a_gpu_that_torch_cannot_use_is_not_counted_on(tmp_path: Path) -> None:
    """With a driver of CUDA 12 the run would start on the CPU: fp8 and the memory of the GPU are not to be had."""
    old = replace(H200, driver="570.1")
    assert "fp8 needs an NVIDIA GPU" in problems(
        check_model(ModelStep(source=model_folder(tmp_path / "m"), precision="fp8"), old))


def test_what_is_only_slower_is_a_warning(tmp_path: Path) -> None:
    check = check_model(ModelStep(source=model_folder(tmp_path / "m"), precision="8bit"), H200)
    assert check.ok and "vLLM cannot follow an 8-bit base" in check.warnings[0]


def test_precisions_that_this_machine_cannot_do_are_refused(tmp_path: Path) -> None:
    source = model_folder(tmp_path / "m")
    assert "fp8 needs an NVIDIA GPU" in problems(check_model(ModelStep(source=source, precision="fp8"), CPU))
    assert "needs bitsandbytes" in problems(check_model(ModelStep(source=source, precision="4bit"), CPU))
    assert check_model(ModelStep(source=source, precision="fp8"), H200).ok
    assert "asks for 2 GPUs and 1 were found" in problems(check_model(ModelStep(source=source, gpus=2), H200))
