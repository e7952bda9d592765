"""The rendered chat, its token ids and the loss mask."""

import pytest

from pipeline.dataset.chat import ChatTokenizer, model_folder, prompt_ids, prompt_messages, tokenise
from pipeline.errors import EngineError

ROW = {"system": "Be brief.", "question": "1+1?", "completion": "<answer>2</answer>"}


def test_the_loss_covers_the_completion_and_its_end_token_alone(chat):
    example = tokenise(chat, ROW)
    trained = [i for i, label in zip(example.input_ids, example.labels, strict=True) if label != -100]
    assert chat.decode(trained, skip_special_tokens=False) == "<answer>2</answer><|im_end|>"
    assert example.labels[: example.prompt_tokens] == [-100] * example.prompt_tokens
    assert example.input_ids[-1] == chat.eos_token_id


def test_training_sees_exactly_the_prompt_ids_that_generation_gets(chat):
    example = tokenise(chat, ROW)
    assert example.input_ids[: example.prompt_tokens] == prompt_ids(chat, ROW)


def test_offsets_point_into_the_text_of_the_whole_example(chat):
    example = tokenise(chat, ROW)
    start, end = example.offsets[-1]
    assert example.text[start:end] == "<|im_end|>"
    assert "".join(example.text[a:b] for a, b in example.offsets) == example.text


def test_the_end_token_is_the_one_that_the_template_writes_and_both_stop_generation(chat):
    assert chat.eos_token == "<|im_end|>"
    assert chat.stop_ids == [2, 0]
    assert chat.pad_token_id == 0


def test_an_empty_system_prompt_gives_no_system_message():
    assert prompt_messages(ROW | {"system": ""}) == [{"role": "user", "content": "1+1?"}]


def test_a_template_without_a_system_role_gets_it_before_the_question(make_model, chatml):
    refuses = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    silent = "{% for m in messages if m['role'] != 'system' %}[{{ m['content'] }}]{% endfor %}"
    for name, template in (("a", refuses + chatml), ("b", silent)):
        chat = ChatTokenizer.load(make_model(template, name))
        assert "Be brief.\n\n1+1?" in chat.render(prompt_messages(ROW), add_generation_prompt=True)


def test_a_think_that_the_template_prefills_is_left_to_the_model(make_model, chatml):
    template = chatml.replace("assistant\\n'", "assistant\\n<think>\\n'")
    chat = ChatTokenizer.load(make_model(template))
    assert chat.render(prompt_messages(ROW), add_generation_prompt=True).endswith("<|im_start|>assistant\n")


def test_a_model_without_a_template_says_so_and_takes_the_plain_one(make_model):
    folder = make_model(None)
    chat = ChatTokenizer.load(folder)
    assert not chat.has_template
    with pytest.raises(EngineError, match="plain"):
        prompt_ids(chat, ROW)
    plain = ChatTokenizer.load(folder, template="plain")
    assert tokenise(plain, ROW).text == "Be brief.\n\nQuestion: 1+1?\n\nAnswer:\n<answer>2</answer><|endoftext|>"


def test_a_template_cannot_reach_the_interpreter(make_model):
    evil = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    chat = ChatTokenizer.load(make_model(evil))
    with pytest.raises(EngineError, match="unsafe"):
        prompt_ids(chat, ROW)


GROW = "{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x @ n.x %}{% endfor %}{{ n.x }}"
MACRO = "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}"


@pytest.mark.parametrize(("template", "words"), [
    ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "come to an end"),
    ("{% for a in range(99999) %}{% set x = range(99999) | sum %}{% endfor %}", "come to an end"),
    (MACRO, "come to an end"),
    ("{{ 9 ** 9 ** 9 }}", "power is too large"),
    ("{{ 'x' * 10 ** 12 }}", "too l"),
    ("{{ 'x'.ljust(10 ** 12) }}", "too large"),
    ("{{ '%999999999999d' % 1 }}", "not offered"),
    (GROW.replace("@", "~"), "too long"),
    (GROW.replace("@", "+"), "too long"),
])
def test_a_template_that_never_ends_or_grows_without_bound_is_refused(make_model, monkeypatch, template, words):
    monkeypatch.setattr("pipeline.dataset.template.MOST_SECONDS", 0.2)
    chat = ChatTokenizer.load(make_model(template))
    with pytest.raises(EngineError, match=words):
        prompt_ids(chat, ROW)


def test_the_chat_renders_as_transformers_renders_it(make_model):
    transformers = pytest.importorskip("transformers")
    folder = make_model()
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    chat = ChatTokenizer.load(folder)
    expected = theirs.apply_chat_template(prompt_messages(ROW), add_generation_prompt=True, tokenize=False)
    assert chat.render(prompt_messages(ROW), add_generation_prompt=True) == expected
    assert prompt_ids(chat, ROW) == theirs(expected, add_special_tokens=False)["input_ids"]


def test_a_missing_model_is_a_sentence():
    with pytest.raises(EngineError, match="no model folder"):
        model_folder("/no/such/folder")
