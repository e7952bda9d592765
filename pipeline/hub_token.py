"""The login of a Space's owner at the Hugging Face Hub, kept away from visitors.

`withhold` takes it out of the app's environment, so that nothing the page does can use it. Workers of the owner's own
runs get it back; workers of visitors' runs get none, and a cache of their own, so that gated models which the owner
fetched are not there for them either.
"""

import os
from collections.abc import Mapping
from pathlib import Path

NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN", "HF_TOKEN_PATH")
NO_FILE = "/nonexistent/token"
_kept: dict[str, str] = {}


def withhold() -> None:
    """Take the login out of this process: its variables, and the file of `hf auth login`."""
    from huggingface_hub import constants

    _kept.update({name: os.environ.pop(name) for name in NAMES if name in os.environ})
    _kept.setdefault("HF_TOKEN_PATH", constants.HF_TOKEN_PATH)
    constants.HF_TOKEN_PATH = os.environ["HF_TOKEN_PATH"] = NO_FILE


def kept() -> str | None:
    """The token that was withheld, for what the owner asks for."""
    if token := next((_kept[name] for name in NAMES[:3] if _kept.get(name)), None):
        return token
    try:
        return Path(_kept["HF_TOKEN_PATH"]).read_text(encoding="utf-8").strip() or None
    except (KeyError, OSError):
        return None


def for_worker(environment: Mapping[str, str], home: Path, trusted: bool) -> dict[str, str]:
    """A worker's environment: with the login for a run of the owner, without it for a visitor's."""
    if trusted:
        return {**environment, **_kept}
    cache = home / "visitors" / "hub"
    without = {name: value for name, value in environment.items() if name not in NAMES}
    return without | {"HF_TOKEN_PATH": NO_FILE, "HF_HUB_CACHE": str(cache),
                      "HF_DATASETS_CACHE": str(cache / "datasets")}
