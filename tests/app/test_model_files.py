"""What a model's files tell before any is loaded: damaged, pickled, quantised, half there, on disk or on the Hub."""

import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from pipeline.model_check import check_model
from pipeline.recipe import ModelStep
from tests.app.model_folders import model_folder, problems, tensors, weights


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


def test_a_gguf_file_is_refused_with_what_to_take_instead(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    said = problems(check_model(ModelStep(source=str(tmp_path / "model.gguf"))))
    assert "is a GGUF file, which cannot be trained: choose the original 16-bit model" in said


@pytest.mark.parametrize("content", [
    b"", b"\x00" * 8, struct.pack("<Q", 10**12) + b"{}", struct.pack("<Q", 4) + b"[1}]",
    struct.pack("<Q", 5) + b"[1,2]", struct.pack("<Q", 90_000) + b"[" * 90_000])
def test_damaged_weights_are_told_and_never_read_past_their_end(tmp_path: Path, content: bytes) -> None:
    source = model_folder(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(content)
    assert "is damaged" in problems(check_model(ModelStep(source=source)))


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


def test_a_file_and_an_address_are_answered_with_what_to_give_instead(tmp_path: Path) -> None:
    file = ModelStep(source=model_folder(tmp_path / "m") + "/config.json")
    assert f"is a file: give the folder that it is in, {tmp_path / 'm'}." in problems(check_model(file))
    address = ModelStep(source="https://huggingface.co/owner/name-1.5/tree/main")
    assert "is an address: give the model's id alone, owner/name-1.5." in problems(check_model(address))


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
