"""The command line of the app: every way in which it cannot start is one sentence and exit code 2."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from reasoning_ui import launch

PROJECT = Path(__file__).resolve().parents[2]


def run_app(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python app.py` with these arguments, to its end."""
    return subprocess.run([sys.executable, str(PROJECT / "app.py"), "--no-browser", *arguments], text=True,
                          capture_output=True, timeout=120, env=os.environ | environment)


def free_port() -> str:
    """A port that nobody uses, as an argument."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def sentence(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the app says when it does not start; the exit code is checked."""
    assert launch.main(["--no-browser", *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("Reasoning Studio: ") and "Traceback" not in said and "\n" not in said
    return said


def test_help_names_every_argument() -> None:
    result = run_app("--help")
    assert result.returncode == 0
    for name in ("--host", "--port", "--home", "--auth", "--share", "--no-browser"):
        assert name in result.stdout


def test_a_busy_port_names_a_free_one(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = sentence(capsys, "--port", str(port))
    assert f"port {port} is in use" in said and "--port" in said


def test_a_port_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "choose one from 1024 to 65535" in sentence(capsys, "--port", "70000")


def test_a_host_of_another_machine_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "not an address of this machine" in sentence(capsys, "--host", "192.0.2.1", "--port", free_port())


def test_a_home_that_is_a_file_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = sentence(capsys, "--home", str(tmp_path / "file"), "--port", free_port())
    assert "cannot be written" in said and "--home" in said


def test_a_read_only_home_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere, so the refusal of the file system is played."""
    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    said = sentence(capsys, "--home", str(tmp_path / "locked"), "--port", free_port())
    assert "cannot be written" in said and "Permission denied" in said


def test_auth_without_a_colon_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    said = sentence(capsys, "--auth", "secret")
    assert "--auth wants a name and a password" in said


def test_native_windows_is_told_about_wsl(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert "WSL2" in sentence(capsys)


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_another_python_is_one_sentence(version: tuple[int, int]) -> None:
    """`app.py` is read by the wrong Python too, so it checks before it imports anything; the version is played."""
    code = (f"import sys; sys.version_info = ({version[0]}, {version[1]}, 0, 'final', 0); sys.argv = ['app.py']; "
            f"sys.path.insert(0, {str(PROJECT)!r}); import app; sys.exit(app.main())")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert f"3.11, 3.12 or 3.13, and this is {version[0]}.{version[1]}" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_missing_package_is_one_sentence_with_the_command(tmp_path: Path) -> None:
    """A bare interpreter (no site packages) stands for a virtual environment in which nothing is installed."""
    result = subprocess.run([sys.executable, "-S", "-E", str(PROJECT / "app.py")], capture_output=True, text=True,
                            timeout=60, cwd=tmp_path)
    assert result.returncode == 2
    assert "gradio is not installed" in result.stderr and "pip install -r requirements.txt" in result.stderr
    assert "Traceback" not in result.stderr


def test_another_host_without_auth_is_warned_about(capsys: pytest.CaptureFixture[str], tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    from gradio import Blocks

    launched: dict[str, object] = {}
    monkeypatch.setattr(Blocks, "launch", lambda self, **settings: launched.update(settings))
    home = ["--home", str(tmp_path), "--no-browser", "--port", free_port()]
    assert launch.main(["--host", "0.0.0.0", *home]) == 0
    assert "--auth NAME:PASSWORD" in capsys.readouterr().err
    assert launch.main(["--host", "0.0.0.0", "--auth", "ada:secret", *home]) == 0
    assert capsys.readouterr().err == "" and launched["auth"] == ("ada", "secret")
    assert launch.main(home) == 0
    assert capsys.readouterr().err == "" and launched["server_name"] == "127.0.0.1"
    assert launched["pwa"] is True
