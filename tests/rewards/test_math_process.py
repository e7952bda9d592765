"""The scoring process: what it does when it is killed, starved, without its library, or left by its parent."""

import json
import os
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

from pipeline.errors import RewardError
from pipeline.rewards import answers, math_process
from pipeline.rewards.answers import compare, lenient_match, same_answer
from pipeline.rewards.base import Item
from pipeline.rewards.correct import chosen_answer
from pipeline.tags import SCHEMES


def test_a_killed_scoring_process_is_replaced_and_a_timeout_is_none_and_counted() -> None:
    """The processor-time limit settles that a pair is hopeless, on every machine; then the next pairs are compared."""
    process = math_process.MathProcess(wall_seconds=30)
    try:
        assert process.equal("1+1", "2") is True
        for number in range(1, 4):
            assert process.compare("9^{9^{9^9}}", "7") == math_process.Verdict(None, starved=False)
            assert process.timeouts == number
            assert process.equal("2^3", "8") is True
        process._child._process.kill()  # type: ignore[union-attr]
        assert process.equal("2^4", "16") is True
    finally:
        process.close()


def test_the_wall_clock_ends_a_comparison_that_gets_no_processor_time_and_blames_the_machine() -> None:
    """A stopped process is one that a busy machine never runs: the pair is not settled, and not remembered."""
    process = math_process.MathProcess()
    try:
        assert process.equal("1+1", "2") is True
        os.kill(process._child.answering, signal.SIGSTOP)  # type: ignore[union-attr]
        assert process.compare("2^3", "8") == math_process.Verdict(None, starved=True)
        assert process.starved == process.timeouts == 1
        process.wall_seconds = 30.0
        assert process.equal("2^3", "8") is True
    finally:
        process.close()


def test_a_pair_that_was_starved_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at once, for several rewards ask about the same pair; but 10 s later."""
    asked: list[str] = []

    class Busy:
        def compare(self, given: str, reference: str) -> math_process.Verdict:
            asked.append(given)
            return math_process.Verdict(True) if len(asked) > 1 else math_process.Verdict(None, starved=True)

    monkeypatch.setattr(math_process, "SHARED", Busy())
    assert compare("2^3+0.5", "8.5") is None and compare("2^3+0.5", "8.5") is None and len(asked) == 1
    now = time.monotonic()
    monkeypatch.setattr(answers, "_starved", dict.fromkeys(answers._starved, now))
    assert compare("2^3+0.5", "8.5") is True and compare("2^3+0.5", "8.5") is True and len(asked) == 2


def test_hopeless_pairs_in_one_completion_cost_the_time_of_one() -> None:
    """Many answer tags that must agree, and the three ends of a text that a lenient match looks at."""
    same_answer("1+1", "2")
    many = [f"9^{{9^{{9^{{{i}}}}}}}" for i in range(10, 30)]
    item = Item("".join(f"<answer>{text}</answer>" for text in many), "7", "", SCHEMES["reasoning"])
    started = time.perf_counter()
    assert chosen_answer(item, "agree") == ("the 20 answers do not agree", None)
    assert time.perf_counter() - started < 0.1
    before = math_process.SHARED.timeouts
    assert not lenient_match("\\boxed{9^{99999999991}}\nit is 9^{99999999992}", "x+7")
    assert math_process.SHARED.timeouts == before + 1


ELSEWHERE = """
import sys
from pipeline.errors import RewardError
from pipeline.rewards import math_process, same_answer
if sys.argv[1:]:
    math_process.library_folders = lambda: []
try:
    print(same_answer("10+5", "15"), same_answer("10+5", "16"))
except RewardError as error:
    print(error)
"""


@pytest.mark.parametrize(("given", "printed"), [([], "True False"), (["nowhere"], "cannot be loaded: run `pip")])
def test_libraries_that_only_the_environment_knows_are_found_and_missing_ones_told(
        tmp_path: Path, given: list[str], printed: str) -> None:
    """As with PYTHONPATH or `pip install --user`: a Python with no packages of its own, told of them from outside."""
    venv.create(tmp_path / "bare", symlinks=True)
    packages = [str(Path(__file__).resolve().parents[2]), str(Path(pytest.__file__).resolve().parents[1])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(packages)}
    done = subprocess.run([tmp_path / "bare" / "bin" / "python", "-c", ELSEWHERE, *given], capture_output=True,
                          text=True, timeout=120, env=env, check=True)
    assert printed in done.stdout


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math_process, "LIBRARIES", ("math_verify", "no_such_library"))
    with pytest.raises(RewardError, match=r"no_such_library.*pip install -r requirements.txt"):
        math_process.MathProcess().start()


def test_a_library_that_cannot_be_loaded_is_not_tried_again_at_once(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try takes a third of a second, and a step may ask hundreds of times."""
    (tmp_path / "child.py").write_text("raise ImportError('its parser is of another version')")
    monkeypatch.setattr(math_process, "CHILD", tmp_path / "child.py")
    process, made, child = math_process.MathProcess(), [], math_process.Child
    monkeypatch.setattr(math_process, "Child", lambda: made.append(1) or child())
    for _ in range(3):
        with pytest.raises(RewardError, match="cannot be loaded"):
            process.compare("10+5", "15")
    assert len(made) == 1
    monkeypatch.setattr(math_process, "BROKEN_SECONDS", -1.0)
    process.close()  # and so do `BROKEN_SECONDS`
    for _ in range(2):
        with pytest.raises(RewardError, match="cannot be loaded"):
            process.compare("10+5", "15")
    assert len(made) == 3


COUNT_STEPS = """
import json, logging, os, sys
logging.disable(logging.CRITICAL)
from antlr4.atn.ParserATNSimulator import ParserATNSimulator as Parser
from pipeline.rewards import math_child
learn, steps = Parser.computeTargetState, []
Parser.computeTargetState = lambda *given: (steps.append(1), learn(*given))[1]
def count(pair):
    steps.clear()
    math_child.compare(*pair)
    return len(steps)
for warm_up in ((), math_child.WARM_UP):
    for pair in warm_up:
        math_child.compare(*pair)
    for pair in json.loads(sys.argv[1]):
        if os.fork() == 0:
            print(count(pair), flush=True)
            os._exit(0)
        os.wait()
"""


def test_the_parser_knows_usual_shapes_before_the_first_comparison() -> None:
    """It learns, step by step, how to go on after each kind of token: milliseconds for each, and on a busy machine tens
    of them, so that a pair would have no score. Counted in fresh forks; a sixth of the steps is left at most."""
    pairs = [("98_765", "98765"), ("7(8+9)", "119"), ("18+6-3", "21"), (r"\frac{5\sqrt{2}}{3}", "7")]
    done = subprocess.run([sys.executable, "-c", COUNT_STEPS, json.dumps(pairs)], capture_output=True, text=True,
                          timeout=120, check=True)
    steps = [int(line) for line in done.stdout.split()]
    cold, warm = steps[:len(pairs)], steps[len(pairs):]
    assert min(cold) >= 4 and sum(warm) <= sum(cold) / 6, (cold, warm)
    assert warm[0] == 0, "an underscore between digits is an index to the parser"


def test_the_scoring_process_imports_no_torch_and_ends_with_its_parent() -> None:
    code = ("import sys, pipeline.rewards\n"
            "from pipeline.rewards import math_process, same_answer\n"
            "assert same_answer('2^3', '8')\n"
            "assert 'torch' not in sys.modules and 'sympy' not in sys.modules and 'gradio' not in sys.modules\n"
            "print(math_process.SHARED._child.pid, math_process.SHARED._child.answering, flush=True)\n"
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    pids, end = [int(pid) for pid in done.stdout.split()], time.monotonic() + 30
    while any(map(_alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert len(pids) == 2 and not any(map(_alive, pids)), done.stderr


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return os.path.exists("/proc/self/stat") is False
    except ProcessLookupError:
        return False
