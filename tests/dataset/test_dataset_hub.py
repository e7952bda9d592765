"""Datasets of the Hub through the command line, by the real `datasets` library, from a stand-in for its interface."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dataset.hub_stand_in import TOKEN, environment, serve

PROJECT = Path(__file__).resolve().parents[2]
ROWS = "".join(json.dumps({"ask": f"What is {i} + 1?", "target": i + 1}) + "\n" for i in range(30)).encode()
CONFIGS = b"""---
configs:
- config_name: easy
  data_files: easy.jsonl
- config_name: hard
  data_files: hard.jsonl
---
"""
DATASETS = {
    "me/sums": {"train.jsonl": ROWS, "test.jsonl": b"".join(ROWS.splitlines(True)[:5])},
    "me/sums-gated": {"train.jsonl": ROWS}, "me/sums-private": {"train.jsonl": ROWS},
    "me/two": {"README.md": CONFIGS, "easy.jsonl": ROWS, "hard.jsonl": ROWS[:500]},
    "me/script": {"script.py": b"raise SystemExit('ran')", "README.md": b"# A script"},
}
CASES = [  # arguments, token, what the answer holds
    (["me/sums", "--map", "question=ask,answer=target"], "", 30),
    (["me/sums", "--split", "test"], "", 5),
    (["me/two", "--config", "easy"], "", 30),
    (["me/sums-gated"], TOKEN, 30),
    (["me/sums-private"], TOKEN, 30),
    (["me/sums-gated"], "", "is gated: accept its terms"),
    (["me/sums-private"], "", "or it is private"),
    (["me/none"], "", "There is no dataset 'me/none'"),
    (["me/sums", "--split", "dev"], "", "has no split 'dev'"),
    (["me/sums", "--revision", "v9"], "", "no such revision: Revision 'v9'"),
    (["me/two"], "", "needs a configuration"),
    (["me/script"], "", "comes as a script, which is never run"),
]
RUN = """
import json, os, sys
from contextlib import redirect_stdout
from io import StringIO
from huggingface_hub import constants
from pipeline import cli
for arguments, token in json.loads(sys.argv[1]):
    os.environ["HF_TOKEN"] = token
    with redirect_stdout(StringIO()) as out:
        code = cli.main(["data", *arguments, "--json", "--home", sys.argv[2]])
    print(json.dumps([code, json.loads(out.getvalue())]))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Exit code and JSON document for each of CASES, from one process, since `datasets` takes seconds to import."""
    folder = tmp_path_factory.mktemp("hub")
    with serve(DATASETS) as (address, _asked):
        command = [sys.executable, "-c", RUN, json.dumps([case[:2] for case in CASES]), str(folder / "home")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=PROJECT,
                              env=os.environ | environment(address, str(folder / "hf")))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: " ".join(CASES[n][0]) + " " + CASES[n][1][:2])
def test_a_dataset_of_the_hub_is_read_or_a_sentence_says_why_not(answers, number):
    code, document = answers[number]
    expected = CASES[number][2]
    if isinstance(expected, int):
        assert (code, document.get("references")) == (0, {"found": expected, "missing": 0}), document
    else:
        assert code == 2
        assert expected in document["error"]
