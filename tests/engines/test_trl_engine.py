"""The TRL engine on a CPU with the bundled model: what it trains, records, resumes and merges."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from pipeline.dataset.chat import ChatTokenizer, prompt_ids
from pipeline.dataset.part_files import read_part
from pipeline.engines.base import Sampling
from pipeline.engines.loading import adapter_layers, load_model, load_tokenizer
from pipeline.engines.training_rows import grpo_rows, sft_examples
from pipeline.engines.trl import TrlEngine
from pipeline.errors import EngineError
from pipeline.run import Stopped
from pipeline.run_folder import RunReader


def _train(run, stage, attempt=1, stop_at=None):
    reader = RunReader(run.folder)
    run.begin(stage, attempt)
    run.stop_requested = lambda: bool(stop_at) and (reader.status().get("seen") or 0) >= stop_at
    progress = run.progress

    def watched(done, *rest):
        progress(done, *rest)
        run.writer.set_status(seen=done)

    run.progress = watched
    engine = TrlEngine()
    (engine.train_sft if stage == "sft" else engine.train_grpo)(run, run.model_before(stage))
    run.progress = progress


def _weights(run, stage):
    return load_file(run.folder.adapter(stage) / "adapter_model.safetensors")


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_run_stopped_and_resumed_ends_with_the_weights_of_an_uninterrupted_one(make_run, stage):
    """Four steps in one go, and two plus two: every adapter tensor is bit-equal, and no step is missing or doubled."""
    off = {"sft": {"enabled": False}} if stage == "grpo" else {}
    whole, halves = make_run("in-one-go", **off), make_run("in-two-parts", **off)
    _train(whole, stage)
    with pytest.raises(Stopped):
        _train(halves, stage, stop_at=2)
    assert not halves.folder.adapter(stage).exists()
    _train(halves, stage, attempt=2)
    expected, found = _weights(whole, stage), _weights(halves, stage)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    key = "sft/loss" if stage == "sft" else "reward/total"
    steps = [(row["step"], row["value"]) for row in RunReader(halves.folder).metric(key)]
    assert steps == [(row["step"], row["value"]) for row in RunReader(whole.folder).metric(key)]
    assert [step for step, _ in steps] == [1, 2, 3, 4]


def test_grpo_records_every_group_with_rewards_and_advantages(make_run):
    """8 answers a step in groups of 4 are 2 groups; the advantages of a group add up to nearly nothing."""
    run = make_run(sft={"enabled": False}, grpo={"beta": 0.02, "eval_every": 2, "eval_rows": 4})
    _train(run, "grpo")
    reader = RunReader(run.folder)
    for step in (1, 2, 3, 4):
        groups = reader.groups_at("grpo", step)
        assert len(groups) == 2
        for group in groups:
            completions = reader.completions_of(group["id"])
            assert len(completions) == 4
            assert abs(sum(c["advantage"] for c in completions)) < 1e-3
            assert set(completions[0]["rewards"]) == {
                "format_exact", "format_approximate", "answer_exact", "answer_numeric"}
            assert all(c["total"] == pytest.approx(sum(c["rewards"].values())) for c in completions)
    keys = {row["key"] for row in reader.metrics()}
    assert {"policy/kl", "policy/entropy", "optim/lr", "time/step_seconds", "time/generate_seconds",
            "throughput/generated", "throughput/learnt", "validation/reward/total",
            "validation_low/reward/total", "validation_high/completion/format_rate"} <= keys
    assert run.writer.failed_writes == 0
    rows = {(row["key"], row["step"]): row["value"] for row in reader.metrics()}
    for step in (1, 2, 3, 4):  # after step 2 the validation part is answered too: that is no part of step 3
        parts = [rows[f"time/{name}_seconds", step] for name in ("generate", "score", "learn")]
        assert min(parts) > 0 and sum(parts) == pytest.approx(rows["time/step_seconds", step])
        tokens = sum(c["tokens"] for g in reader.groups_at("grpo", step) for c in reader.completions_of(g["id"]))
        assert rows["throughput/generated", step] == pytest.approx(tokens / parts[0])
        assert rows["throughput/learnt", step] == pytest.approx(tokens / parts[2])


def test_sft_records_the_tokens_that_it_learns_a_second(make_run):
    """Tokens a second times seconds are whole tokens, those of four examples: padding does not count."""
    run = make_run()
    _train(run, "sft")
    lengths = sorted(len(example["input_ids"]) for example in sft_examples(run, ChatTokenizer.load("tiny"), "sft"))
    rows = {(row["key"], row["step"]): row["value"] for row in RunReader(run.folder).metrics()}
    for step in (1, 2, 3, 4):
        tokens = rows["throughput/learnt", step] * rows["time/step_seconds", step]
        assert tokens == pytest.approx(round(tokens)) and sum(lengths[:4]) <= round(tokens) <= sum(lengths[-4:])


def test_the_trainer_tokenises_prompts_as_the_preview_does(make_run):
    """TRL renders the messages itself; the ids must be those of `prompt_ids`."""
    run = make_run()
    chat, tokenizer = ChatTokenizer.load("tiny"), load_tokenizer(run.model_before("sft"), run.recipe.model)
    for row, sample in zip(read_part(run.folder.data("grpo")), grpo_rows(run, "grpo"), strict=True):
        theirs = tokenizer.apply_chat_template(sample["prompt"], add_generation_prompt=True, tokenize=True,
                                               return_dict=True)["input_ids"]
        assert theirs == prompt_ids(chat, row)


def test_sft_trains_only_on_the_answer(make_run):
    """The labels are the ids from the first answer token to the end token, and -100 before."""
    run = make_run()
    chat = ChatTokenizer.load("tiny")
    rows = read_part(run.folder.data("sft"))
    for row, example in zip(rows, sft_examples(run, chat, "sft"), strict=True):
        start = len(prompt_ids(chat, row))
        assert example["labels"][:start] == [-100] * start
        assert example["labels"][start:] == example["input_ids"][start:]
        assert example["input_ids"][-1] == chat.eos_token_id


def test_a_merged_model_loads_in_plain_transformers_and_answers_as_base_plus_adapter(make_run):
    run = make_run(sft={"max_steps": 6, "learning_rate": 5e-3})
    engine = TrlEngine()
    _train(run, "sft")
    base = run.model_before("sft")
    engine.merge(run, base, run.folder.adapter("sft"), run.folder.model("sft"))
    merged = AutoModelForCausalLM.from_pretrained(run.folder.model("sft"))
    assert merged.dtype in (torch.bfloat16, torch.float16)
    assert AutoTokenizer.from_pretrained(run.folder.model("sft")).chat_template
    assert not list(run.folder.model("sft").parent.glob("*.part"))
    ids = [prompt_ids(ChatTokenizer.load("tiny"), row) for row in read_part(run.folder.data("test"))]
    answers = []
    for model, adapter in ((base, run.folder.adapter("sft")), (run.folder.model("sft"), None)):
        with engine.generator(run, model, adapter) as generator:
            answers.append([a[0].text for a in generator.generate(ids, Sampling(16, batch_size=3))])
    assert len(answers[0]) == len(ids)
    assert sum(a == b for a, b in zip(*answers, strict=True)) >= len(ids) - 1  # bfloat16 may turn one near tie


def test_a_stopped_generation_gives_a_prefix(make_run):
    """Batches of 3, a stop after the first: the first 3 of 8 prompts are answered, each twice."""
    run = make_run()
    ids = [prompt_ids(ChatTokenizer.load("tiny"), row) for row in read_part(run.folder.data("test"))]
    seen = []
    with TrlEngine().generator(run, "tiny") as generator:
        answers = generator.generate(ids, Sampling(8, temperature=1.0, samples=2, batch_size=3),
                                     on_batch=lambda at, batch: seen.append((list(at), len(batch))),
                                     should_stop=lambda: bool(seen))
    assert seen == [([0, 1, 2], 3)]
    assert [len(a) for a in answers] == [2, 2, 2]
    assert all(s.tokens <= 8 for a in answers for s in a)


@pytest.mark.parametrize(("kind", "settings", "expected"), [
    ("llama", {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
     ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]),
    ("gpt2", {"n_embd": 16, "n_layer": 2, "n_head": 2}, ["c_attn", "c_fc", "c_proj"]),
    ("phi", {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
     ["dense", "fc1", "fc2", "k_proj", "q_proj", "v_proj"]),
])
def test_the_adapter_layers_are_found_by_architecture(kind, settings, expected):
    """Attention and MLP layers of three families, without their output heads."""
    config = AutoConfig.for_model(kind, vocab_size=32, **settings)
    assert adapter_layers(AutoModelForCausalLM.from_config(config)) == expected


def test_a_layer_name_that_does_not_exist_is_refused_with_those_that_do(make_run):
    with pytest.raises(EngineError, match=r"no layer named 'query'.*q_proj"):
        _train(make_run(lora={"targets": ["query"]}), "sft")


def test_pickled_weights_are_refused(make_run, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(make_run().model_before("sft"))
    folder = tmp_path / "pickled"
    folder.mkdir()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(model.config.to_dict(), default=str))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(model.name_or_path + "/" + name, folder)
    run = make_run("pickled-weights", model={"source": str(folder)})
    with pytest.raises(EngineError, match="safetensors"):
        _train(run, "sft")


def test_an_8_bit_base_says_nothing_at_every_token(make_run, caplog):
    run = make_run(model={"precision": "8bit"})
    model = load_model(run.model_before("sft"), run.recipe.model)
    model.generate(input_ids=torch.tensor([[5, 6, 7]]), attention_mask=torch.ones(1, 3, dtype=torch.long),
                   max_new_tokens=2)
    assert not [record for record in caplog.records if "MatMul8bit" in record.message]
