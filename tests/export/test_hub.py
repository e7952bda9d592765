"""Uploads against a local stand-in for the Hub."""

import pytest
from huggingface_hub import HfApi, constants

from pipeline.errors import RunError
from pipeline.export_hub import plan, upload


def test_files_are_listed_before_anything_is_sent(home, finished, hub):
    state, api = hub
    files = plan(home, finished, "grpo", "me/reasoner", adapter=True, api=api)
    names = {f.name for f in files}
    assert {"README.md", "recipe.yaml", "config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors",
            "adapter/adapter_model.safetensors"} <= names
    assert "merged.json" not in names
    assert [f.bytes for f in files] == sorted(f.bytes for f in files)
    assert state.repos == {} and not any(f.there for f in files)


def test_an_upload_is_private_complete_and_names_no_path_of_this_machine(home, finished, hub):
    state, api = hub
    files = plan(home, finished, "grpo", "me/reasoner", adapter=True, api=api)
    seen = []
    upload(files, "me/reasoner", api=api, progress=lambda done, total, name: seen.append((done, total)))
    assert state.private == {"me/reasoner": True}
    assert set(state.repos["me/reasoner"]) == {f.name for f in files}
    assert "secret" not in str(state.repos)
    assert "very unlikely to be chance" in state.repos["me/reasoner"]["README.md"]["text"]
    assert seen[-1][0] == seen[-1][1] == sum(f.bytes for f in files)


def test_a_broken_upload_continues_without_sending_anything_twice(home, finished, hub):
    state, api = hub
    files = plan(home, finished, "grpo", "me/reasoner", api=api)
    state.fail_puts = 1
    with pytest.raises(RunError, match="broke off while sending model"):
        upload(files, "me/reasoner", api=api)
    again = plan(home, finished, "grpo", "me/reasoner", api=api)
    assert [f.name for f in again if not f.there] == ["model.safetensors"]
    before = len(state.commits)
    upload(again, "me/reasoner", api=api)
    assert state.commits[before:] == [["model.safetensors"]] and len(state.puts) == 1
    assert all(f.there for f in plan(home, finished, "grpo", "me/reasoner", api=api))


def test_a_stop_is_heard_between_files(home, finished, hub):
    state, api = hub
    with pytest.raises(RunError, match="Stopped before"):
        upload(plan(home, finished, "sft", "me/r", api=api), "me/r", api=api,
               should_stop=lambda: len(state.commits) >= 2)
    assert len(state.commits) == 2


@pytest.mark.parametrize("name", ["", "reasoner", "a/b/c", "me/with space", "me/../x"])
def test_a_name_that_the_hub_refuses_is_refused_first(home, finished, hub, name):
    with pytest.raises(RunError, match="owner/name"):
        plan(home, finished, "grpo", name, api=hub[1])


@pytest.mark.parametrize(("status", "words"), [(401, "hf auth login"), (403, "may not write"), (500, "Upload again")])
def test_refusals_of_the_hub_are_told_in_words(home, finished, hub, status, words):
    state, api = hub
    files = plan(home, finished, "grpo", "me/reasoner", api=api)
    state.status = status
    with pytest.raises(RunError, match=words):
        upload(files, "me/reasoner", api=api)


def test_offline_mode_is_named(home, finished, hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RunError, match="unset HF_HUB_OFFLINE"):
        plan(home, finished, "grpo", "me/reasoner", api=hub[1])


def test_no_network_is_told_in_words(home, finished, hub):
    with pytest.raises(RunError, match="cannot be reached"):
        plan(home, finished, "grpo", "me/reasoner", api=HfApi(endpoint="http://127.0.0.1:1", token="hf_x"))


def test_large_files_go_through_xet_storage_and_a_broken_upload_continues(home, finished, xet_hub, tmp_path,
                                                                          monkeypatch):
    """With hf_xet, which comes with huggingface_hub: blocks first, then what the file is made of, then a commit."""
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet"))
    state, api = xet_hub
    files = plan(home, finished, "grpo", "me/reasoner", api=api)
    state.fail_shards = 1
    with pytest.raises(RunError, match="broke off while sending model"):
        upload(files, "me/reasoner", api=api)
    assert "model.safetensors" not in state.repos["me/reasoner"]
    again = plan(home, finished, "grpo", "me/reasoner", api=api)
    assert [f.name for f in again if not f.there] == ["model.safetensors"]
    upload(again, "me/reasoner", api=api)
    weights = next(f for f in files if f.name == "model.safetensors")
    assert state.repos["me/reasoner"]["model.safetensors"]["size"] == weights.bytes
    assert state.shards == 1 and sum(state.xorbs.values()) > 0.5 * weights.bytes and state.puts == []
    assert state.private == {"me/reasoner": True}
    assert all(f.there for f in plan(home, finished, "grpo", "me/reasoner", api=api))
    assert not any("telemetry" in asked for asked in state.asked)
