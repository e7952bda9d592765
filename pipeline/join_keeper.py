"""The keeper of `join`: a small process beside it that ends its training processes when it dies, however it dies.

Each rank has a process session of its own (torch's launcher gives it one), so neither the end of `join` nor that of the
launcher ends it; what it is known by is the mark in its environment. Machine 1 is told, so that its own ranks do not
wait for ours. See keeper.py for the same beside a worker, and why it is a process.
"""

import os
import signal
import sys
import time
from pathlib import Path

from pipeline import machines
from pipeline.keeper import POLL_SECONDS, end_processes
from pipeline.run_folder import RunFolder

KILLED = 128 + signal.SIGKILL  # the status that machine 1 is told, as a shell would
ROUNDS = 3  # a launcher may start a rank while it is being ended


def watch(folder: RunFolder, number: int, join: int, mark: str) -> None:
    """Stay until `join` (a pid) is gone; what it has ended and told itself is done already."""
    while os.getppid() == join:
        time.sleep(POLL_SECONDS)
    for _ in range(ROUNDS):
        if not end_processes(mark):
            break
        time.sleep(POLL_SECONDS)
    machines.leave_for(folder, number, join, KILLED)


def main(arguments: list[str]) -> None:
    """`python -m pipeline.join_keeper FOLDER NUMBER JOIN_PID MARK`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    folder, number, join, mark = arguments
    watch(RunFolder(Path(folder)), int(number), int(join), mark)


if __name__ == "__main__":
    main(sys.argv[1:])
