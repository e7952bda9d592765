"""Groups of completions as HTML: the list, one group side by side, search hits. Every text is escaped here."""

from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import Any

from pipeline.errors import StudioError
from pipeline.live_groups import Found
from pipeline.run_folder import RunFolder
from pipeline.tags import SCHEMES, TagScheme, scheme_of
from reasoning_ui.highlight import completion_html

NO_EFFECT = 1e-6  # an advantage nearer to zero than this moved nothing


def rows_html(rows: Sequence[dict[str, Any]]) -> str:
    """The list of groups: one button each with step, question, right answers and rewards."""
    return "".join(_row_html(row) for row in rows) or '<p class="live-quiet">No group is like that.</p>'


def group_html(group: dict[str, Any], again: Sequence[dict[str, Any]], folder: RunFolder) -> str:
    """One group: question, reference, then its completions from the best to the worst, side by side."""
    scheme = _scheme(folder)
    completions = sorted(group["completions"], key=lambda c: (c["total"] is None, -(c["total"] or 0), c["position"]))
    strongest = max((abs(c["advantage"] or 0) for c in completions), default=0.0)
    reference = group["reference"]
    return (
        f'<header class="live-question"><h3 tabindex="-1">Step {group["step"]}, group {group["position"] + 1}</h3>'
        f'<p class="live-prompt">{escape(group["prompt"])}</p>'
        f'<p class="live-facts"><span>Reference: <b>{escape(reference) if reference is not None else "none"}</b></span>'
        f'{_verdict(group, strongest)}</p></header>'
        f'{_again_html(again, group["id"])}'
        f'<div class="live-completions">{"".join(_completion_html(c, strongest, scheme) for c in completions)}</div>')


def hits_html(found: Found) -> str:
    """Search results, each a button that opens its group."""
    if not found.hits:
        return '<p class="live-quiet">No answer holds these words. Try fewer, or a beginning: appl*.</p>'
    return "".join(
        f'<button type="button" class="live-row" data-group="{hit["group_id"]}" data-step="{hit["step"]}">'
        f'<span class="live-step">step {hit["step"]}</span>'
        f'<span class="live-snippet">{_snippet(hit["snippet"])}</span>'
        f'<span class="live-number">{_number(hit["total"])}</span></button>' for hit in found.hits)


def _row_html(row: dict[str, Any]) -> str:
    right = "" if row["right"] is None else f'{row["right"]} of {row["size"]} right'
    cut = f'<span class="live-badge">{row["truncated"]} cut off</span>' if row["truncated"] else ""
    equal = '<span class="live-badge">all equal</span>' if row["spread"] == 0 else ""
    share = 0 if not row["size"] or row["right"] is None else round(100 * row["right"] / row["size"])
    return (f'<button type="button" class="live-row" data-group="{row["id"]}" data-step="{row["step"]}">'
            f'<span class="live-step">step {row["step"]}</span>'
            f'<span class="live-snippet">{escape(row["prompt"][:300])}</span>{cut}{equal}'
            f'<span class="live-right"><span class="live-share" style="width:{share}%"></span>{right}</span>'
            f'<span class="live-number" title="mean reward, from worst to best">{_number(row["mean_total"])} '
            f'<small>({_number(row["worst"])} to {_number(row["best"])})</small></span></button>')


def _verdict(group: dict[str, Any], strongest: float) -> str:
    right = "" if group["right"] is None else f'<span>{group["right"]} of {group["size"]} right</span>'
    cut = f'<span>{group["truncated"]} cut off</span>' if group["truncated"] else ""
    if strongest < NO_EFFECT:
        return right + cut + "<span>All advantages are zero: this group taught nothing.</span>"
    up = sum((c["advantage"] or 0) > NO_EFFECT for c in group["completions"])
    down = sum((c["advantage"] or 0) < -NO_EFFECT for c in group["completions"])
    return right + cut + f"<span>{up} made likelier, {down} made less likely</span>"


def _completion_html(c: dict[str, Any], strongest: float, scheme: TagScheme) -> str:
    advantage = c["advantage"]
    rewards = "".join(f'<tr><th scope="row">{escape(label)}</th><td>{_number(value, "failed")}</td></tr>'
                      for label, value in c["rewards"].items())
    tokens = f'{c["tokens"]} tokens' if c["tokens"] is not None else ""
    cut = '<span class="live-badge">cut off</span>' if c["truncated"] else ""
    answer = f'answered <b>{escape(c["extracted"][:80])}</b>' if c["extracted"] else "no answer found"
    return (f'<article class="live-completion" aria-label="Completion {c["position"] + 1}">'
            f'<div class="live-total"><b>{_number(c["total"], "not scored")}</b> <span>{answer}</span></div>'
            f'{_bar_html(advantage, strongest)}'
            f'<div class="live-text" tabindex="0">{completion_html(c["text"], scheme)}</div>'
            f'<table class="live-rewards"><tbody>{rewards}</tbody></table>'
            f'<p class="live-quiet">#{c["position"] + 1} · {tokens} {cut}</p></article>')


def _bar_html(advantage: float | None, strongest: float) -> str:
    """The advantage as a bar from the middle: to the right made likelier, to the left less likely."""
    if advantage is None or abs(advantage) < NO_EFFECT:
        return '<div class="live-advantage"><span class="live-bar"></span><span>no effect</span></div>'
    width = 50 * min(1.0, abs(advantage) / strongest)
    side, words = ("up", "made likelier") if advantage > 0 else ("down", "made less likely")
    return (f'<div class="live-advantage" title="advantage {advantage:+.3f}"><span class="live-bar">'
            f'<i class="{side}" style="width:{width:.1f}%"></i></span><span>{advantage:+.2f}, {words}</span></div>')


def _again_html(again: Sequence[dict[str, Any]], current: int) -> str:
    """The same prompt at other steps, as a row of small buttons."""
    if len(again) < 2:
        return '<p class="live-quiet">This question came once so far.</p>'
    buttons = "".join(
        f'<button type="button" data-group="{row["id"]}" data-step="{row["step"]}"'
        f'{" aria-current=true" if row["id"] == current else ""}><small>step {row["step"]}</small>'
        f'<b>{_number(row["mean_total"])}</b>'
        f'<small>{"" if row["right"] is None else str(row["right"]) + " of " + str(row["size"])}</small></button>'
        for row in again)
    return f'<div class="live-again" role="group" aria-label="This question through training"><span>This question ' \
           f'came {len(again)} times:</span>{buttons}</div>'


def _snippet(text: str) -> str:
    return escape(text).replace("\x01", "<mark>").replace("\x02", "</mark>")


def _number(value: float | None, missing: str = "–") -> str:
    return missing if value is None else f"{value:.2f}"


def _scheme(folder: RunFolder) -> TagScheme:
    try:
        return _scheme_of_file(str(folder.recipe_file), folder.recipe_file.stat().st_mtime)
    except (OSError, StudioError):
        return SCHEMES["reasoning"]


@lru_cache(maxsize=100)
def _scheme_of_file(path: str, _changed: float) -> TagScheme:
    from pipeline.recipe import Recipe

    return scheme_of(Recipe.load(path).data.tags)
