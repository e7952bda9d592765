"""One stage of a run in a process of its own: `python -m pipeline.stage_process RUN STAGE ATTEMPT ANSWER`.

On a GPU every stage gets one: Unsloth and vLLM patch libraries while they are imported and keep GPU memory until their
process ends, and a crash for want of memory then ends the stage, not the worker. With several GPUs, `accelerate launch`
starts one such process per GPU; rank 0 alone writes to the run and hears stop requests.

How it ended, other than well, is in the JSON file ANSWER: stopped on request, or which error with which words.
"""

import contextlib
import errno
import gc
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline import errors
from pipeline.disk import LowDisk
from pipeline.errors import EngineError, RunError, StudioError
from pipeline.failures import KILLED, is_disk_full
from pipeline.recipe import ModelStep
from pipeline.run import Run, Stopped, never
from pipeline.run_folder import RunFolder, RunWriter
from pipeline.working_time import CLOCK

STOP_POLL_SECONDS = 0.5
END_GRACE_SECONDS = 5.0
DISK_FULL = 74  # exit status of a stage that met a full disk (EX_IOERR)
TEGRA = Path("/etc/nv_tegra_release")
REQUEST = "STUDIO_STAGE_REQUEST"  # what an evaluation, a dry run or Ask was asked for, as JSON
PART = "STUDIO_STAGE_PART"  # which of how many equal parts of the stage, as JSON
IS_CHILD = bool(os.environ.get("STUDIO_STAGE_PROCESS"))


class SilentWriter:
    """Stands where rank 0 has a `RunWriter`: takes every record and keeps none."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.failed_writes = 0

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def run_in_child(run: Run, launcher: list[str] | None = None, environment: dict[str, str] | None = None,
                 lost: Callable[[], str] | None = None) -> None:
    """Run the current stage in a child process and wait for it. `launcher` is put after `python -m`; `lost` says why
    the child waits in vain, when it does: then it is ended.

    Raises Stopped, the StudioError that ended the child, or EngineError with its exit status or the words of `lost`.
    """
    answer = answer_file(run.folder, run.stage)
    answer.unlink(missing_ok=True)
    told = {**environment_for(run.recipe.model, _asks_hub(run)),
            REQUEST: json.dumps(dict(run.request)), PART: json.dumps(run.part)}
    child = subprocess.Popen(command(run.folder, run.stage, run.attempt, launcher),
                             env={**os.environ, **told, **(environment or {})})
    why = ""
    try:
        while lost is not None and child.poll() is None and not (why := lost()):
            time.sleep(STOP_POLL_SECONDS)
        if not why:
            child.wait()
    finally:
        if child.poll() is None:
            end(child)
    if why and not answer.exists():
        raise EngineError(why)
    _raise_answer(run, child.returncode, answer)


def command(folder: RunFolder, stage: str, attempt: int, launcher: list[str] | None = None) -> list[str]:
    """The command of this module, behind a launcher where one is given."""
    module = [*(launcher or []), *(["-m"] if launcher else []), "pipeline.stage_process"]
    return [sys.executable, "-P", "-m", *module, str(folder.path), stage, str(attempt), str(answer_file(folder, stage))]


def answer_file(folder: RunFolder, stage: str) -> Path:
    """Where a stage's process leaves why it ended."""
    return folder.path / f"{stage}.answer.json"


def run_on_gpus(run: Run, gpus: int) -> None:
    """Run the current stage with one process per GPU of this machine."""
    run_in_child(run, gpu_launcher(gpus))


def gpu_launcher(processes: int, port: int | None = None,
                 machines: Sequence[str] = ("--num_machines", "1")) -> list[str]:
    """`accelerate launch` for so many processes, one per GPU, as arguments for `python -m`; nothing is left to a
    configuration file that a person may have."""
    return ["accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes), *machines,
            "--main_process_port", str(port or free_port()), "--mixed_precision", "no", "--dynamo_backend", "no"]


def free_port() -> int:
    """A port that nothing listens on. Of the fixed ones that the libraries try, two runs that start together take the
    same, and one of them fails."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


def main(arguments: list[str]) -> int:
    """Run one stage; the exit status is the module's answer."""
    folder, stage, attempt, answer = RunFolder(Path(arguments[0])), arguments[1], int(arguments[2]), Path(arguments[3])
    is_main = os.environ.get("RANK", "0") == "0"
    if stage == "sft" or (stage == "grpo" and not folder.recipe().model.vllm_sleep):
        keep_memory_whole()
    writer: Any = RunWriter(folder) if is_main else SilentWriter(folder)
    hears = stop_poll(folder) if is_main else never  # other ranks, perhaps on other machines, open no database
    run = Run(folder, folder.recipe(), writer, stop_requested=hears, stage=stage, attempt=attempt,
              request=json.loads(os.environ.get(REQUEST, "{}")), part=tuple(json.loads(os.environ.get(PART, "[0, 1]"))))
    from pipeline.stages import stage_work

    try:
        stage_work(stage)(run)
    except Stopped as stopped:  # status 0: a launcher would end the other ranks at the first that fails
        _tell(answer, stopped, is_main)
    except Exception as error:
        if is_disk_full(error):  # the answer would not fit either
            traceback.print_exc()
            return DISK_FULL
        _tell(answer, error)
        raise
    finally:
        writer.close()
        gc.freeze()  # see worker.py
    return 0


def stop_poll(folder: RunFolder) -> Callable[[], bool]:
    """Whether a stop of this run was asked for; looks into the home at most twice a second and remembers a yes.

    While the disk is full it waits, as the worker's own stages do: training pauses exactly where it may stop. The page
    is told by the worker, which looks at the same disk.
    """
    from pipeline.studio_home import StudioHome

    home, disk = StudioHome(folder.path.parent.parent), LowDisk(folder.path)
    state = {"asked": False, "looked": 0.0}

    def look() -> bool:
        state["looked"] = time.monotonic()
        with contextlib.suppress(RunError):  # studio.db cannot be read for a moment, as on a full disk
            state["asked"] = home.stop_presses(folder.id) > 0
        return bool(state["asked"]) or disk.problem() is None

    def asked() -> bool:
        if not state["asked"] and time.monotonic() - state["looked"] >= STOP_POLL_SECONDS:
            with CLOCK.paused():
                while not look():
                    time.sleep(STOP_POLL_SECONDS)
        return bool(state["asked"])

    return asked


def _asks_hub(run: Run) -> bool:
    """Whether the stage takes more from the Hub than the recipe's model: other models and questions to compare."""
    if run.stage != "evaluate":
        return False
    from pipeline.evaluation import EvaluationRequest, asks_hub

    return asks_hub(EvaluationRequest.of(run.recipe, run.request))


def _tell(answer: Path, error: Exception, is_main: bool = True) -> None:
    """Leave the answer. Of several ranks the first to fail has the cause: the others only miss it then."""
    if not is_main:
        return
    kind = type(error).__name__
    text = str(error).strip() or kind
    with contextlib.suppress(FileExistsError), answer.open("x", encoding="utf-8") as file:
        file.write(json.dumps({"kind": kind, "module": type(error).__module__, "text": text[-4000:]}))


def _raise_answer(run: Run, status: int, answer: Path) -> None:
    if status == DISK_FULL:
        raise OSError(errno.ENOSPC, "No space left on device")
    told = json.loads(answer.read_text()) if answer.is_file() else None
    answer.unlink(missing_ok=True)
    if status == 0 and told is None:
        return
    if told["kind"] == Stopped.__name__ if told else run.stop_requested():
        raise Stopped
    if told is None and status == -signal.SIGKILL:
        raise EngineError(f"The process of stage {run.stage} was {KILLED}.")
    if told is None:
        raise EngineError(f"The process of stage {run.stage} ended without a word (status {status}): the log says "
                          "more. If the machine ran out of memory, lower the batch size or the longest answer.")
    known = getattr(errors, told["kind"], None)
    if isinstance(known, type) and issubclass(known, StudioError):
        raise known(told["text"])
    raise RuntimeError(f"{told['kind']}: {told['text']}")


def end(child: "subprocess.Popen[bytes]") -> None:
    """End a child, and with it what it launched; after a moment not in good part."""
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(END_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


def keep_memory_whole() -> None:
    """Let torch's memory grow in place (https://docs.pytorch.org/docs/stable/notes/cuda.html#memory-management).

    Texts of ever other lengths leave holes in it: SFT of a model of 135 million parameters held 38, 44 and 63 GiB of an
    H200 in three runs of one recipe, where texts that all fill the length need 39 by the estimate. Before torch is
    imported; what is set already stays. vLLM bears it (Unsloth sets it too), its sleep does not, nor do WSL and Tegra.
    """
    cannot = "microsoft" in platform.release().lower() or TEGRA.exists()
    chosen = {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & set(os.environ)
    if sys.platform == "linux" and not cannot and not chosen:
        os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"


def environment_for(model: ModelStep, asks_hub: bool = False) -> dict[str, str]:
    """What the child is told. A model in a folder needs nothing from the Hub, and vLLM and Unsloth would ask anyway:
    they may where the stage itself asks for something there."""
    told = {**python_path(), "STUDIO_STAGE_PROCESS": "1", "TOKENIZERS_PARALLELISM": "false",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    local = model.source == "tiny" or Path(model.source).is_dir()
    return told | ({"HF_HUB_OFFLINE": "1"} if local and not asks_hub else {})


def python_path() -> dict[str, str]:
    """PYTHONPATH with this project in front, for a child that may work in another folder."""
    here = str(Path(__file__).resolve().parent.parent)
    return {"PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
