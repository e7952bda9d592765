"""Compare: is it really better, where, and with which confidence.

The page itself is one kept-alive `gr.HTML` (assets/compare/*.js) that asks `compare_calls`: filtering 1,319 questions
then costs one small request and one change of the document, not a walk through all components of the app.
"""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import gradio as gr

from pipeline.statistics import wilson
from reasoning_ui import compare_calls
from reasoning_ui.compare_more import build_more
from reasoning_ui.live_tab import ASSETS as LIVE
from reasoning_ui.live_tab import PLOTLY
from reasoning_ui.shared import Shared

ASSETS = Path(__file__).resolve().parent.parent / "assets" / "compare"
WARM_UP_SECONDS = 1.0  # after the page's own requests
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
LOADER = """
const config = window.gradio_config;
const files = config.root.replace(/\\/$/, "") + (config.api_prefix || "/gradio_api") + "/file=";
const settings = SETTINGS;
import(files + settings.assets + "/main.js?v=" + settings.version)
  .then(page => page.mount({element, server, settings, files, run: () => props.value, watch}))
  .catch(error => { element.textContent = "The Compare page could not be loaded: " + error; });
"""


def build(shared: Shared, tab: gr.Tab) -> None:
    """The page, and below it Ask and Evaluate more."""
    gr.set_static_paths([ASSETS, LIVE, PLOTLY])
    page = gr.HTML(
        value="", html_template='<div class="compare-root"></div>', js_on_load=loader(), apply_default_css=False,
        elem_id="compare", server_functions=compare_calls.server_functions(shared.home))
    build_more(shared, tab)
    gr.on([shared.timer.open_compare, shared.timer.changed_compare], None, shared.run, page, js="run => run", **QUIET)
    shared.demo.load(_warm_up, None, None, **QUIET)


def loader() -> str:
    """The script that Gradio runs when the tab first opens: it only loads the real one."""
    content = b"".join(p.read_bytes() for folder in (ASSETS, LIVE) for p in sorted(folder.iterdir()))
    settings = {"assets": str(ASSETS), "plotly": str(PLOTLY), "dom": str(LIVE / "dom.js"),
                "version": hashlib.blake2b(content, digest_size=6).hexdigest()}
    return LOADER.replace("SETTINGS", json.dumps(settings))


def _warm_up() -> None:
    """The first comparison needs scipy, half a second to import: done once a page is on a screen."""
    threading.Timer(WARM_UP_SECONDS, wilson, (1, 2)).start()
