"""What the Live page reads from a run: metric series thinned for charts, and the log in pieces. Pure reading.

A chart shows at most POINTS points a series. Longer series are cut into buckets of `stride` steps (a power of two):
each bucket becomes one point with its mean, lowest and highest value, so extremes stay visible, and the last,
unfinished bucket is sent again until it is full. Everything happens in SQLite, over an index that holds the values.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.run_folder import RunReader

POINTS = 300
LOG_PIECE = 64_000  # bytes of log sent at once


@dataclass(frozen=True)
class Series:
    """One metric over the steps. With stride 1, `low` and `high` equal `mean`."""

    steps: list[int]
    mean: list[float | None]
    low: list[float | None]
    high: list[float | None]


def metric_keys(reader: RunReader) -> dict[str, list[str]]:
    """Stage -> the sorted metric keys that it has, by hopping through the index instead of reading every row."""
    rows = reader.rows("""
        WITH RECURSIVE stages (stage) AS (
            SELECT min(stage) FROM metrics
            UNION ALL SELECT (SELECT min(stage) FROM metrics WHERE stage > stages.stage) FROM stages
            WHERE stages.stage IS NOT NULL),
        pairs (stage, key) AS (
            SELECT stage, (SELECT min(key) FROM metrics m WHERE m.stage = stages.stage) FROM stages
            WHERE stage IS NOT NULL
            UNION ALL SELECT stage, (SELECT min(key) FROM metrics m WHERE m.stage = pairs.stage AND m.key > pairs.key)
            FROM pairs WHERE key IS NOT NULL)
        SELECT stage, key FROM pairs WHERE key IS NOT NULL ORDER BY stage, key""")
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["stage"], []).append(row["key"])
    return found


def newest(reader: RunReader) -> int:
    """The id of the newest metric row; 0 without any."""
    rows = reader.rows("SELECT max(id) AS id FROM metrics")
    return (rows[0]["id"] or 0) if rows else 0


def last_step(reader: RunReader, stage: str) -> int:
    """The last step of a stage that has a metric; 0 without any."""
    rows = reader.rows("SELECT max(step) AS step FROM metrics WHERE stage = ?", (stage,))
    return (rows[0]["step"] or 0) if rows else 0


def stride_for(steps: int, points: int = POINTS) -> int:
    """The smallest power of two with which `steps` steps become at most `points` points.

    >>> stride_for(300), stride_for(301), stride_for(10_000)
    (1, 2, 64)
    """
    stride = 1
    while -(-steps // stride) > points:
        stride *= 2
    return stride


def series(reader: RunReader, stage: str, keys: Sequence[str], from_step: int = 0,
           stride: int = 1) -> dict[str, Series]:
    """Key -> its points from step `from_step` on. Values logged twice at a step are averaged, None: not finite."""
    marks = ", ".join("?" * len(keys))
    rows = reader.rows(
        f"SELECT key, max(step) AS step, avg(value) AS mean, min(value) AS low, max(value) AS high FROM metrics "
        f"WHERE stage = ? AND key IN ({marks}) AND step >= ? GROUP BY key, step / ? ORDER BY key, step",
        (stage, *keys, from_step, stride))
    found: dict[str, Series] = {}
    for row in rows:
        s = found.setdefault(row["key"], Series([], [], [], []))
        s.steps.append(row["step"])
        s.mean.append(row["mean"])
        s.low.append(row["low"])
        s.high.append(row["high"])
    return found


def values(reader: RunReader, stage: str, key: str) -> tuple[list[int], list[float]]:
    """Every finite value of one key: steps and values, in order of the steps."""
    rows = reader.rows("SELECT step, value FROM metrics WHERE stage = ? AND key = ? AND value IS NOT NULL "
                       "ORDER BY step, id", (stage, key))
    return [r["step"] for r in rows], [r["value"] for r in rows]


def to_csv(reader: RunReader, stage: str, keys: Sequence[str]) -> str:
    """All values of some keys as CSV text: one row a step, one column a key, nothing thinned."""
    table: dict[int, dict[str, float]] = {}
    for key in keys:
        for step, value in zip(*values(reader, stage, key), strict=True):
            table.setdefault(step, {})[key] = value
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["step", *keys])
    for step in sorted(table):
        writer.writerow([step, *(table[step].get(key, "") for key in keys)])
    return out.getvalue()


@dataclass(frozen=True)
class LogPiece:
    """Some of the log: `text` covers the bytes `start` to `end` of a file of `size` bytes."""

    text: str
    start: int
    end: int
    size: int


def log_after(path: Path, seen: int | None, piece: int = LOG_PIECE) -> LogPiece:
    """The log past byte `seen`, or its last piece when nothing was seen, too much is new, or it was replaced."""
    try:
        size = path.stat().st_size
        start = max(0, size - piece) if seen is None or seen > size or size - seen > piece else seen
        with path.open("rb") as file:
            file.seek(start)
            raw = file.read(size - start)
    except OSError:
        return LogPiece("", 0, 0, 0)
    skipped = 0
    if start and start != seen:  # begin with a whole line
        skipped = raw.find(b"\n") + 1
    return LogPiece(raw[skipped:].decode("utf-8", "replace"), start + skipped, start + len(raw), size)


def log_search(path: Path, text: str, limit: int = 500) -> list[tuple[int, str]]:
    """Line numbers (from 1) and lines of the whole log that hold `text`, whatever the case; the last `limit`."""
    needle = text.casefold()
    found: list[tuple[int, str]] = []
    for number, line in _lines(path):
        if needle in line.casefold():
            found.append((number, line[:2000]))
            if len(found) > 2 * limit:
                del found[:limit]
    return found[-limit:]


def _lines(path: Path) -> Iterable[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                yield number, line.rstrip("\n")
    except OSError:
        return


def rounded(numbers: Iterable[float | None], digits: int = 5) -> list[float | None]:
    """Numbers with a few significant digits, for fewer bytes."""
    return [None if n is None else float(f"{n:.{digits}g}") for n in numbers]


def stage_attempts(reader: RunReader) -> dict[str, int]:
    """Stage -> number of its attempt: grows when a stage is resumed, and with it rows may have been dropped."""
    return {row["name"]: row["attempt"] for row in reader.rows("SELECT name, attempt FROM stages")}


def events_after(reader: RunReader, seen: int, limit: int = 200) -> list[dict[str, Any]]:
    """The newest events with an id above `seen`, oldest first."""
    rows = reader.rows("SELECT id, time, level, stage, step, text FROM events WHERE id > ? ORDER BY id DESC LIMIT ?",
                       (seen, limit))
    return rows[::-1]
