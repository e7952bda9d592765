"""A training stage that several machines share: the worker's side, and the files by which the machines meet.

The worker is on machine 1. On each other one a person has started `python -m pipeline join FOLDER` (cli_join.py). All
see the run folder, on a disk that they share, and talk through small files in its folder `machines/`:

1. `offer.json`, by the worker: the stage, the attempt, and the address and port at which the machines meet.
2. `<offer>-<number>.json`, by the other machines: that one takes this offer; later how its processes ended.

Then each machine starts `accelerate launch` for its own processes. No other machine opens run.db or studio.db: SQLite's
write-ahead log does not work across machines. Rank 0, on machine 1, alone writes and hears stop requests.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import EngineError, RunError
from pipeline.run import Run
from pipeline.run_folder import RunFolder
from pipeline.stage_process import free_port, gpu_launcher, run_in_child

ADDRESS = "REASONING_STUDIO_ADDRESS"  # of machine 1, where the one that we find is not the right one
POLL_SECONDS = 0.2
LOST_CONNECTION = re.compile(r"Connection (closed|reset)|Broken pipe|ncclRemoteError|remote process exited|"
                             r"collective operation timeout|Socket ?Timeout", re.I)
NO_WORD = ("The connection to another machine was lost. See whether it is on and what it printed, give the `join` "
           "command there again, then press Resume.")
UNREACHABLE = ("192.0.2.1", 9)  # RFC 5737, for documentation: asking for the way there sends nothing


@dataclass(frozen=True)
class Offer:
    """One attempt at one stage that waits for the other machines. `processes` is for each machine."""

    id: str
    stage: str
    attempt: int
    address: str
    port: int
    machines: int
    processes: int

    def launcher(self, number: int) -> list[str]:
        """`accelerate launch` on machine `number` (from 1), as arguments for `python -m`."""
        return gpu_launcher(self.processes * self.machines, self.port, [
            "--num_machines", str(self.machines), "--machine_rank", str(number - 1), "--main_process_ip", self.address,
            "--same_network", "--rdzv_backend", "static"])


def run_on_machines(run: Run, processes: int) -> None:
    """Run the current stage on all machines of the recipe, with so many processes on each. Raises as `run_in_child`;
    EngineError when another machine ends before this one."""
    offer = Offer(uuid.uuid4().hex, run.stage, run.attempt, own_address(), free_port(), run.recipe.model.machines,
                  processes)
    shutil.rmtree(_folder(run.folder), ignore_errors=True)
    _write(_folder(run.folder) / "offer.json", asdict(offer))
    broken = ""
    try:
        _wait_for_others(run, offer)
        run_in_child(run, offer.launcher(1), lost=lambda: _lost(run.folder, offer))
    except RuntimeError as error:
        broken = str(error)
        if not LOST_CONNECTION.search(broken):
            raise
    finally:
        withdraw(run.folder)
    if broken:  # only what happened on the other side: its own words would have come instead
        print(broken, flush=True)
        raise EngineError(_lost(run.folder, offer) or NO_WORD)


def withdraw(folder: RunFolder) -> None:
    """Nobody is waited for any more: what another machine still does for this stage is in vain."""
    (_folder(folder) / "offer.json").unlink(missing_ok=True)


def offered(folder: RunFolder) -> Offer | None:
    """What the worker offers now."""
    values = _read(_folder(folder) / "offer.json")
    return Offer(**values) if values else None


def take(folder: RunFolder, number: int, offer: Offer) -> None:
    """Machine `number` takes the offer. Raises RunError when one has taken it under this number already, or the folder
    cannot be written."""
    try:
        with _answer(folder, number, offer).open("x", encoding="utf-8") as file:
            json.dump(_who(os.getpid()), file)
    except FileExistsError as error:
        raise RunError(f"Machine {number} takes part already ({_read(_answer(folder, number, offer)).get('host')}): "
                       "give another --machine, or end the other command first.") from error
    except OSError as error:
        raise RunError(f"{_folder(folder)} cannot be written ({error}): every machine must be allowed to.") from error


def leave(folder: RunFolder, number: int, offer: Offer, status: int) -> None:
    """The processes of machine `number` have ended with this status."""
    with contextlib.suppress(OSError):
        _write(_answer(folder, number, offer), _who(os.getpid()) | {"status": status})


def leave_for(folder: RunFolder, number: int, join: int, status: int) -> None:
    """Leave in place of the `join` with this pid, which is gone: the offer that it has taken and not left, if any."""
    offer = offered(folder)
    if offer and _read(_answer(folder, number, offer)) == _who(join):
        leave(folder, number, offer, status)


def own_address() -> str:
    """The address at which other machines reach this one: REASONING_STUDIO_ADDRESS, or that of the network card which
    leads to the outside."""
    if chosen := os.environ.get(ADDRESS):
        return chosen
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as card:
        card.connect(UNREACHABLE)
        return str(card.getsockname()[0])
    return "127.0.0.1"


# ------------------------------------------------------------------------------------------------------------------


def _wait_for_others(run: Run, offer: Offer) -> None:
    """Until every other machine has taken the offer; raises Stopped when a stop is asked for meanwhile."""
    told: list[int] = []
    while missing := [n for n in range(2, offer.machines + 1) if not _answer(run.folder, n, offer).exists()]:
        if missing != told:
            told = missing
            path = shlex.quote(str(run.folder.path))
            words = [f"on machine {n}: python -m pipeline join {path} --machine {n}" for n in missing]
            run.progress(0, None, "", f"Waiting for {len(missing)} of {offer.machines} machines: the log has "
                         "their command")
            run.event("info", f"Waiting for other machines. Give this command {', and '.join(words)}")
        run.check_stop()
        time.sleep(POLL_SECONDS)
    run.event("info", f"{offer.machines} machines are here; they meet at {offer.address}, port {offer.port}.")
    run.progress(0, None, "", "Loading")


def _lost(folder: RunFolder, offer: Offer) -> str:
    """Which machine ended this stage badly, in words; empty when none has."""
    for number in range(2, offer.machines + 1):
        found = _read(_answer(folder, number, offer))
        if found.get("status"):
            return (f"Machine {number} ({found.get('host')}) has left this stage (status {found['status']}): what it "
                    "printed says why. Give the command there again, then press Resume.")
    return ""


def _folder(folder: RunFolder) -> Path:
    return folder.path / "machines"


def _answer(folder: RunFolder, number: int, offer: Offer) -> Path:
    return _folder(folder) / f"{offer.id}-{number}.json"


def _who(join: int) -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": join}


def _read(file: Path) -> dict[str, Any]:
    """The values of a file; empty while there is none, or a network disk does not give it yet."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _write(file: Path, values: dict[str, Any]) -> None:
    """Whole or not at all."""
    file.parent.mkdir(exist_ok=True)
    temporary = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
    temporary.write_text(json.dumps(values), encoding="utf-8")
    temporary.replace(file)
