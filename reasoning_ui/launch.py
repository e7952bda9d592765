"""Command line of the app: read the arguments, open the home, build the page, serve it."""

import argparse
import os
from pathlib import Path

from reasoning_ui.page import CSS, build
from reasoning_ui.theme import theme


def parser() -> argparse.ArgumentParser:
    """The arguments of `python app.py`."""
    p = argparse.ArgumentParser(prog="python app.py", description="Reasoning Studio: teach a small model to reason.")
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    p.add_argument("--port", type=int, default=7860, help="port to listen on (default 7860)")
    p.add_argument("--home", default=None, help="where runs are kept (default ~/.reasoning-studio)")
    p.add_argument("--auth", default=None, metavar="USER:PASSWORD", help="ask for this name and password")
    p.add_argument("--share", action="store_true", help="also give a public address through Gradio's servers")
    p.add_argument("--no-browser", action="store_true", help="do not open a browser")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Start the app and wait until it is ended with Ctrl-C."""
    args = parser().parse_args(arguments)
    try:
        from pipeline.studio_home import StudioHome
        folder = args.home or os.environ.get("REASONING_STUDIO_HOME", "~/.reasoning-studio")
        home = StudioHome(Path(folder).expanduser())
    except ImportError:
        home = None
    demo = build(home)
    demo.queue(default_concurrency_limit=8).launch(
        server_name=args.host, server_port=args.port, theme=theme(),
        css_paths=[CSS] if CSS.exists() else None, pwa=True, ssr_mode=False, run_history=False,
        enable_monitoring=False, max_file_size="500mb", footer_links=[], inbrowser=not args.no_browser, show_error=True)
    return 0


