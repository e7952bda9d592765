"""A stage in processes of its own: one, and two ranks that share a step (GRPO with two is in test_machines.py)."""

import resource
import signal
import socket
from dataclasses import replace

import pytest

from pipeline import stage_process
from pipeline.dataset.chat import ChatTokenizer
from pipeline.engines.training_rows import sft_examples
from pipeline.errors import DatasetError, EngineError, RunError
from pipeline.failures import OUT_OF_MEMORY, explain
from pipeline.run_folder import RunReader
from pipeline.stage_process import gpu_launcher, run_in_child, stop_poll
from pipeline.studio_home import StudioHome

TWO_RANKS = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def test_two_ranks_learn_from_all_examples_of_a_step_and_write_once(make_run):
    """2 ranks x 4 examples: 24 rows are 3 steps, each recorded once, with the tokens of both ranks."""
    run = make_run(sft={"max_steps": 3, "eval_every": 3})
    run.begin("sft", 1)
    run_in_child(run, TWO_RANKS, ONE_THREAD)
    reader = RunReader(run.folder)
    assert [row["step"] for row in reader.metric("sft/loss")] == [1, 2, 3]
    assert [row["step"] for row in reader.metric("sft/eval_loss")] == [3]
    seconds = {row["step"]: row["value"] for row in reader.metric("time/step_seconds")}
    tokens = sum(row["value"] * seconds[row["step"]] for row in reader.metric("throughput/learnt"))
    everything = sum(len(e["input_ids"]) for e in sft_examples(run, ChatTokenizer.load("tiny"), "sft"))
    assert tokens == pytest.approx(everything)
    assert run.folder.adapter("sft").is_dir()


def test_the_launcher_for_several_gpus_is_what_accelerate_understands():
    """Its own parser reads the arguments; what would be asked of a person's configuration file is all given."""
    from accelerate.commands.launch import launch_command_parser

    module, *arguments = gpu_launcher(2)
    assert module == "accelerate.commands.launch"
    read = launch_command_parser().parse_args([*arguments, "-m", "pipeline.stage_process", "RUN"])
    assert (read.multi_gpu, read.num_processes, read.num_machines, read.module) == (True, 2, 1, True)
    assert read.training_script == "pipeline.stage_process" and read.training_script_args == ["RUN"]
    assert (read.mixed_precision, read.dynamo_backend) == ("no", "no") and read.main_process_port


@pytest.mark.parametrize(("given", "release", "set_to"), [
    ({}, "6.1.0-generic", "expandable_segments:True"), ({}, "5.15.90.1-microsoft-standard-WSL2", None),
    ({"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64"}, "6.1.0-generic", None)])
def test_memory_grows_in_place_where_cuda_can_and_nobody_chose_otherwise(given, release, set_to, monkeypatch):
    monkeypatch.setattr(stage_process.os, "environ", dict(given))
    monkeypatch.setattr(stage_process.platform, "release", lambda: release)
    stage_process.keep_memory_whole()
    assert stage_process.os.environ.get("PYTORCH_ALLOC_CONF") == set_to


def test_the_first_rank_that_fails_says_why_and_a_killed_one_ran_out_of_memory(make_run, tmp_path):
    """When one rank is out of memory, the others fail for want of it; the system's kill leaves no words at all."""
    answer = tmp_path / "answer.json"
    stage_process._tell(answer, RuntimeError("CUDA out of memory. Tried to allocate 2.50 GiB."))
    stage_process._tell(answer, RuntimeError("NCCL error: remote process exited"))
    run = make_run()
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        stage_process._raise_answer(run, 1, answer)
    with pytest.raises(EngineError, match="killed by the system") as caught:
        stage_process._raise_answer(run, -signal.SIGKILL, answer)
    assert explain(caught.value, run.recipe, "grpo").kind == OUT_OF_MEMORY


def test_runs_that_start_together_get_ports_of_their_own(make_run):
    """TRL and accelerate try fixed ports, and the second of two runs on one machine found them taken."""
    run = make_run()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ports = [int(stage_process.environment_for(run.recipe.model)["MASTER_PORT"]) for _ in range(5)]
        assert taken.getsockname()[1] not in ports
    for port in set(ports):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))


def test_what_failed_in_the_child_is_raised_here_in_its_own_words(make_run):
    run = make_run()
    run.folder.data("sft").unlink()
    run.begin("sft", 1)
    with pytest.raises(Exception, match=r"sft\.parquet") as caught:
        run_in_child(run, environment=ONE_THREAD)
    assert isinstance(caught.value, (DatasetError, RuntimeError))
    assert not list(run.folder.path.glob("*.answer.json"))


def test_a_part_of_a_stage_reports_its_progress_within_the_whole(make_run):
    """The second of three equal parts lies between 1/3 and 2/3 of the whole: 3,000 rows are told as 9,000."""
    run = make_run()
    run.begin("prepare", 1)
    run_in_child(replace(run, part=(1, 3)))
    row = RunReader(run.folder).stages()[0]
    assert row["total"] == 9000 and 3000 < row["done"] <= 6000


def test_a_child_waits_where_it_may_stop_while_the_disk_is_full(make_run, monkeypatch):
    """The limit is raised above what the disk has: the poll comes back when it is lowered, or a stop is asked for."""
    run = make_run()
    home = StudioHome(run.folder.path.parent.parent)
    home.add_run(run.folder.id, "full disk", "train")
    ends = [lambda: monkeypatch.setenv("REASONING_STUDIO_MIN_FREE_MB", "0"), lambda: home.ask_stop(run.folder.id)]
    for end, stopped in zip(ends, (False, True), strict=True):
        monkeypatch.setenv("REASONING_STUDIO_MIN_FREE_MB", "1e12")
        waited = []

        def wait(seconds, end=end, waited=waited):
            waited.append(seconds)
            if len(waited) == 3:
                end()

        monkeypatch.setattr(stage_process.time, "sleep", wait)
        assert stop_poll(run.folder)() is stopped
        assert len(waited) == 3


def test_a_home_that_cannot_be_read_for_a_moment_is_looked_at_again(make_run, monkeypatch):
    """studio.db is no database for a while: the poll says no, does not raise, and hears the stop afterwards."""
    monkeypatch.setattr(stage_process, "STOP_POLL_SECONDS", 0)
    run = make_run()
    home = StudioHome(run.folder.path.parent.parent)
    asked = stop_poll(run.folder)
    whole = home.database.read_bytes()
    home.database.write_bytes(b"no database at all, " * 100)
    with pytest.raises(RunError, match="cannot be read"):
        home.stop_presses(run.folder.id)
    with pytest.raises(RunError, match="could not be written"):
        home.ask_stop(run.folder.id)
    assert asked() is False
    home.database.write_bytes(whole)
    home.ask_stop(run.folder.id)
    assert asked() is True


def test_a_full_disk_in_the_child_is_a_full_disk_here(make_run):
    """Its files may not grow (as on a full disk) when the adapter is written: the worker gets the same OSError."""
    run = make_run(lora={"rank": 64})
    run.begin("sft", 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))  # passed on to the child
    try:
        with pytest.raises(OSError, match="No space left"):
            run_in_child(run, environment=ONE_THREAD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
