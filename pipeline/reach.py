"""Which local files and folders may be read: all of them, unless an app that strangers visit says otherwise.

Whatever opens a path that a person may have named asks `check` first. Workers never limit it: what a job may name was
decided when it was started (`StudioHome.may_start`).
"""

from collections.abc import Callable
from pathlib import Path

from pipeline.errors import DatasetError, StudioError

REFUSED = ("Here, files and folders of the machine cannot be opened: upload the data, or name a data set or a model of "
           "the Hugging Face Hub. Models of your own runs can be used too.")
_rule: Callable[[Path], bool] | None = None


def limit(rule: Callable[[Path], bool] | None) -> None:
    """From now on only paths for which `rule` is true may be read; None lifts it."""
    global _rule
    _rule = rule


def check(path: Path, error: type[StudioError] = DatasetError) -> None:
    """Raise an error when a path may not be read; it says the same whether the path exists or not."""
    if _rule is not None and not _rule(path):
        raise error(REFUSED)


def path_of(source: str) -> Path:
    """The path that a person named, with `~` as their home; as it stands where there is no such home."""
    try:
        return Path(source).expanduser()
    except RuntimeError:
        return Path(source)


def looks_like_path(source: str) -> bool:
    """Whether a source would be opened as a file or folder and not as a name."""
    try:
        return source.startswith(("/", "~", "./", "../")) or "/.." in source or Path(source).exists()
    except (OSError, ValueError):  # not a path at all: too long, or with a null byte
        return False
