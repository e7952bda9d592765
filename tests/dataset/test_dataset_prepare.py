"""From rows to part files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.dataset import leakage, saved
from pipeline.dataset.chat import tokenise
from pipeline.dataset.duplicates import shingles_of
from pipeline.dataset.part_files import COLUMNS, read_part
from pipeline.dataset.prepare import load_benchmark, prepare_parts
from pipeline.dataset.rows import Rows
from pipeline.dataset.split import part_sizes
from pipeline.errors import DatasetError
from pipeline.recipe import DataStep, Split, Tags
from pipeline.tags import SCHEMES, extract, is_well_formed


@pytest.fixture
def prepare(chat, tmp_path):
    """Prepare a source with small limits; returns the report and the four parts."""
    def run(source, seed=1, **settings):
        data = DataStep(source=source, **settings)
        report = prepare_parts(data, chat, seed=seed, max_length=2000, max_completion_tokens=500, out=tmp_path / "out")
        return report, {p: read_part(tmp_path / "out" / f"{p}.parquet") for p in ("sft", "grpo", "validation", "test")}
    return run


def sums(count):
    return [{"question": f"What is {i} + {i * 7}? {'x' * (i % 5)}", "answer": f"{i} + {i * 7} = <<{i}+{i * 7}={i * 8}>>"
             f"{i * 8}\n#### {i * 8:,}"} for i in range(count)]


def test_gsm8k_rows_become_tagged_parts_without_overlap(prepare, jsonl):
    """100 rows by the shares 0.3, 0.5, 0.1 and 0.1; row 1 is 0 + 0 = 0."""
    report, parts = prepare(jsonl(sums(100)))
    assert {p: len(rows) for p, rows in parts.items()} == {"sft": 30, "grpo": 50, "validation": 10, "test": 10}
    questions = [r["question"] for rows in parts.values() for r in rows]
    assert len(set(questions)) == 100
    assert report.as_dict()["references"] == {"found": 100, "missing": 0}
    for row in parts["sft"]:
        assert tuple(row) == COLUMNS
        assert "<<" not in row["completion"]
        assert is_well_formed(SCHEMES["reasoning"], row["completion"])
        assert extract(SCHEMES["reasoning"], row["completion"]) == row["reference"] == str((row["row"] - 1) * 8)


def test_the_same_seed_gives_the_same_parts_and_another_seed_others(prepare, jsonl):
    source = jsonl(sums(60))
    first, again, other = (prepare(source, seed=s)[0].hash for s in (1, 1, 2))
    assert first == again != other


def test_rows_in_are_kept_or_dropped_with_a_reason(prepare, jsonl):
    """In: 5 good, one repeated, one without question, one without anything to learn, one broken line."""
    path = jsonl([*sums(5), sums(1)[0], {"question": " ", "answer": "#### 3"}, {"question": "Why?", "answer": None}])
    with open(path, "a") as file:
        file.write('{"question": "cut of')
    report, _ = prepare(path, split=Split(sft=0.4, grpo=0.4, validation=0.2, test=0))
    rows = report.as_dict()["rows"]
    assert rows == {"in": 9, "kept": 5, "dropped": 4}
    assert {k: v.rows[0][0] for k, v in report.dropped.items()} == {
        "duplicate": 6, "no_question": 7, "no_reasoning": 8, "unreadable": 9}
    assert "line 9" in report.dropped["unreadable"].rows[0][1]


def test_rows_without_a_reference_serve_sft_and_never_grpo(prepare, jsonl):
    rows = [{"prompt": f"Explain {i}?", "completion": f"It is a thing.\nSo it is thing number {'abc'[i % 3]}."}
            for i in range(20)]
    report, parts = prepare(jsonl(rows), split=Split(sft=20, grpo=0, validation=0, test=0))
    assert len(parts["sft"]) == 20
    assert report.references_missing == 20
    assert parts["sft"][0]["completion"].startswith("<reasoning>\nIt is a thing.\n</reasoning>\n<answer>So it is")


def test_rows_without_reasoning_serve_grpo_alone(prepare, jsonl):
    rows = [{"problem": f"Find x{i}.", "answer": i} for i in range(10)]
    report, parts = prepare(jsonl(rows))
    assert parts["sft"] == []
    assert "sft part is empty" in report.warnings[0]
    assert all(r["completion"] is None and r["reference"] for r in parts["grpo"])


def test_too_large_counts_and_unknown_columns_are_sentences(prepare, jsonl):
    with pytest.raises(DatasetError, match="asks for 600 rows"):
        prepare(jsonl(sums(10)), split=Split(sft=600, grpo=0, validation=0, test=0))
    with pytest.raises(DatasetError, match="no column 'qu'"):
        prepare(jsonl(sums(10)), question="qu")


def test_boxed_solutions_are_wrapped_in_the_boxed_scheme_with_one_box(prepare, jsonl):
    rows = [{"problem": f"Half of {i}?", "solution": rf"It is $\boxed{{\frac{{{i}}}{{2}}}}$."} for i in range(10)]
    _, parts = prepare(jsonl(rows), tags=Tags(scheme="boxed"))
    row = parts["sft"][0]
    assert row["completion"].count("boxed") == 1
    assert row["reference"] == extract(SCHEMES["boxed"], row["completion"]) == rf"\frac{{{row['row'] - 1}}}{{2}}"


def test_rows_that_already_hold_the_tags_are_named(prepare, jsonl):
    rows = [*sums(9), {"question": "q?", "answer": "an <answer> here\n#### 4"}]
    report, _ = prepare(jsonl(rows))
    assert report.noticed["tags"].rows == [(10, "<answer>")]


def test_the_demo_makes_the_numbers_asked_for(prepare):
    report, parts = prepare("demo", split=Split(sft=20, grpo=30, validation=5, test=10))
    assert report.parts == {"sft": 20, "grpo": 30, "validation": 5, "test": 10}
    assert len({r["question"] for rows in parts.values() for r in rows}) == 65


def test_a_separate_test_file_is_the_test_part_and_its_questions_leave_training(prepare, jsonl):
    report, parts = prepare(jsonl(sums(20)), test_source=jsonl(sums(5), "test.jsonl"))
    assert [r["row"] for r in parts["test"]] == [1, 2, 3, 4, 5]
    assert report.dropped["leak"].count == 5
    training = {r["question"] for p in ("sft", "grpo", "validation") for r in parts[p]}
    assert training.isdisjoint({r["question"] for r in parts["test"]})


def test_benchmarks_come_from_the_local_folder_before_the_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONING_STUDIO_DATA", str(tmp_path))
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_text("".join(json.dumps(r) + "\n" for r in sums(3)))
    rows = load_benchmark("gsm8k", limit=2)
    assert rows == [{"question": "What is 0 + 0?", "reference": "0", "subject": None},
                    {"question": "What is 1 + 7? x", "reference": "8", "subject": None}]


def test_near_duplicates_stay_on_one_side(prepare, jsonl):
    """20 stories of 30 words, each three times with one word changed: three shingles of 28 differ, 25/31 = 0.81."""
    rows = []
    for i in range(20):
        words = [f"w{i}x{k}" for k in range(30)]
        for name in ("Ada", "Ben", "Cleo"):
            words[15] = name
            rows.append({"question": " ".join(words), "solution": "We see it at once.", "answer": i})
    report, parts = prepare(jsonl(rows))
    assert report.noticed["near_duplicate"].count == 40
    where = {}
    for part, examples in parts.items():
        for e in examples:
            where.setdefault(e["reference"], set()).add(part)
    assert all(len(p) == 1 for p in where.values())


def test_questions_of_a_benchmark_are_found_in_other_words(prepare, jsonl):
    """The first question of the GSM8K test, with one number changed, among others."""
    known = ("Janet\u2019s ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for "
             "her friends every day with four. She sells the remainder at the farmers' market daily for $5 per fresh "
             "duck egg. How much in dollars does she make every day at the farmers' market?")
    rows = [*sums(9), {"question": known, "answer": "#### 9"}]
    report, _ = prepare(jsonl(rows))
    assert {k: [r[0] for r in v.rows] for k, v in report.leakage.items()} == {"GSM8K, test": [10]}


def test_the_report_says_which_benchmarks_were_compared_and_which_not(prepare, jsonl, tmp_path, monkeypatch):
    """AIME 2025 is not among the bundled fingerprints: it counts once its questions are here."""
    monkeypatch.delenv("REASONING_STUDIO_DATA", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    report, _ = prepare(jsonl(sums(9)))
    assert report.compared_with == ["GSM8K, test", "MATH-500", "AIME 2024"]
    assert "not on this machine" in report.not_compared["AIME 2025"]
    known = "Find the sum of all integer bases b greater than nine for which the number seventeen divides another."
    monkeypatch.setenv("REASONING_STUDIO_DATA", str(tmp_path))
    (tmp_path / "aime25.jsonl").write_text(json.dumps({"problem": known, "answer": "70"}) + "\n")
    report, _ = prepare(jsonl([*sums(9), {"question": known, "answer": "#### 70"}]))
    assert report.not_compared == {}
    assert {k: [r[0] for r in v.rows] for k, v in report.leakage.items()} == {"AIME 2025": [10]}


def test_a_benchmark_that_was_read_once_is_compared_with_later(tmp_path, monkeypatch):
    """Its fingerprints are kept when the last row was read, not before."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("REASONING_STUDIO_DATA", raising=False)
    known = "How many ordered triples of positive integers have a product of two thousand and twenty five exactly?"
    rows = leakage.remembering("aime2025", Rows(iter([(1, {"problem": known}), (2, {"problem": "Why is it so?"})])))
    next(rows.rows)
    assert "AIME 2025" in leakage.all_benchmarks().missing
    list(rows)
    found = leakage.leaks([shingles_of(known)], lambda *a: None, lambda: None)
    assert list(found) == [("AIME 2025", 0)]


def test_chats_of_several_questions_are_counted_and_said(prepare, jsonl):
    def chat(i):
        texts = (f"What is {i} + 1?", f"It is {i + 1}.", "And then?", "Then nothing.")[: 4 if i % 2 else 2]
        return [{"role": role, "content": c} for role, c in zip(("user", "assistant") * 2, texts, strict=False)]

    chats = [chat(i) for i in range(10)]
    report, parts = prepare(jsonl([{"messages": c} for c in chats]))
    assert report.noticed["multi_turn"].count == 5
    assert report.noticed["multi_turn"].rows[0] == (2, "2 questions, the first: What is 1 + 1?")
    assert all("nothing" not in (r["completion"] or "") for rows in parts.values() for r in rows)


def test_preparing_and_previewing_never_import_torch(jsonl):
    """In a process of its own, since other tests import torch."""
    code = (
        "import sys, pathlib, tempfile\n"
        "from pipeline.dataset.chat import ChatTokenizer\n"
        "from pipeline.dataset.prepare import prepare_parts\n"
        "from pipeline.dataset.sample import load_view\n"
        "from pipeline.recipe import DataStep\n"
        "import reasoning_ui.data_tab, datasets\n"
        "chat = ChatTokenizer.load('tiny')\n"
        f"data = DataStep(source={jsonl(sums(30))!r})\n"
        "load_view(data, chat).rows_of('longest', 100, 100)\n"
        "out = pathlib.Path(tempfile.mkdtemp())\n"
        "prepare_parts(data, chat, seed=1, max_length=999, max_completion_tokens=99, out=out)\n"
        "print(sorted({'torch', 'transformers', 'trl'} & set(sys.modules)))\n"
    )
    environment = {**os.environ, "USE_TORCH": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=280, env=environment,
                          cwd=Path(__file__).resolve().parents[2])
    assert done.stdout.strip() == "[]", done.stderr


def test_a_prepared_dataset_is_kept_reused_and_deleted(prepare, chat, jsonl, tmp_path):
    source = jsonl(sums(40))
    report, parts = prepare(source)
    card = saved.keep(tmp_path / "home", tmp_path / "out", "Sums", DataStep(source=source), "tiny", 1)
    assert [c.name for c in saved.cards(tmp_path / "home")] == ["Sums"]
    folder = saved.find(tmp_path / "home", card.id)
    again = prepare_parts(DataStep(source=str(folder)), chat, seed=9, max_length=2000, max_completion_tokens=500,
                          out=tmp_path / "run")
    assert again.parts == report.parts
    assert read_part(tmp_path / "run" / "sft.parquet") == parts["sft"]
    lines = saved.as_jsonl(folder, tmp_path / "down")[0].read_text().splitlines()
    assert json.loads(lines[0]) == parts["sft"][0]
    with pytest.raises(DatasetError, match="with the tags 'reasoning'"):
        prepare_parts(DataStep(source=str(folder), tags=Tags(scheme="think")), chat, seed=9, max_length=2000,
                      max_completion_tokens=500, out=tmp_path / "run")
    saved.delete(tmp_path / "home", card.id)
    assert saved.cards(tmp_path / "home") == []
    with pytest.raises(DatasetError):
        saved.find(tmp_path / "home", "../../etc")


@pytest.mark.parametrize(("usable", "sizes"), [
    (100, [30, 50, 10, 10]), (3, [1, 1, 1, 0]), (7473, [2241, 3738, 747, 747]), (1, [1, 0, 0, 0]), (0, [0, 0, 0, 0])])
def test_shares_use_every_row_and_never_more_than_there_are(usable, sizes):
    """30, 50, 10 and 10 %, rounded down; what is left goes to empty parts first, then to the largest."""
    assert list(part_sizes(Split(), usable).values()) == sizes


def test_worked_solutions_beyond_the_longest_answer_are_listed(chat, jsonl, tmp_path):
    """They are trained on in full; it is sampling that would cut the model off."""
    rows = [*sums(9), {"question": "Why is that so?", "answer": "Because. " * 60 + "\n#### 4"}]
    report = prepare_parts(DataStep(source=jsonl(rows)), chat, seed=1, max_length=5000, max_completion_tokens=200,
                           out=tmp_path / "out")
    assert [r[0] for r in report.noticed["over_limit"].rows] == [10]
    assert report.completion.over == 1


def test_grpo_can_practise_on_short_solutions_alone(prepare, chat, jsonl, tmp_path):
    """Every second solution is long. The parts are those of a run without the setting, less the long rows of GRPO."""
    source = jsonl([row if i % 2 else row | {"answer": "We add one number to another. " * 9 + row["answer"]}
                    for i, row in enumerate(sums(80))])
    split = Split(sft=30, grpo=40, validation=10, test=0)
    _, before = prepare(source, split=split)
    report, after = prepare(source, split=split, grpo_longest=60)
    assert {p: after[p] for p in ("sft", "validation")} == {p: before[p] for p in ("sft", "validation")}
    assert after["grpo"] == [row for row in before["grpo"] if row["row"] % 2 == 0]
    assert 0 < len(after["grpo"]) < 40 == report.dropped["long_solution"].count + len(after["grpo"])
    card = saved.keep(tmp_path / "home", tmp_path / "out", "Sums", DataStep(source=source), "tiny", 1)
    prepare(source, split=split)
    longest = max(r["completion"] for r in before["sft"])
    assert len(longest) > 200
    kept = str(saved.find(tmp_path / "home", card.id))
    again, _ = prepare(kept, grpo_longest=1)
    assert again.parts["grpo"] == 0
    assert again.parts["sft"] == 30
    empty, _ = prepare(source, split=split, grpo_longest=1)
    assert any("grpo part is empty" in warning for warning in empty.warnings)


def test_rows_that_do_not_fit_are_left_out_and_never_cut(chat, jsonl, tmp_path):
    """A row that is one token too long for SFT and for GRPO is dropped; with one token more of room it is kept."""
    rows = sums(3)
    data = DataStep(source=jsonl(rows), split=Split(sft=3, grpo=0, validation=0, test=0))
    lengths = []
    for max_length in (5000, 0):
        if not max_length:
            max_length = max(lengths) - 1
            data = data.model_copy(update={"split": Split(sft=2, grpo=0, validation=0, test=0)})
        report = prepare_parts(data, chat, seed=1, max_length=max_length, max_completion_tokens=max_length // 2,
                               out=tmp_path / str(max_length))
        lengths = [len(tokenise(chat, r).input_ids) for r in read_part(tmp_path / str(max_length) / "sft.parquet")]
    assert report.noticed.get("long_sft", report.dropped.get("too_long")).count == 1
    assert len(lengths) == 2
    assert max(lengths) <= max_length
