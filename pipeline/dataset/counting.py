"""Token counts of many texts, several times faster than encoding each: texts fall into pieces whose counts are kept.

Most tokenizers of language models cut a text by a fixed pattern first and never join tokens over such a cut. All the
patterns below cut before a single space between two words, after a line break before a letter or digit, and between a
digit and a sign, whatever stands further left or right. So the tokens of a text are those of its pieces, one after
another, and a word has to be encoded once only. Where every digit is a token by itself, all numbers are counted like
one digit, and their other digits are added. A tokenizer of any other kind encodes each text.
"""

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer

MOST_PIECES = 400_000  # kept; then it begins anew
TRIED = 64  # first texts that are counted both ways
_CUTS = re.compile(r"(?<=\S)(?= [A-Za-z0-9])|(?<=\S\n)(?=[A-Za-z0-9])|(?<=[0-9])(?=[\n -/:-~])|(?<=[!-/:-~])(?=[0-9])")
_DIGITS = re.compile(r"[0-9]+")
_INSIDE = re.compile(r"(?s).+ |.*\n[A-Za-z0-9]|.*[0-9]")  # an added token in which a cut could fall
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SUFFIXES = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
_PATTERNS = {  # of `Split`, as the model folders spell them; whether each digit stands alone
    _SUFFIXES + r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST: False,  # Llama 3
    _SUFFIXES + r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST: True,  # Qwen 2, Qwen 3
}


class TokenCounter:
    """Counts tokens without added start or end tokens; `counts` may be called from several threads."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.by_pieces = can_cut(tokenizer)
        self._alone = self.by_pieces and digits_alone(tokenizer)
        self._whole = _tokens_over_cuts(tokenizer)
        self._tried = False
        self._words = _Words(tokenizer)

    def counts(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text: `len(tokenizer.encode(text, add_special_tokens=False))`."""
        if not self.by_pieces:
            return self._encoded(texts)
        if len(self._words.last) + len(self._words.pieces) > MOST_PIECES:
            self._words = _Words(self._tokenizer)
        found = [self._count(text, self._words) for text in texts]
        if not self._tried and texts:
            self._tried = True
            if found[:TRIED] != self._encoded(texts[:TRIED]):  # a tokenizer that is not what it seems
                self.by_pieces = False
                return self._encoded(texts)
        return found

    def _count(self, text: str, words: "_Words") -> int:
        if self._whole and self._whole.search(text):
            return self._encoded([text])[0]
        shape = _DIGITS.sub("0", text) if self._alone else text
        first, space, rest = shape.partition(" ")
        total: float = words.pieces[first]
        if space:
            middle, another, last = rest.rpartition(" ")
            total += math.inf if first[-1:].isspace() else words.last[last]
            total += sum(map(words.__getitem__, middle.split(" "))) if another else 0
        if total == math.inf:  # white space beside a space: only some of the spaces are cuts
            total = words.pieces.of(shape)
        return int(total) + len(text) - len(shape)

    def _encoded(self, texts: Sequence[str]) -> list[int]:
        return [len(e) for e in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


class _Pieces(dict[str, int]):
    """Tokens by piece, counted at the first look."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __missing__(self, piece: str) -> int:
        self[piece] = len(self._tokenizer.encode(piece, add_special_tokens=False))
        return self[piece]

    def of(self, text: str) -> int:
        """The tokens of a text, by its pieces."""
        return sum(map(self.__getitem__, _CUTS.split(text)))


class _Words(dict[str, float]):
    """Tokens of what stands between two spaces, with the space before it; infinite beside other white space.

    `last` holds those that end a text, which may end in white space.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.pieces = _Pieces(tokenizer)
        self.last = _Last(self.pieces)

    def __missing__(self, word: str) -> float:
        self[word] = math.inf if word[-1:].isspace() else self.last[word]
        return self[word]


class _Last(dict[str, float]):
    def __init__(self, pieces: _Pieces) -> None:
        self._pieces = pieces

    def __missing__(self, word: str) -> float:
        self[word] = math.inf if not word or word[0].isspace() else self._pieces.of(" " + word)
        return self[word]


def can_cut(tokenizer: Tokenizer) -> bool:
    """Whether it is known that no token spans a cut, and that the tokens on one side do not depend on the other."""
    made: dict[str, Any] = json.loads(tokenizer.to_str())
    kinds = [_kind(step) for step in _steps(made)]
    return (made["model"].get("type") == "BPE" and not made["model"].get("dropout")
            and (made.get("normalizer") or {}).get("type") in (None, "NFC", "NFKC")  # spaces take no part in these
            and None not in kinds and "pattern" in kinds)


def digits_alone(tokenizer: Tokenizer) -> bool:
    """Whether each of the ten digits is a token by itself wherever it stands."""
    steps = _steps(json.loads(tokenizer.to_str()))
    split = any(s.get("individual_digits") if s.get("type") == "Digits" else _PATTERNS.get(_regex(s)) for s in steps)
    return bool(split) and all(len(tokenizer.encode(d, add_special_tokens=False)) == 1 for d in "0123456789")


# ------------------------------------------------------------------------------------------------------------------


def _steps(made: dict[str, Any]) -> list[dict[str, Any]]:
    first = made.get("pre_tokenizer") or {}
    return first.get("pretokenizers", []) if first.get("type") == "Sequence" else [first]


def _kind(step: dict[str, Any]) -> str | None:
    """What a step of the pre-tokenizer is, of those known to keep the cuts."""
    if step.get("type") == "Digits":
        return "digits"
    if step.get("type") == "ByteLevel" and not step.get("add_prefix_space"):
        return "pattern" if step.get("use_regex", True) else "bytes"
    known = step.get("type") == "Split" and _regex(step) in _PATTERNS
    return "pattern" if known and step.get("behavior") == "Isolated" and not step.get("invert") else None


def _regex(step: dict[str, Any]) -> str:
    return (step.get("pattern") or {}).get("Regex", "")


def _tokens_over_cuts(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    """The added tokens that take white space around them, or hold what could be a cut: texts with them stay whole."""
    tokens = tokenizer.get_added_tokens_decoder().values()
    found = [t.content for t in tokens if t.lstrip or t.rstrip or t.single_word or _INSIDE.match(t.content)]
    return re.compile("|".join(map(re.escape, found))) if found else None
