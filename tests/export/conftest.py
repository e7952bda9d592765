"""A finished run with small fake models, and the stand-in for the Hub."""

import json
import shutil
import struct
from pathlib import Path

import pytest
from huggingface_hub import HfApi, _commit_api, constants

from pipeline.recipe import Recipe
from pipeline.run_folder import AnswerRecord, RunFolder, RunWriter
from pipeline.studio_home import StudioHome
from tests.export.hub_standin import serving

TINY = Path(__file__).resolve().parents[2] / "assets" / "tiny-reasoner"


@pytest.fixture
def finished(tmp_path):
    """A run whose merged models are copies of the bundled one, with adapters, data and 40 answers a model."""
    folder = RunFolder(tmp_path / "runs" / "run-1")
    writer = RunWriter(folder)
    folder.recipe_file.write_text(Recipe(name="Demo").to_yaml())
    for stage in ("sft", "grpo"):
        shutil.copytree(TINY, folder.model(stage))
        (folder.model(stage) / "merged.json").write_text('{"base": "/home/me/secret"}')
        folder.adapter(stage).mkdir(parents=True)
        header = json.dumps({"__metadata__": {"stage": stage}}).encode()
        (folder.adapter(stage) / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        config = {"base_model_name_or_path": "/home/me/secret", "r": 16}
        (folder.adapter(stage) / "adapter_config.json").write_text(json.dumps(config))
        (folder.adapter(stage) / "README.md").write_text("base_model: /home/me/secret")
    (folder.path / "data").mkdir()
    for part in ("sft", "grpo", "test"):
        folder.data(part).write_bytes(b"PAR1")
    settings = json.dumps({"precision": "16bit", "max_completion_tokens": 96})
    for model, right in (("base", 0), ("sft", 12), ("grpo", 30)):
        writer.add_answers(AnswerRecord(model, "test", settings, i, 0, f"{i}?", str(i), "text", str(i), i < right,
                                        i < right, i < right, True, 9, False, 0.1) for i in range(40))
    writer.close()
    return folder


@pytest.fixture
def home(tmp_path):
    """The home in which `finished` lies."""
    return StudioHome(tmp_path)


@pytest.fixture
def hub(monkeypatch):
    """(stand-in, api that talks to it). It is on this machine, so the tests' offline mode is lifted for it.

    Large files go by the Hub's LFS interface; `xet_hub` takes the other one.
    """
    monkeypatch.setattr(_commit_api, "is_xet_available", lambda: False)
    yield from _serve(monkeypatch)


@pytest.fixture
def xet_hub(monkeypatch):
    """As `hub`, with large files in Xet storage, as huggingface_hub sends them by default."""
    yield from _serve(monkeypatch)


def _serve(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serving() as (state, address):
        yield state, HfApi(endpoint=address, token="hf_for_this_test")
