"""The command line: exit codes, and exactly one JSON document with the documented keys on standard output."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from waiting import recipe, until

from pipeline import cli, jobs
from pipeline.studio_home import StudioHome


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Exit code and the JSON document of a command."""
    code = cli.main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_list_show_and_log_tell_of_a_run(home: StudioHome, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe(3).to_yaml())
    code, done = call(capsys, "run", str(file))
    assert code == 0 and done["state"] == "finished"
    _, listed = call(capsys, "list")
    assert [run["id"] for run in listed["runs"]] == [done["run"]]
    assert listed["runs"][0]["state"]["state"] == "finished"
    code, shown = call(capsys, "show", done["run"])
    assert code == 0 and shown["metrics"]["reward/total"] == 1.0 and len(shown["stages"]) == 6
    assert shown["recipe"]["grpo"]["steps"] == 3
    _, log = call(capsys, "log", done["run"], "--search", "10 rows")
    assert log["lines"] == ["[info] Data: 10 rows."]


def test_a_failed_run_exits_with_one_and_the_sentence(home: StudioHome, capsys: pytest.CaptureFixture[str],
                                                      tmp_path: Path) -> None:
    run_id = jobs.start(home, recipe(3000))
    (home.run(run_id).path / "misbehave").write_text("fail")
    until(lambda: jobs.state(home, run_id).state == "failed")
    code, document = call(capsys, "resume", run_id)
    assert code == 1 and "No usable row is left" in document["error"] and document["state"] == "failed"


@pytest.mark.parametrize("arguments", [
    ["show", "20260101-0000-nothing-0000"], ["show", "../../etc"], ["log", "/etc/passwd"], ["stop", "..%2f..%2fetc"],
    ["run", "absent.yaml"], ["score", "absent.jsonl"], ["evaluate"], ["resume", "a;b"],
])
def test_bad_input_exits_with_two_and_one_document(home: StudioHome, capsys: pytest.CaptureFixture[str],
                                                   arguments: list[str]) -> None:
    code, document = call(capsys, *arguments)
    assert code == 2 and list(document) == ["error"] and document["error"]


def test_a_wrong_recipe_names_the_setting_and_makes_no_run(home: StudioHome, capsys: pytest.CaptureFixture[str],
                                                           tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("name: x\ngrpo: {batch_size: 6, num_generations: 4, stepz: 3}\n")
    code, document = call(capsys, "run", str(file))
    assert code == 2 and "grpo.stepz" in document["error"] and "steps" in document["error"]
    assert list(home.runs_dir.iterdir()) == []


def test_a_recipe_with_a_token_is_refused(home: StudioHome, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("name: mine\nmodel: {source: 'https://user:hf_" + "a" * 34 + "@huggingface.co/x/y'}\n")
    code, document = call(capsys, "run", str(file))
    assert code == 2 and "token" in document["error"] and list(home.runs_dir.iterdir()) == []


def test_score_gives_every_reward_and_the_total_of_each_row(home: StudioHome, capsys: pytest.CaptureFixture[str],
                                                            tmp_path: Path) -> None:
    """A perfect answer gets the classic 3 + 4 x 0.5 + 3 + 1.5 = 9.5; four missing tags cost 4."""
    file = tmp_path / "rows.jsonl"
    rows = [{"completion": "<reasoning>\n1+1\n</reasoning>\n<answer>2</answer>", "answer": "2"},
            {"completion": "2", "answer": 2}]
    file.write_text("\n".join(map(json.dumps, rows)))
    code, document = call(capsys, "score", str(file), "--tags", "reasoning")
    assert code == 0 and [row["total"] for row in document["rows"]] == [9.5, -4.0]
    assert document["rows"][0]["rewards"]["answer_exact"] == 3.0 and document["rows"][0]["extracted"] == "2"


def test_score_says_why_and_checks_mutants_and_probes(home: StudioHome, capsys: pytest.CaptureFixture[str],
                                                      tmp_path: Path) -> None:
    """The classic set catches every mutant and every probe; the format alone does not see a wrong answer."""
    file, rewards = tmp_path / "rows.jsonl", tmp_path / "rewards.yaml"
    file.write_text(json.dumps({"completion": "<reasoning>\n1+1\n</reasoning>\n<answer>2</answer>", "answer": "2"}))
    code, document = call(capsys, "score", str(file), "--mutants", "--gaming")
    assert code == 0 and document["mutants"] == document["gaming"] == []
    assert document["rows"][0]["why"]["format_exact"] == "the format is right"
    rewards.write_text("- kind: format_exact\n")
    code, document = call(capsys, "score", str(file), "--rewards", str(rewards), "--mutants", "--gaming", "--why")
    assert any("wrong answer" in said for said in document["mutants"])
    assert any("A wrong answer in perfect format" in said for said in document["gaming"])


def test_score_names_the_line_that_is_wrong(home: StudioHome, capsys: pytest.CaptureFixture[str],
                                            tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"completion": "a", "answer": "b"}\n{"completion": 3}\n')
    code, document = call(capsys, "score", str(file))
    assert code == 2 and "line 2" in document["error"]


def test_data_counts_rows_and_references(home: StudioHome, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Four rows: one without a question is dropped; of the three kept all have a reference."""
    file = tmp_path / "rows.jsonl"
    rows = [{"question": f"What is {i} + 1?", "answer": f"{i} + 1 = {i + 1}\n#### {i + 1}"} for i in range(3)]
    file.write_text("\n".join(map(json.dumps, [*rows, {"question": "", "answer": "#### 1"}])))
    code, document = call(capsys, "data", str(file))
    assert code == 0 and document["rows"] == {"in": 4, "kept": 3, "dropped": 1}
    assert document["references"]["found"] == 3


def test_data_takes_columns_by_role(home: StudioHome, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Columns whose names say nothing, one with a comma and an equals sign; the system column is switched off."""
    file = tmp_path / "rows.jsonl"
    rows = [{"x": f"{i} plus 1", "y, z=1": i + 1, "system": "Shout."} for i in range(9)]
    file.write_text("\n".join(map(json.dumps, rows)))
    code, document = call(capsys, "data", str(file), "--map", "question=x,answer=y, z=1", "--map", "system=",
                          "--tags", "think")
    assert code == 0 and document["references"] == {"found": 9, "missing": 0}
    assert document["mapping"] == {"question": "x", "reasoning": None, "answer": "y, z=1", "system": None,
                                   "rule": "column"}
    assert document["reasons"]["question"] == "chosen by you"


@pytest.mark.parametrize(("given", "words"), [("ask=x", "names no role"), ("question", "names no role"),
                                              ("question=gone", "no column 'gone'")])
def test_a_map_that_is_wrong_says_how_to_write_it(home: StudioHome, capsys: pytest.CaptureFixture[str], tmp_path: Path,
                                                  given: str, words: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "1+1?", "answer": 2}\n')
    code, document = call(capsys, "data", str(file), "--map", given)
    assert code == 2 and words in document["error"]


def test_ctrl_c_stops_the_run_with_a_checkpoint_and_exits_with_one(home: StudioHome, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe(3000).to_yaml())
    process = subprocess.Popen([sys.executable, "-m", "pipeline", "run", str(file), "--json"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, env=dict(os.environ), text=True,
                               cwd=Path(cli.__file__).parent.parent,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # ignored behind `&`
    card = until(lambda: jobs.list_runs(home))[0]
    until(lambda: jobs.state(home, card.id).stage == "grpo")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=90)
    assert process.returncode == 1 and json.loads(out)["state"] == "stopped"
    assert list(home.run(card.id).checkpoints("grpo").iterdir())
