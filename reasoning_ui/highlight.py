"""Text from models and datasets as safe HTML with marked spans. Everything is escaped; nothing in it can run."""

import html
from collections.abc import Iterable

from pipeline.dataset.chat import ChatTokenizer
from pipeline.dataset.preview import KINDS, Preview
from pipeline.tags import TagScheme, parse

MAX_CHARACTERS = 20_000  # shown of one text; a browser gets slow with more
MAX_TOKENS = 3_000  # shown one by one
VIEWS = {"Colours": "colours", "What is trained": "mask", "Tokens and ids": "tokens"}


def completion_html(text: str, scheme: TagScheme) -> str:
    """A completion with its tags, reasoning and answer in spans of the classes `tag`, `reasoning` and `answer`."""
    if not text:
        return ""
    shown = text[:MAX_CHARACTERS]
    spans = ((s.start, s.end, s.kind) for s in parse(scheme, shown).spans)
    return f'<div class="completion" dir="auto">{_marked(shown, spans)}{cut_note(text)}</div>'


def escaped(text: str) -> str:
    """Text as HTML: escaped, control characters made visible; line breaks are kept by the style."""
    return html.escape("".join(c if c >= " " or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text))


def cut_note(text: str) -> str:
    """The words for a text that is longer than what is shown; empty otherwise."""
    if len(text) <= MAX_CHARACTERS:
        return ""
    return f'<span class="cut">… {len(text) - MAX_CHARACTERS:,} more characters are not shown</span>'


def chat_html(preview: Preview, view: str, chat: ChatTokenizer) -> str:
    """An example as the model sees it, in one of VIEWS: coloured parts, the loss mask, or tokens with their ids."""
    body = {"colours": _colours, "mask": _mask, "tokens": _tokens}[view](preview, chat)
    cut = '<p class="cut">The text is too long to show; this is its beginning.</p>' if preview.cut else ""
    text = f'<div class="chat-text" dir="auto" tabindex="0">{body}</div>'
    return f'<div class="chat chat-{view}">{_legend(view)}{text}{cut}</div>'


def trained_words(preview: Preview) -> str:
    """How many tokens there are, and how many of them are trained, in words."""
    t = preview.tokenised
    total = len(t.input_ids)
    if not t.completion_tokens:
        return f"{total:,} tokens of prompt. Nothing is trained by imitation: this row has no worked solution."
    return (f"{total:,} tokens: {t.prompt_tokens:,} of prompt, which are read, and {t.completion_tokens:,} of answer "
            f"({t.completion_tokens / total:.0%}), which are trained.")


# ------------------------------------------------------------------------------------------------------------------


def _marked(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    pieces, at = [], 0
    for start, end, kind in spans:
        pieces.append(escaped(text[at:start]))
        pieces.append(f'<span class="{kind}">{escaped(text[start:end])}</span>')
        at = end
    pieces.append(escaped(text[at:]))
    return "".join(pieces)


def _legend(view: str) -> str:
    if view == "colours":
        items = [(kind, words) for kind, words in KINDS.items()]
    elif view == "mask":
        items = [("trained", "trained: the model learns to write this"), ("read", "only read")]
    else:
        items = [("token trained", "trained token with its number"), ("token", "token that is only read")]
    return '<div class="legend">' + "".join(f'<span class="{k}">{w}</span>' for k, w in items) + "</div>"


def _colours(preview: Preview, chat: ChatTokenizer) -> str:
    return _marked(preview.tokenised.text, preview.spans)


def _mask(preview: Preview, chat: ChatTokenizer) -> str:
    """Stretches of trained and of read tokens, by their labels and offsets."""
    t = preview.tokenised
    trained = [(start, end) for (start, end), label in zip(t.offsets, t.labels, strict=True) if label >= 0]
    if not trained:
        return f'<span class="read">{escaped(t.text)}</span>'
    start, end = trained[0][0], trained[-1][1]
    stretches = (("read", t.text[:start]), ("trained", t.text[start:end]), ("read", t.text[end:]))
    return "".join(f'<span class="{kind}">{escaped(text)}</span>' for kind, text in stretches)


def _tokens(preview: Preview, chat: ChatTokenizer) -> str:
    t, pieces = preview.tokenised, []
    for i, token_id in enumerate(t.input_ids[:MAX_TOKENS]):
        start, end = t.offsets[i]
        shown = t.text[start:end]
        again = i and start < t.offsets[i - 1][1]  # a character made of several tokens: show the bytes
        words = escaped(chat.token(token_id) if again or not shown else shown).replace("\n", "⏎")
        kind = "token trained" if t.labels[i] >= 0 else "token"
        pieces.append(f'<span class="{kind}"><b>{words}</b><i>{token_id}</i></span>' + ("\n" if "\n" in shown else ""))
    if len(t.input_ids) > MAX_TOKENS:
        pieces.append(f'<span class="cut">… {len(t.input_ids) - MAX_TOKENS:,} more tokens</span>')
    return "".join(pieces)
