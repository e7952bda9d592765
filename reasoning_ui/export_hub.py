"""The Hub part of the Export tab: list what would be sent, then send it, private unless told otherwise."""

import threading
from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr
from huggingface_hub import HfApi

from pipeline import hub_token
from pipeline.errors import RunError
from pipeline.export_hub import Upload, plan, upload
from reasoning_ui.compare_html import ASSETS, notice
from reasoning_ui.shared import Shared, guard

POLL_SECONDS = 0.3


def build_hub(shared: Shared, stage: gr.Radio) -> None:
    """The accordion with name, choices, list, upload and stop."""
    css = (ASSETS / "compare.css").read_text(encoding="utf-8")
    stop_event = threading.Event()
    with gr.Accordion("Upload to the Hugging Face Hub", open=False, elem_id="export-hub"):
        with gr.Row():
            repo = gr.Textbox(label="Repository", placeholder="your-name/your-model", max_lines=1, min_width=220)
            with gr.Column(min_width=220):
                private = gr.Checkbox(True, label="Private")
                adapter = gr.Checkbox(False, label="With the adapter")
                gguf = gr.Checkbox(False, label="With GGUF files made above")
        with gr.Row():
            list_ = gr.Button("List the files")
            send = gr.Button("Upload", variant="primary", interactive=False)
            stop = gr.Button("Stop", interactive=False)
        shown = gr.HTML(css_template=css, apply_default_css=False, elem_id="export-hub-files")

    asked = [shared.run, stage, repo, adapter, gguf]

    def files_of(run: str, stage: str, repo: str, adapter: bool, gguf: bool) -> list[Upload]:
        folder = shared.home.run(run)
        if not shared.home.trusted:
            raise RunError("This app's login at the Hub belongs to its owner: download the merged model and upload it "
                           "with your own, `hf upload YOUR-NAME/YOUR-MODEL FOLDER`.")
        return plan(shared.home, folder, stage, (repo or "").strip(), adapter, gguf, HfApi(token=hub_token.kept()))

    def show(*values: Any) -> list[Any]:
        files = files_of(*values)
        return [file_table(files), gr.update(interactive=any(not f.there for f in files))]

    def go(run: str, stage: str, repo: str, adapter: bool, gguf: bool, private: bool) -> Iterator[list[Any]]:
        stop_event.clear()
        yield from send_all(files_of(run, stage, repo, adapter, gguf), repo.strip(), private, stop_event)

    list_.click(guard(show), asked, [shown, send], api_visibility="private")
    gr.on([repo.input, private.input, adapter.input, gguf.input, stage.change], lambda: gr.update(interactive=False),
          None, send, api_visibility="private", show_progress="hidden")
    send.click(guard(go), [*asked, private], [shown, send, stop], api_visibility="private", concurrency_limit=1)
    stop.click(lambda: stop_event.set(), None, None, api_visibility="private")


def send_all(files: list[Upload], repo: str, private: bool, stop: threading.Event) -> Iterator[list[Any]]:
    """Upload in a thread, so that the page hears of every file; yields (html, send, stop) updates."""
    state: dict[str, Any] = {"done": 0, "total": sum(f.bytes for f in files), "name": ""}

    def tell(done: int, total: int, name: str) -> None:
        state.update(done=done, total=total, name=name)

    def work() -> None:
        try:
            state["address"] = upload(files, repo, private, HfApi(token=hub_token.kept()), progress=tell,
                                      should_stop=stop.is_set)
        except RunError as error:
            state["error"] = str(error)
        except Exception as error:  # a thread's error would otherwise be lost
            state["error"] = f"The upload failed: {error}. Upload again to continue."

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL_SECONDS)
        share = 100 * state["done"] / max(1, state["total"])
        yield [notice(f"{share:.0f} % sent. Sending {state['name']} …"), gr.update(interactive=False),
               gr.update(interactive=True)]
    text, warn = (state["error"], True) if "error" in state else (
        f"Done: {state.get('address')}" + (" (private)" if private else ""), False)
    yield [notice(text, warn), gr.update(interactive=warn), gr.update(interactive=False)]


def file_table(files: list[Upload]) -> str:
    """What would be sent, with sizes."""
    states = {True: "there already", False: "to send"}
    lines = [f"<tr><td>{escape(f.name)}</td><td>{f.bytes:,}</td><td>{states[f.there]}</td></tr>" for f in files]
    total = sum(f.bytes for f in files if not f.there)
    heads = "<tr><th>File</th><th>Bytes</th><th>Note</th></tr>"
    return (f"<div class='cmp'><table><thead>{heads}</thead><tbody>{''.join(lines)}</tbody></table>"
            f"<p>{total / 1e6:.1f} MB to send.</p></div>")
