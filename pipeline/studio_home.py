"""The home folder: all runs, and `studio.db` with what people say (names, order, notes, stop requests, votes).

Several apps, command lines and workers may share one home: every change is one short transaction with a busy
timeout. What a run *does* is in its own `run.db`, written by its worker alone.
"""

import contextlib
import json
import os
import re
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import RunError
from pipeline.run_folder import RunFolder
from pipeline.sqlite_read import select

RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{2,99}")

# One script per schema version, applied in order. Never edit one that was released: append.
MIGRATIONS = (
    """
    CREATE TABLE runs (id TEXT PRIMARY KEY, name TEXT NOT NULL, note TEXT NOT NULL DEFAULT '',
                       kind TEXT NOT NULL, created REAL NOT NULL, parent TEXT, deleted REAL);
    CREATE TABLE queue (id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, kind TEXT NOT NULL,
                        request TEXT NOT NULL, position REAL NOT NULL, created REAL NOT NULL);
    CREATE TABLE stops (run TEXT PRIMARY KEY, asked REAL NOT NULL, presses INTEGER NOT NULL);
    CREATE TABLE marks (id INTEGER PRIMARY KEY, run TEXT NOT NULL, stage TEXT NOT NULL, step INTEGER NOT NULL,
                        text TEXT NOT NULL, time REAL NOT NULL);
    CREATE TABLE votes (id INTEGER PRIMARY KEY, run TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
                        time REAL NOT NULL, UNIQUE (run, key));
    CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    """,
    "ALTER TABLE runs ADD COLUMN owner TEXT",  # the visitor whose it is (see owned_home.py); NULL: the home's owner
)


def default_home() -> Path:
    """`$REASONING_STUDIO_HOME`, else `/data` on a Space that has it, else `~/.reasoning-studio`."""
    if chosen := os.environ.get("REASONING_STUDIO_HOME"):
        return Path(chosen).expanduser().absolute()
    if os.environ.get("SPACE_ID") and os.access("/data", os.W_OK):
        return Path("/data/reasoning-studio")
    return Path("~/.reasoning-studio").expanduser()


@dataclass(frozen=True)
class StudioHome:
    """A home folder. Created on first use; raises RunError in words when it cannot be."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path).expanduser().absolute())
        try:
            self.runs_dir.mkdir(parents=True, exist_ok=True)
            self.trash_dir.mkdir(exist_ok=True)
            self._migrate()
        except (OSError, sqlite3.OperationalError) as error:
            raise RunError(f"The home folder {str(self.path)!r} cannot be written ({error}): choose another "
                           "with --home or REASONING_STUDIO_HOME.") from error
        except sqlite3.DatabaseError as error:
            raise RunError(f"{self.database} is damaged ({error}): move it away; the runs are kept.") from error

    @property
    def runs_dir(self) -> Path:
        """Where the run folders are."""
        return self.path / "runs"

    @property
    def trash_dir(self) -> Path:
        """Where deleted runs wait."""
        return self.path / "trash"

    @property
    def database(self) -> Path:
        """`studio.db`."""
        return self.path / "studio.db"

    @property
    def queue_lock(self) -> Path:
        """Held while the queue is looked at and a worker is launched."""
        return self.path / "locks" / "queue.lock"

    def device_lock(self, device: str) -> Path:
        """Held by the worker that uses a device (`cpu`, `gpu-0`, …) for as long as it lives."""
        return self.path / "locks" / f"device-{device}.lock"

    @property
    def whole(self) -> "StudioHome":
        """The home with everybody's runs: for the queue, which is common to all."""
        return self

    @property
    def private(self) -> Path:
        """Where uploads and prepared datasets are kept."""
        return self.path

    @property
    def trusted(self) -> bool:
        """Whether whoever asks may use this machine's logins."""
        return True

    def owns(self, run_id: str) -> bool:
        """Whether whoever asks may see a run: always, unless visitors share the home (see owned_home.py)."""
        return True

    def may_start(self, recipe: Any, request: object = None) -> None:
        """Raise RunError when a job names what whoever asks may not read."""

    def run(self, run_id: str) -> RunFolder:
        """The folder of an existing run. Raises RunError for anything that is not the id of one."""
        folder = self.runs_dir / _checked(run_id)
        if folder.is_symlink() or not folder.is_dir():
            raise RunError(f"There is no run {run_id!r}: `python -m pipeline list` names those there are.")
        return RunFolder(folder)

    def trashed(self, run_id: str) -> Path:
        """The folder that a deleted run has, or would have, in the trash."""
        return self.trash_dir / _checked(run_id)

    def read(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """Rows of a SELECT on studio.db as dicts. Raises RunError when it cannot be read."""
        try:
            return select(self.database, sql, parameters)
        except sqlite3.Error as error:
            raise RunError(f"{self.database} cannot be read ({error}): is the disk full or gone?") from error

    def write(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """One change of studio.db; gives the number of rows it touched. Raises RunError when it cannot be written."""
        try:
            with contextlib.closing(self._connect()) as db:
                return db.execute(sql, parameters).rowcount
        except sqlite3.Error as error:
            raise RunError(f"{self.database} could not be written ({error}): is the disk full or gone?") from error

    # Names and notes ------------------------------------------------------------

    def add_run(self, run_id: str, name: str, kind: str, parent: str | None = None, owner: str | None = None) -> None:
        """Note a new run; one that a reader took in a moment earlier, from its folder alone, gets its true row."""
        self.write("INSERT OR REPLACE INTO runs (id, name, kind, created, parent, owner) VALUES (?, ?, ?, ?, ?, ?)",
                   (_checked(run_id), name, kind, time.time(), parent, owner))

    def known_runs(self, deleted: bool = False) -> list[dict[str, Any]]:
        """id, name, note, kind, created, parent, deleted; newest first. Folders copied here are taken in."""
        rows = self.read("SELECT * FROM runs ORDER BY created DESC, id DESC")
        known = {row["id"] for row in rows}
        if not deleted:
            found = [path for path in self.runs_dir.iterdir()  # one that may not be read hides no other
                     if RUN_ID.fullmatch(path.name) and os.path.isfile(path / "recipe.yaml")
                     and os.access(path / "recipe.yaml", os.R_OK)]
            for path in found:
                if path.name not in known:
                    self.adopt(path.name)
            if any(path.name not in known for path in found):
                rows = self.read("SELECT * FROM runs ORDER BY created DESC, id DESC")
        return [row for row in rows if (row["deleted"] is not None) == deleted]

    def adopt(self, run_id: str) -> None:
        """Take in a run folder that studio.db does not know (copied here, or the database was lost)."""
        folder = self.run(run_id)
        text = folder.recipe_file.read_text(encoding="utf-8", errors="replace")
        name = re.search(r"^name: (.+)$", text, re.M)
        self.write("INSERT OR IGNORE INTO runs (id, name, kind, created) VALUES (?, ?, 'train', ?)",
                   (run_id, name.group(1).strip(" '\"")[:100] if name else run_id,
                    folder.recipe_file.stat().st_mtime))

    def about(self, run_id: str) -> dict[str, Any]:
        """The row of one run; a stand-in with its id as name when studio.db does not know it."""
        rows = self.read("SELECT * FROM runs WHERE id = ?", (_checked(run_id),))
        unknown = {"id": run_id, "name": run_id, "note": "", "kind": "train", "created": 0.0, "parent": None,
                   "deleted": None, "owner": None}
        return rows[0] if rows else unknown

    # Stop requests ------------------------------------------------------------

    def ask_stop(self, run_id: str) -> int:
        """Ask a run's worker to stop; gives how often it was asked by now."""
        self.write("INSERT INTO stops (run, asked, presses) VALUES (?, ?, 1) "
                   "ON CONFLICT (run) DO UPDATE SET presses = presses + 1", (_checked(run_id), time.time()))
        return self.stop_presses(run_id)

    def stop_presses(self, run_id: str) -> int:
        """How often Stop was pressed since the worker started; 0 is never."""
        rows = self.read("SELECT presses FROM stops WHERE run = ?", (run_id,))
        return rows[0]["presses"] if rows else 0

    def clear_stop(self, run_id: str) -> None:
        """Forget a stop request."""
        self.write("DELETE FROM stops WHERE run = ?", (run_id,))

    # Marks, votes, settings ------------------------------------------------------------

    def add_mark(self, run_id: str, stage: str, step: int, text: str) -> None:
        """A person's note at a step."""
        self.write("INSERT INTO marks (run, stage, step, text, time) VALUES (?, ?, ?, ?, ?)",
                   (_checked(run_id), stage, step, text[:10_000], time.time()))

    def marks(self, run_id: str) -> list[dict[str, Any]]:
        """id, stage, step, text, time in the order of steps."""
        return self.read("SELECT * FROM marks WHERE run = ? ORDER BY step, id", (run_id,))

    def remove_mark(self, run_id: str, mark_id: int) -> None:
        """Forget a mark."""
        self.write("DELETE FROM marks WHERE run = ? AND id = ?", (run_id, mark_id))

    def set_vote(self, run_id: str, key: str, value: Any) -> None:
        """A person's judgement under a key of the caller's choice; replaces an earlier one."""
        self.write("INSERT OR REPLACE INTO votes (run, key, value, time) VALUES (?, ?, ?, ?)",
                   (_checked(run_id), key, json.dumps(value), time.time()))

    def votes(self, run_id: str) -> dict[str, Any]:
        """All judgements of a run by key."""
        return {row["key"]: json.loads(row["value"])
                for row in self.read("SELECT key, value FROM votes WHERE run = ? ORDER BY id", (run_id,))}

    def setting(self, key: str, default: Any = None) -> Any:
        """A value that the app remembers (not for secrets: studio.db is plain text)."""
        rows = self.read("SELECT value FROM settings WHERE key = ?", (key,))
        return json.loads(rows[0]["value"]) if rows else default

    def set_setting(self, key: str, value: Any) -> None:
        """Remember a JSON-able value."""
        self.write("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, json.dumps(value)))

    # ----------------------------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.database, timeout=15, isolation_level=None)
        db.row_factory = sqlite3.Row
        return db

    def _version(self) -> int:
        """The schema of studio.db, also where a full disk lets nobody open it to write."""
        return int(select(self.database, "PRAGMA user_version")[0]["user_version"])

    def _migrate(self) -> None:
        if self.database.is_file() and self._version() == len(MIGRATIONS):
            return
        db = self._connect()
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("BEGIN IMMEDIATE")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise RunError(f"The home {str(self.path)!r} was written by a newer version of this app (schema "
                               f"{version}, this one knows {len(MIGRATIONS)}): update the app, or choose "
                               "another home with --home.")
            for script in MIGRATIONS[version:]:
                for statement in script.split(";"):
                    db.execute(statement)
            db.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
            db.execute("COMMIT")
        finally:
            db.close()


def _checked(run_id: str) -> str:
    """The id itself, if it has the shape of one: nothing from a form or an address becomes a path unchecked."""
    if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
        raise RunError(f"{str(run_id)[:80]!r} is not the id of a run: "
                       "`python -m pipeline list` names those there are.")
    return run_id
