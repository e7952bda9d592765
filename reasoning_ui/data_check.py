"""Section 5 of the Data tab: check all rows, share them out, read the report, and keep the result."""

import contextvars
import json
import queue
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.dataset import saved
from pipeline.dataset.prepare import prepare_parts
from pipeline.dataset.report import PreparedReport
from pipeline.dataset.sources import DATASETS
from pipeline.errors import DatasetError, StudioError
from pipeline.recipe import DataStep, Split
from pipeline.run import Stopped
from reasoning_ui import data_edits, drafts
from reasoning_ui.data_edits import LONGEST
from reasoning_ui.data_html import note, report_html
from reasoning_ui.data_prepared import PreparedSection
from reasoning_ui.data_preview import PreviewSection
from reasoning_ui.data_state import Choice, choice_key, choice_of, with_limit
from reasoning_ui.header import QUIET
from reasoning_ui.shared import Shared, data_step, guard, model_step

CHECKED = "checked.json"
CHOICES = {"data": "the data settings", "model": "the model", "limits": "the length limits", "seed": "the seed"}
OPEN_ROW = """element.addEventListener('click', event => {
  const row = event.target.closest('[data-row]');
  if (!row) return;
  trigger('select', {row: Number(row.dataset.row)});
  document.getElementById('preview-controls').scrollIntoView({block: 'start'});
});"""
BEGIN = """(data, ...given) => {
  window.checkStopped = false;
  return [window.dataEdits.withTyped(data), ...given];
}"""
NEWS = "news => window.checkStopped ? undefined : news"  # what was on its way when Stop was pressed says nothing new
STOP = """() => {
  window.checkStopped = true;
  return [STOPPED, {visible: false, __type__: "update"}];
}""".replace("STOPPED", json.dumps(note("The check was stopped.")))
INTRO = """### 5. Check and share out
All rows are read, checked, counted in tokens and shared out into four parts. Numbers below 1 are shares of the usable
rows, from 1 on they are counts. No question, in whatever wording, is in two parts.
"""


class CheckSection:
    """Split numbers, the check with its report, the suggested limit, and the way to keep what was made."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        gr.Markdown(INTRO)
        with gr.Row(elem_id="data-split"):
            self.split = [gr.Number(field.default, label=field.title, info=field.description, minimum=0, step=0.05,
                                    elem_id=f"split-{name}", elem_classes=drafts.KEEP, interactive=True, min_width=140)
                          for name, field in Split.model_fields.items()]
        self.longest = gr.Textbox(label="Longest solution for GRPO (tokens, optional)", placeholder="all",
                                  info=DataStep.model_fields["grpo_longest"].description, elem_id="grpo-longest",
                                  elem_classes=drafts.KEEP, max_length=7)
        self.test = gr.Textbox(label="Separate test data (optional)", placeholder="gsm8k, a file, or owner/name",
                               info=DataStep.model_fields["test_source"].description, elem_id="test-source",
                               elem_classes=drafts.KEEP, interactive=True)
        with gr.Row():
            self.run = gr.Button("Check all rows", variant="primary", elem_id="check-data")
            self.stop = gr.Button("Stop", visible=False, elem_id="check-stop")
        self.progress = gr.HTML(elem_id="check-progress", apply_default_css=False)
        self.news = gr.Textbox("", visible="hidden", label="check-news", elem_id="check-news")  # how far it is, as HTML
        self.stale = gr.HTML(elem_id="check-stale", apply_default_css=False)
        self.report = gr.HTML(elem_id="check-report", apply_default_css=False, js_on_load=OPEN_ROW)
        self.use_limit = gr.Button(visible=False, elem_id="use-limit")
        self.limit = gr.Textbox("", visible="hidden", label="suggested-limit")
        self.made = gr.Textbox("", visible="hidden", label="checked-folder")
        self.checked = gr.Textbox("", visible="hidden", label="checked-choice")
        with gr.Row(visible=False, elem_id="keep-row", equal_height=True) as self.keep_row:
            self.name = gr.Textbox(label="Name", placeholder="School problems, tagged", elem_id="keep-name",
                                   max_length=100)
            self.keep = gr.Button("Keep as a prepared dataset", elem_id="keep-data")

    def wire(self, view: PreviewSection, prepared: PreparedSection) -> None:
        """Connect the buttons, the rows of the report with the preview, and what is kept with its list."""
        s = self.shared
        boxes = [*self.split, self.test, self.longest]
        for box in boxes:
            gr.on([box.blur, box.submit], None, s.data, s.data, js=data_edits.box(box.elem_id), **QUIET)
        gr.on([self.longest.blur, self.longest.submit], guard(_refuse_longest), self.longest, None, **QUIET)
        gr.on([s.timer.open_data, s.timer.changed_data], None, s.data, boxes,
              js=data_edits.fill(*(box.elem_id for box in boxes)), **QUIET)
        work = self.run.click(self.check, [s.data, s.model, s.training, self.longest],
                              [self.news, self.report, self.use_limit, self.limit, self.made, self.keep_row, self.stop,
                               self.checked], js=BEGIN, concurrency_limit=2, **QUIET)
        self.news.change(None, self.news, self.progress, js=NEWS, **QUIET)
        self.stop.click(None, None, [self.progress, self.stop], js=STOP, cancels=[work], **QUIET)
        self.use_limit.click(guard(_use_limit), [self.limit, s.training, s.model],
                             [s.training, s.model, self.use_limit], **QUIET)
        self.keep.click(guard(lambda name, made: self.keep_it(prepared, name, made)), [self.name, self.made],
                        [prepared.cards, prepared.card, self.keep_row], **QUIET)
        choice = [s.data, s.model, s.training]

        def open_row(event: gr.EventData, *values: str) -> tuple[Any, Any]:
            return _open_row(view, event, *values)

        self.report.select(open_row, [self.checked, *choice, view.view], [view.html, view.row], **QUIET)
        gr.on([s.timer.changed_data, self.checked.change], _stale, [self.checked, *choice], self.stale,
              trigger_mode="always_last", **QUIET)

    def check(self, data: str, model: str, training: str, longest: str) -> Iterator[tuple[Any, ...]]:
        """Prepare everything into a scratch folder, with progress; then the report, or what is wrong in words. The data
        are as the page shows them: what was typed just now may not be in the shared choice yet."""
        hidden = gr.Button(visible=False)
        try:
            _refuse_longest(longest)
            key = choice_key(data, model, training)
            yield from self._checked(choice_of(self.shared, data, model, training), key, hidden)
        except StudioError as error:
            yield note(str(error), "bad"), "", hidden, "", "", gr.Row(visible=False), hidden, ""

    def _checked(self, choice: Choice, key: str, hidden: gr.Button) -> Iterator[tuple[Any, ...]]:
        stop = gr.Button(visible=True)
        yield _bar(0, None, "opening the data"), "", hidden, "", "", gr.Row(visible=False), stop, ""
        folder = _scratch(self.shared.home.private)
        for done, total, words in _work(choice, folder):
            yield _bar(done, total, words), *[gr.skip()] * 7
        _remember(choice, folder)
        report = PreparedReport.load(folder / "report.json")
        suggested = report.suggested_max_completion_tokens
        button = hidden
        if suggested and suggested != choice.max_completion_tokens:
            now = choice.max_completion_tokens
            words = f"Set the longest answer to {suggested:,} tokens (now {now:,}): fits 95 % of these answers"
            button = gr.Button(words, visible=True)
        extra = note(choice.note) if choice.note else ""
        done = f'<p class="rs-about">Checked in {report.seconds:.1f} s.</p>{extra}'
        yield done, report_html(report), button, str(suggested or ""), folder.name, gr.Row(visible=True), hidden, key

    def keep_it(self, prepared: PreparedSection, name: str, made: str) -> tuple[Any, ...]:
        """Keep the last check under a name, with the choices that it was made with."""
        folder = _scratch_root(self.shared.home.private) / Path(made or "-").name
        if not (folder / CHECKED).is_file():
            raise DatasetError("Check all rows first: what is kept is the result of the check.")
        checked = json.loads((folder / CHECKED).read_text(encoding="utf-8"))
        data = DataStep.model_validate(checked["data"])
        title = name or (DATASETS[data.source].title if data.source in DATASETS else "")
        card = saved.keep(self.shared.home.private, folder, title, data, checked["tokenizer"], checked["seed"])
        gr.Info(f"Kept as {escape(card.name)}.")
        return prepared.listed(card.id), prepared.show_card(card.id)[0], gr.Row(visible=False)


# ------------------------------------------------------------------------------------------------------------------


def _refuse_longest(typed: str) -> None:
    """Raises DatasetError for what the page does not store: all but a whole number of tokens, or nothing."""
    text = (typed or "").strip().replace(",", "")
    if text and not (re.fullmatch("[0-9]{1,6}", text) and 1 <= int(text) <= LONGEST):
        raise DatasetError(f"Longest solution for GRPO: write a whole number of tokens from 1 to {LONGEST}, or "
                           "nothing.")


def _use_limit(limit: str, training: str, model: str) -> tuple[Any, ...]:
    training, model = with_limit(training, model_step(model), int(limit))
    gr.Info(f"The longest answer is now {int(limit):,} tokens. You can change it under Train.")
    return training, model, gr.Button(visible=False)


def _open_row(view: PreviewSection, event: gr.EventData, checked: str, data: str, model: str, training: str,
              how: str) -> tuple[Any, Any]:
    """Show a row of the report in the preview."""
    source = json.loads(checked)["data"]["source"] if checked else None
    if source != data_step(data).source:
        gr.Info("This report is of another dataset: choose that one again, or check this one.")
        return gr.skip(), gr.skip()
    return view.show(data, model, training, float(event.row), how)


def _stale(checked: str, data: str, model: str, training: str) -> str:
    """What to say when the choices are others than those of the report."""
    if not checked:
        return ""
    then, now = json.loads(checked), json.loads(choice_key(data, model, training))
    changed = [words for name, words in CHOICES.items() if then[name] != now[name]]
    if not changed:
        return ""
    return note(f"Since this check, {' and '.join(changed)} changed: check again to see what that does.")


def _remember(choice: Choice, folder: Path) -> None:
    """Keep beside the parts what they were made with."""
    values = {"data": choice.data.model_dump(mode="json"), "tokenizer": choice.tokenizer, "seed": choice.seed}
    (folder / CHECKED).write_text(json.dumps(values), encoding="utf-8")


def _scratch_root(home: Path) -> Path:
    return home / "datasets" / "checks"


def _scratch(home: Path) -> Path:
    """A fresh folder for a check; those of an hour ago are removed."""
    root = _scratch_root(home)
    root.mkdir(parents=True, exist_ok=True)
    for old in root.iterdir():
        if old.stat().st_mtime < time.time() - 3600:
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(dir=root))


def _work(choice: Choice, out: Path) -> Iterator[tuple[float, float | None, str]]:
    """Prepare in a thread and yield its progress twice a second; leaving the loop stops the thread."""
    news: queue.Queue[tuple[float, float | None, str]] = queue.Queue()
    problem: list[BaseException] = []
    gone = threading.Event()

    def work() -> None:
        try:
            prepare_parts(choice.data, choice.chat, seed=choice.seed, max_length=choice.model.max_length,
                          max_completion_tokens=choice.max_completion_tokens, out=out,
                          progress=lambda *a: news.put(a), should_stop=gone.is_set)
        except Stopped:
            pass
        except (StudioError, OSError, MemoryError) as error:
            problem.append(error)

    asking = contextvars.copy_context()  # what may be read depends on who asks
    thread = threading.Thread(target=asking.run, args=(work,), daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.5)
            last = None
            while not news.empty():
                last = news.get()
            if last:
                yield last
    finally:
        gone.set()
    if problem:
        error = problem[0]
        raise error if isinstance(error, StudioError) else DatasetError(f"The check could not finish: {error}. "
                                                                        "Is the disk full?")


def _bar(done: float, total: float | None, words: str) -> str:
    value = f' value="{done}" max="{total}"' if total else ""
    count = f"{int(done):,}" + (f" of {int(total):,}" if total else "")
    return f'<div class="rs-status"><span>{escape(words)}: {count}</span><progress{value}></progress></div>'


