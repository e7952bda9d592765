"""The diagnosis for the page: computed at most every few seconds for a run that goes on, once for a finished one."""

import threading
import time
from dataclasses import asdict
from typing import Any

from pipeline import diagnose, live_data
from pipeline.errors import StudioError
from pipeline.run_folder import RunReader
from pipeline.studio_home import StudioHome

EVERY_SECONDS = 10.0
_lock = threading.Lock()
_known: dict[str, tuple[float, int, list[dict[str, Any]]]] = {}  # folder -> when, newest row, findings


def findings(home: StudioHome, run_id: str) -> list[dict[str, Any]]:
    """What the diagnosis says about a run, as plain values; empty when it has nothing to say."""
    folder = home.run(run_id)
    reader = RunReader(folder)
    newest, now = live_data.newest(reader), time.monotonic()
    with _lock:
        when, row, found = _known.get(str(folder.path), (-EVERY_SECONDS, -1, []))
        if row == newest or now - when < EVERY_SECONDS:
            return found
        try:
            recipe = folder.recipe()
        except StudioError:
            recipe = None
        found = [asdict(f) for f in diagnose.diagnose(reader, recipe)]
        if len(_known) > 200:
            _known.clear()
        _known[str(folder.path)] = (now, newest, found)
        return found


def forget() -> None:
    """Forget what was computed (for measurements and tests)."""
    with _lock:
        _known.clear()
