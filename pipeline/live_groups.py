"""Questions to the recorded groups: those of a step, filtered and ordered; one with its completions; text search over
all steps; one prompt followed through training. Pure reading, each answered from an index or a bounded scan.
"""

import re
from dataclasses import dataclass
from typing import Any

from pipeline.run_folder import RunReader

PAGE = 20

FILTERS: dict[str, str] = {  # name -> condition; the words for people are in assets/live/groups.js
    "all": "1",
    "all_wrong": "right = 0",
    "all_right": "right = size AND size > 0",
    "mixed": "right > 0 AND right < size",
    "truncated": "truncated > 0",
    "equal": "spread = 0",
    # of each step the one; SQLite takes `id` from the row that holds the largest or smallest value
    "best": "id IN (SELECT id FROM (SELECT id, max(mean_total) FROM groups GROUP BY stage, step))",
    "worst": "id IN (SELECT id FROM (SELECT id, min(mean_total) FROM groups GROUP BY stage, step))",
    "spread": "id IN (SELECT id FROM (SELECT id, max(spread) FROM groups GROUP BY stage, step))",
}
ORDERS: dict[str, str] = {
    "step": "step, position",
    "newest": "id DESC",
    "best": "mean_total DESC, id",
    "worst": "mean_total IS NULL, mean_total, id",
    "spread": "spread DESC, id",
}


@dataclass(frozen=True)
class GroupQuery:
    """Which groups. `step` None means all steps; `prompt` the exact text of one prompt."""

    stage: str = "grpo"
    step: int | None = None
    prompt: str | None = None
    filter: str = "all"
    order: str = "step"
    offset: int = 0
    limit: int = PAGE


def groups(reader: RunReader, query: GroupQuery) -> list[dict[str, Any]]:
    """One page of groups, without their completions. An unknown filter or order means all, in order."""
    where = ["stage = :stage", FILTERS.get(query.filter, "1")]
    if query.step is not None:
        where.append("step = :step")
    if query.prompt is not None:
        where.append("prompt = :prompt")
    order = ORDERS.get(query.order, ORDERS["step"])
    return reader.rows(
        f"SELECT * FROM groups WHERE {' AND '.join(where)} ORDER BY {order} LIMIT :limit OFFSET :offset",
        {"stage": query.stage, "step": query.step, "prompt": query.prompt,
         "limit": query.limit, "offset": max(0, query.offset)})


def group(reader: RunReader, group_id: int) -> dict[str, Any] | None:
    """One group with its `completions`, or None."""
    rows = reader.rows("SELECT * FROM groups WHERE id = ?", (group_id,))
    return rows[0] | {"completions": reader.completions_of(group_id)} if rows else None


def neighbours(reader: RunReader, row: dict[str, Any]) -> tuple[int | None, int | None]:
    """The ids of the groups recorded just before and just after one, in the same stage."""
    before = reader.rows("SELECT id FROM groups WHERE id < ? AND stage = ? ORDER BY id DESC LIMIT 1",
                         (row["id"], row["stage"]))
    after = reader.rows("SELECT id FROM groups WHERE id > ? AND stage = ? ORDER BY id LIMIT 1",
                        (row["id"], row["stage"]))
    return before[0]["id"] if before else None, after[0]["id"] if after else None


def nearest_step(reader: RunReader, stage: str, step: int) -> int | None:
    """The step nearest to `step` that has groups; the earlier one when two are as near."""
    rows = reader.rows(
        "SELECT * FROM (SELECT step FROM groups WHERE stage = :stage AND step <= :step ORDER BY step DESC LIMIT 1) "
        "UNION SELECT * FROM (SELECT step FROM groups WHERE stage = :stage AND step > :step ORDER BY step LIMIT 1)",
        {"stage": stage, "step": step})
    return min((r["step"] for r in rows), key=lambda s: (abs(s - step), s), default=None)


def step_range(reader: RunReader, stage: str) -> tuple[int, int] | None:
    """First and last step with groups, or None."""
    rows = reader.rows("SELECT (SELECT min(step) FROM groups WHERE stage = :stage) AS first, "
                       "(SELECT max(step) FROM groups WHERE stage = :stage) AS last", {"stage": stage})
    return (rows[0]["first"], rows[0]["last"]) if rows and rows[0]["first"] is not None else None


def follow(reader: RunReader, prompt: str, stage: str = "grpo", limit: int = 500) -> list[dict[str, Any]]:
    """Each time a prompt came: id, step, mean, best and worst total, right, size; in order."""
    return reader.rows(
        "SELECT id, step, mean_total, best, worst, right, truncated, size FROM groups "
        "WHERE prompt = ? AND stage = ? ORDER BY id LIMIT ?", (prompt, stage, limit))


def fts_query(text: str) -> str:
    """What a person typed as an FTS5 query: every word must occur, "quoted words" together, word* as a beginning.

    Everything else that FTS5 would read as syntax is only text.

    >>> fts_query('seven "of 9" app* AND x-y')
    '"seven" "of 9" "app"* "AND" "x" "y"'
    """
    parts = []
    for phrase, word in re.findall(r'"([^"]*)"|(\S+)', text):
        if phrase:
            parts.append(_quoted(" ".join(re.findall(r"\w+", phrase))))
            continue
        pieces = re.findall(r"\w+", word)
        parts += [_quoted(piece) for piece in pieces]
        if pieces and word.endswith("*"):
            parts[-1] += "*"
    return " ".join(part for part in parts if part != '""')


@dataclass(frozen=True)
class Found:
    """Hits of a search, newest first: completion and group ids, step, reward, and the text around the hit.

    In `snippet` the words that were found stand between the characters 1 and 2.
    """

    hits: list[dict[str, Any]]
    count: int | None  # None on the pages after the first
    more: bool  # the count stopped at its limit


def search(reader: RunReader, text: str, before: int | None = None, limit: int = PAGE, count_to: int = 1000) -> Found:
    """Completions of all steps whose text matches. `before` (a completion's id) gives the next page."""
    query = fts_query(text)
    if not query:
        return Found([], 0, False)
    ids = [row["rowid"] for row in reader.rows(  # one pass over the index gives the page and the count
        "SELECT rowid FROM completions_search WHERE completions_search MATCH ? AND rowid < ? ORDER BY rowid DESC "
        "LIMIT ?", (query, before or 2**62, limit if before else count_to + 1))]
    page, marks = ids[:limit], ", ".join("?" * len(ids[:limit]))
    hits = reader.rows(
        "SELECT c.id, c.text, c.group_id, c.position, c.total, c.advantage, g.step, g.stage, g.prompt "
        f"FROM completions c JOIN groups g ON g.id = c.group_id WHERE c.id IN ({marks}) ORDER BY c.id DESC", page)
    for hit in hits:
        hit["snippet"] = snippet(hit.pop("text"), query)
    return Found(hits, None if before else min(len(ids), count_to), len(ids) > count_to)


def snippet(text: str, query: str, around: int = 90) -> str:
    """The text around the first hit of an FTS query in one line, every hit between the characters 1 and 2."""
    words = [re.escape(words).replace("\\ ", r"\W+") + (r"\w*" if star else "")
             for words, star in re.findall(r'"([^"]+)"(\*?)', query)]
    pattern = re.compile(r"\b(" + "|".join(words) + r")\b", re.IGNORECASE)
    text = text.replace("\x01", "").replace("\x02", "")
    first = pattern.search(text)
    start = max(0, (first.start() if first else 0) - around)
    piece = text[start:start + 3 * around]
    marked = pattern.sub("\x01\\1\x02", piece)
    return ("…" if start else "") + " ".join(marked.split()) + ("…" if start + len(piece) < len(text) else "")


def _quoted(words: str) -> str:
    return '"' + words.replace('"', '""') + '"'
