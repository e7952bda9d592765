"""Command line of the app: read the arguments, check what could go wrong, build the page, serve it.

Everything that keeps the app from starting is one sentence on the error output and exit code 2.
"""

import argparse
import os
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

from pipeline import custom_code
from pipeline.errors import StudioError
from pipeline.mirror import open_home
from pipeline.studio_home import StudioHome, default_home

ICON = Path(__file__).resolve().parent.parent / "assets" / "icon.png"
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


class CannotStart(Exception):
    """The app cannot start; the message says what to change."""


def parser() -> argparse.ArgumentParser:
    """The arguments of `python app.py`."""
    p = argparse.ArgumentParser(
        prog="python app.py", description="Reasoning Studio: teach a small language model to reason.",
        epilog="Tokens for the Hugging Face Hub come from `hf auth login` or the HF_TOKEN variable, never from here.")
    p.add_argument("--host", default=None, help="address to listen on (default: 127.0.0.1, this machine only)")
    p.add_argument("--port", type=int, default=None, help="port to listen on (default: 7860)")
    p.add_argument("--home", default=None, help="folder for runs and settings (default: ~/.reasoning-studio)")
    p.add_argument("--auth", default=None, metavar="NAME:PASSWORD",
                   help="ask visitors for this name and password (or the variable REASONING_STUDIO_AUTH)")
    p.add_argument("--share", action="store_true", help="also make a public address through Gradio's servers")
    p.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    p.add_argument("--allow-custom-code", action="store_true",
                   help="let visitors from other machines write reward code too (it runs in a sandbox)")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Start the app and wait until it is ended with Ctrl-C. Returns the exit code."""
    try:
        serve(parser().parse_args(arguments))
    except (CannotStart, StudioError) as error:
        print(f"Reasoning Studio: {error}", file=sys.stderr)
        return 2
    return 0


def serve(args: argparse.Namespace) -> None:
    """Build and serve the page. Raises CannotStart or StudioError in words."""
    if sys.platform == "win32":
        raise CannotStart("native Windows is not supported: install WSL2 (`wsl --install`) and start it there.")
    on_space = bool(os.environ.get("SPACE_ID"))
    host = args.host or ("0.0.0.0" if on_space else "127.0.0.1")  # a Space is reached through its proxy
    port = args.port or int(os.environ.get("GRADIO_SERVER_PORT", "7860"))
    login = _login(args.auth or os.environ.pop("REASONING_STUDIO_AUTH", None))
    _check_port(host, port)
    home, notice = open_home(Path(args.home).expanduser() if args.home else default_home())
    if notice:
        print(f"Note: {notice}", file=sys.stderr)
    exposed = args.share or (host not in LOCAL_HOSTS and not on_space)
    if exposed and login is None:
        print("Warning: anybody who reaches this address can start training and read all runs. Protect it with "
              "--auth NAME:PASSWORD.", file=sys.stderr)
    from reasoning_ui.page import CSS, HEAD, build
    from reasoning_ui.theme import theme
    from reasoning_ui.uploads import keep_sweeping

    custom = custom_code.decide(exposed or on_space, args.allow_custom_code)
    middleware = []
    if on_space and login is None:  # with --auth, the one who knows the password is the owner
        home, middleware = _with_visitors(home)
    demo = build(home, on_space=on_space, allow_custom_code=custom,
                 lasting_storage=not on_space or str(home.path).startswith("/data"))
    warnings.filterwarnings("ignore", message=".*share=True.*")
    _say(host, port, home)
    keep_sweeping()
    demo.queue(default_concurrency_limit=8).launch(
        server_name=host, server_port=port, auth=login, share=args.share,
        inbrowser=not args.no_browser and not on_space, theme=theme(), css_paths=list(CSS), head=HEAD,
        favicon_path=ICON, pwa=True, ssr_mode=False, run_history=False,
        enable_monitoring=False, max_file_size="1gb", footer_links=[], quiet=not args.share, show_error=True,
        app_kwargs={"middleware": middleware})


def _with_visitors(home: StudioHome) -> tuple[StudioHome, list[Any]]:
    """The home as strangers may see it, and the middleware that tells them apart."""
    from starlette.middleware import Middleware

    from pipeline import hub_token, reach
    from reasoning_ui.visitors import Visitors, shared_home

    owned, identities = shared_home(home)
    hub_token.withhold()
    reach.limit(owned.may_read)
    return owned, [Middleware(Visitors, home=owned, identities=identities)]


def _login(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    name, colon, password = text.partition(":")
    if not (name and colon and password):
        raise CannotStart("--auth wants a name and a password with a colon between them: --auth ada:secret.")
    return name, password


def _check_port(host: str, port: int) -> None:
    """Raise CannotStart when the address cannot be listened on; naming a port that is free."""
    if not 1 <= port <= 65535:
        raise CannotStart(f"port {port} does not exist: choose one from 1024 to 65535 with --port.")
    try:
        _bind(host, port)
    except socket.gaierror as error:
        raise CannotStart(f"there is no address {host!r} ({error.strerror}): --host wants an address of this machine, "
                          "such as 127.0.0.1 or 0.0.0.0.") from error
    except PermissionError as error:
        raise CannotStart(f"port {port} needs administrator rights: choose one above 1023 with --port.") from error
    except OSError as error:
        if error.errno in (99, 49):  # not an address of this machine (Linux, macOS)
            raise CannotStart(f"{host} is not an address of this machine: try --host 127.0.0.1 or 0.0.0.0.") from error
        raise CannotStart(f"port {port} is in use, perhaps by another Reasoning Studio: end that one, or choose "
                          f"another port, such as --port {_free_port(host, port)}.") from error


def _bind(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def _free_port(host: str, port: int) -> int:
    for other in range(port + 1, min(port + 50, 65535)):
        try:
            _bind(host, other)
        except OSError:
            continue
        return other
    return port + 1


def _say(host: str, port: int, home: StudioHome) -> None:
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    print(f"Reasoning Studio is at http://{shown}:{port} (Ctrl-C ends it; training goes on). "
          f"Runs are kept in {home.path}.", flush=True)


