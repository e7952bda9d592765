"""The check of a merged model: real adapters on the bundled model, and the judgement of answers."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoTokenizer

from pipeline import merge_check
from pipeline.dataset.chat import ChatTokenizer
from pipeline.dataset.prepare import prepare_parts
from pipeline.engines.loading import load_model, with_adapter
from pipeline.engines.merging import for_older_readers, merge_adapter
from pipeline.export_weights import tensor_shapes, weight_files
from pipeline.merge_check import Answers, check_run, judged
from pipeline.recipe import Recipe
from pipeline.run_folder import RunFolder

TINY = Path(__file__).resolve().parents[2] / "assets" / "tiny-reasoner"
CLOSE = (0.002, 0.1, 0.999)  # logits: mean difference, largest, share of equal tops


def run_with_adapter(tmp_path, precision):
    """A run of GRPO alone, whose adapter moves the bundled model a little (seeded, not trained), and is merged."""
    recipe = Recipe.parse({
        "model": {"source": "tiny", "max_length": 512, "precision": precision}, "sft": {"enabled": False},
        "lora": {"gradient_checkpointing": False}, "grpo": {"max_completion_tokens": 16},
        "data": {"source": "demo", "split": {"sft": 0, "grpo": 4, "validation": 4, "test": 12}}})
    folder = RunFolder(tmp_path / "runs" / "one")
    folder.path.mkdir(parents=True)
    folder.recipe_file.write_text(recipe.to_yaml())
    prepare_parts(recipe.data, ChatTokenizer.load("tiny"), seed=1, max_length=512, max_completion_tokens=16,
                  out=folder.path / "data")
    model = with_adapter(load_model(TINY, recipe.model, "16bit"), recipe.lora, seed=1)
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.01)
    model.save_pretrained(folder.adapter("grpo"))
    merge_adapter(TINY, recipe.model, folder.adapter("grpo"), folder.model("grpo"))
    return folder


def test_a_merged_model_answers_as_its_adapter(tmp_path):
    check = check_run(run_with_adapter(tmp_path, "16bit").path, "grpo", questions=12)
    assert check.passed and check.logit_difference < 0.01 and (check.answers_equal, check.answers) == (12, 12)
    assert "12 of 12 greedy answers are equal." in check.sentence and check.difference is None


def test_two_models_that_do_not_fit_on_the_gpu_are_compared_on_the_processor(tmp_path, monkeypatch):
    seen = []

    def compare(one, two, prompts, real=merge_check._compare):
        seen.append((one.device.type, two.device.type))
        if len(seen) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(one, two, prompts)

    monkeypatch.setattr(merge_check, "_compare", compare)
    check = check_run(run_with_adapter(tmp_path, "16bit").path, "grpo", questions=2)
    assert check.passed and check.logit_difference < 0.01 and seen[1:] == [("cpu", "cpu")]


def test_a_merged_folder_has_what_vllm_serve_reads(tmp_path):
    """`vllm serve FOLDER` finds the model class by `architectures`, takes type and longest text from there, stops
    at the end token of generation_config.json, and refuses chats without a template. No remote code is asked for."""
    model = run_with_adapter(tmp_path, "4bit").model("grpo")
    config = json.loads((model / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"] and config["model_type"] == "llama"
    assert config["dtype"] == "bfloat16" and config["max_position_embeddings"] == 2048
    assert not {"auto_map", "quantization_config"} & config.keys()
    assert [file.name for file in weight_files(model)] == ["model.safetensors"]
    assert tensor_shapes(model)["model.embed_tokens.weight"] == (config["vocab_size"], config["hidden_size"])
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert len(tokenizer) <= config["vocab_size"]
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "1+1?"}], tokenize=False,
                                           add_generation_prompt=True)
    assert prompt.endswith("<|im_start|>assistant\n")
    ends = json.loads((model / "generation_config.json").read_text())["eos_token_id"]
    assert ends == tokenizer.convert_tokens_to_ids("<|im_end|>") == tokenizer.eos_token_id


def test_a_merged_folder_is_read_by_transformers_4_too(tmp_path):
    """Which knows no TokenizersBackend and looks for RoPE's base and scaling at the top of config.json."""
    model = run_with_adapter(tmp_path, "16bit").model("grpo")
    assert json.loads((model / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert json.loads((model / "config.json").read_text())["rope_theta"] == 10000.0
    assert AutoConfig.from_pretrained(model).rope_parameters == AutoConfig.from_pretrained(TINY).rope_parameters


def test_a_scaled_rotary_embedding_means_the_same_to_both(tmp_path):
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192}
    AutoConfig.for_model("llama", rope_parameters=rope).save_pretrained(tmp_path)
    for_older_readers(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["rope_theta"], written["rope_scaling"]["rope_type"]) == (5e5, "llama3")
    assert "rope_theta" not in written["rope_scaling"]
    assert AutoConfig.from_pretrained(tmp_path).rope_parameters == rope


def test_an_adapter_of_a_4_bit_base_gets_the_difference_with_its_paired_interval(tmp_path):
    check = check_run(run_with_adapter(tmp_path, "4bit").path, "grpo", questions=12)
    assert check.passed and check.trained_on == "4bit"
    assert check.low <= check.difference <= check.high
    assert "against the adapter on the 4-bit base that it was trained on" in check.sentence
    assert "95 % interval" in check.sentence


def answers(trained_on, pairs):
    """(right as trained, right merged) per question; wrong answers differ from right ones."""
    return Answers(trained_on, [("1" if a else "0", a) for a, _ in pairs], [("1" if b else "0", b) for _, b in pairs])


@pytest.mark.parametrize(("equal", "passed"), [(97, True), (96, False)])
def test_97_of_100_answers_must_be_equal(equal, passed):
    check = judged(CLOSE, answers("16bit", [(True, True)] * equal + [(True, False)] * (100 - equal)))
    assert check.passed is passed and f"{equal} of 100" in check.sentence


def test_logits_beyond_the_tolerance_fail_whatever_the_answers_say():
    check = judged((0.021, 1.0, 0.9), answers("16bit", [(True, True)] * 100))
    assert not check.passed and "FAILED" in check.sentence and "at most 2 % allowed" in check.sentence


def test_on_a_quantised_base_only_a_certain_loss_fails():
    """10 gained and 14 lost of 100: -4 points, and the interval holds 0; 2 gained and 30 lost: it does not."""
    unsure = judged(CLOSE, answers("8bit", [(False, True)] * 10 + [(True, False)] * 14 + [(True, True)] * 76))
    assert unsure.passed and unsure.difference == pytest.approx(-0.04) and unsure.low < 0 < unsure.high
    assert "the 8-bit base" in unsure.sentence and "-4.0 points" in unsure.sentence
    assert not judged(CLOSE, answers("8bit", [(False, True)] * 2 + [(True, False)] * 30 + [(True, True)] * 68)).passed


def test_too_little_space_for_the_merged_model_is_found_before_anything_is_written(tmp_path, monkeypatch):
    from collections import namedtuple

    from pipeline.engines import merging
    from pipeline.errors import EngineError
    folder = run_with_adapter(tmp_path, "16bit")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(merging.shutil, "disk_usage", lambda path: usage(10, 9, 1_000))
    with pytest.raises(EngineError, match="make room first"):
        merge_adapter(TINY, folder.recipe().model, folder.adapter("grpo"), tmp_path / "out" / "model")
    assert list((tmp_path / "out").iterdir()) == []
