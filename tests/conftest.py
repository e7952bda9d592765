"""For all tests: no network, one thread for torch, and a home of their own for every test."""

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # models under ten million parameters are fastest so


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever asks for the default home gets one that is thrown away."""
    monkeypatch.setenv("REASONING_STUDIO_HOME", str(tmp_path / "home"))
    for name in ("SPACE_ID", "REASONING_STUDIO_NO_CUSTOM_CODE"):
        monkeypatch.setenv(name, "")  # so that what a test sets through the app is undone too
        monkeypatch.delenv(name)
