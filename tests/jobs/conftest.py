"""A home of its own for each test, with workers that run the fake stages."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import end_everything

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
