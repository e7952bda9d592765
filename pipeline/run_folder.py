"""One run = one folder: its paths, and the SQLite store in which the worker records everything that people look at.

One process writes (`RunWriter`, the worker), any number read (`RunReader`) and page by rowid; WAL keeps readers from
blocking the writer. A failed write is counted and dropped: monitoring must not take down training.
"""

import contextlib
import json
import math
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import RunError
from pipeline.recipe import Recipe
from pipeline.run_schema import SCHEMA, SCHEMA_VERSION
from pipeline.sqlite_read import select

STAGES = ("prepare", "sft", "merge_sft", "grpo", "merge_grpo", "evaluate")


@dataclass
class CompletionRecord:
    """One sampled answer with its scores. `rewards` maps a reward's label to its raw score, None where it failed."""

    text: str
    tokens: int
    truncated: bool
    rewards: Mapping[str, float | None]
    total: float | None
    advantage: float | None
    extracted: str | None = None


@dataclass
class GroupRecord:
    """The completions sampled for one prompt in one step. `prompt` is the user's question in plain text."""

    prompt: str
    reference: str | None
    completions: Sequence[CompletionRecord]
    right: int | None = None  # how many completions are right (answer check), where it is known


@dataclass
class AnswerRecord:
    """One answer of one model to one question of an evaluation."""

    model: str
    benchmark: str
    settings: str  # canonical JSON of the sampling settings, part of the key
    question_index: int
    sample: int
    question: str
    reference: str | None
    completion: str
    extracted: str | None
    exact: bool
    lenient: bool
    plausible: bool
    format: bool
    tokens: int
    truncated: bool
    seconds: float
    subject: str | None = None


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run. Creates nothing by itself."""

    path: Path

    @property
    def id(self) -> str:
        """The folder's name: the run's permanent id."""
        return self.path.name

    @property
    def recipe_file(self) -> Path:
        """`recipe.yaml`, written once."""
        return self.path / "recipe.yaml"

    @property
    def database(self) -> Path:
        """`run.db`, written by the worker alone."""
        return self.path / "run.db"

    @property
    def log(self) -> Path:
        """`log.txt`: the worker's stdout and stderr."""
        return self.path / "log.txt"

    @property
    def lock(self) -> Path:
        """`worker.lock`: locked by the OS for as long as the worker lives."""
        return self.path / "worker.lock"

    def data(self, part: str) -> Path:
        """`data/<part>.parquet` for sft, grpo, validation or test."""
        return self.path / "data" / f"{part}.parquet"

    def checkpoints(self, stage: str) -> Path:
        """`checkpoints/<stage>/` with one `checkpoint-<step>` folder each."""
        return self.path / "checkpoints" / stage

    def adapter(self, stage: str) -> Path:
        """`adapters/<stage>/`: the finished adapter of sft or grpo."""
        return self.path / "adapters" / stage

    def model(self, stage: str) -> Path:
        """`models/<stage>/`: the merged 16-bit model of sft or grpo."""
        return self.path / "models" / stage

    def recipe(self) -> Recipe:
        """The recipe as run. Raises RecipeError."""
        return Recipe.load(self.recipe_file)


@dataclass
class RunWriter:
    """The one writer of a run's store. All methods swallow SQLite errors and count them in `failed_writes`."""

    folder: RunFolder
    failed_writes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.folder.path.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(self.folder.database, timeout=5, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(SCHEMA)
        self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def close(self) -> None:
        """Close the connection, with every record in `run.db` itself.

        SQLite moves its log (`run.db-wal`) there when the last connection closes. A reader that happens to be the last
        may not write and would leave it behind: then `run.db` alone, copied or damaged, would not be what is read.
        """
        with contextlib.suppress(sqlite3.Error):  # a full disk, or a reader that stays longer than the time-out
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    def set_status(self, **values: Any) -> None:
        """Merge JSON-able values into `status` (state, stage, heartbeat, pid, reason, …)."""
        rows = [(key, json.dumps(value)) for key, value in values.items()]
        self._write(lambda db: db.executemany("INSERT OR REPLACE INTO status VALUES (?, ?)", rows))

    def set_stage(self, name: str, **values: Any) -> None:
        """Insert or update a stage's row: attempt, state, started, ended, done, total, unit, message, seconds_left."""
        def change(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR IGNORE INTO stages (name, attempt, state) VALUES (?, 1, 'waiting')", (name,))
            for key, value in values.items():
                db.execute(f"UPDATE stages SET {_STAGE_COLUMNS[key]} = ? WHERE name = ?", (value, name))
        self._write(change)

    def add_metrics(self, stage: str, attempt: int, step: int, values: Mapping[str, float | None]) -> None:
        """Append one row per key; values that are not finite are stored as NULL."""
        now = time.time()
        rows = [(stage, attempt, step, key, _finite(value), now) for key, value in values.items()]
        self._write(lambda db: db.executemany(
            "INSERT INTO metrics (stage, attempt, step, key, value, time) VALUES (?, ?, ?, ?, ?, ?)", rows))

    def add_groups(self, stage: str, attempt: int, step: int, groups: Sequence[GroupRecord]) -> None:
        """Append the groups of one step with all completions, and index their text for search."""
        self._write(lambda db: _insert_groups(db, stage, attempt, step, groups))

    def add_answers(self, answers: Iterable[AnswerRecord]) -> None:
        """Append evaluation answers; one that is there already is replaced."""
        rows = [{key: int(v) if isinstance(v, bool) else v for key, v in vars(a).items()} for a in answers]
        names = list(AnswerRecord.__dataclass_fields__)
        sql = (f"INSERT OR REPLACE INTO evaluations ({', '.join(names)}) "
               f"VALUES ({', '.join(':' + n for n in names)})")
        self._write(lambda db: db.executemany(sql, rows))

    def add_event(self, level: str, text: str, stage: str | None = None, step: int | None = None,
                  data: Mapping[str, Any] | None = None) -> None:
        """Append a line for people. `level` is info, warning or error."""
        row = (time.time(), level, stage, step, text, json.dumps(data) if data else None)
        self._write(lambda db: db.execute(
            "INSERT INTO events (time, level, stage, step, text, data) VALUES (?, ?, ?, ?, ?, ?)", row))

    def drop_after(self, stage: str, step: int) -> None:
        """Forget metrics and groups of a stage past `step`: the rows that a resumed attempt writes again."""
        def change(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM metrics WHERE stage = ? AND step > ?", (stage, step))
            ids = "SELECT id FROM groups WHERE stage = ? AND step > ?"
            db.execute("INSERT INTO completions_search (completions_search, rowid, text) "
                       f"SELECT 'delete', id, text FROM completions WHERE group_id IN ({ids})", (stage, step))
            db.execute(f"DELETE FROM completions WHERE group_id IN ({ids})", (stage, step))
            db.execute("DELETE FROM groups WHERE stage = ? AND step > ?", (stage, step))
        self._write(change)

    def _write(self, change: Any) -> None:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                change(self._db)
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                self.failed_writes += 1
                print(f"run.db: a record was lost ({error})", flush=True)
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")


@dataclass(frozen=True)
class RunReader:
    """Read-only view of a run's store; opens a connection for each call, so it can be shared between threads."""

    folder: RunFolder

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """Rows of a SELECT as dicts; none while there is no store. Raises RunError when it is damaged."""
        try:
            if not self.folder.database.exists():
                return []
            return select(self.folder.database, sql, parameters)
        except (sqlite3.OperationalError, OSError) as error:
            if "no such table" in str(error):
                return []
            raise RunError(f"The records of run {self.folder.id} cannot be read: {error}. See whether the "
                           f"disk is there and {self.folder.database} is a file that may be read.") from error
        except sqlite3.DatabaseError as error:
            raise RunError(f"The records of run {self.folder.id} are damaged: {error}. Copy "
                           f"{self.folder.database} again from where the run came, or delete the run; its models are "
                           f"in {self.folder.path / 'models'}.") from error

    def status(self) -> dict[str, Any]:
        """The worker's own words: state, stage, heartbeat, pid, … See `jobs.state` for whether it is alive."""
        return {row["key"]: json.loads(row["value"]) for row in self.rows("SELECT key, value FROM status")}

    def stages(self) -> list[dict[str, Any]]:
        """The stages in their order, each as in the table."""
        rows = self.rows("SELECT * FROM stages ORDER BY rowid")
        return sorted(rows, key=lambda row: STAGES.index(row["name"]) if row["name"] in STAGES else len(STAGES))

    def metrics(self, after: int = 0, limit: int = 100_000) -> list[dict[str, Any]]:
        """Metric rows with id > `after`, oldest first."""
        return self.rows("SELECT * FROM metrics WHERE id > ? ORDER BY id LIMIT ?", (after, limit))

    def metric(self, key: str) -> list[dict[str, Any]]:
        """All rows of one key in order: stage, attempt, step, value, time."""
        return self.rows("SELECT * FROM metrics WHERE key = ? ORDER BY id", (key,))

    def groups_at(self, stage: str, step: int) -> list[dict[str, Any]]:
        """The groups of a step (without completions)."""
        return self.rows("SELECT * FROM groups WHERE stage = ? AND step = ? ORDER BY position", (stage, step))

    def completions_of(self, group_id: int) -> list[dict[str, Any]]:
        """The completions of a group; `rewards` is parsed."""
        rows = self.rows("SELECT * FROM completions WHERE group_id = ? ORDER BY position", (group_id,))
        return [row | {"rewards": json.loads(row["rewards"])} for row in rows]

    def events(self, after: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
        """Event rows with id > `after`, oldest first."""
        return self.rows("SELECT * FROM events WHERE id > ? ORDER BY id LIMIT ?", (after, limit))

    def answers(self, benchmark: str | None = None, model: str | None = None) -> list[dict[str, Any]]:
        """Evaluation answers in question order."""
        return self.rows(
            "SELECT * FROM evaluations WHERE (:b IS NULL OR benchmark = :b) AND (:m IS NULL OR model = :m) "
            "ORDER BY benchmark, model, question_index, sample", {"b": benchmark, "m": model})


_STAGE_COLUMNS = {c: c for c in ("attempt", "state", "started", "ended", "done", "total", "unit", "message",
                                 "seconds_left")}


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _insert_groups(db: sqlite3.Connection, stage: str, attempt: int, step: int, groups: Sequence[GroupRecord]) -> None:
    now = time.time()
    for position, group in enumerate(groups):
        totals = [c.total for c in group.completions if c.total is not None]
        spread = max(totals) - min(totals) if totals else None
        row = (stage, attempt, step, position, group.prompt, group.reference, now,
               sum(totals) / len(totals) if totals else None, spread, max(totals, default=None),
               min(totals, default=None), group.right, sum(c.truncated for c in group.completions),
               len(group.completions))
        group_id = db.execute(
            "INSERT INTO groups (stage, attempt, step, position, prompt, reference, time, mean_total, spread, best, "
            "worst, right, truncated, size) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row).lastrowid
        for i, c in enumerate(group.completions):
            rewards = json.dumps({k: None if v is None else _finite(v) for k, v in c.rewards.items()})
            completion_id = db.execute(
                "INSERT INTO completions (group_id, position, text, tokens, truncated, rewards, total, advantage, "
                "extracted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (group_id, i, c.text, c.tokens, int(c.truncated), rewards, c.total, c.advantage, c.extracted)).lastrowid
            db.execute("INSERT INTO completions_search (rowid, text) VALUES (?, ?)", (completion_id, c.text))
