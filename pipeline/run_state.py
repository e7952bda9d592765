"""How a run is: read from its lock, its own words in run.db, the queue and the stop requests, and told in sentences."""

import math
import os
import time
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pipeline import locks, run_queue
from pipeline.disk import LowDisk
from pipeline.errors import RunError
from pipeline.failures import STAGE_WORDS
from pipeline.recipe import Recipe
from pipeline.resuming import way_on
from pipeline.run_folder import RunFolder, RunReader
from pipeline.studio_home import StudioHome

State = Literal["waiting", "running", "stopping", "stopped", "interrupted", "failed", "finished"]
OVER: tuple[State, ...] = ("stopped", "interrupted", "failed", "finished")  # neither works nor waits
SILENT_SECONDS = 60.0


@dataclass(frozen=True)
class RunState:
    """A run at one moment. `reason` and `remedy` are sentences for people, empty when all is well."""

    state: State
    stage: str = ""
    done: float = 0.0
    total: float | None = None
    unit: str = ""
    seconds_left: float | None = None  # of the stage
    message: str = ""
    reason: str = ""
    remedy: str = ""
    failure: str = ""  # of WANT_OF_MEMORY, where `continuing.try_again` may have a proposal
    alive: bool = False
    attempt: int = 1
    kind: str = "train"  # the job that is meant: train, evaluate, dry_run, ask
    devices: tuple[str, ...] = ()
    memory_gib: float | None = None
    position: int | None = None  # in the queue, from 1
    paused: bool = False  # alive, and waits for space on the disk: `reason` says so
    heartbeat: float | None = None  # when the worker last wrote, by its clock
    job: dict[str, Any] | None = None  # the last extra job: kind, state, reason, remedy

    @property
    def counts(self) -> bool:
        """Whether what is done says more than the message: not before the first step of a stage that tells what it
        does meanwhile (assets/live/head.js has the same rule)."""
        return bool(self.total and (self.done or not self.message))

    @property
    def doing(self) -> str:
        """The message as it stands after a comma."""
        return self.message[:1].lower() + self.message[1:]

    @property
    def words(self) -> str:
        """`GRPO, 12 of 200 steps, about 3 min left`; before the first one, what is done meanwhile."""
        parts = [STAGE_WORDS.get(self.stage, self.stage)] if self.stage else []
        if self.counts and self.unit:
            parts.append(f"{self.done:,.0f} of {self.total:,.0f} {self.unit}")
        elif self.message:
            parts.append(self.doing if parts else self.message)
        if self.paused:
            parts.append("paused")
        elif self.alive and self.seconds_left is not None:
            parts.append(f"about {duration(self.seconds_left)} left")
        return ", ".join(parts)


@dataclass(frozen=True)
class RunCard:
    """What a list shows of a run."""

    id: str
    name: str
    note: str
    kind: str
    created: float
    state: RunState
    last_reward: float | None = None
    model: str = ""
    data: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return asdict(self) | {"state": state_as_json(self.state)}


def state_as_json(state: RunState) -> dict[str, Any]:
    """Plain values for `--json`, with the sentence."""
    return asdict(state) | {"words": state.words}


def state_of(home: StudioHome, folder: RunFolder, queue: list[dict[str, Any]] | None = None) -> RunState:
    """How a run is, now. `queue` spares reading the waiting rows again."""
    alive = locks.is_held(folder.lock)
    queue = run_queue.waiting(home) if queue is None else queue
    position = next((i for i, row in enumerate(queue, start=1) if row["run"] == folder.id), None)
    words = _words(folder, alive)
    if alive:
        return _living(home, folder, words)
    if position is not None:
        return replace(words, state="waiting", kind=queue[position - 1]["kind"], position=position,
                       reason=waits_for(home, folder, queue[: position - 1]), remedy="")
    return words


def waits_for(home: StudioHome, folder: RunFolder, before: list[dict[str, Any]]) -> str:
    """Whom a waiting run waits for, in a sentence."""
    busy = [row["id"] for row in home.whole.known_runs() if row["id"] != folder.id
            and locks.is_held(home.runs_dir / row["id"] / "worker.lock")]
    names = [f"{_called(home, run)} ({_living_words(home.whole, run)})" for run in busy]
    names += [f"{_called(home, row['run'])} (waiting too)" for row in before]
    if not names:
        return "It is about to start."
    return "Waiting for " + ", then ".join(names) + "."


def card_of(home: StudioHome, row: dict[str, Any], queue: list[dict[str, Any]] | None = None) -> RunCard:
    """The card of a row of `home.known_runs()`. `queue` spares reading the waiting rows again."""
    folder = home.run(row["id"])
    source, data = _recipe_facts(folder.recipe_file, _stamp(folder.recipe_file))
    try:
        state, reward = state_of(home, folder, queue), _read_last_reward(folder.path, _store_stamp(folder))
    except RunError as error:  # its records are damaged
        remedy = "The models and checkpoints are files of their own: they may still be good."
        state, reward = RunState("failed", reason=str(error), remedy=remedy), None
    return RunCard(row["id"], row["name"], row["note"], row["kind"], row["created"], state, reward, source, data)


def duration(seconds: float) -> str:
    """A time span for people: 45 s, 3 min, 2 h 5 min. Never negative (clocks are set back)."""
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


# ----------------------------------------------------------------------------------------------------


def _living(home: StudioHome, folder: RunFolder, words: RunState) -> RunState:
    if home.stop_presses(folder.id):
        return replace(words, state="stopping", seconds_left=None,
                       reason="It stops at the next point from which resume is exact.")
    silent = words.heartbeat is not None and abs(time.time() - words.heartbeat) > SILENT_SECONDS
    reason = "Its process lives, but has given no sign of life for a minute." if silent else ""
    if full := LowDisk(folder.path).problem():
        return replace(words, reason=full, paused=True, seconds_left=None)
    return replace(words, reason=reason, seconds_left=None if silent else words.seconds_left)


def _called(home: StudioHome, run_id: str) -> str:
    name = home.about(run_id)["name"]
    return f"«{name}»" if home.owns(run_id) else name


def _living_words(home: StudioHome, run_id: str) -> str:
    folder = home.run(run_id)
    return _living(home, folder, _words(folder, alive=True)).words or "starting"


def _words(folder: RunFolder, alive: bool) -> RunState:
    """What run.db says, seen with whether the worker lives. Cached while the files do not change."""
    return _read_words(folder.path, alive, _store_stamp(folder))


@lru_cache(maxsize=2000)
def _read_words(path: Path, alive: bool, stamp: tuple[Any, ...]) -> RunState:
    reader = RunReader(RunFolder(path))
    status = reader.status()
    job = status.get("job") or {}
    extra = job.get("state") == "running"
    own = job if extra else status
    stages = {row["name"]: row for row in reader.stages()}
    row = stages.get(status.get("stage") or "", {})
    common = {
        "stage": row.get("name", ""), "done": row.get("done") or 0.0, "total": row.get("total"),
        "unit": row.get("unit") or "", "message": row.get("message") or "", "attempt": row.get("attempt", 1),
        "kind": job.get("kind", "train") if extra else "train", "alive": alive, "job": job or None}
    if alive:
        return RunState("running", **common, seconds_left=row.get("seconds_left"),
                        devices=tuple(own.get("devices") or ()), memory_gib=status.get("memory_gib"),
                        heartbeat=status.get("heartbeat"))
    written = own.get("state")
    if written is None:
        return RunState("stopped", reason="It has not started yet.")
    if written in ("running", "waiting"):
        reason = _interrupted(status, common)
        if extra:  # the run itself is as it was; only the extra job was cut off
            return RunState(status.get("state", "stopped"), **common, reason=f"An extra job was cut off. {reason}",
                            remedy=way_on(reader.folder).words)
        return RunState("interrupted", **common, reason=reason, remedy=way_on(reader.folder).words)
    return RunState(written, **common, reason=own.get("reason", ""), remedy=own.get("remedy", ""),
                    failure=own.get("failure", ""))


def _interrupted(status: dict[str, Any], common: dict[str, Any]) -> str:
    where = replace(RunState("interrupted"), stage=common["stage"], done=common["done"], total=common["total"],
                    unit=common["unit"]).words or "while starting"
    used, free = status.get("memory_gib"), status.get("machine_free_gib")
    reason = f"Its process ended from outside ({where}): it was killed, or the machine went off."
    if used and free is not None and free < 0.05 * status.get("machine_gib", 0):
        reason += f" It used {used:.1f} GiB and only {free:.1f} GiB were left: memory probably ran out."
    return reason


@lru_cache(maxsize=2000)
def _read_last_reward(path: Path, stamp: tuple[Any, ...]) -> float | None:
    rows = RunReader(RunFolder(path)).rows(
        "SELECT value FROM metrics WHERE key = 'reward/total' AND value IS NOT NULL ORDER BY id DESC LIMIT 1")
    return rows[0]["value"] if rows else None


@lru_cache(maxsize=2000)
def _recipe_facts(path: Path, stamp: tuple[Any, ...]) -> tuple[str, str]:
    try:
        recipe = Recipe.load(path)
    except Exception:  # a damaged recipe still has a card
        return "", ""
    return recipe.model.source, recipe.data.source


def _stamp(file: Path) -> tuple[int, int]:
    try:
        stat = os.stat(file)
        return stat.st_mtime_ns, stat.st_size
    except OSError:
        return 0, 0


def _store_stamp(folder: RunFolder) -> tuple[Any, ...]:
    return _stamp(folder.database) + _stamp(folder.database.with_name("run.db-wal"))
