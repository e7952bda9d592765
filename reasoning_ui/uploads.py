"""Uploads that were cut off: a sentence for the person, and the space they took on the server.

Gradio writes an upload into `tmp…` in its temporary folder and moves it into a folder of its own when it is whole. When
the connection breaks, the page only says "Failed to fetch" and the half file stays for ever.
"""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from gradio.utils import get_upload_folder

SILENT_SECONDS = 3600.0  # an upload that is still arriving was written to later than this
LOOK_SECONDS = 600.0
HEAD = """<script>{
  const fetch = window.fetch;
  window.fetch = (what, ...more) => {
    const answer = fetch(what, ...more);
    return String(what?.url ?? what).includes("/upload?") ? answer.catch(() => { throw new Error(
      "The upload was cut off half-way, and nothing of it was kept. Check that the app still runs and that you are " +
      "connected, then choose the file again."); }) : answer;
  };
}</script>"""


def sweep(folder: Path, now: float | None = None) -> int:
    """Delete half uploads that nobody writes to any more; gives how many. Touches only files of this user."""
    now, gone = time.time() if now is None else now, 0
    for file in folder.glob("tmp*"):
        with suppress(OSError):
            about = file.lstat()
            ours = not hasattr(os, "getuid") or about.st_uid == os.getuid()
            if file.is_file() and not file.is_symlink() and ours and now - about.st_mtime > SILENT_SECONDS:
                file.unlink()
                gone += 1
    return gone


def keep_sweeping() -> None:
    """Sweep now and every ten minutes, as long as the app lives."""
    def work() -> None:
        while True:
            sweep(Path(get_upload_folder()))
            time.sleep(LOOK_SECONDS)

    threading.Thread(target=work, daemon=True, name="sweep-uploads").start()
