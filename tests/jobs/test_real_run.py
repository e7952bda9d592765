"""A real run of the bundled model: stopped, killed and resumed, it ends with the weights of an undisturbed run."""

import os
import signal

import pytest
from waiting import at_step, until, until_state, worker_of

from benchmarks.soak_kills import recipe, steps_once, weights
from pipeline import jobs
from pipeline.studio_home import StudioHome


@pytest.mark.timeout(280)
def test_a_stopped_and_a_killed_run_end_bit_equal_to_an_undisturbed_one(
        home: StudioHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapters and merged models of SFT and GRPO have equal hashes, and every step is recorded once."""
    monkeypatch.delenv("REASONING_STUDIO_STAGES")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    undisturbed = jobs.start(home, recipe(4, 16))
    until_state(home, undisturbed, "finished", seconds=120)
    run_id = jobs.start(home, recipe(4, 16))
    until(at_step(home, run_id, 3, "grpo"), seconds=60)
    jobs.stop(home, run_id)
    stopped = until_state(home, run_id, "stopped", seconds=30)
    assert 3 <= stopped.done < 15
    jobs.resume(home, run_id)
    until(at_step(home, run_id, stopped.done + 1, "grpo"), seconds=60)
    os.kill(worker_of(home, run_id), signal.SIGKILL)
    until_state(home, run_id, "interrupted", seconds=3)
    jobs.resume(home, run_id)
    until_state(home, run_id, "finished", seconds=120)
    assert steps_once(home, run_id)
    found = weights(home, run_id)
    assert len(found) == 4 and found == weights(home, undisturbed)
