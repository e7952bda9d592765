"""What still works when a disk has not one free byte. A file size limit of nothing stands for the disk: SQLite and
Python meet the same failing writes (EFBIG instead of ENOSPC), in a process of their own."""

import subprocess
import sys
from pathlib import Path

from pipeline.run_folder import RunFolder
from pipeline.studio_home import StudioHome

NOTHING_CAN_BE_WRITTEN = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
"""


def without_disk(code: str, *arguments: str, limit: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs code in a process that cannot make any file longer than `limit` bytes."""
    setting = NOTHING_CAN_BE_WRITTEN.replace("(0, 0)", f"({limit}, {limit})")
    return subprocess.run([sys.executable, "-c", setting + code, *arguments],
                          capture_output=True, text=True, timeout=60)


def test_a_home_and_a_run_are_read_on_a_full_disk(tmp_path: Path) -> None:
    """The name in studio.db and the (empty) stages of a run come back; SQLite alone says "disk I/O error"."""
    home = StudioHome(tmp_path)
    folder = RunFolder(home.runs_dir / "first-run")
    folder.path.mkdir(parents=True)
    home.add_run("first-run", "My run", "train")
    done = without_disk("""
import sqlite3, sys
from pathlib import Path
from pipeline.sqlite_read import select
database = Path(sys.argv[1])
try:
    sqlite3.connect(database).execute("SELECT name FROM runs").fetchall()
except sqlite3.OperationalError as error:
    print(error)
print(select(database, "SELECT name FROM runs"))
""", str(home.database))
    assert done.stdout.splitlines() == ["disk I/O error", "[{'name': 'My run'}]"], done.stderr


def test_a_home_on_a_disk_that_has_filled_up_is_still_the_home(tmp_path: Path) -> None:
    """Without room SQLite's WAL fails as on a bucket. Taken for one, the runs would be looked for elsewhere and those
    that go on be told as interrupted. A folder that was no home yet is refused in words."""
    StudioHome(tmp_path / "home")
    done = without_disk("""
import sys
from pathlib import Path
from pipeline import mirror
from pipeline.errors import RunError
home, notice = mirror.open_home(Path(sys.argv[1]))
print(home.path, repr(notice))
try:
    mirror.open_home(Path(sys.argv[2]))
except RunError as error:
    print(error)
""", str(tmp_path / "home"), str(tmp_path / "new"))
    known, new = done.stdout.splitlines()
    assert known == f"{tmp_path / 'home'} ''"
    assert new.startswith(f"The home folder '{tmp_path / 'new'}' cannot be written")


def test_a_command_that_cannot_write_says_so_and_exits_with_1(tmp_path: Path) -> None:
    """`run` on a full disk: one sentence, exit code 1, no traceback, and nothing in the home but what was there."""
    StudioHome(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: {source: tiny}\ndata: {source: demo}\n")
    done = without_disk("""
import os, sys
os.environ["REASONING_STUDIO_MIN_FREE_MB"] = "0"
from pipeline.cli import main
sys.exit(main(["run", sys.argv[1], "--home", sys.argv[2]]))
""", str(recipe), str(tmp_path))
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("Error: ") and "disk" in done.stderr and done.stderr.count("\n") == 1
    assert done.returncode in (1, 2)
    assert not list((tmp_path / "runs").iterdir())


def test_what_torch_and_safetensors_say_of_a_full_disk_is_understood(tmp_path: Path) -> None:
    """Both really write 1 MB, with room for 100 kB: the run must pause or say "The disk is full", not "unexpected"."""
    done = without_disk("""
import sys
import torch
from safetensors.torch import save_file
from pipeline.failures import is_disk_full
weights = torch.zeros(250_000)
for name, save in (("torch", lambda: torch.save({"w": weights}, sys.argv[1] + "/w.pt")),
                   ("safetensors", lambda: save_file({"w": weights}, sys.argv[1] + "/w.safetensors"))):
    try:
        save()
        print(name, "saved")
    except Exception as error:
        print(name, is_disk_full(error) or repr(error))
""", str(tmp_path), limit=100_000)
    assert done.stdout.splitlines() == ["torch True", "safetensors True"], done.stdout + done.stderr
