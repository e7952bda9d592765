"""From rows to part files."""

import json

import pytest

from pipeline.dataset.prepare import COLUMNS, load_benchmark, prepare_parts, read_part
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
