"""Escape and exhaustion attempts on custom code: each fails inside its limits, and the next batch is scored."""

import os
import threading
import time
from pathlib import Path

import psutil
import pytest

from pipeline import custom_code, jobs
from pipeline.errors import RecipeError, RewardError
from pipeline.recipe import Recipe, RewardSpec, RewardsStep
from pipeline.rewards import RewardSet
from pipeline.rewards.base import Item
from pipeline.rewards.custom import TEMPLATE, Custom, CustomReward, check_code
from pipeline.studio_home import StudioHome
from pipeline.tags import SCHEMES

LIMITS = Custom(seconds=0.2, memory_mb=32)
SCHEME = SCHEMES["reasoning"]
WALL_SECONDS = 15  # far above the limits: the machine may be busy

BODIES = {  # what the body of score(completion, reference, prompt) tries
    # files
    "open a file": "return len(open('/etc/passwd').read())",
    "write a file": "open('CANARY', 'w').write('x')\nreturn 1.0 * nothing",
    "list a folder": "import os\nreturn len(os.listdir('/'))",
    "pathlib read": "from pathlib import Path\nreturn len(Path('/etc/hosts').read_text())",
    "pathlib write": "from pathlib import Path\nPath('CANARY').write_text('x')\nreturn 'no'",
    "walk the disk": "import os\nreturn next(os.walk('/'))",
    "read own process": "return open('/proc/self/environ').read()",
    "io open": "import io\nreturn io.open('/etc/passwd').read()",
    "os open": "import os\nreturn os.open('/etc/passwd', 0)",
    "remove a file": "import os\nos.remove('CANARY')\nreturn 'gone'",
    "glob": "import glob\nreturn len(glob.glob('/*'))",
    "tempfile": "import tempfile\nreturn tempfile.mkdtemp()",
    # environment and processes
    "environment": "import os\nreturn os.environ['SECRET_OF_THE_TEST']",
    "getenv": "import os\nreturn os.getenv('SECRET_OF_THE_TEST')",
    "system": "import os\nreturn os.system('touch CANARY')",
    "popen": "import os\nreturn os.popen('id').read()",
    "subprocess": "import subprocess\nreturn subprocess.run(['id'])",
    "fork": "import os\nreturn [os.fork() for _ in range(9)]",
    "kill the parent": "import os\nos.kill(os.getppid(), 9)\nreturn 'killed'",
    "exit": "import sys\nsys.exit(0)",
    "raise SystemExit": "raise SystemExit(1)",
    "os _exit": "import os\nos._exit(1)",
    "threads": "import threading\nthreading.Thread(target=print).start()\nreturn 'started'",
    "signal": "import signal\nsignal.alarm(1)\nreturn 'alarm'",
    # network
    "socket": "import socket\nreturn socket.create_connection(('127.0.0.1', 1))",
    "urllib": "import urllib.request\nreturn urllib.request.urlopen('http://127.0.0.1:1').read()",
    "requests": "import requests\nreturn requests.get('http://127.0.0.1:1').text",
    "asyncio": "import asyncio\nreturn asyncio.open_connection('127.0.0.1', 1)",
    # imports and builtins
    "import the project": "import pipeline\nreturn pipeline.__file__",
    "import torch": "import torch\nreturn torch.zeros(1)",
    "importlib": "import importlib\nreturn importlib.import_module('os').getcwd()",
    "dunder import": "return __import__('os').getcwd()",
    "ctypes": "import ctypes\nreturn ctypes.string_at(0)",
    "pickle": "import pickle\nreturn pickle.loads(b'cos\\nsystem\\n(S\"id\"\\ntR.')",
    "eval": "return eval('__import__(\"os\").getcwd()')",
    "exec": "exec('import os')\nreturn 'ran'",
    "compile": "return compile('1', 'x', 'eval')",
    "globals": "return globals()['__builtins__']",
    "builtins module": "import builtins\nreturn builtins.open('/etc/passwd')",
    "inspect": "import inspect\nreturn inspect.currentframe().f_back",
    "gc": "import gc\nreturn gc.get_objects()",
    # attribute walks
    "class walk": "return ().__class__.__bases__[0].__subclasses__()",
    "mro walk": "return ''.__class__.__mro__[1].__subclasses__()",
    "function globals": "return score.__globals__",
    "function code": "return score.__code__",
    "host function walk": "return count_tokens.__globals__",
    "host self": "return _host_number.__self__",
    "traceback frames": "try:\n    1 / 0\nexcept Exception as e:\n    return e.__traceback__.tb_frame",
    "getattr by name": "return getattr((), '__cla' + 'ss__').__base__",
    "format string walk": "return '{0.__class__.__mro__}'.format(())",
    "type()": "return type('X', (), {'__del__': lambda s: 1})()",
    # time
    "endless loop": "while True:\n    pass",
    "endless for": "n = 0\nfor i in range(10 ** 18):\n    n += i\nreturn n",
    "endless while with try": "while True:\n    try:\n        while True: pass\n    except Exception:\n        pass",
    "sleep": "import time\ntime.sleep(1000)\nreturn 'awake'",
    "regex back-tracking": "import re\nreturn len(re.findall('(a+)+$', 'a' * 40 + 'b')) + 'x'",
    "regex nested": "import re\nreturn re.match('(.*)*(.*)*(.*)*x', 'a' * 5000).group()",
    "sorted forever": "return sorted(range(10 ** 9), key=lambda x: -x)",
    "host calls forever": "while True:\n    count_tokens('x')",
    "host calls, errors swallowed":
        "while True:\n    try:\n        _host_number(5)\n    except Exception:\n        pass",
    "hostile mathematics": "for i in range(10 ** 6):\n    math_equal('9^{9^{9^{' + str(i) + '}}}', '7')",
    "generator": "def g():\n    while True:\n        yield 1\nreturn sum(g())",
    # memory and size
    "huge list": "return [0] * 10 ** 10",
    "huge text": "return len('x' * 10 ** 11) + 'x'",
    "growing list": "a = []\nwhile True:\n    a.append('x' * 1000)",
    "doubling text": "s = 'x'\nwhile True:\n    s += s",
    "nested lists": "a = []\nfor _ in range(10 ** 7):\n    a = [a]\nreturn a",
    "huge integer": "return 10 ** 10 ** 10",
    "huge shift": "return 1 << 10 ** 12",
    "integer to text": "return str(10 ** 10 ** 6)",
    "large integer result": "return 10 ** 400",
    "factorial": "n = 1\nfor i in range(1, 10 ** 7):\n    n *= i\nreturn n",
    "text times": "return 'abc' * (2 ** 62)",
    "join": "return ','.join(['x' * 10 ** 6] * 10 ** 6)",
    "dict bomb": "return {i: [i] * 1000 for i in range(10 ** 9)}",
    "replace bomb": "return ('a' * 10 ** 5).replace('a', 'a' * 10 ** 5)",
    "format width": "return '%0999999999999d' % 1",
    "f-string width": "return f'{1:>99999999999}'",
    "zfill": "return '1'.zfill(10 ** 12)",
    "bytes": "return bytes(10 ** 12)",
    "huge argument to the host": "return count_tokens('x' * 10 ** 7)",
    # recursion
    "recursion": "return score(completion, reference, prompt)",
    "mutual recursion": "def a(): return b()\ndef b(): return a()\nreturn a()",
    "recursive repr": "a = []\na.append(a)\nreturn repr(a) * 10 ** 9",
    # output
    "prints of megabytes": "for _ in range(10 ** 6):\n    print('x' * 10 ** 5)\nreturn 'printed'",
    "print forever": "while True:\n    print('x')",
    "stderr": "import sys\nsys.stderr.write('x' * 10 ** 8)\nreturn 'written'",
    # poisoned return values
    "returns text": "return '1.0'",
    "returns None": "return None",
    "returns a list": "return [1.0]",
    "returns nan": "return float('nan')",
    "returns infinity": "return float('inf')",
    "returns a function": "return score",
    "returns a class": "class Evil:\n    pass\nreturn Evil",
    "returns an instance":
        "class Evil:\n    def __float__(self): return 1.0\n    def __repr__(self): return 'x'\nreturn Evil()",
    "returns __reduce__": "class Evil:\n    def __reduce__(self): return (print, ('pwned',))\nreturn Evil()",
    "returns a cycle": "a = []\na.append(a)\nreturn a",
    "returns a huge list": "return list(range(10 ** 6))",
    "returns a dict": "return {'score': 1}",
    "returns bytes": "return b'1'",
    "returns a complex": "return 1j",
    "returns an exception": "return Exception('x')",
    "returns a reasonless pair": "return (None, 'why')",
    "raises with a huge message": "raise ValueError('x' * 10 ** 7)",
    "raises a class of its own": "class E(Exception):\n    def __str__(self): return 1\nraise E()",
    "raises BaseException": "raise BaseException('x')",
    "raises KeyboardInterrupt": "raise KeyboardInterrupt()",
    "asserts": "assert False, 'x'",
    "deletes the loop's list": "global _scores\n_scores = 'mine'\nreturn 'x'",
    "replaces len": "global len\nlen = lambda x: 10 ** 9\nreturn 'x'",
}


def item(text: str = "<reasoning>x</reasoning><answer>42</answer>") -> Item:
    return Item(text, "42", "6 x 7?", SCHEME)


@pytest.mark.parametrize("name", BODIES)
def test_an_attempt_fails_inside_its_limits_and_the_next_batch_is_scored(
        name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET_OF_THE_TEST", "the-secret-value")
    body = BODIES[name].replace("CANARY", str(tmp_path / "canary"))
    code = "def score(completion, reference, prompt):\n" + "".join(f"    {line}\n" for line in body.split("\n"))
    process, threads = psutil.Process(), threading.active_count()
    before, started = process.memory_info().rss, time.monotonic()
    marks = CustomReward(code, LIMITS).score([item(), item()])
    assert time.monotonic() - started < WALL_SECONDS
    assert [value for value, _ in marks] == [None, None], marks
    assert all("the-secret-value" not in reason and len(reason) < 1000 for _, reason in marks)
    assert not (tmp_path / "canary").exists()
    assert process.memory_info().rss - before < 200_000_000
    assert threading.active_count() <= threads + 8
    assert CustomReward(TEMPLATE, Custom()).score([item()])[0] == (1.0, "right")
    assert "the-secret-value" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("code", [
    "", "   ", "score = 5", "x = 1", "def score(:", "class score:\n    pass", "import os\nos.system('id')",
    "while True: pass",
    "def score(a, b, c):\n  return 1\n\x00", "import torch", "raise SystemExit",
    "def score(a, b, c): return 1\nscore = 3",
    "a = [0] * 10 ** 11", "(" * 5000 + ")" * 5000, "x = " + "-" * 20000 + "1", "9" * 60000])
def test_code_that_cannot_be_used_is_refused_in_words(code: str) -> None:
    with pytest.raises(RewardError, match="cannot be used"):
        RewardSet(RewardsStep(functions=[RewardSpec(kind="custom", code=code[:50_000])]), SCHEME)


def test_a_row_that_fails_is_none_and_the_others_are_scored() -> None:
    code = ("def score(completion, reference, prompt):\n    if 'loop' in completion:\n        while True: pass\n"
            "    if 'raise' in completion:\n        return completion.nothing\n    return 1.0")
    texts = ["a", "raise", "b", "loop", "c"]
    marks = CustomReward(code, Custom(seconds=0.4)).score([item(t) for t in texts])
    assert [value for value, _ in marks] == [1.0, None, 1.0, None, 1.0]
    assert "AttributeError" in marks[1][1] and "time limit" in marks[3][1]


def test_only_the_slow_row_costs_the_batch_its_time() -> None:
    """64 rows that all loop: at most the batch's limit and twice that again for finding the culprits."""
    started = time.monotonic()
    marks = CustomReward("def score(a, b, c):\n    while True: pass", LIMITS).score([item()] * 64)
    assert [value for value, _ in marks] == [None] * 64
    assert time.monotonic() - started < 6


def test_errors_are_shown_with_line_and_text() -> None:
    check = check_code("def score(c, r, p):\n    x = 1\n    return c.foo", [item()])
    assert check.problem is not None
    assert (check.problem.line, check.problem.source) == (3, "    return c.foo")
    assert "AttributeError" in str(check.problem) and "line 3" in str(check.problem)
    check = check_code("def score(:\n    pass", [item()])
    assert check.problem is not None and check.problem.line == 1


def test_what_is_a_number_in_custom_code_is_what_is_one_for_the_answer_check() -> None:
    """Python's float() alone reads nan, infinity and 1_000 too, and finds that nan is not even itself."""
    code = ("def score(c, r, p):\n"
            "    for text in ('nan', 'NaN', 'inf', '-inf', 'Infinity', '1_000'):\n"
            "        assert number(text) is None, text\n"
            "    assert number('-1.5e3') == -1500.0 and math_equal('inf', 'Infinity')\n"
            "    assert not math_equal('nan', 'nan') and not math_equal('inf', '5')\n    return 1")
    assert check_code(code, [item()]).problem is None


def test_a_check_shows_marks_and_the_beginning_of_what_is_printed() -> None:
    check = check_code("def score(c, r, p):\n    print('seen', r)\n    return 0.5, 'half'", [item()])
    assert check.problem is None and check.marks == ((0.5, "half"),) and "seen 42" in check.printed


def test_the_template_and_the_host_functions_work() -> None:
    assert check_code(TEMPLATE, [item()]).marks == ((1.0, "right"),)
    code = ("def score(c, r, p):\n    assert tag(c, 'answer') == '42' and tag(c, 'nothing') is None\n"
            "    assert number('$1,000') == 1000.0 and number('cat') is None and number(None) is None\n"
            "    assert math_equal('1/2', '0.5') and not math_equal('1', '2') and not math_equal(None, '2')\n"
            "    assert math_equal(r'\\frac{1}{2}', '0.5') and count_tokens('x' * 40) == 10\n    return 1")
    check = check_code(code, [item()])
    assert check.problem is None and check.marks[0][0] == 1.0


def test_scores_are_cut_to_the_declared_range() -> None:
    value, reason = CustomReward("def score(c, r, p): return 50", Custom(highest=2.0)).score([item()])[0]
    assert value == 2.0 and "cut" in reason


def test_nothing_is_kept_between_batches() -> None:
    reward = CustomReward("seen = []\ndef score(c, r, p):\n    seen.append(c)\n    return len(seen) / 10", Custom())
    assert reward.score([item()]) == reward.score([item()])


def test_custom_code_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the sandbox, at the start of a run, and not for a set without code."""
    step = RewardsStep(functions=[RewardSpec(kind="custom", name="mine", code=TEMPLATE)])
    custom_code.refuse_if_off(step)
    monkeypatch.setenv(custom_code.SETTING, "1")
    with pytest.raises(RewardError, match="switched off"):
        RewardSet(step, SCHEME)
    with pytest.raises(RecipeError, match=r"switched off .* 'mine' in the Rewards tab"):
        jobs.start(StudioHome(tmp_path / "home"), Recipe(rewards=step))
    custom_code.refuse_if_off(RewardsStep())


@pytest.mark.parametrize(("setting", "reachable", "wanted", "allowed"), [
    ("", False, False, True), ("", True, False, False), ("", True, True, True), ("1", False, True, False),
    ("0", True, False, True)])
def test_one_setting_decides_and_otherwise_who_can_reach_the_app(
        setting: str, reachable: bool, wanted: bool, allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is decided is told to the workers through the environment."""
    monkeypatch.setenv(custom_code.SETTING, setting)
    assert custom_code.decide(reachable, wanted) is allowed
    assert custom_code.switched_off() is not allowed


def test_batches_are_scored_from_several_threads_at_once() -> None:
    results: list[object] = []
    threads = [threading.Thread(target=lambda: results.append(
        CustomReward(TEMPLATE, Custom(seconds=5)).score([item()])[0][0])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [1.0] * 6
    assert os.getpid() == psutil.Process().pid
