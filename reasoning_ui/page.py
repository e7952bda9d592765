"""The page: header above, eight tabs below, and the hidden textboxes that they share."""

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from pipeline.recipe import DataStep, ModelStep, RewardsStep
from reasoning_ui.shared import TAB_NAMES, Shared, hidden_textbox

if TYPE_CHECKING:
    from pipeline.studio_home import StudioHome

CSS = Path(__file__).resolve().parent.parent / "assets" / "app.css"
MODULES = {"start": "start_tab", "data": "data_tab", "rewards": "rewards_tab", "train": "train_tab",
           "live": "live_tab", "compare": "compare_tab", "export": "export_tab", "runs": "runs_tab"}


def build(home: "StudioHome", on_space: bool = False, allow_custom_code: bool = True) -> gr.Blocks:
    """The whole app for one home."""
    with gr.Blocks(title="Reasoning Studio", analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as demo:
        shared = Shared(
            home=home, demo=demo, run=hidden_textbox("run"),
            model=hidden_textbox("model", ModelStep().model_dump_json()),
            data=hidden_textbox("data", DataStep().model_dump_json()),
            rewards=hidden_textbox("rewards", RewardsStep().model_dump_json()),
            timer=gr.Timer(1.0), on_space=on_space, allow_custom_code=allow_custom_code)
        with gr.Tabs(elem_id="tabs") as shared.tabs:
            for name, title in TAB_NAMES.items():
                with gr.Tab(title, id=name) as tab:
                    _build_tab(MODULES[name], shared, tab)
        _remember(shared)
    return demo


def _build_tab(module: str, shared: Shared, tab: gr.Tab) -> None:
    if find_spec(f"reasoning_ui.{module}") is None:
        gr.Markdown("Not built yet.")
        return
    importlib.import_module(f"reasoning_ui.{module}").build(shared, tab)


def _remember(shared: Shared) -> None:
    """Copy the shared choices into the browser's storage as they change, and back when the page loads."""
    for name in ("run", "model", "data", "rewards"):
        box = getattr(shared, name)
        kept = gr.BrowserState("", storage_key=f"reasoning-studio-{name}", secret="not-a-secret")
        quiet = {"api_visibility": "private", "show_progress": "hidden"}
        shared.demo.load(lambda kept, now: kept or now, [kept, box], box, **quiet)
        box.change(lambda value: value, box, kept, **quiet)
