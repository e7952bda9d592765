"""The page: header above, eight tabs below, and the hidden textboxes that they share."""

import json
from pathlib import Path
from types import ModuleType

import gradio as gr

from pipeline.recipe import DataStep, ModelStep, Recipe, RewardsStep
from pipeline.studio_home import StudioHome
from reasoning_ui import (
    compare_tab,
    data_edits,
    data_preview,
    data_tab,
    drafts,
    export_tab,
    filling,
    focus,
    live_tab,
    rewards_tab,
    rewards_turns,
    runs_tab,
    start_tab,
    toasts,
    train_tab,
    uploads,
)
from reasoning_ui.header import QUIET, Header
from reasoning_ui.pulse import pulse
from reasoning_ui.shared import TAB_NAMES, Shared, choices_of, hidden_textbox
from reasoning_ui.visitors import can_log_in

ASSETS = Path(__file__).resolve().parent.parent / "assets"
CSS = sorted(ASSETS.glob("*.css"))
TAB_CHOSEN = """<script>
document.addEventListener("click", event => {
  if (event.target.closest?.('#tabs [role="tab"]')) window.tabChosen = true;
}, true);
</script>"""
LEAVE_LIST = """<script>
document.addEventListener("keydown", event => {
  if (event.key === "Tab" && event.target.matches?.("input[aria-expanded]")) event.stopPropagation();
}, true);
</script>"""  # Gradio's dropdown takes Tab for typing, and its list would stay open over the page after it was left
HEAD = "".join(['<meta name="theme-color" content="#4f46e5"><meta name="robots" content="noindex">', TAB_CHOSEN,
                LEAVE_LIST, focus.HEAD, drafts.HEAD, data_edits.HEAD, data_preview.HEAD, filling.HEAD,
                rewards_turns.HEAD, toasts.HEAD, uploads.HEAD])
TABS: dict[str, ModuleType] = {
    "start": start_tab, "data": data_tab, "rewards": rewards_tab, "train": train_tab,
    "live": live_tab, "compare": compare_tab, "export": export_tab, "runs": runs_tab}
OPEN_TAB = """async () => {
  const before = document.body.dataset.tab;
  const open = () => [...document.querySelectorAll('#tabs button[role="tab"][aria-selected="true"]')]
    .map(tab => tab.textContent.trim().toLowerCase()).find(name => NAMES.includes(name)) ?? before;
  for (let i = 0; i < 60 && open() === before; i++) await new Promise(done => setTimeout(done, 50));
  return open();
}""".replace("NAMES", json.dumps(list(TAB_NAMES)))
# `tab.select` does not fire when a handler opens the tab; a busy browser draws the new one late; and
# tabs hold tabs
RECALL = """(...kept) => {
  const found = kept.map(value => value || undefined);
  const asked = new URLSearchParams(location.search).get("run");
  if (asked) found[0] = asked.slice(0, 100);
  return found;
}"""  # what the browser kept; a run named in the address goes first. No request: its answer might come after a choice
REOPEN = """last => {
  const asked = new URLSearchParams(location.search);
  const tab = !asked.get("run") ? last : /^[0-9]+$/.test(asked.get("question")) ? "compare" : "live";
  return NAMES.includes(tab) && !window.tabChosen ? {selected: tab, __type__: "update"} : undefined;
}""".replace("NAMES", json.dumps(list(TAB_NAMES)))  # a run in the address opens Live, or Compare at a question; unless
#                                                     a tab was clicked before the page had loaded
KEPT = ("run", "model", "data", "rewards", "training")  # choices that a reload finds again


def build(home: StudioHome, on_space: bool = False, allow_custom_code: bool = True,
          lasting_storage: bool = True) -> gr.Blocks:
    """The whole app for one home."""
    with gr.Blocks(title="Reasoning Studio", analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as demo:
        shared = Shared(
            home=home, demo=demo, run=hidden_textbox("run"),
            model=hidden_textbox("model", ModelStep().model_dump_json()),
            data=hidden_textbox("data", DataStep().model_dump_json()),
            rewards=hidden_textbox("rewards", RewardsStep().model_dump_json()),
            training=hidden_textbox("training", choices_of(Recipe())[3]),
            tab=hidden_textbox("tab", "start"), timer=pulse(home),
            on_space=on_space, allow_custom_code=allow_custom_code)
        shared.extras["arrived"] = hidden_textbox("arrived")  # data chosen by the server, see data_edits.choosing
        shared.extras["followed"] = hidden_textbox("followed")  # the run that this page started and waits for
        shared.extras["warn_storage"] = not lasting_storage
        if not home.trusted and can_log_in():
            gr.LoginButton(size="sm", elem_id="login")
        header = Header()
        with gr.Tabs(elem_id="tabs", selected="start", overflow_behavior="wrap") as shared.tabs:
            for name, title in TAB_NAMES.items():
                with gr.Tab(title, id=name) as tab:
                    gr.HTML(f"<h2>{title}</h2>", elem_classes="rs-unseen", apply_default_css=False, padding=False)
                    TABS[name].build(shared, tab)
        shared.tabs.change(None, None, shared.tab, js=OPEN_TAB, **QUIET)
        shared.tab.change(None, shared.tab, None, js="tab => { window.studio?.opened(tab); }", **QUIET)
        for choice in (getattr(shared, name) for name in KEPT):
            choice.change(None, None, None, js="() => { window.studio?.changed(); }", **QUIET)
        header.wire(shared)
        _remember(shared)
    return demo


def _remember(shared: Shared) -> None:
    """Copy the shared choices into the browser's storage as they change, and back when the page loads."""
    boxes = [*(getattr(shared, name) for name in KEPT), shared.extras["followed"]]
    kept = [gr.BrowserState("", storage_key=f"reasoning-studio-{name}", secret="not-a-secret")
            for name in (*KEPT, "followed")]
    last = gr.BrowserState("", storage_key="reasoning-studio-tab", secret="not-a-secret")
    shared.demo.load(None, kept, boxes, js=RECALL, **QUIET)
    shared.demo.load(None, last, shared.tabs, js=REOPEN, **QUIET)
    for box, store in zip([*boxes, shared.tab], [*kept, last], strict=True):
        box.change(None, box, store, js="value => value", **QUIET)
