"""A stage in processes of its own: one, and two ranks that share a step."""

import pytest

from pipeline.errors import DatasetError
from pipeline.run import Stopped
from pipeline.run_folder import RunReader
from pipeline.stage_process import run_in_child
from pipeline.studio_home import StudioHome

TWO_RANKS = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def test_two_ranks_record_one_another_s_groups_once_and_hear_a_stop_together(make_run):
    """2 ranks x 8 answers in groups of 4 are 4 groups a step, written once; a stop request that is there from the
    start ends both ranks after step 1, with a checkpoint; resumed, steps 2 to 4 follow."""
    run = make_run(sft={"enabled": False}, grpo={"steps": 3})
    home = StudioHome(run.folder.path.parent.parent)
    home.add_run(run.folder.id, "two ranks", "train")
    home.ask_stop(run.folder.id)
    run.begin("grpo", 1)
    run.stop_requested = lambda: home.stop_presses(run.folder.id) > 0
    with pytest.raises(Stopped):
        run_in_child(run, TWO_RANKS, ONE_THREAD)
    home.clear_stop(run.folder.id)
    run.begin("grpo", 2)
    run_in_child(run, TWO_RANKS, ONE_THREAD)
    reader = RunReader(run.folder)
    assert [row["step"] for row in reader.metric("reward/total")] == [1, 2, 3]
    for step in (1, 2, 3):
        groups = reader.groups_at("grpo", step)
        assert len(groups) == 4
        assert len({group["prompt"] for group in groups}) == 4
        assert all(len(reader.completions_of(group["id"])) == 4 for group in groups)
    assert run.folder.adapter("grpo").is_dir()


def test_what_failed_in_the_child_is_raised_here_in_its_own_words(make_run):
    run = make_run()
    run.folder.data("sft").unlink()
    run.begin("sft", 1)
    with pytest.raises(Exception, match=r"sft\.parquet") as caught:
        run_in_child(run, environment=ONE_THREAD)
    assert isinstance(caught.value, (DatasetError, RuntimeError))
    assert not list(run.folder.path.glob("*.answer.json"))
