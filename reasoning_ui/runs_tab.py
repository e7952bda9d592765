"""The Runs tab: all runs with their state; open, rename, note, duplicate, stop, resume, order, delete with undo."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from pipeline import continuing, jobs, mirror, run_disk
from pipeline.disk import folder_bytes, in_words
from pipeline.errors import StudioError
from pipeline.failures import WANT_OF_MEMORY
from pipeline.run_state import RunCard
from pipeline.studio_home import StudioHome
from reasoning_ui import drafts, runs_cards
from reasoning_ui.shared import Shared, choices_of, go_to, words_of

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
RESUMABLE = ("stopped", "interrupted", "failed")


@dataclass
class Parts:
    """The tab's components."""

    cards: gr.HTML
    seen: gr.Textbox
    words: gr.Textbox
    name: gr.Textbox
    note: gr.Textbox
    details: gr.HTML
    open: gr.Button
    stop: gr.Button
    resume: gr.Button
    lighter: gr.Button
    duplicate: gr.Button
    earlier: gr.Button
    later: gr.Button
    delete: gr.Button
    prune: gr.Button
    save: gr.Button
    undo: gr.Button
    deleted: gr.Textbox
    said: gr.HTML
    trash: gr.Dropdown
    restore: gr.Button
    empty: gr.Button
    home: gr.Markdown

    @property
    def live(self) -> list[gr.components.Component]:
        """What `list_updates` fills."""
        return [self.cards, self.seen, self.open, self.stop, self.resume, self.lighter, self.earlier, self.later,
                self.duplicate, self.delete]

    @property
    def chosen(self) -> list[gr.components.Component]:
        """What `detail_updates` fills."""
        return [self.words, self.details, self.trash, self.home]


def build(shared: Shared, tab: gr.Tab) -> None:
    """The tab's components and events. The chosen run is the shared current run."""
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            cards = gr.HTML(html_template='<div class="runs-list"></div>', js_on_load=runs_cards.SCRIPT,
                            css_template=runs_cards.CSS, elem_id="runs-list", apply_default_css=False)
        with gr.Column(scale=2, min_width=300):
            parts = _side(cards)
    _wire(shared, tab, parts)


def _side(cards: gr.HTML) -> Parts:
    said = gr.HTML(elem_id="runs-said", apply_default_css=False)
    undo = gr.Button("Undo delete", visible=False, size="sm", elem_id="runs-undo")
    with gr.Row():
        open_ = gr.Button("Open", variant="primary", size="sm", elem_id="runs-open")
        stop = gr.Button("Stop", size="sm", visible=False, elem_id="runs-stop")
        resume = gr.Button("Resume", size="sm", visible=False, elem_id="runs-resume")
        lighter = gr.Button("Try again with less memory", variant="primary", size="sm", visible=False,
                            elem_id="runs-lighter")
        earlier = gr.Button("Earlier", size="sm", visible=False, elem_id="runs-earlier")
        later = gr.Button("Later", size="sm", visible=False, elem_id="runs-later")
        duplicate = gr.Button("Duplicate", size="sm", elem_id="runs-duplicate")
        delete = gr.Button("Delete", size="sm", elem_id="runs-delete")
    name = gr.Textbox(label="Name", max_length=100, elem_id="runs-name", elem_classes=drafts.KEEP)
    note = gr.Textbox(label="Note", lines=3, max_length=10_000, elem_id="runs-note", elem_classes=drafts.KEEP,
                      placeholder="What you tried, and what you saw")
    save = gr.Button("Save name and note", size="sm", elem_id="runs-save")
    details = gr.HTML(elem_id="runs-details", apply_default_css=False, css_template=runs_cards.CSS)
    prune = gr.Button("Delete older checkpoints", size="sm", elem_id="runs-prune")
    with gr.Accordion("Trash", open=False):
        trash = gr.Dropdown([], label="Deleted runs", elem_id="runs-trash")
        with gr.Row():
            restore = gr.Button("Restore", size="sm", elem_id="runs-restore")
            empty = gr.Button("Empty the trash", size="sm", elem_id="runs-empty")
    home = gr.Markdown(elem_id="runs-home")
    hidden = [gr.Textbox("", visible="hidden", label=f"runs-{label}") for label in ("seen", "words", "deleted")]
    return Parts(cards, *hidden[:2], name, note, details, open_, stop, resume, lighter, duplicate, earlier, later,
                 delete, prune, save, undo, hidden[2], said, trash, restore, empty, home)


def _wire(shared: Shared, tab: gr.Tab, p: Parts) -> None:
    """Keep cards and details up to date, and connect the buttons."""
    home, clock = shared.home, shared.timer
    gr.on([clock.open_runs, clock.changed_runs, clock.tick_runs], lambda run, seen: list_updates(home, run, seen),
          [shared.run, p.seen], p.live, trigger_mode="always_last", **QUIET)
    # the answer may come after something was typed: the page itself fills in what was not
    shared.run.change(lambda run: detail_updates(home, run), shared.run, p.chosen, js=drafts.RUN_CHANGED, **QUIET).then(
        None, p.words, [p.name, p.note], js=drafts.FILL_RUN, **QUIET)
    # name and note stay: they may hold what was typed and not saved yet
    tab.select(lambda run: detail_updates(home, run)[1:], shared.run, p.chosen[1:], **QUIET)
    p.cards.pick(None, None, shared.run, js=drafts.CHOSEN_RUN, **QUIET)
    p.open.click(go_to, gr.Textbox("live", visible="hidden", label="runs-target"), shared.tabs, **QUIET)
    _wire_acts(shared, p)
    _wire_trash(shared, p)


def _wire_acts(shared: Shared, p: Parts) -> None:
    """What is done with the current run: then the page says what happened, and shows the new state."""
    home = shared.home

    def act(button: gr.Button, work: Callable[..., str], *more: gr.components.Component, js: str | None = None) -> None:
        event = button.click(_telling(lambda run, *values: _note(work(home, run, *values))), [shared.run, *more],
                             p.said, js=js, **QUIET)
        event.then(lambda run: list_updates(home, run, ""), shared.run, p.live, **QUIET)
        event.then(lambda run: detail_updates(home, run)[1:], shared.run, p.chosen[1:], **QUIET)

    act(p.stop, jobs.stop)
    act(p.resume, resumed)
    act(p.earlier, lambda home, run: moved(home, run, -1))
    act(p.later, lambda home, run: moved(home, run, 1))
    act(p.save, saved, p.name, p.note, js=drafts.TYPED_FOR_RUN)
    act(p.prune, pruned)
    p.lighter.click(_telling(lambda run: lighter_run(home, run), 1), shared.run, [p.said, shared.run], **QUIET).then(
        lambda run: list_updates(home, run, ""), shared.run, p.live, **QUIET)
    p.duplicate.click(
        _telling(lambda run: ["", *choices_of(jobs.duplicate(home, run)), go_to("train")], 5), shared.run,
        [p.said, shared.model, shared.data, shared.rewards, shared.training, shared.tabs], **QUIET)


def _wire_trash(shared: Shared, p: Parts) -> None:
    """Delete, undo, restore, empty."""
    home = shared.home

    def delete(run: str) -> list[Any]:
        name = home.about(run)["name"] if run else ""
        jobs.delete(home, run)
        return [_note(f"«{name}» is in the trash."), gr.Button(visible=True), run, ""]

    def restore(run: str) -> list[Any]:
        jobs.restore(home, run)
        return [_note(f"«{home.about(run)['name']}» is back."), gr.Button(visible=False), "", run]

    after = [p.said, p.undo, p.deleted, shared.run]
    p.delete.click(_telling(delete, 3), shared.run, after, **QUIET)
    p.undo.click(_telling(restore, 3), p.deleted, after, **QUIET)
    p.restore.click(_telling(restore, 3), p.trash, after, **QUIET)
    p.empty.click(_telling(lambda: _note(emptied(home))), None, p.said, **QUIET).then(
        lambda run: detail_updates(home, run)[1:], shared.run, p.chosen[1:], **QUIET)


def _telling(work: Callable[..., Any], others: int = 0) -> Callable[..., Any]:
    """A handler that tells what it was refused in its first output and leaves the others alone: of what fails outside
    its queue, Gradio shows no message."""
    def handler(*given: Any) -> Any:
        try:
            return work(*given)
        except (StudioError, OSError) as error:
            told = f'<div class="rs-note rs-bad" role="alert">{words_of(error)}</div>'
        return [told, *[gr.skip()] * others] if others else told

    return handler


def list_updates(home: StudioHome, run: str, seen: str) -> list[Any]:
    """Cards and buttons, or skips where nothing changed; never raises, since the timer calls it."""
    try:
        cards = jobs.list_runs(home)
    except (StudioError, OSError):
        return [gr.skip()] * 10
    html = runs_cards.list_html(cards, run)
    card = next((card for card in cards if card.id == run), None)
    buttons = _buttons(card)
    key = str(hash((html, repr(buttons))))
    if key == seen:
        return [gr.skip()] * 10
    return [html, key, *(gr.Button(visible=shown) for shown in buttons)]


def _buttons(card: RunCard | None) -> list[bool]:
    """Which of open, stop, resume, less memory, earlier, later, duplicate, delete make sense."""
    state = card.state.state if card else ""
    waiting = state == "waiting"
    return [card is not None, state in ("running", "stopping", "waiting"), state in RESUMABLE,
            card is not None and card.state.failure in WANT_OF_MEMORY, waiting, waiting,
            card is not None, bool(state) and state not in ("running", "stopping")]


def detail_updates(home: StudioHome, run: str) -> list[Any]:
    """Name and note (as JSON), details, trash and home of the current run; never raises."""
    deleted = [(row["name"], row["id"]) for row in home.known_runs(deleted=True)]
    trash = gr.Dropdown(choices=deleted, value=deleted[0][1] if deleted else None)
    about = _about_home(home)
    if (target := mirror.target_of(home)) is not None:
        about += (f" `{target}` lacks file locks or SQLite's WAL mode, so live runs are kept here; checkpoints, models "
                  "and records are copied there every minute and when a run ends.")
    try:
        card = next((card for card in jobs.list_runs(home, kinds=None) if card.id == run), None)
        details = runs_cards.details_html(card, home.run(run)) if card else ""
    except (StudioError, OSError):
        card, details = None, ""
    if card is None:
        return [_words(run), '<p class="rs-about">Choose a run on the left.</p>', trash, about]
    return [_words(run, card.name, card.note), details, trash, about]


def _words(run: str, name: str = "", note: str = "") -> str:
    return json.dumps({"run": run, "name": name, "note": note})


def _about_home(home: StudioHome) -> str:
    if not home.trusted:
        taken = sum(folder_bytes(home.run(row["id"]).path) for row in home.known_runs())
        return f"Your runs take {in_words(taken)}. Other visitors of this page do not see them."
    return f"Home: `{home.path}`, {in_words(folder_bytes(home.path))} in all."


def lighter_run(home: StudioHome, run: str) -> list[Any]:
    """Continue a run that ran out of memory as a new one, which becomes the current run; says what it lowered."""
    new, found = continuing.try_again(home, run)
    return [_note(f"Continues as «{home.about(new)['name']}» from the last checkpoint, with "
                  f"{'; '.join(found.changes)}."), new]


def resumed(home: StudioHome, run: str) -> str:
    """Resume, in words."""
    jobs.resume(home, run)
    now = jobs.state(home, run)
    return now.reason if now.state == "waiting" else "It goes on with what is kept."


def moved(home: StudioHome, run: str, places: int) -> str:
    """Change the order of the queue, in words."""
    jobs.move(home, run, places)
    return f"It is number {jobs.state(home, run).position} in the queue."


def saved(home: StudioHome, run: str, name: str | None, note: str | None) -> str:
    """Rename and note, in words; None leaves what is stored."""
    if name is not None:
        jobs.rename(home, run, name)
    if note is not None:
        jobs.set_note(home, run, note)
    return "Saved."


def pruned(home: StudioHome, run: str) -> str:
    """Prune the checkpoints, in words."""
    count, freed = run_disk.prune(home.run(run))
    return f"{count} deleted, {in_words(freed)} freed." if count else "There is nothing to delete."


def emptied(home: StudioHome) -> str:
    """Empty the trash, in words."""
    count = jobs.empty_trash(home)
    return f"{count} run(s) deleted for good." if count else "The trash is empty."


def _note(text: str) -> str:
    from html import escape
    return f'<div class="rs-note">{escape(text)}</div>'
