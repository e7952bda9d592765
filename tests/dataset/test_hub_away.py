"""Questions of the Hub that cannot be had are told before any work, in seconds, with words that help."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import jobs, run_queue
from pipeline.dataset.sources import check_at_hand
from pipeline.errors import DatasetError
from pipeline.evaluation import EvaluationRequest, asks_hub
from pipeline.recipe import Recipe
from pipeline.stage_process import environment_for
from pipeline.studio_home import StudioHome
from tests.dataset.hub_stand_in import COMMIT, environment, serve

PROJECT = Path(__file__).resolve().parents[2]
ROWS = "".join(json.dumps({"question": f"What is {i} + 1?", "answer": str(i + 1)}) + "\n" for i in range(30)).encode()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(run_queue, "advance", lambda home: [])
    return StudioHome(tmp_path / "home")


def recipe(*benchmarks: str, **evaluate) -> Recipe:
    return Recipe.parse({"name": "A run", "data": {"source": "demo"},
                         "evaluate": {"benchmarks": ["test", *benchmarks], **evaluate}})


def test_a_benchmark_that_is_not_here_is_told_when_start_is_pressed(home):
    """The tests run with HF_HUB_OFFLINE: nothing is asked, no run is made, and the words hold the way out."""
    began = time.monotonic()
    with pytest.raises(DatasetError, match="is not kept on this machine") as told:
        jobs.start(home, recipe("gsm8k"))
    assert time.monotonic() - began < 20  # most of it is the import of `datasets`
    assert "HF_HUB_OFFLINE" in str(told.value) and "upload a file" in str(told.value)
    assert "datasets.load_dataset('openai/gsm8k', 'main')" in str(told.value)
    assert not home.known_runs() and not list(home.runs_dir.iterdir())


def test_a_run_that_compares_nothing_afterwards_needs_no_benchmark(home):
    assert home.known_runs() == [] and jobs.start(home, recipe("gsm8k", enabled=False))


def test_a_benchmark_that_is_not_here_is_told_when_evaluate_is_pressed(home):
    run = jobs.start(home, recipe())
    home.write("DELETE FROM queue")
    with pytest.raises(DatasetError, match="HuggingFaceH4/MATH-500"):
        jobs.submit(home, "evaluate", run, request={"benchmarks": ["test", "math500"]})
    assert not run_queue.waiting(home)


def test_what_is_here_is_not_asked_for(home, tmp_path, monkeypatch):
    """The file of a benchmark under REASONING_STUDIO_DATA, a file, the demo's problems, a task of Reasoning Gym."""
    file = tmp_path / "gsm8k" / "test.jsonl"
    file.parent.mkdir()
    file.write_bytes(ROWS)
    monkeypatch.setenv("REASONING_STUDIO_DATA", str(tmp_path))
    check_at_hand(["gsm8k", "demo", str(file), "reasoning-gym:chain_sum"])
    assert jobs.start(home, recipe("gsm8k", str(file)))


@pytest.mark.parametrize("name", ["gsm9k", "data/missing.jsonl", "/missing/rows.jsonl", "~nobody-here/rows.jsonl",
                                  "a\0b", "x" * 5000])
def test_a_name_that_means_nothing_is_told_when_start_is_pressed(home, name):
    with pytest.raises(DatasetError, match="There is no dataset"):
        jobs.start(home, recipe(name))


@pytest.mark.parametrize("name", ["me/$(touch x)", "me/a`b`", "me/a' + 'b", 'me/a"b', "me/a;b", "-o/me"])
def test_no_command_is_given_for_a_name_that_a_shell_would_take_apart(name):
    """Recipes are passed on: what a message says to paste must not be somebody else's command."""
    with pytest.raises(DatasetError) as told:
        check_at_hand([name])
    assert "python -c" not in str(told.value) and "upload a file" in str(told.value)


RUN = """
import json, sys, time
from pipeline.dataset import hub_reach
from pipeline.dataset.prepare import load_benchmark
from pipeline.dataset.sources import check_at_hand, open_named
hub_reach.AGAIN_SECONDS = 0.1
commit = sys.argv[1]
for name in ("me/sums", "openai/gsm8k"):
    for work in (lambda: check_at_hand([name]), lambda: len(load_benchmark(name)),
                 lambda: open_named(name, revision=commit).notes, lambda: open_named(name, revision="abcdef0123")):
        began = time.monotonic()
        try:
            found = work()
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        print(json.dumps([found, time.monotonic() - began]))
"""


def python(code: str, variables: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, "-c", code, COMMIT], capture_output=True, text=True, timeout=200,
                          cwd=PROJECT, env=os.environ | variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_a_network_the_kept_copy_is_read_and_the_other_is_told_within_seconds(tmp_path):
    """A dataset is kept with the command that the sentence gives, from a stand-in of the Hub. Then nothing listens at
    the Hub's address: what is kept is read, and of the other is told, by the real libraries, in under 10 seconds each
    (`datasets` alone takes 24: it asks six times)."""
    folder = str(tmp_path / "hf")
    with pytest.raises(DatasetError) as told:
        check_at_hand(["me/sums"])
    command = shlex.split(re.search(r"(python -c .*)$", str(told.value))[1])
    with serve({"me/sums": {"train.jsonl": ROWS, "test.jsonl": b"".join(ROWS.splitlines(True)[:5])}}) as (address, _):
        python(command[2], environment(address, folder))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    out = python(RUN, environment(f"http://127.0.0.1:{port}", folder))
    results = [json.loads(line) for line in out.splitlines()]
    assert [found for found, _ in results[:2]] == [None, 5]
    assert results[2][0] == [f"The Hub does not answer: these rows are of the copy on this machine, commit {COMMIT}."]
    assert "'me/sums', revision 'abcdef0123', is not kept" in results[3][0]  # no other commit in its place
    assert results[3][0].endswith("load_dataset('me/sums', revision='abcdef0123')\"")
    for found, _ in results[4:6]:
        assert found.startswith("DatasetError: The dataset 'openai/gsm8k' is not kept on this machine, and the Hugging "
                                "Face Hub cannot be reached. Check the network; or choose another, upload a file")
    assert all(seconds < 10 for _, seconds in results), results


def test_a_stage_process_may_ask_the_hub_for_questions_and_models_of_an_evaluation(monkeypatch):
    """A local model needs nothing from the Hub, and its process is kept from asking; not so GSM8K, or a second model.
    """
    local = Recipe().model
    assert local.source == "tiny" and environment_for(local)["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in environment_for(local, asks_hub=True)
    asked = [asks_hub(EvaluationRequest(models=["base", "grpo/checkpoint-5", model], benchmarks=["test", questions]))
             for model, questions in [("sft", "demo"), ("sft", "gsm8k"), ("me/model", "demo"), (str(PROJECT), "demo")]]
    assert asked == [False, True, True, False]
