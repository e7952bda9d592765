"""Stages for tests of the worker: a counter on disk in place of a model, with checkpoints and exact resume.

The recipe steers them: `grpo.steps` steps; the environment variable FAKE_STEP_SECONDS is the pace, and a file
`misbehave` in the run folder holds what goes wrong: fail, oom, nan, disk (once), full (always), deaf, child, exit,
stuck (after the end).
"""

import atexit
import ctypes
import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from pipeline.errors import DatasetError
from pipeline.run import Run, Stopped
from pipeline.run_folder import CompletionRecord, GroupRecord

PACE = float(os.environ.get("FAKE_STEP_SECONDS", "0.02"))


def _prepare(run: Run) -> None:
    run.folder.data("sft").parent.mkdir(exist_ok=True)
    run.folder.data("sft").write_text("rows", encoding="utf-8")
    run.event("info", "Data: 10 rows.")


def _train(run: Run, steps: int) -> None:
    checkpoints = run.folder.checkpoints(run.stage)
    checkpoints.mkdir(parents=True, exist_ok=True)
    done = max((int(f.name) for f in checkpoints.iterdir() if f.suffix != ".half"), default=0)
    run.writer.drop_after(run.stage, done)
    for step in range(done + 1, steps + 1):
        time.sleep(PACE)
        _misbehave(run, step)
        run.metrics(step, {"reward/total": step / steps, "time/step_seconds": PACE})
        group = GroupRecord("1 + 1?", "2", [CompletionRecord(f"answer {step}", 3, False, {"exact": 1.0}, 1.0, 0.5)])
        run.writer.add_groups(run.stage, run.attempt, step, [group])
        run.progress(step, steps, "steps")
        stopping = run.stop_requested()
        if stopping or step % 5 == 0 or step == steps:
            half = checkpoints / f"{step}.half"
            half.write_text(str(step), encoding="utf-8")
            half.rename(checkpoints / str(step))
        if stopping:
            raise Stopped


def _misbehave(run: Run, step: int) -> None:
    file = run.folder.path / "misbehave"
    what = file.read_text(encoding="utf-8") if file.exists() else ""
    if not what or step != 3:
        return
    if what == "fail":
        raise DatasetError("No usable row is left: 10 had no answer. Choose the column of the answer.")
    if what == "oom":
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 24 GiB")
    if what == "nan":
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if what in ("disk", "full"):
        if what == "disk":
            file.unlink()
        raise OSError(errno.ENOSPC, "No space left on device")
    if what == "deaf":
        time.sleep(600)
    if what == "child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        (run.folder.path / "child").write_text(str(child.pid), encoding="utf-8")
        time.sleep(600)
    if what == "stuck":  # in a library that lets no thread of Python run, while Python ends
        atexit.register(ctypes.PyDLL(None).sleep, 600)
    if what == "exit":
        sys.exit(7)
    if what == "token":
        print("environment:", sorted(os.environ)[:3])
        raise RuntimeError(f"401 for token {os.environ['HF_TOKEN']}")


def _sft(run: Run) -> None:
    _train(run, 5)


def _grpo(run: Run) -> None:
    _train(run, run.recipe.grpo.steps)


def _merge(run: Run) -> None:
    run.check_stop()
    (run.folder.path / run.stage).write_text("merged", encoding="utf-8")


def _evaluate(run: Run) -> None:
    for i in range(int(run.request.get("questions", 3))):
        run.check_stop()
        time.sleep(PACE)
        run.progress(i + 1, 3, "questions")
    (Path(run.folder.path) / "evaluated").write_text(str(dict(run.request)), encoding="utf-8")


prepare = SimpleNamespace(prepare=_prepare)
sft = SimpleNamespace(sft=_sft)
merge = SimpleNamespace(merge_sft=_merge, merge_grpo=_merge)
grpo = SimpleNamespace(grpo=_grpo)
evaluate = SimpleNamespace(evaluate=_evaluate)
