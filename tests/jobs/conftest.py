"""A home of its own for each test, with workers that run the fake stages."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.studio_home import StudioHome

HERE = str(Path(__file__).parent)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StudioHome]:
    monkeypatch.setenv("REASONING_STUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REASONING_STUDIO_STAGES", "fake_stages")
    monkeypatch.setenv("PYTHONPATH", HERE)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("FAKE_STEP_SECONDS", "0.02")
    home = StudioHome(tmp_path / "home")
    yield home
    end_everything(home)


def end_everything(home: StudioHome) -> None:
    """Kill what a test left running: workers, their children, and keepers of this home."""
    home.write("DELETE FROM queue")
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            marked = process.environ().get("REASONING_STUDIO_WORKER", "").startswith(f"{home.path}|")
            if process.pid != os.getpid() and (marked or any(str(home.path) in part for part in process.cmdline())):
                process.kill()
