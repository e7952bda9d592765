"""Making the tiny model: a few steps in a temporary folder, and what is bundled."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from pipeline import tags
from pipeline.dataset.demo import demo_rows
from pipeline.dataset.models import TINY_FOLDER
from pipeline.rewards.answers import lenient_match
from pipeline.tiny_model import Settings, build, encode_chunk, main, make_batches, render, train_tokenizer

SMALL = Settings(steps=3, examples=200, batch_tokens=1024, hidden=32, layers=1, heads=2, intermediate=64,
                 vocabulary=512)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "tiny"
    build(out, SMALL, "cpu")
    return out


def test_the_folder_loads_alone_and_answers(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "What is 1+1?"}], add_generation_prompt=True,
                                        return_tensors="pt", return_dict=True)
    answer = AutoModelForCausalLM.from_pretrained(folder).generate(**ids, max_new_tokens=3)
    assert answer.shape[1] <= ids["input_ids"].shape[1] + 3


def test_transformers_and_tokenizers_agree_on_the_pieces(folder: Path) -> None:
    from transformers import AutoTokenizer

    text = "<|im_start|>user\nA cost 123+45 = 168.\n</reasoning>\n<answer>42</answer><|im_end|>\n é"
    slow = AutoTokenizer.from_pretrained(folder)
    fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert slow(text)["input_ids"] == fast.encode(text).ids
    assert slow.decode(slow(text)["input_ids"]) == text
    assert (slow.pad_token_id, slow.bos_token_id, slow.eos_token_id) == (0, 1, 2)


def test_the_chat_template_renders_what_was_trained(folder: Path) -> None:
    from transformers import AutoTokenizer

    chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Yes"}]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt, answer = render(chat)
    assert tokenizer.apply_chat_template(chat[:2], tokenize=False, add_generation_prompt=True) == prompt
    assert tokenizer.apply_chat_template(chat, tokenize=False) == f"{prompt}{answer}\n"


def test_every_digit_is_a_piece_of_its_own_and_any_text_survives(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    pieces = [p for p in tokenizer.get_vocab() if any(c in "0123456789" for c in p)]
    assert sorted(pieces) == list("0123456789")
    text = "12 x\t7\n\nñ 漢字 🙂"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_card_says_licence_data_tags_and_mixed_quality(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    for words in ("license: apache-2.0", "mixed quality", "smollm", "## Limits", "| seed | 0 |"):
        assert words in card


def test_the_same_seed_makes_the_same_model(folder: Path, tmp_path: Path) -> None:
    build(tmp_path / "again", SMALL, "cpu")
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_prompts_are_marked_and_padding_is_only_at_the_end() -> None:
    """Each example starts with its prompt's length, and the prompt ends with `assistant` and a line break."""
    from pipeline.dataset.demo_text import pretrain_chats

    tokenizer = train_tokenizer(pretrain_chats(200, 0), 512)
    examples = encode_chunk(tokenizer.to_str(), 0, 50, 0.5)
    for example in examples:
        prompt = tokenizer.decode(example[1 : 1 + example[0]].tolist(), skip_special_tokens=False)
        assert prompt.endswith("<|im_start|>assistant\n")
        assert example[-1] == 2
    batches = make_batches(examples, 1000)
    assert sum(len(prompts) for _, prompts in batches) == 50
    assert sum(int((ids != 0).sum()) for ids, _ in batches) == sum(len(e) - 1 for e in examples)


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in shown for name in Settings.__dataclass_fields__)


def test_the_bundled_model_is_small_and_complete() -> None:
    sizes = {p.name: p.stat().st_size for p in TINY_FOLDER.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"} <= set(sizes)
    assert sum(sizes.values()) <= 8_000_000
    assert json.loads((TINY_FOLDER / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]


def test_the_bundled_model_has_the_shape_and_the_pieces_that_the_default_settings_make() -> None:
    config, made = json.loads((TINY_FOLDER / "config.json").read_text()), Settings()
    assert (config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]) == (
        made.hidden, made.layers, made.heads)
    assert (config["intermediate_size"], config["vocab_size"]) == (made.intermediate, made.vocabulary)
    digits, pieces = json.loads((TINY_FOLDER / "tokenizer.json").read_text())["pre_tokenizer"]["pretokenizers"]
    assert digits == {"type": "Digits", "individual_digits": True}  # together what llama.cpp calls smollm
    assert (pieces["type"], pieces["add_prefix_space"]) == ("ByteLevel", False)


def test_the_bundled_card_says_how_it_was_made_and_what_it_is_not() -> None:
    card = (TINY_FOLDER / "README.md").read_text()
    for words in ("license: apache-2.0", "python -m pipeline.tiny_model", "one H200, shared with other jobs",
                  "167 seconds", "2 cores", "mixed quality", "60% state", "smollm", "## Limits", "`<reasoning>`"):
        assert words in card, words


def test_the_bundled_model_can_calculate_a_little_and_knows_nothing_of_the_tags() -> None:
    """20 greedy answers: none in the demo's format; 15-60 % of many are right, so at least 1 and at most 18 of 20."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    scheme, rows = tags.SCHEMES["reasoning"], demo_rows("test", 20, 11)
    tokenizer = AutoTokenizer.from_pretrained(TINY_FOLDER)
    prompts = [render([{"role": "system", "content": tags.system_prompt(scheme)},
                       {"role": "user", "content": row["question"]}, {"role": "assistant", "content": ""}])[0]
               for row in rows]
    batch = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
    ids = AutoModelForCausalLM.from_pretrained(TINY_FOLDER).generate(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], do_sample=False, max_new_tokens=64)
    texts = tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1]:], skip_special_tokens=True)
    assert not any(tags.parse(scheme, text).well_formed for text in texts)
    assert 1 <= sum(lenient_match(text, row["answer"]) for text, row in zip(texts, rows, strict=True)) <= 18
