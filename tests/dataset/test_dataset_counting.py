"""Token counts by pieces are those of the tokenizer itself, for any text and for each kind of tokenizer."""

import json
import random
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from pipeline.dataset.chat import ChatTokenizer, tokenise
from pipeline.dataset.counting import _PATTERNS, TokenCounter
from pipeline.dataset.examples import Example
from pipeline.dataset.quality import measure

LLAMA, QWEN = sorted(_PATTERNS, key=lambda p: "{1,3}" not in p)
SPACES = [" ", "  ", "\n", "\n\n", " \n", "\n ", "\t", "\r\n", "\xa0", "\x1c", "   "]
WORDS = ["apples", "There", "don't", "I'll", "12", "482913", "5", "57+23=80", "3.14", "x5y", "<answer>", "</answer>",
         "\\boxed{", "}", "...", "e\u0301", "\u0301", "\u00b2", "\u0663", "\u6570", "\N{SLIGHTLY SMILING FACE}", "(a",
         "'s", "<|im_end|>", "<|end 1|>", "<|wide|>", "a_b", "-7", "$5", "%"]
PARTS = st.one_of(st.sampled_from(WORDS), st.sampled_from(SPACES), st.text(max_size=4))
TEXT = st.lists(PARTS, max_size=24).map("".join)


@cache
def tokenizer(kind: str) -> Tokenizer:
    """A small one of a kind, with tokens joined over spaces and lines wherever its pattern allows it."""
    made = Tokenizer(models.BPE())
    by_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = {"llama": LLAMA, "qwen": QWEN}.get(kind)
    if split:
        made.normalizer = normalizers.NFC() if kind == "qwen" else None
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(split), "isolated"), by_bytes])
    elif kind == "whole":  # cuts nowhere: tokens reach over words
        made.pre_tokenizer = by_bytes
    else:
        plain = pre_tokenizers.ByteLevel(add_prefix_space=False)
        digits = {"digits": [pre_tokenizers.Digits(True)], "numbers": [pre_tokenizers.Digits(False)]}.get(kind, [])
        made.pre_tokenizer = pre_tokenizers.Sequence([*digits, plain])
    made.decoder = decoders.ByteLevel()
    rng = random.Random(1)
    corpus = ["".join(rng.choice(WORDS + SPACES * 2) for _ in range(60)) for _ in range(300)]
    made.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    made.add_special_tokens(["<|im_end|>", "<|end 1|>", AddedToken("<|wide|>", lstrip=True, rstrip=True)])
    return made


@pytest.mark.parametrize("kind", ["gpt2", "digits", "numbers", "llama", "qwen", "whole"])
@settings(max_examples=150)
@given(texts=st.lists(TEXT, max_size=3))
@example(texts=["a  5 b", "There were 57 and 23 more.\nSo 57+23=80.\n#### 80\n", " x", "x ", "\n", "", "5",
                "a\n b \n c", "x <|wide|> y", "<|end 1|> 1"])
def test_counts_by_pieces_are_the_counts_of_the_tokenizer(kind, texts):
    made = tokenizer(kind)
    counter = TokenCounter(made)
    assert counter.by_pieces == (kind != "whole")
    assert counter.counts(texts) == [len(made.encode(t, add_special_tokens=False)) for t in texts]
    assert counter.by_pieces == (kind != "whole")  # the trial agreed


def test_an_unknown_pattern_or_dropout_is_counted_as_a_whole():
    other = Tokenizer.from_str(tokenizer("gpt2").to_str())
    other.pre_tokenizer = pre_tokenizers.Split(Regex("b a"), "isolated")
    assert not TokenCounter(other).by_pieces
    values = json.loads(tokenizer("gpt2").to_str())
    values["model"]["dropout"] = 0.1
    assert not TokenCounter(Tokenizer.from_str(json.dumps(values))).by_pieces


def test_a_tokenizer_that_is_not_what_it_seems_is_found_out_at_the_first_texts():
    """Its vocabulary joins `a b`, so that `a b a b` are three tokens, not the four of its words."""
    made = Tokenizer(models.BPE({"a": 0, " ": 1, "b": 2, "a ": 3, "a b": 4}, [("a", " "), ("a ", "b")]))
    counter = TokenCounter(made)
    assert not counter.by_pieces
    counter.by_pieces = True
    assert counter.counts(["a b a b"]) == [3]
    assert not counter.by_pieces


@pytest.mark.parametrize("source", ["tiny", "made"])
def test_the_lengths_of_the_report_are_those_of_the_training_function(source, chat):
    """Every row, prompt and completion with its end token, against `tokenise`."""
    chat = ChatTokenizer.load("tiny") if source == "tiny" else chat
    rng = random.Random(2)
    rows = [Example(i, "".join(rng.choices(WORDS + SPACES, k=30)).strip() or "?", rng.choice(["", "Be brief.\nDo."]),
                    None, "4", rng.choice([None, f"<reasoning>\n{i} apples\n</reasoning>\n<answer>{i}</answer>"]))
            for i in range(1, 400)]
    measure(rows, chat, lambda *a: None, lambda: None)
    for row in rows:
        truth = tokenise(chat, row.record())
        assert (row.prompt_tokens, row.completion_tokens) == (truth.prompt_tokens, truth.completion_tokens), row
