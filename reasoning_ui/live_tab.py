"""The Live tab: one kept-alive page inside a `gr.HTML` (assets/live/*.js), which asks `show` once a second.

The browser calls Python through the component's server functions, so a tick costs one small request, nothing is asked
while the tab is hidden, and a page outlives a restart of the app. plotly.js is loaded when the tab is first opened.
"""

import hashlib
import json
from pathlib import Path

import gradio as gr
import plotly

from reasoning_ui import live_calls
from reasoning_ui.charts import COLOURS, COLOURS_DARK
from reasoning_ui.shared import Shared

ASSETS = Path(__file__).resolve().parent.parent / "assets" / "live"
PLOTLY = Path(plotly.__file__).resolve().parent / "package_data" / "plotly.min.js"

LOADER = """
const config = window.gradio_config;
const files = config.root.replace(/\\/$/, "") + (config.api_prefix || "/gradio_api") + "/file=";
const settings = SETTINGS;
import(files + settings.assets + "/main.js?v=" + settings.version)
  .then(page => page.mount({element, server, props, watch, settings, files,
                            choose: run => trigger("choose", {run: run})}))
  .catch(error => { element.textContent = "The Live page could not be loaded: " + error; });
"""
CHOSEN = '() => document.querySelector(".live-root").live.run'  # no request: its answer might undo a later choice


def build(shared: Shared, tab: gr.Tab) -> None:
    """Put the page into its tab, and connect it with the current run in both directions."""
    gr.set_static_paths([ASSETS, PLOTLY])
    page = gr.HTML(
        value="", html_template='<div class="live-root"></div>', js_on_load=loader(), apply_default_css=False,
        elem_id="live", server_functions=live_calls.server_functions(shared.home))
    quiet = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
    shared.run.change(None, shared.run, page, js="run => run")
    tab.select(None, shared.run, page, js="run => run")
    page.choose(None, None, shared.run, js=CHOSEN, **quiet)


def loader() -> str:
    """The script that Gradio runs when the tab first opens: it only loads the real one."""
    version = hashlib.blake2b(b"".join(p.read_bytes() for p in sorted(ASSETS.iterdir())), digest_size=6).hexdigest()
    settings = {"assets": str(ASSETS), "plotly": str(PLOTLY), "version": version,
                "colours": COLOURS, "coloursDark": COLOURS_DARK}
    return LOADER.replace("SETTINGS", json.dumps(settings))
