"""Section 5 of the Rewards tab: the set as YAML, to keep and to share."""

import tempfile
from pathlib import Path
from typing import Any, Protocol

import gradio as gr

from pipeline.errors import RewardError
from reasoning_ui import drafts, rewards_turns
from reasoning_ui import rewards_state as state
from reasoning_ui.header import QUIET
from reasoning_ui.shared import Shared, guard, rewards_step


class Drawn(Protocol):
    """What shows the set: `reload` takes the open tab, the rewards, the data and the chosen place, and gives `outputs`.
    """

    place: gr.Textbox

    @property
    def outputs(self) -> list[Any]: ...

    def reload(self, here: str, now: str, data: str, place: str | None, drawn: str = "") -> list[Any]: ...


class SetFiles:
    """The components; built below those that show the set, wired after them."""

    def __init__(self, shared: Shared, builder: Drawn) -> None:
        self.shared, self.builder = shared, builder
        gr.Markdown("### 5. Keep and share\nThe set is part of every recipe. As YAML it can be kept, sent and loaded "
                    "again.")
        self.text = gr.Textbox(label="Rewards as YAML", lines=8, max_lines=30, elem_id="reward-yaml", buttons=["copy"],
                               max_length=state.MAX_YAML_CHARS, elem_classes=drafts.KEEP,
                               info="The set above. What you type stays until you use it; empty the box to see the set "
                                    "again.")
        self.drawn = gr.Textbox("", visible="hidden", label="reward-yaml-drawn")  # the box shows it unless one types
        with gr.Row():
            self.load = gr.Button("Use this text", elem_id="yaml-load")
            self.save = gr.DownloadButton("Download", elem_id="yaml-save")
            self.upload = gr.UploadButton("Open a file", file_types=[".yaml", ".yml"], elem_id="yaml-open")

    def wire(self) -> None:
        """Connect everything."""
        s = self.shared

        def load(text: str) -> str:
            return state.from_yaml(text or "", s.allow_custom_code).model_dump_json()

        def opened(path: str) -> str:
            try:
                return load(Path(path).read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                raise RewardError(f"The file cannot be read: {error}.") from error

        def show(here: str, now: str) -> list[Any]:
            if here != "rewards":
                return [gr.skip()] * 2
            text = state.to_yaml(rewards_step(now))
            return [text, gr.DownloadButton(value=_written(text))]

        inputs, outputs = [s.tab, s.rewards, s.data, self.builder.place], self.builder.outputs
        for event, act, given in ((self.load.click, load, self.text), (self.upload.upload, opened, self.upload)):
            used = event(guard(act), given, s.rewards, js=drafts.USE_YAML, **QUIET)
            used.success(None, js=drafts.YAML_USED, **QUIET)
            rewards_turns.ends(used.success(self.builder.reload, inputs, outputs, **QUIET))
            used.failure(None, js=rewards_turns.DONE, **QUIET)
        fill: dict[str, Any] = {"inputs": self.drawn, "outputs": self.text, "js": drafts.FILL_YAML, **QUIET}
        gr.on([s.timer.open_rewards, s.timer.changed_rewards], show, [s.tab, s.rewards], [self.drawn, self.save],
              trigger_mode="always_last", **QUIET)
        self.drawn.change(None, **fill)  # a `then` may run before the page has taken over what was answered
        self.text.blur(None, **fill)


def _written(text: str) -> str:
    folder = Path(tempfile.mkdtemp(prefix="rewards-"))
    file = folder / "rewards.yaml"
    file.write_text(text, encoding="utf-8")
    return str(file)
