"""What can be claimed of a comparison, as safe HTML: sentences about pairs of models, about seeds, about precisions."""

from collections.abc import Mapping, Sequence
from html import escape

from pipeline import report, seeds
from pipeline.comparison import token_note
from pipeline.paired_tests import PairedTest, by_kind, correction
from pipeline.run_state import OVER, State
from pipeline.seeds import OverSeeds
from reasoning_ui.compare_data import Comparison
from reasoning_ui.compare_html import levels, notice, subjects


def sentences(found: Sequence[PairedTest], metric: str = "exact") -> str:
    """What can be claimed in one metric, one line per pair, those that answer one question together."""
    of_metric = [test for test in found if test.metric == metric]
    groups, shown = by_kind(of_metric), []
    for title, some in groups.items():
        lines = "".join(f"<li class='{_tone(test)}'>{escape(test.sentence)}</li>" for test in some)
        listed, head = f"<ul class='sentences'>{lines}</ul>", f"<b>{escape(title)}</b>"
        if len(groups) == 1:
            shown.append(listed)
        elif some[0].kind == "both":
            shown.append(f"<details class='kind'><summary>{head}</summary>{listed}</details>")
        else:
            shown.append(f"<p class='kind'>{head}</p>{listed}")
    note = "p-values: exact McNemar" if all(t.method == "exact McNemar" for t in found) else "p-values: exact test"
    footer = f"<p class='quiet'>{note}, {correction(of_metric)}; intervals: paired bootstrap.</p>"
    return f"<div class='cmp'>{''.join(shown)}{footer if shown else ''}</div>"


def _tone(test: PairedTest | OverSeeds) -> str:
    if not test.significant:
        return "same"
    return "better" if test.difference > 0 else "worse"


def of_seeds(found: Sequence[OverSeeds], unfinished: Mapping[int, State] | None = None, offers: bool = True) -> str:
    """What several seeds of the recipe say together, and with `offers` a button for one more; `unfinished` is from
    `pipeline.seeds`."""
    note, shown = seeds.footnote(found), ""
    if found:
        lines = "".join(f"<li class='{_tone(pair)}'>{escape(pair.sentence)}</li>" for pair in found)
        shown = f"<p class='kind'><b>{seeds.heading(found)}</b></p><ul class='sentences'>{lines}</ul>"
    ended = {seed: state for seed, state in (unfinished or {}).items() if state in OVER}
    if on_the_way := [seed for seed in unfinished or {} if seed not in ended]:
        several = len(on_the_way) > 1
        note += (f" Seed{'s' * several} {', '.join(map(str, on_the_way))} {'are' if several else 'is'} being trained "
                 "or waiting for a turn, and will be put together with this one.")
    for seed, state in ended.items():
        note += (f" Seed {seed} {'' if state == 'failed' else 'was '}{state} before it was through: Runs says how it "
                 "goes on.")
    button = (f"<p><button type='button' class='cmp-button' data-another-seed>Train "
              f"{'one more' if found or unfinished else 'another'} seed</button></p>")
    return f"<div class='cmp'>{shown}<p class='quiet'>{note}</p>{button * offers}</div>"


def words(found: Comparison, several: str = "") -> str:
    """What can be claimed, by metric, and rates by subject where the data has any; or why models are not paired.
    `several` is what `of_seeds` gives."""
    by_subject = subjects(found.rows, found.table.keys)
    if found.refusal:
        return notice(found.refusal, warn=True) + f"<div class='cmp'>{by_subject}</div>"
    partial = [v["title"] for v in found.summary.values() if v["partial"]]
    text = "" if not partial else notice(
        f"Not all questions are answered yet by {', '.join(partial)}: evaluate with the same settings for the rest. "
        "Until then the questions before the first open one count, since short answers end first.",
        warn=True)
    if note := token_note(found.rows, found.expected):
        text += notice(note)
    more = "".join(
        f"<details><summary>{escape(title)}</summary>{sentences(found.tests, metric)}</details>"
        for metric, title in (("lenient", "Lenient: the last number anywhere"), ("format", "Format")) if found.tests)
    return (text + sentences(found.tests, "exact") + several + _recommendation(found)
            + f"<div class='cmp'>{more}{by_subject}</div>")


def _recommendation(found: Comparison) -> str:
    """Which precision to use, in words and as a table; empty with only one."""
    text = report.recommendation(found.rows, found.tests, found.expected)
    if not text:
        return ""
    table = levels(report.levels(found.rows, found.expected))
    return f"<div class='cmp'><p><b>Precision:</b> {escape(text)}</p>{table}</div>"
