"""A byte-level BPE tokenizer (GPT-2's kind: SmolLM, Llama 3, Qwen, the bundled model) in GGUF's terms.

llama.cpp splits text by a named rule before it merges; the name is found from tokenizer.json's own pre-tokenizer, so
that a file that would be read wrongly is refused instead of written.
"""

import json
from pathlib import Path
from typing import Any

import gguf

from pipeline.errors import EngineError

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
SPLITS = {LLAMA3: "llama-bpe", QWEN2: "qwen2"}
FAMILIES = {
    "smollm": ["Digits", "ByteLevel"],  # single digits, then GPT-2's rule
    "gpt-2": ["ByteLevel"],
}


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path, vocab_size: int) -> None:
    """Write vocabulary, merges, special tokens and chat template. Raises EngineError for another kind of tokenizer."""
    try:
        data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EngineError(f"The model has no readable tokenizer.json ({error}): GGUF needs one.") from error
    pre = pre_tokenizer_name(data)
    tokens, types = _tokens(data, vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in data["model"]["merges"]])
    _add_special(writer, folder, data)


def pre_tokenizer_name(data: dict[str, Any]) -> str:
    """llama.cpp's name for the rule by which text is split before merging."""
    rule = data.get("pre_tokenizer") or {}
    steps = rule.get("pretokenizers", [rule])
    kinds = [step.get("type") for step in steps]
    if data["model"].get("type") == "BPE" and not data.get("normalizer"):
        for name, family in FAMILIES.items():
            if kinds == family and (family != FAMILIES["smollm"] or steps[0].get("individual_digits")) \
                    and steps[-1].get("use_regex", True) and not steps[-1].get("add_prefix_space"):
                return name
    pattern = (steps[0].get("pattern") or {}).get("Regex") if kinds == ["Split", "ByteLevel"] else None
    if data["model"].get("type") == "BPE" and pattern in SPLITS:
        return SPLITS[pattern]
    raise EngineError("This model's tokenizer splits text by a rule that is not known here, and a GGUF file with the "
                      "wrong rule would read text wrongly. llama.cpp's own convert_hf_to_gguf.py knows more of them.")


def _tokens(data: dict[str, Any], vocab_size: int) -> tuple[list[str], list[int]]:
    by_id = {i: token for token, i in data["model"]["vocab"].items()}
    special = {entry["id"]: entry for entry in data.get("added_tokens", [])}
    by_id |= {i: entry["content"] for i, entry in special.items()}
    if max(by_id) >= vocab_size:
        raise EngineError(f"The tokenizer has token {max(by_id)}, but the model only {vocab_size} embeddings: they do "
                          "not belong together.")
    tokens, types = [], []
    for i in range(vocab_size):
        tokens.append(by_id.get(i, f"[PAD{i}]"))
        if i not in by_id:
            types.append(gguf.TokenType.UNUSED)
        elif i in special:
            types.append(gguf.TokenType.CONTROL if special[i]["special"] else gguf.TokenType.USER_DEFINED)
        else:
            types.append(gguf.TokenType.NORMAL)
    return tokens, types


def _add_special(writer: gguf.GGUFWriter, folder: Path, data: dict[str, Any]) -> None:
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    ids = {**data["model"]["vocab"], **{e["content"]: e["id"] for e in data.get("added_tokens", [])}}
    for name, add in (("bos_token", writer.add_bos_token_id), ("eos_token", writer.add_eos_token_id),
                      ("pad_token", writer.add_pad_token_id)):
        token = config.get(name)
        token = token.get("content") if isinstance(token, dict) else token
        if token in ids:
            add(ids[token])
    bos = json.dumps(config.get("bos_token") or "no such token")
    writer.add_add_bos_token(bool(config.get("add_bos_token")) or bos in json.dumps(data.get("post_processor")))
    template = folder / "chat_template.jinja"
    text = template.read_text(encoding="utf-8") if template.exists() else config.get("chat_template")
    if isinstance(text, str):
        writer.add_chat_template(text)
