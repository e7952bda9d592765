"""Reading an SQLite store that another process writes, also from a disk without a single free byte."""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NO_INDEX = ("disk I/O", "readonly database", "unable to open")  # how SQLite says that it cannot make the index file


def select(database: Path, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
    """Rows of a SELECT as dicts. Raises sqlite3.Error.

    A reader of a store in WAL mode needs its index file, which the first one to open the store makes. On a full disk
    that fails ("disk I/O error"), and so it does in a folder that may not be written. Where no log (`-wal`) waits, the
    database file is all there is and nobody has it open, and it is read as it stands
    (https://www.sqlite.org/wal.html#read_only_databases).
    """
    try:
        return _select(database, "mode=ro", sql, parameters)
    except sqlite3.OperationalError as error:
        log = database.with_name(database.name + "-wal")
        if not any(words in str(error) for words in NO_INDEX) or (log.exists() and log.stat().st_size):
            raise
        return _select(database, "mode=ro&immutable=1", sql, parameters)


def _select(database: Path, how: str, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[dict[str, Any]]:
    db = sqlite3.connect(f"{database.resolve().as_uri()}?{how}", uri=True, timeout=15)
    try:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(sql, parameters)]
    finally:
        db.close()
