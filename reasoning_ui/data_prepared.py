"""Section 6 of the Data tab: prepared datasets, to use, download and delete."""

import shutil
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.dataset import saved
from pipeline.dataset.report import PreparedReport
from pipeline.dataset.split import PARTS
from pipeline.errors import DatasetError, StudioError
from reasoning_ui.data_edits import choosing
from reasoning_ui.data_html import card_html
from reasoning_ui.header import QUIET
from reasoning_ui.shared import Shared, guard


class PreparedSection:
    """The kept results of checks: a list, the card of one, and what can be done with it."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        gr.Markdown("### 6. Prepared datasets\nKept results, ready for any run.")
        with gr.Row(elem_id="prepared-row"):
            self.cards = gr.Dropdown([], label="Prepared dataset", elem_id="prepared", min_width=280, scale=3)
            self.use = gr.Button("Use it", size="sm", elem_id="prepared-use", min_width=90)
            self.parquet = gr.Button("Make Parquet files", size="sm", elem_id="prepared-parquet", min_width=120)
            self.jsonl = gr.Button("Make JSONL files", size="sm", elem_id="prepared-jsonl", min_width=120)
            self.delete = gr.Button("Delete", size="sm", elem_id="prepared-delete", min_width=90)
        self._made: deque[tempfile.TemporaryDirectory[str]] = deque(maxlen=4)
        self.card = gr.HTML(elem_id="prepared-card", apply_default_css=False)
        self.files = gr.File(label="Download", file_count="multiple", visible=False, elem_id="prepared-files")

    def wire(self) -> None:
        """Connect the buttons."""
        s = self.shared
        s.timer.open_data(lambda: self.listed(), None, self.cards, **QUIET)
        self.cards.input(guard(self.show_card), self.cards, [self.card, self.files], **QUIET)
        choosing(self.use.click, s, lambda card, now: self.use_it(card), [self.cards])
        self.parquet.click(guard(lambda c: self.download(c, "parquet")), self.cards, self.files, **QUIET)
        self.jsonl.click(guard(lambda c: self.download(c, "jsonl")), self.cards, self.files, **QUIET)
        self.delete.click(guard(self.delete_it), self.cards, [self.cards, self.card, self.files], **QUIET)

    def listed(self, value: str | None = None) -> Any:
        """The prepared datasets to choose from."""
        try:
            cards = saved.cards(self.shared.home.private)
        except StudioError:  # a visitor without a cookie has none
            cards = []
        choices = [(f"{c.name} · {sum(c.parts.values()):,} rows · {c.id}", c.id) for c in cards]
        return gr.Dropdown(choices=choices, value=value or (cards[0].id if cards else None))

    def show_card(self, card_id: str | None) -> tuple[str, Any]:
        """The card of a prepared dataset; nothing where none is chosen, as when one passes by with Tab."""
        if not card_id:
            return "", gr.File(visible=False)
        folder = saved.find(self.shared.home.private, card_id or "")
        card = saved.card_of(folder)
        if card is None:
            raise DatasetError("This prepared dataset is damaged. Delete it and prepare the data again.")
        return card_html(card, PreparedReport.load(folder / "report.json")), gr.File(visible=False)

    def use_it(self, card_id: str | None) -> str:
        """The choice that trains on a prepared dataset."""
        folder = saved.find(self.shared.home.private, card_id or "")
        card = saved.card_of(folder)
        if card is None:
            return gr.skip()
        plain = dict.fromkeys(("config", "source_split", "revision", "test_source", "question", "reasoning", "answer",
                               "system", "limit", "grpo_longest"))
        return card.step.model_copy(update=plain | {"source": str(folder), "answer_rule": "auto"}).model_dump_json()

    def download(self, card_id: str | None, kind: str) -> Any:
        """Files to download."""
        folder = saved.find(self.shared.home.private, card_id or "")
        self._made.append(tempfile.TemporaryDirectory(prefix="prepared-"))  # the oldest one is deleted; Gradio copies
        out = Path(self._made[-1].name)
        if kind == "jsonl":
            files = saved.as_jsonl(folder, out)
        else:
            files = [Path(shutil.copy(folder / f"{part}.parquet", out)) for part in PARTS]
        return gr.File(value=[str(f) for f in files], visible=True)

    def delete_it(self, card_id: str | None) -> tuple[Any, ...]:
        """Delete a prepared dataset."""
        saved.delete(self.shared.home.private, card_id or "")
        return self.listed(), "", gr.File(visible=False)
