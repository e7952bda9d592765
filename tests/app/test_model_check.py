"""What is found out about a model before any work, from hand-made folders; torch is never needed."""

import json
import re
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from pipeline import model_check
from pipeline.hardware import Gpu, Hardware
from pipeline.model_check import ModelCheck, check_model, trainable_parameters
from pipeline.model_facts import ModelFacts, read_facts
from pipeline.recipe import ModelStep

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 16,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 10,
    "max_position_embeddings": 2048}
CPU = Hardware(cpus=2, memory_gib=8, available_gib=6)
H200 = Hardware(8, 128, 100, (Gpu(0, "NVIDIA H200", 140, 0.5, (9, 0)),), "580.95", None,
                {"torch": "2.11.0", "vllm": "0.26.0", "unsloth": "2026.10.5", "unsloth_zoo": "2026.10.7",
                 "bitsandbytes": "0.50.2"})


def tensors(layers: int = 2) -> dict[str, list[int]]:
    """A Llama of 2 layers: 10×8 embeddings; per layer q 8×8, k and v 4×8, o 8×8, gate, up 16×8, down 8×16, norm 8."""
    shapes = {"model.embed_tokens.weight": [10, 8]}
    for i in range(layers):
        at, mlp = f"model.layers.{i}.self_attn", f"model.layers.{i}.mlp"
        shapes |= {f"{at}.q_proj.weight": [8, 8], f"{at}.k_proj.weight": [4, 8], f"{at}.v_proj.weight": [4, 8],
                   f"{at}.o_proj.weight": [8, 8], f"{mlp}.gate_proj.weight": [16, 8], f"{mlp}.up_proj.weight": [16, 8],
                   f"{mlp}.down_proj.weight": [8, 16], f"model.layers.{i}.input_layernorm.weight": [8]}
    return shapes


def model_folder(folder: Path, config: dict[str, Any] | None = None, weights: bool = True,
                 template: bool = True) -> str:
    """Write a model folder whose safetensors file has a header only; gives its path."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(LLAMA | (config or {})))
    (folder / "tokenizer.json").write_text("{}")
    if weights:
        header = json.dumps({n: {"dtype": "BF16", "shape": s, "data_offsets": [0, 0]} for n, s in tensors().items()})
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode())
    if template:
        (folder / "chat_template.jinja").write_text("{{ messages }}")
    return str(folder)


def problems(check: ModelCheck) -> str:
    """All problems as one text."""
    return " ".join(check.problems)


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


def test_pickled_weights_are_refused_and_the_converter_named(tmp_path: Path) -> None:
    source = model_folder(tmp_path / "m", weights=False)
    (tmp_path / "m" / "pytorch_model.bin").write_bytes(b"pickle")
    said = problems(check_model(ModelStep(source=source)))
    assert "pytorch_model.bin, a pickle" in said and "convert" in said


def test_a_folder_without_weights_an_adapter_and_a_gguf_are_told_apart(tmp_path: Path) -> None:
    assert "no weights" in problems(check_model(ModelStep(source=model_folder(tmp_path / "a", weights=False))))
    adapter, gguf, empty = tmp_path / "b", tmp_path / "c", tmp_path / "d"
    for folder in (adapter, gguf, empty):
        folder.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}')
    (gguf / "model.gguf").write_bytes(b"GGUF")
    assert "an adapter for owner/base" in problems(check_model(ModelStep(source=str(adapter))))
    assert "GGUF" in problems(check_model(ModelStep(source=str(gguf))))
    assert "has no config.json" in problems(check_model(ModelStep(source=str(empty))))


@pytest.mark.parametrize("content", [
    b"", b"\x00" * 8, struct.pack("<Q", 10**12) + b"{}", struct.pack("<Q", 4) + b"[1}]",
    struct.pack("<Q", 5) + b"[1,2]", struct.pack("<Q", 90_000) + b"[" * 90_000])
def test_damaged_weights_are_told_and_never_read_past_their_end(tmp_path: Path, content: bytes) -> None:
    source = model_folder(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(content)
    assert "is damaged" in problems(check_model(ModelStep(source=source)))


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


def test_a_gguf_file_is_refused_with_what_to_take_instead(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    said = problems(check_model(ModelStep(source=str(tmp_path / "model.gguf"))))
    assert "is a GGUF file, which cannot be trained: choose the original 16-bit model" in said


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


@pytest.mark.parametrize(("source", "says"), [
    ("/no/such/folder", "There is no folder /no/such/folder"),
    ("not a name!", "neither a folder on this machine nor a Hub id"),
    ("owner/name", "the Hub cannot be reached"),
])
def test_a_model_that_cannot_be_found_is_told_with_what_to_do(source: str, says: str) -> None:
    """The tests run offline, so an id that would be looked up on the Hub stands for a missing network."""
    assert says in problems(check_model(ModelStep(source=source)))


@pytest.mark.parametrize(("error", "says"), [
    ("GatedRepoError", "accept its conditions, log in with `hf auth login` or set HF_TOKEN"),
    ("RepositoryNotFoundError", "There is no model owner/name on the Hub"),
    ("RevisionNotFoundError", "has no revision 'v9'"),
    ("LocalEntryNotFoundError", "the Hub cannot be reached"),  # the network went between two files
    ("EntryNotFoundError", "a config.json but no weights"),
    ("HfHubHTTPError", "The Hub answered 403 for owner/name: try again later"),
])
def test_what_the_hub_refuses_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch, error: str, says: str) -> None:
    import httpx
    from huggingface_hub import HfApi, errors

    def refuse(self: HfApi, *args: object, **kwargs: object) -> None:
        response = httpx.Response(403, request=httpx.Request("GET", "https://huggingface.co/api/models/owner/name"))
        kind = getattr(errors, error)
        raise kind("refused", response=response) if issubclass(kind, errors.HfHubHTTPError) else kind("refused")

    monkeypatch.setattr(HfApi, "model_info", refuse)
    assert says in problems(check_model(ModelStep(source="owner/name", revision="v9")))


def weights(folder: str, shapes: dict[str, Any], name: str = "model.safetensors") -> None:
    """Write a weights file that has a header only."""
    header = json.dumps({n: {"dtype": "I32", "shape": shape} for n, shape in shapes.items()})
    Path(folder, name).write_bytes(struct.pack("<Q", len(header)) + header.encode())


@pytest.mark.parametrize(("config", "says"), [
    ({"quantization_config": "gptq"}, "is already quantised (GPTQ)"),
    ({"quantization_config": ["gptq"]}, "is already quantised."),
    ({"quantization_config": {"load_in_4bit": True}}, "is already quantised (bitsandbytes)"),
    ({"quantization_config": {"quant_method": 4}}, "is already quantised."),
    ({"architectures": "LlamaForCausalLM"}, "names no architecture"),
    ({"architectures": {"a": 1}}, "names no architecture"), ({"architectures": [None]}, "names no architecture")])
def test_a_config_of_another_shape_is_told_in_words_too(tmp_path: Path, config: dict[str, Any], says: str) -> None:
    assert says in problems(check_model(ModelStep(source=model_folder(tmp_path / "m", config))))


@pytest.mark.parametrize("name", ["q_proj.qweight", "q_proj.SCB", "q_proj.weight.absmax", "q_proj.weight_packed"])
def test_quantised_weights_are_recognised_without_a_word_in_the_config(tmp_path: Path, name: str) -> None:
    """As older tools wrote them, with their settings in a file of their own."""
    source = model_folder(tmp_path / "m", weights=False)
    weights(source, tensors() | {f"model.layers.0.self_attn.{name}": [8, 8]})
    assert "is already quantised. Training and merging need the 16-bit original" in problems(
        check_model(ModelStep(source=source)))


@pytest.mark.parametrize(("shapes", "says"), [
    ({"a": 7}, "is damaged"), ({"a": ["x", 2]}, "is damaged (its header holds a shape that is none)"),
    ({"a": [-5, 2]}, "a shape that is none"), ({}, "weights files without any weights")])
def test_a_header_that_holds_no_weights_is_told(tmp_path: Path, shapes: dict[str, Any], says: str) -> None:
    source = model_folder(tmp_path / "m")
    weights(source, shapes)
    assert says in problems(check_model(ModelStep(source=source)))


def test_half_a_model_is_told_by_what_it_lacks(tmp_path: Path) -> None:
    """A shard that its index names, the files behind Git LFS, the tokenizer, and all weights but those in a GGUF."""
    shard, pointer, mute, gguf = (model_folder(tmp_path / name, weights=name == "mute")
                                  for name in ("shard", "pointer", "mute", "gguf"))
    names = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    weights(shard, tensors(), names[0])
    index = {"weight_map": dict(zip("abc", names, strict=True))}
    Path(shard, "model.safetensors.index.json").write_text(json.dumps(index))
    Path(pointer, "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\n")
    Path(mute, "tokenizer.json").unlink()
    Path(gguf, "model.Q4_K_M.gguf").write_bytes(b"GGUF")
    for source, says in ((shard, f"not complete: {names[1]} and 1 more weights files are missing"),
                         (pointer, "pointer of Git LFS, not the weights: run `git lfs pull`"),
                         (mute, "has no tokenizer.json: fetch the whole model"),
                         (gguf, "only as a GGUF file, which cannot be trained: choose the original 16-bit model")):
        assert says in problems(check_model(ModelStep(source=source)))
    weights(shard, tensors(), names[1])
    weights(shard, tensors(), names[2])
    assert check_model(ModelStep(source=shard)).ok


@pytest.mark.parametrize(("files", "packed", "says"), [
    (("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"), (), ""),
    (("config.json", "model.safetensors", "tokenizer.model"), (), "owner/name has no tokenizer.json"),
    (("config.json", "model.safetensors", "tokenizer.json"), ("model.layers.0.q_proj.qweight",), "already quantised"),
    (("config.json", "model.gguf", "tokenizer.json"), (), "only as a GGUF file"),
    (("model.gguf",), (), "GGUF files cannot be trained")])
def test_a_model_of_the_hub_is_judged_by_its_list_of_files_and_their_headers(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[str, ...], packed: tuple[str, ...], says: str,
) -> None:
    folder, shapes = model_folder(tmp_path / "m"), tensors() | {name: [8, 8] for name in packed}
    listed = SimpleNamespace(siblings=[SimpleNamespace(rfilename=name, size=1) for name in files])
    headers = {"model.safetensors": SimpleNamespace(
        tensors={name: SimpleNamespace(shape=shape) for name, shape in shapes.items()})}
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: listed)
    monkeypatch.setattr(huggingface_hub.HfApi, "get_safetensors_metadata",
                        lambda *_, **__: SimpleNamespace(files_metadata=headers))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda _, name, **__: str(Path(folder, name)))
    check = check_model(ModelStep(source="owner/name"))
    assert says in problems(check) and check.ok is (not says)
    assert not check.ok or check.facts.parameters == 1248


def test_a_half_fetched_model_of_the_hub_is_fetched_on_and_not_refused(tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache has the first of two shards; with the second it is read from there, also without a network."""
    cached = model_folder(tmp_path / "cached", weights=False)
    weights(cached, tensors(), "model-1.safetensors")
    Path(cached, "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(Path(cached, "config.json")))
    assert "the Hub cannot be reached" in problems(check_model(ModelStep(source="owner/name")))
    weights(cached, {}, "model-2.safetensors")
    assert check_model(ModelStep(source="owner/name")).ok


def test_a_file_and_an_address_are_answered_with_what_to_give_instead(tmp_path: Path) -> None:
    file = ModelStep(source=model_folder(tmp_path / "m") + "/config.json")
    assert f"is a file: give the folder that it is in, {tmp_path / 'm'}." in problems(check_model(file))
    address = ModelStep(source="https://huggingface.co/owner/name-1.5/tree/main")
    assert "is an address: give the model's id alone, owner/name-1.5." in problems(check_model(address))


@pytest.mark.parametrize("change", [{"hidden_size": "8"}, {"num_hidden_layers": -2}, {"vocab_size": 0}])
def test_a_size_that_is_not_told_makes_the_estimate_doubtful(tmp_path: Path, change: dict[str, Any]) -> None:
    check = check_model(ModelStep(source=model_folder(tmp_path / "m", change)), H200)
    assert check.ok and "the memory estimate is far too low" in check.warnings[0]
