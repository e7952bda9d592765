"""Half uploads are deleted; whole files, younger ones and links are not."""

import os
import time
from pathlib import Path

from reasoning_ui.uploads import SILENT_SECONDS, sweep


def test_only_old_half_uploads_are_swept(tmp_path: Path) -> None:
    """tmpold was last written to two hours ago; tmpnew arrives now; the folder of a whole upload is left alone."""
    old, new, whole = tmp_path / "tmpold", tmp_path / "tmpnew", tmp_path / "0f3a" / "rows.jsonl"
    whole.parent.mkdir()
    for file in (old, new, whole):
        file.write_text("x")
    before = time.time() - 2 * SILENT_SECONDS
    os.utime(old, (before, before))
    os.utime(whole, (before, before))
    (tmp_path / "tmplink").symlink_to(whole)
    os.utime(tmp_path / "tmplink", (before, before), follow_symlinks=False)
    assert sweep(tmp_path) == 1
    assert not old.exists() and new.exists() and whole.exists() and (tmp_path / "tmplink").is_symlink()
    assert sweep(tmp_path / "missing") == 0
