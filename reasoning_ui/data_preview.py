"""Section 4 of the Data tab: a row as the model will see it, with the loss mask and the tokens."""

from typing import Any

import gradio as gr

from pipeline.dataset.preview import preview
from pipeline.dataset.sample import load_view
from pipeline.errors import StudioError
from pipeline.tags import scheme_of
from reasoning_ui.data_html import example_facts, note
from reasoning_ui.data_state import Choice, choice_of
from reasoning_ui.header import QUIET
from reasoning_ui.highlight import VIEWS, chat_html, trained_words
from reasoning_ui.shared import Shared

JUMPS = {"Longest": "longest", "Shortest": "shortest", "Over the limits": "truncated", "Cannot be imitated": "broken",
         "Without an answer": "no_reference"}
HEAD = """<script>
window.previewRow = {
  wanted: null, asked: null,  // the row that the clicks lead to, and the one that the app is at work on
  step(by) {
    const box = document.querySelector("#preview-row input");
    const row = Math.max(1, (this.wanted ?? (Number(box.value) || 1)) + by);
    box.value = row;
    box.dispatchEvent(new Event("input", {bubbles: true}));
    this.wanted = row;
  },
  ask(row) { return (this.asked = this.wanted ?? row); },
  answered() { if (this.asked === this.wanted) this.wanted = null; },
};
document.addEventListener("click", event => {
  const by = {"preview-back": -1, "preview-next": 1}[event.target.closest?.("button")?.id];
  if (by) window.previewRow.step(by);
}, true);
document.addEventListener("input", event => {
  if (event.target.closest?.("#preview-row")) window.previewRow.wanted = null;
}, true);
</script>"""  # every click counts: Gradio would drop those that come before the answer to the first
ASK = "(data, model, training, row, view) => [data, model, training, window.previewRow.ask(row), view]"
ANSWERED = "() => { window.previewRow.answered(); }"


class PreviewSection:
    """The section's components; `show` computes all outputs for a row."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        gr.Markdown("### 4. See what the model will see\nThe model reads the prompt and is trained to write the "
                    "answer. This is the very text and the very tokens that training uses.")
        with gr.Row(equal_height=True, elem_id="preview-controls"):
            self.view = gr.Radio(list(VIEWS), value="Colours", label="Show", elem_id="preview-view", min_width=280)
            self.row = gr.Number(1, label="Row", precision=0, elem_id="preview-row", min_width=90, scale=0)
            self.jump = gr.Dropdown([("Choose", ""), *JUMPS.items()], value="", label="Go to", elem_id="preview-jump",
                                    min_width=150)
            self.find = gr.Textbox(label="Search", placeholder="a word, then Enter", elem_id="preview-search",
                                   min_width=150)
        with gr.Row():
            self.back = gr.Button("◀ Previous row", size="sm", elem_id="preview-back", min_width=120)
            self.next = gr.Button("Next row ▶", size="sm", elem_id="preview-next", min_width=120)
        self.html = gr.HTML(elem_id="preview-html", apply_default_css=False)

    def wire(self) -> None:
        """Connect the controls; each shows the row that it leads to."""
        shared = self.shared
        chosen = [shared.data, shared.model, shared.training, self.row, self.view]
        outputs = [self.html, self.row]
        self.view.input(lambda *a: self.show(*a), chosen, outputs, **QUIET)
        gr.on([self.row.submit, self.row.blur], lambda *a: self.show(*a), chosen, outputs, **QUIET)
        gr.on([self.back.click, self.next.click], lambda *a: self.show(*a), chosen, outputs, js=ASK,
              trigger_mode="always_last", **QUIET).then(None, None, None, js=ANSWERED, **QUIET)
        self.jump.input(lambda kind, *a: (*self.go(kind, *a), ""), [self.jump, *chosen], [*outputs, self.jump], **QUIET)
        self.find.submit(lambda text, *a: self.go(f"search {text}", *a), [self.find, *chosen], outputs, **QUIET)

    def show(self, data: str, model: str, training: str, row: float | None, view: str) -> tuple[Any, int]:
        """The HTML of a row and its number; a row that does not exist becomes the nearest one. Never raises."""
        try:
            return self._show(choice_of(self.shared, data, model, training), int(row or 1), view)
        except StudioError as error:
            return note(str(error), "bad"), int(row or 1)

    def go(self, kind: str, data: str, model: str, training: str, row: float | None, view: str) -> tuple[Any, int]:
        """The longest or shortest row, or the first of a kind (or with a text): the next when one of them is shown."""
        if not kind:  # a dropdown that is left with Tab sends what it shows
            return gr.skip(), gr.skip()
        try:
            choice = choice_of(self.shared, data, model, training)
            rows = load_view(choice.data, choice.chat, choice.seed)
            if kind.startswith("search "):
                found = rows.search(kind.removeprefix("search ").strip())
            else:
                found = rows.rows_of(kind, choice.model.max_length, choice.max_completion_tokens)
            if not found:
                gr.Info(f"There is no such row among the {len(rows.numbers):,} rows that are looked at here.")
                return gr.skip(), gr.skip()
            here = int(row or 1)
            if kind in ("longest", "shortest"):
                return self._show(choice, found[0], view, f"The {kind} of {len(found):,} rows. ")
            target = found[(found.index(here) + 1) % len(found)] if here in found else found[0]
            return self._show(choice, target, view, f"{found.index(target) + 1} of {len(found):,} such rows. ")
        except StudioError as error:
            return note(str(error), "bad"), int(row or 1)

    def _show(self, choice: Choice, number: int, view: str, lead: str = "") -> tuple[str, int]:
        rows = load_view(choice.data, choice.chat, choice.seed)
        number = rows.nearest(number)
        example = rows.example(number)
        facts = example_facts(example, number)
        if example is None:
            return facts, number
        row = {"system": example.system, "question": example.question, "completion": example.completion}
        shown = preview(choice.chat, row, scheme_of(choice.data.tags))
        words = lead + trained_words(shown)
        total = len(shown.tokenised.input_ids)
        if total > choice.model.max_length:
            facts += note(f"{total:,} tokens are more than the sequence length of {choice.model.max_length:,}: the row "
                          "is left out of SFT, never cut.")
        body = chat_html(shown, VIEWS[view], choice.chat)
        return f'<p class="rs-about">{words}</p>{body}{facts}' + (note(choice.note) if choice.note else ""), number
