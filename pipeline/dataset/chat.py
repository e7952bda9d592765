"""Messages to token ids: the one place where chats are rendered and tokenised, for previews, training and sampling.

Built on `tokenizers` and a sandboxed Jinja environment, so that the app can show what is trained without importing
torch or transformers. Prompt and completion are encoded apart: training sees exactly the prompt ids that generation
is given, and the loss covers the completion and its end token alone.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from pipeline.dataset.counting import TokenCounter
from pipeline.dataset.models import model_folder
from pipeline.dataset.template import PLAIN_TEMPLATE, ChatTemplate
from pipeline.errors import EngineError

__all__ = ["ChatTokenizer", "Tokenised", "model_folder", "prompt_ids", "prompt_messages", "tokenise"]

IGNORED = -100  # label of tokens without loss, as torch's cross entropy expects
_PREFILLS = ("<think>\n", "<think>")  # reasoning models' templates end the prompt so; the model is to write it
_MARK = "ANSWER7MARK"
_cache: dict[tuple[Any, ...], "ChatTokenizer"] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class Tokenised:
    """One example as the model sees it. `labels` is -100 on everything but the assistant's answer and its end token.

    `offsets[i]` are the character offsets in `text` of token i; `prompt_tokens + completion_tokens == len(input_ids)`.
    """

    input_ids: list[int]
    labels: list[int]
    text: str
    offsets: list[tuple[int, int]]
    prompt_tokens: int
    completion_tokens: int


class ChatTokenizer:
    """A model's tokenizer together with its chat template. Safe to share between threads. Make one with `load`."""

    def __init__(self, tokenizer: Tokenizer, template: str | None, names: Mapping[str, str | None]) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._counter = TokenCounter(tokenizer)
        self.special_tokens: frozenset[str] = frozenset(
            t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special)
        self.has_template = bool(template)
        self.template = template  # Jinja text; None when the model has none
        self._chat = ChatTemplate(template, names) if template else None
        self.bos_token: str | None = names.get("bos_token")
        self.eos_token: str | None = self._end_token(names.get("eos_token"))  # ends an answer: generation stops here
        self.eos_token_id: int | None = self._id(self.eos_token)
        stops = [self.eos_token_id, self._id(names.get("eos_token"))]
        self.stop_ids: list[int] = list(dict.fromkeys(i for i in stops if i is not None))
        pad = self._id(names.get("pad_token"))
        self.pad_token_id: int = pad if pad is not None else self.eos_token_id or 0
        self.longest_token = max((len(t) for t in tokenizer.get_vocab()), default=1)

    @classmethod
    def load(cls, source: str, revision: str | None = None, template: str = "model") -> "ChatTokenizer":
        """The tokenizer of `tiny`, a model folder or a Hub id; `template="plain"` replaces its chat template.

        Cached until the files change. Raises EngineError when there is no such model or no tokenizer.json.
        """
        folder = model_folder(source, revision, tokenizer_only=True)
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise EngineError(f"{source!r} has no tokenizer.json in {folder}. Choose a model with a fast tokenizer, "
                              "or save it once with transformers' AutoTokenizer(...).save_pretrained.")
        stamps = tuple((folder / n).stat().st_mtime_ns for n in _FILES if (folder / n).is_file())
        key = (str(folder), template, stamps)
        with _lock:
            if key not in _cache:
                if len(_cache) >= 8:
                    _cache.pop(next(iter(_cache)))
                _cache[key] = _read(folder, template)
            return _cache[key]

    def render(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        """The chat as text. A template that has no system role gets the system prompt in front of the first question.

        A `<think>` that the template would put into the model's mouth is left to the model. Raises EngineError.
        """
        if self._chat is None:
            raise EngineError("This model has no chat template, so it does not know where a question ends and an "
                              "answer begins. Set the model's chat template to 'plain' to use a simple one.")
        text = self._chat.render(messages, add_generation_prompt)
        if add_generation_prompt:
            for prefill in _PREFILLS:
                text = text.removesuffix(prefill)
        return text

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without added start or end tokens."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids and, for each, its start and end character in `text`."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        """The text of token ids."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def count(self, text: str) -> int:
        """Number of tokens of a text."""
        return len(self.encode(text))

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Numbers of tokens of many texts: `count` of each, several times faster."""
        return self._counter.counts(texts)

    def token(self, token_id: int) -> str:
        """The token as the vocabulary spells it."""
        return self._tokenizer.id_to_token(token_id) or ""

    @property
    def end(self) -> str:
        """What is appended to a completion: its end token, or nothing when the tokenizer has none."""
        return self.eos_token or ""

    def _id(self, token: str | None) -> int | None:
        return self._tokenizer.token_to_id(token) if token else None

    def _end_token(self, declared: str | None) -> str | None:
        """The token that the template writes after an answer; the tokenizer's own end token where it writes none."""
        if self._chat is None:
            return declared
        chat = [{"role": "user", "content": "1"}, {"role": "assistant", "content": _MARK}]
        try:
            tail = self._chat.render(chat, False).rpartition(_MARK)[2]
        except EngineError:
            return declared
        known = [t for t in self.special_tokens | ({declared} if declared else set()) if t in tail]
        return min(known, key=tail.index) if known else declared


def prompt_messages(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """The messages before the answer: the system prompt, unless empty, and the question."""
    system = (row.get("system") or "").strip()
    messages = [{"role": "system", "content": system}] if system else []
    return [*messages, {"role": "user", "content": row["question"]}]


def prompt_text(chat: ChatTokenizer, row: Mapping[str, Any]) -> str:
    """The rendered prompt of a row, up to where the answer begins."""
    return chat.render(prompt_messages(row), add_generation_prompt=True)


def prompt_ids(chat: ChatTokenizer, row: Mapping[str, Any]) -> list[int]:
    """What generation is given for a row: the rendered prompt's token ids."""
    return chat.encode(prompt_text(chat, row))


def tokenise(chat: ChatTokenizer, row: Mapping[str, Any]) -> Tokenised:
    """What SFT trains on for a row: the prompt's ids without loss, then the completion and its end token with loss.

    A row without a completion gives its prompt alone.
    """
    prompt = prompt_text(chat, row)
    ids, offsets = chat.encode_with_offsets(prompt)
    completion = row.get("completion")
    answer = completion + chat.end if completion else ""
    answer_ids, answer_offsets = chat.encode_with_offsets(answer) if answer else ([], [])
    start = len(prompt)
    return Tokenised(
        input_ids=ids + answer_ids,
        labels=[IGNORED] * len(ids) + answer_ids,
        text=prompt + answer,
        offsets=offsets + [(start + a, start + b) for a, b in answer_offsets],
        prompt_tokens=len(ids),
        completion_tokens=len(answer_ids),
    )


# ------------------------------------------------------------------------------------------------------------------

_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")


def _read(folder: Path, template: str) -> ChatTokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises plain Exception
        raise EngineError(f"The tokenizer in {folder} cannot be read: {error}. Download the model again.") from error
    config = _json(folder / "special_tokens_map.json") | _json(folder / "tokenizer_config.json")
    _add_missing_tokens(tokenizer, config.get("added_tokens_decoder"))
    names = {f"{n}_token": _content(config.get(f"{n}_token")) for n in ("bos", "eos", "pad", "unk")}
    text = _own_template(folder, config)
    if template == "plain":
        text = PLAIN_TEMPLATE
        bos = names["bos_token"]
        if not bos or tokenizer.encode("a").ids[:1] != [tokenizer.token_to_id(bos)]:
            names["bos_token"] = None
    return ChatTokenizer(tokenizer, text, names)


def _own_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = config.get("chat_template") or _json(folder / "chat_template.json").get("chat_template")
    if isinstance(found, list):  # several named ones
        named = {t.get("name"): t.get("template") for t in found if isinstance(t, dict)}
        return named.get("default") or next(iter(named.values()), None)
    return found if isinstance(found, str) else None


def _add_missing_tokens(tokenizer: Tokenizer, declared: Any) -> None:
    """Older model folders name some added tokens in tokenizer_config.json alone."""
    for token_id, spec in sorted(declared.items(), key=lambda i: int(i[0])) if isinstance(declared, dict) else ():
        if isinstance(spec, dict) and spec.get("content") and tokenizer.token_to_id(spec["content"]) is None:
            token = AddedToken(spec["content"], normalized=bool(spec.get("normalized")),
                               lstrip=bool(spec.get("lstrip")), rstrip=bool(spec.get("rstrip")))
            (tokenizer.add_special_tokens if spec.get("special") else tokenizer.add_tokens)([token])
            if tokenizer.token_to_id(spec["content"]) != int(token_id):
                raise EngineError(f"The token {spec['content']!r} of this tokenizer has no stable number. Use a newer "
                                  "version of the model, whose tokenizer.json lists it.")


def _content(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise EngineError(f"{file} cannot be read: {error}. Download the model again.") from error
    return value if isinstance(value, dict) else {}
