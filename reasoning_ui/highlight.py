"""Text from models and datasets as safe HTML with marked spans. Everything is escaped; nothing in it can run."""

import html

from pipeline.tags import TagScheme, parse

MAX_CHARACTERS = 20_000  # shown of one text; a browser gets slow with more


def completion_html(text: str, scheme: TagScheme) -> str:
    """A completion with its tags, reasoning and answer in spans of the classes `tag`, `reasoning` and `answer`."""
    shown = text[:MAX_CHARACTERS]
    pieces, at = [], 0
    for span in parse(scheme, shown).spans:
        pieces.append(escaped(shown[at : span.start]))
        pieces.append(f'<span class="{span.kind}">{escaped(shown[span.start : span.end])}</span>')
        at = span.end
    pieces.append(escaped(shown[at:]))
    return f'<div class="completion" dir="auto">{"".join(pieces)}{cut_note(text)}</div>'


def escaped(text: str) -> str:
    """Text as HTML: escaped, control characters made visible, line breaks kept by the style `white-space: pre-wrap`."""
    return html.escape("".join(c if c >= " " or c in "\n\t" else "�" for c in text))


def cut_note(text: str) -> str:
    """The words for a text that is longer than what is shown; empty otherwise."""
    if len(text) <= MAX_CHARACTERS:
        return ""
    return f'<span class="cut">… {len(text) - MAX_CHARACTERS:,} more characters are not shown</span>'
