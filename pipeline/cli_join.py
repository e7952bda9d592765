"""`python -m pipeline join FOLDER`: this machine trains along in a run that another one leads (see machines.py).

It stays from stage to stage, through stops and resumes, until the training is done; Ctrl-C leaves. It reads the recipe,
the data, the models and checkpoints from the shared disk, and opens neither the run's database nor a home.
"""

import argparse
import contextlib
import importlib.metadata
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from pipeline import machines, stage_process
from pipeline.errors import RunError
from pipeline.keeper import end_processes
from pipeline.machines import Offer
from pipeline.recipe import Recipe
from pipeline.run_folder import RunFolder
from pipeline.run_queue import DEFAULTS, MARK

Outcome = tuple[int, Any, str]
LEAVE_SECONDS = 30.0  # for our processes after machine 1 has ended the stage
LEFT = 130  # the status that is told when a person leaves


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Its options."""
    sub.add_argument("run", metavar="FOLDER", help="the run's folder, as this machine sees it on the shared disk")
    sub.add_argument("--machine", type=int, default=2, metavar="N",
                     help="which machine this one is, from 2 to the recipe's number (default: 2)")
    sub.set_defaults(without_home=True)


def join(options: argparse.Namespace) -> Outcome:
    """`join FOLDER [--machine N]`."""
    folder, number = RunFolder(Path(options.run).expanduser().absolute()), options.machine
    if not folder.recipe_file.is_file():
        raise RunError(f"{folder.path} is no run's folder: give the folder with recipe.yaml, as this machine sees it.")
    recipe = folder.recipe()
    _check(recipe, number)
    if others := _other_versions(recipe):
        _say(f"Note: {', '.join(others)}: install the same versions on all machines.")
    mark = f"join|{folder.path}|{uuid.uuid4().hex}"
    keeper = _start_keeper(folder, number, mark)
    ends = (signal.SIGTERM, signal.SIGHUP)  # as Ctrl-C does: our processes are ended, and machine 1 is told
    before = [signal.signal(one, signal.default_int_handler) for one in ends]
    try:
        stages = _stay(folder, recipe, number, mark)
    finally:
        keeper.kill()  # nothing is left for it: what we started is ended where it is waited for
        keeper.wait()
        for one, handler in zip(ends, before, strict=True):
            signal.signal(one, handler)
    text = "The training of this run is done: machine 1 does the rest."
    return 0, {"run": folder.id, "machine": number, "stages": stages}, text


def _start_keeper(folder: RunFolder, number: int, mark: str) -> "subprocess.Popen[bytes]":
    """What ends our processes when we are killed, and tells machine 1."""
    module = [sys.executable, "-P", "-m", "pipeline.join_keeper"]
    return subprocess.Popen([*module, str(folder.path), str(number), str(os.getpid()), mark],
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
                            env=os.environ | stage_process.python_path())


def _stay(folder: RunFolder, recipe: Recipe, number: int, mark: str) -> list[dict[str, Any]]:
    """Take part in every stage until the last is trained; gives what was taken part in."""
    done, stages = "", []
    last = "grpo" if recipe.grpo.enabled else "sft"
    _say(f"Machine {number} of {recipe.model.machines}: waiting for machine 1 to start a stage. Ctrl-C leaves.")
    while not folder.adapter(last).is_dir():
        offer = machines.offered(folder)
        if offer is None or offer.id == done:
            time.sleep(machines.POLL_SECONDS)
            continue
        done = offer.id
        status = _take_part(folder, recipe, offer, number, mark)
        stages.append({"stage": offer.stage, "attempt": offer.attempt, "status": status})
        _say(f"{offer.stage}, attempt {offer.attempt}: ended with status {status}. Waiting for machine 1.")
    return stages


def _check(recipe: Recipe, number: int) -> None:
    """Raises RunError when this machine cannot take part."""
    from pipeline.engines.choose import gpu_count

    model, here = recipe.model, gpu_count()
    if not 2 <= number <= model.machines:
        raise RunError(f"The recipe asks for {model.machines} machine(s), and machine 1 is where the run was started: "
                       + (f"--machine is between 2 and {model.machines}." if model.machines > 1 else
                          "there is nothing to join (*Machines* on the Train tab, under Advanced)."))
    if model.gpus > max(here, 1):
        raise RunError(f"The recipe asks for {model.gpus} GPUs on each machine, and torch can use {here} here.")
    if os.path.isabs(model.source) and not Path(model.source).is_dir():
        raise RunError(f"The model folder {model.source} is not on this machine: it must be there under the same name.")


def _other_versions(recipe: Recipe) -> list[str]:
    """The packages that machine 1 has in another version, in words."""
    found = []
    for name, there in (recipe.provenance.versions if recipe.provenance else {}).items():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            if (here := importlib.metadata.version(name)) != there:
                found.append(f"{name} is {here} here and {there} on machine 1")
    return found


def _take_part(folder: RunFolder, recipe: Recipe, offer: Offer, number: int, mark: str) -> int:
    """Run our processes of one stage; gives their exit status. They are ended when machine 1 goes without them."""
    _say(f"{offer.stage}, attempt {offer.attempt}: meeting at {offer.address}, port {offer.port}.")
    command = stage_process.command(folder, offer.stage, offer.attempt, offer.launcher(number))
    environment = DEFAULTS | os.environ | stage_process.environment_for(recipe.model) | {MARK: mark}
    status = LEFT
    machines.take(folder, number, offer)
    child = subprocess.Popen(command, env=environment, start_new_session=True)  # Ctrl-C reaches us alone
    try:
        alone_since = None
        while (ended := child.poll()) is None:
            now, still = time.monotonic(), machines.offered(folder)
            alone_since = None if still and still.id == offer.id else alone_since or now
            if alone_since and now - alone_since > LEAVE_SECONDS:
                break
            time.sleep(machines.POLL_SECONDS)
        status = ended if ended is not None else LEFT
    finally:
        machines.leave(folder, number, offer, status)  # first: machine 1 sees the end of our processes at once
        if child.poll() is None:
            stage_process.end(child)
        end_processes(mark)  # what the launcher may have left: its ranks have sessions of their own
    return status


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
