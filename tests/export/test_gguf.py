"""GGUF files: written from the bundled model, read back by transformers in a process of its own, refused in words."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest

from pipeline.errors import EngineError
from pipeline.export_gguf import permute, write_gguf
from pipeline.export_tokenizer import pre_tokenizer_name
from pipeline.export_weights import tensor_shapes, tensors
from pipeline.merge_check import Check, check_gguf, run_check

TINY = Path(__file__).resolve().parents[2] / "assets" / "tiny-reasoner"


@pytest.fixture
def model(tmp_path):
    return Path(shutil.copytree(TINY, tmp_path / "model"))


def change(model, file, **values):
    path = model / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_a_gguf_file_reads_back_with_equal_token_ids_and_close_logits(model, tmp_path, kind):
    """float16 keeps 11 bits (about 0.05 % off), q8_0 rounds to 1/127 of a block's largest number (about 1 %)."""
    file = write_gguf(model, tmp_path / f"m-{kind}.gguf", kind)
    check = check_gguf(model, file)
    assert check.passed and check.ids_equal, check.sentence
    assert check.logit_difference < (0.002 if kind == "f16" else 0.02)
    assert not file.with_name(file.name + ".part").exists()


def test_a_check_runs_in_a_process_of_its_own_without_a_gpu(monkeypatch):
    """The real process takes the seconds of importing torch; here it is an echo of what was asked for."""
    seen = {}

    def echo(command, env, **_):
        seen.update(command=command, env=env)
        text = "noise\n" + json.dumps(vars(Check("m.gguf", True, 0.001, 0.1, 1.0, ids_equal=True)))
        return subprocess.CompletedProcess(command, 0, text, "")
    monkeypatch.setattr(subprocess, "run", echo)
    assert "token ids are equal" in run_check("gguf", "folder", "file").sentence
    assert seen["command"][1:] == ["-m", "pipeline.merge_check", "gguf", "folder", "file"]
    assert seen["env"]["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.setattr(subprocess, "run", lambda c, **_: subprocess.CompletedProcess(c, 1, "", "x\nOSError: no model"))
    with pytest.raises(EngineError, match="OSError: no model"):
        run_check("gguf", "folder", "file")


def test_the_file_names_architecture_tokenizer_and_template(model, tmp_path):
    reader = gguf.GGUFReader(write_gguf(model, tmp_path / "m.gguf", name="My <model>"))
    value = lambda key: reader.fields[key].contents()  # noqa: E731 - shorter than four lines each
    assert (value("general.architecture"), value("general.name")) == ("llama", "My <model>")
    assert value("tokenizer.ggml.pre") == "smollm"
    assert "<|im_start|>" in value("tokenizer.chat_template")
    assert value("tokenizer.ggml.eos_token_id") == 2
    assert len(reader.tensors) == len(tensor_shapes(model))


def test_rows_are_permuted_from_halves_to_pairs():
    """One head of 4 rows: first half 0 1, second half 2 3 -> pairs 0 2 1 3."""
    rows = np.arange(4, dtype=np.float32)[:, None]
    assert permute(rows, 1)[:, 0].tolist() == [0, 2, 1, 3]


def test_an_unknown_architecture_is_refused_with_another_way(model, tmp_path):
    change(model, "config.json", architectures=["MambaForCausalLM"])
    with pytest.raises(EngineError, match="type MambaForCausalLM are not written"):
        write_gguf(model, tmp_path / "m.gguf")
    assert list(tmp_path.glob("*.gguf*")) == []


def test_rotary_scaling_is_refused(model, tmp_path):
    change(model, "config.json", rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 4})
    with pytest.raises(EngineError, match="rotary scaling 'yarn'"):
        write_gguf(model, tmp_path / "m.gguf")


def test_truncated_weights_are_refused(model, tmp_path):
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(EngineError, match="truncated"):
        write_gguf(model, tmp_path / "m.gguf")


def test_a_tokenizer_that_does_not_fit_the_model_is_refused(model, tmp_path):
    change(model, "config.json", vocab_size=100)
    with pytest.raises(EngineError, match="do not belong together"):
        write_gguf(model, tmp_path / "m.gguf")
    data = json.loads((TINY / "tokenizer.json").read_text()) | {"normalizer": {"type": "NFC"}}
    with pytest.raises(EngineError, match="not known here"):
        pre_tokenizer_name(data)


def test_bfloat16_is_read_without_torch(tmp_path):
    """1.5 = 0x3FC0, -2 = 0xC000 in bfloat16."""
    raw = np.array([0x3FC0, 0xC000], dtype="<u2").tobytes()
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + raw)
    assert dict(tensors(tmp_path))["w"].tolist() == [1.5, -2.0]
