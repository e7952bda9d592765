"""Two machines that share a run: two launchers that know of each other only through the run's folder."""

import contextlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from pipeline import cli, machines, run_queue, stage_process
from pipeline.errors import EngineError, RecipeError
from pipeline.recipe import Provenance, Recipe
from pipeline.run import Stopped
from pipeline.run_folder import RunReader
from pipeline.stages.grpo import grpo
from pipeline.studio_home import StudioHome
from tests.jobs.waiting import until

TWO = {"model": {"machines": 2}, "sft": {"enabled": False}}


@pytest.fixture
def second_machine(tmp_path):
    """`second_machine(folder)`: `join` as another machine would, which sees the folder elsewhere and has no home."""
    started = []

    def join(folder):
        mount = tmp_path / "mounted" / "there" / "run"
        mount.parent.mkdir(parents=True)
        mount.symlink_to(folder.path)
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HOME": str(tmp_path / "person")}
        environment.pop("REASONING_STUDIO_HOME", None)
        started.append(subprocess.Popen([sys.executable, "-m", "pipeline", "join", str(mount), "--json"], text=True,
                                        stdout=subprocess.PIPE, env=environment))
        return started[0]

    yield join
    for process in started:
        process.terminate()
        process.wait(20)
    for process in marked(tmp_path):
        process.kill()


def test_two_machines_share_a_step_stop_together_and_go_on(make_run, second_machine, tmp_path, monkeypatch):
    """2 x 8 answers in groups of 4 are 4 groups a step, written once. A stop that was asked for ends both after step 1,
    with a checkpoint; resumed, the second machine, which waited, joins again for the steps 2 and 3. It opens no
    database, neither where it sees the folder nor at home."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv(machines.ADDRESS, "127.0.0.1")
    run = make_run(**TWO, grpo={"steps": 3, "eval_every": 3, "eval_rows": 6})
    home = StudioHome(run.folder.path.parent.parent)
    home.add_run(run.folder.id, "two machines", "train")
    joined = second_machine(run.folder)
    home.ask_stop(run.folder.id)
    run.begin("grpo", 1)
    with pytest.raises(Stopped):
        grpo(run)
    home.clear_stop(run.folder.id)
    run.begin("grpo", 2)
    grpo(run)
    assert joined.wait(60) == 0
    document = json.loads(joined.stdout.read())
    assert document["stages"] == [{"stage": "grpo", "attempt": n, "status": 0} for n in (1, 2)]
    reader = RunReader(run.folder)
    assert [row["step"] for row in reader.metric("reward/total")] == [1, 2, 3]
    for step in (1, 2, 3):
        groups = reader.groups_at("grpo", step)
        assert len(groups) == 4 and len({group["prompt"] for group in groups}) == 4
        assert all(len(reader.completions_of(group["id"])) == 4 for group in groups)
    assert any(row["text"] == "Continues after step 1." for row in reader.events())
    assert [row["step"] for row in reader.metric("validation/reward/total")] == [3]
    rows = {row["key"]: row["value"] for row in reader.metrics() if row["step"] == 3}
    tokens = sum(c["tokens"] for group in reader.groups_at("grpo", 3) for c in reader.completions_of(group["id"]))
    assert rows["throughput/generated"] == pytest.approx(tokens / rows["time/generate_seconds"])  # of both ranks
    names = {file.name for file in run.folder.checkpoints("grpo").glob("checkpoint-2/rng*")}
    assert names == {"rng_state_0.pth", "rng_state_1.pth"} and run.folder.adapter("grpo").is_dir()
    assert not list((tmp_path / "mounted").rglob("studio.db")) and not (tmp_path / "person").exists()
    assert machines.offered(run.folder) is None


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize("victim", ["join", "launcher"])
def test_a_killed_machine_leaves_no_process_and_machine_1_is_told(make_run, second_machine, tmp_path, monkeypatch,
                                                                  victim):
    """`kill -9` of `join`, or of the launcher that it waits for, as soon as the launcher has started its rank, which
    has a process session of its own: the rank ends too, and machine 1 within seconds instead of at a timeout."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv(machines.ADDRESS, "127.0.0.1")
    run = make_run(**TWO)
    run.begin("grpo", 1)
    joined = second_machine(run.folder)
    seen = []

    def kill():
        seen.extend(until(lambda: found if len(found := marked(tmp_path)) > 1 else None))
        (psutil.Process(joined.pid) if victim == "join" else min(seen, key=lambda p: p.create_time())).kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(EngineError, match=r"Machine 2 \(.+\) has left this stage \(status (137|-9)\)"):
        grpo(run)
    killer.join(5)
    assert not psutil.wait_procs(seen, 10)[1]
    assert joined.poll() == -signal.SIGKILL if victim == "join" else joined.poll() is None  # which waits for the next


def marked(tmp_path):
    """The processes that `join` has started for a run here, and theirs."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(run_queue.MARK, "").startswith(f"join|{tmp_path}"):
                found.append(process)
    return found


def test_a_machine_that_leaves_ends_the_stage_with_words(make_run):
    """The offer is taken and left at once with status 130: rank 0, which would wait for ten minutes, is ended."""
    run = make_run(**TWO)
    run.begin("grpo", 1)
    leaver = threading.Thread(target=take_and_leave, args=(run.folder,), daemon=True)
    leaver.start()
    with pytest.raises(EngineError, match=r"Machine 2 \(.+\) has left this stage \(status 130\)"):
        grpo(run)
    leaver.join(5)
    assert machines.offered(run.folder) is None


@pytest.mark.parametrize(("kind", "text", "words"), [
    ("RuntimeError", "[gloo/transport/tcp/pair.cc:553] Connection closed by peer [192.0.2.7]:59282", "has left this"),
    ("RuntimeError", "CUDA out of memory. Tried to allocate 2.50 GiB.", "CUDA out of memory"),
    ("DatasetError", "No row is left.", "No row is left")])
def test_a_broken_connection_is_told_as_the_other_machine_s_end(make_run, monkeypatch, kind, text, words):
    """Rank 0 sees only that nobody answers; what another rank has said itself is kept."""
    run = make_run(**TWO)
    run.begin("grpo", 1)

    def broken(run, launcher, lost):
        machines.leave(run.folder, 2, machines.offered(run.folder), 1)
        stage_process.answer_file(run.folder, run.stage).write_text(json.dumps({"kind": kind, "text": text}))
        stage_process._raise_answer(run, 1, stage_process.answer_file(run.folder, run.stage))

    monkeypatch.setattr(machines, "_wait_for_others", lambda run, offer: None)
    monkeypatch.setattr(machines, "run_in_child", broken)
    with pytest.raises(Exception, match=words):
        grpo(run)


def take_and_leave(folder):
    while (offer := machines.offered(folder)) is None:
        time.sleep(0.05)
    machines.take(folder, 2, offer)
    machines.leave(folder, 2, offer, 130)


def test_a_run_that_waits_for_a_machine_says_for_which_and_hears_a_stop(make_run):
    run = make_run(**TWO)
    run.begin("grpo", 1)
    asked = iter([False, False, True])
    run.stop_requested = lambda: next(asked)
    with pytest.raises(Stopped):
        grpo(run)
    reader = RunReader(run.folder)
    assert reader.stages()[0]["message"] == "Waiting for 1 of 2 machines: the log has their command"
    assert f"on machine 2: python -m pipeline join {run.folder.path} --machine 2" in reader.events()[-1]["text"]


@pytest.mark.parametrize(("changes", "more", "words"), [
    ({}, (), "asks for 1 machine(s)"),
    ({"model": {"machines": 2}}, ("--machine", "3"), "--machine is between 2 and 2"),
    ({"model": {"machines": 2, "gpus": 2}}, (), "asks for 2 GPUs on each machine, and torch can use 0 here"),
    ({"model": {"machines": 2, "source": "/nowhere/model"}}, (), "must be there under the same name")])
def test_what_cannot_join_is_told_why(make_run, capsys, changes, more, words):
    folder = make_run(**changes).folder
    assert cli.main(["join", str(folder.path), *more, "--json"]) == 2
    assert words in json.loads(capsys.readouterr().out)["error"]


def test_a_machine_that_comes_when_all_is_trained_leaves_and_names_other_versions(make_run, capsys):
    run = make_run(**TWO)
    versions = {"trl": importlib.metadata.version("trl"), "accelerate": "0.1", "vllm": "0.26.0"}
    provenance = Provenance(created="2026-11-23", versions=versions)
    told = run.recipe.model_copy(update={"provenance": provenance})
    run.folder.recipe_file.write_text(told.to_yaml())
    run.folder.adapter("grpo").mkdir(parents=True)
    assert cli.main(["join", str(run.folder.path)]) == 0
    shown = capsys.readouterr()
    assert "and 0.1 on machine 1: install the same" in shown.err
    assert "trl is" not in shown.err and "vllm" not in shown.err
    assert "The training of this run is done" in shown.out


def test_no_run_and_a_number_that_is_taken_are_refused(make_run, tmp_path, capsys):
    assert cli.main(["join", str(tmp_path)]) == 2 and "is no run's folder" in capsys.readouterr().err
    folder = make_run(**TWO).folder
    offer = machines.Offer("one", "grpo", 1, "127.0.0.1", 1, 2, 1)
    machines._write(Path(folder.path, "machines", "offer.json"), vars(offer))
    machines.take(folder, 2, offer)
    assert cli.main(["join", str(folder.path)]) == 2 and "Machine 2 takes part already" in capsys.readouterr().err


def test_each_machine_s_launcher_is_what_accelerate_understands(make_run):
    """Its own parser reads the arguments: 2 machines with 4 GPUs each are 8 processes, and machine 2 has rank 1."""
    from accelerate.commands.launch import launch_command_parser

    _, *arguments = machines.Offer("one", "grpo", 1, "192.0.2.7", 4711, 2, 4).launcher(2)
    read = launch_command_parser().parse_args([*arguments, "-m", "pipeline.stage_process", "RUN"])
    assert (read.num_processes, read.num_machines, read.machine_rank) == (8, 2, 1)
    assert (read.main_process_ip, read.main_process_port, read.rdzv_backend) == ("192.0.2.7", 4711, "static")


def test_a_step_of_several_machines_must_divide_into_groups():
    """3 machines x 4 answers in groups of 8: 12 answers; with a batch of 8 there are 24."""
    with pytest.raises(RecipeError, match=r"batch size 4 x accumulation 1 x 3 GPU\(s\) = 12 .*set the batch size to 8"):
        Recipe.parse({"model": {"machines": 3}, "grpo": {"batch_size": 4, "accumulation": 1, "num_generations": 8}})
