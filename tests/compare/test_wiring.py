"""The Compare and Export tabs as the page builds them: wired, and free of torch."""

import subprocess
import sys
from pathlib import Path

CODE = """
import sys, tempfile
import gradio as gr
from pathlib import Path
from pipeline.studio_home import StudioHome
from reasoning_ui import compare_tab, export_tab
from reasoning_ui.page import build
home = StudioHome(Path(tempfile.mkdtemp()))
demo = build(home)
heavy = {"torch", "transformers", "trl", "unsloth", "vllm"} & set(sys.modules)
assert not heavy, heavy
by_id = {b.elem_id: b._id for b in demo.blocks.values() if getattr(b, "elem_id", None)}
targets = {t for fn in demo.fns.values() for t in fn.targets}
assert (by_id["export-stage"], "input") in targets
page = demo.blocks[by_id["compare"]]
assert [f.__name__ for f in page.server_fns] == ["compare_look", "compare_list", "compare_chart", "compare_file",
                                                 "compare_again"]
print("fine")
"""


def test_both_tabs_are_wired_and_import_no_torch():
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", CODE], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("fine"), done.stderr[-2000:]
