"""A home on storage without file locks or WAL, such as a mounted bucket: live runs stay local, copies go there.

At start the home is probed. Where it lacks what SQLite and the worker's lock need, a local folder becomes the home;
what the bucket holds is copied into it once, and each worker copies its run back every minute and at its end:
databases through SQLite's backup, a checkpoint's `complete` marker last, anything else when size or time changed.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.errors import RunError
from pipeline.failures import is_disk_full
from pipeline.studio_home import StudioHome

NOTE = "mirror.json"  # in a local home: where its copies go
EVERY_SECONDS = 60.0
PROBE_BYTES = 256 * 1024  # more than the probe's database takes
SKIPPED = ("worker.lock", NOTE)
_CHILD = """
import fcntl, sys
with open(sys.argv[1], "r+") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(0)
sys.exit(9)
"""


def open_home(path: Path) -> tuple[StudioHome, str]:
    """The home to work in, and a sentence for people when it is a local stand-in for `path` (otherwise empty)."""
    problem = probe(path)
    if not problem:
        return StudioHome(path), ""
    local = StudioHome(_stand_in(path))
    (local.path / NOTE).write_text(json.dumps({"target": str(path)}), encoding="utf-8")
    restore(path, local)
    return local, (f"{path} {problem}, so live runs are kept in {local.path}; checkpoints, models and records are "
                   f"copied to {path} every minute and when a run ends.")


def probe(path: Path) -> str:
    """What a folder lacks to be a home, in words; empty when nothing. Raises RunError when it cannot be written.

    A full disk fails like storage without locks or WAL. A home there stays what it was: its runs are not to be seen as
    dead, nor started a second time elsewhere.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".probe-", dir=path))
        try:
            (scratch / "room").write_bytes(bytes(PROBE_BYTES))
            if not _locks_work(scratch / "lock"):
                return "does not support file locks"
            return "" if _wal_works(scratch / "probe.db") else "does not support SQLite's WAL mode"
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        if is_disk_full(error) and (path / "studio.db").is_file():
            return "is full" if (_stand_in(path) / NOTE).is_file() else ""
        raise RunError(f"The home folder {str(path)!r} cannot be written ({error}): choose another with --home or "
                       "REASONING_STUDIO_HOME.") from error


def _stand_in(path: Path) -> Path:
    """Where the local home is that stands in for a folder."""
    name = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:12]
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "reasoning-studio" / name


def target_of(home: StudioHome) -> Path | None:
    """Where the copies of a local stand-in go; None for an ordinary home."""
    try:
        return Path(json.loads((home.path / NOTE).read_text(encoding="utf-8"))["target"])
    except (OSError, ValueError, KeyError):
        return None


def copy_run(home: StudioHome, run_id: str) -> None:
    """Copy what is new of a run, and studio.db, to the target. Raises OSError or sqlite3.Error when it cannot."""
    if (target := target_of(home)) is not None:
        copy_tree(home.run(run_id).path, target / "runs" / run_id)
        _copy_database(home.database, target / "studio.db")


def restore(source: Path, home: StudioHome) -> int:
    """Copy the runs that are only in `source` into the local home; gives how many."""
    stored = source / "studio.db"
    if stored.is_file() and not home.read("SELECT 1 FROM runs LIMIT 1"):
        shutil.copyfile(stored, home.database.with_name("studio.db.new"))
        for suffix in ("-wal", "-shm"):
            home.database.with_name(f"studio.db{suffix}").unlink(missing_ok=True)
        home.database.with_name("studio.db.new").replace(home.database)
        StudioHome(home.path)  # migrates what an older version wrote
    count = 0
    for folder in sorted(source.glob("runs/*/recipe.yaml")):
        run = home.runs_dir / folder.parent.name
        if not run.exists():
            copy_tree(folder.parent, run)
            count += 1
    return count


def copy_tree(source: Path, target: Path) -> None:
    """Copy new and changed files; delete at the target what is gone, such as pruned checkpoints."""
    target.mkdir(parents=True, exist_ok=True)
    files = [file for file in sorted(source.rglob("*")) if file.is_file() and file.name not in SKIPPED]
    for file in sorted(files, key=lambda file: file.name == "complete"):  # markers last: half a copy never counts
        copy = target / file.relative_to(source)
        if file.name.endswith((".db-wal", ".db-shm")):
            continue
        with contextlib.suppress(FileNotFoundError):  # pruned while we copied
            if file.suffix == ".db":
                _copy_database(file, copy)
            elif _differs(file, copy):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, copy)
    kept = {file.relative_to(source) for file in files}
    for copy in sorted(target.rglob("*"), key=lambda file: file.name != "complete"):
        if copy.is_file() and copy.relative_to(target) not in kept:
            copy.unlink(missing_ok=True)


# ----------------------------------------------------------------------------------------------------


def _differs(file: Path, copy: Path) -> bool:
    try:
        there = copy.stat()
    except OSError:
        return True
    here = file.stat()
    return here.st_size != there.st_size or here.st_mtime > there.st_mtime + 2  # buckets keep whole seconds


def _copy_database(file: Path, copy: Path) -> None:
    """A consistent copy of a live database, made locally and then moved over in one piece."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "copy.db"
        source, out = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=15), sqlite3.connect(whole)
        try:
            source.backup(out)
            out.execute("PRAGMA journal_mode=DELETE")  # one file, also readable where WAL is not
        finally:
            source.close()
            out.close()
        shutil.copyfile(whole, copy.with_name(copy.name + ".new"))
    copy.with_name(copy.name + ".new").replace(copy)


def _locks_work(file: Path) -> bool:
    """Whether a lock that we hold is seen by another process."""
    import fcntl

    try:
        with file.open("w") as held:
            fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return subprocess.run([sys.executable, "-S", "-c", _CHILD, str(file)], timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _wal_works(file: Path) -> bool:
    try:
        one = sqlite3.connect(file, timeout=2)
        try:
            if one.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
                return False
            one.execute("CREATE TABLE t (x)")
            one.execute("INSERT INTO t VALUES (1)")
            one.commit()
            two = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=2)
            try:
                return two.execute("SELECT x FROM t").fetchall() == [(1,)]
            finally:
                two.close()
        finally:
            one.close()
    except sqlite3.Error:
        return False
