"""The Data tab's handlers as functions: what each section shows and stores."""

import errno
import json
import os
import resource
from types import SimpleNamespace

import gradio as gr
import pytest

from pipeline.dataset.chat import ChatTokenizer
from pipeline.dataset.preview import preview
from pipeline.dataset.report import PreparedReport
from pipeline.dataset.sources import open_named
from pipeline.errors import DatasetError, EngineError
from pipeline.model_facts import read_facts
from pipeline.recipe import DataStep, ModelStep
from pipeline.tags import SCHEMES
from reasoning_ui import checks
from reasoning_ui.data_check import CheckSection, _stale
from reasoning_ui.data_html import report_html, rows_html
from reasoning_ui.data_prepared import PreparedSection
from reasoning_ui.data_preview import PreviewSection
from reasoning_ui.data_source import _from_hub, _pasted, _path, new_source
from reasoning_ui.data_state import check_path, choice_of, keep_upload, with_limit
from reasoning_ui.data_tab import _refresh
from reasoning_ui.highlight import chat_html, trained_words
from reasoning_ui.shared import guard

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"
MODEL = ModelStep().model_dump_json()


@pytest.fixture
def shared(tmp_path):
    return SimpleNamespace(home=SimpleNamespace(path=tmp_path / "home", private=tmp_path / "home"), on_space=False)


@pytest.fixture
def section(shared):
    """The preview section without its components."""
    made = PreviewSection.__new__(PreviewSection)
    made.shared = shared
    return made


def evil_rows():
    return [{"question": f"{EVIL} What is {i}+1?", "solution": f"{EVIL} {i}+1={i + 1}", "answer": i + 1}
            for i in range(9)]


def test_every_section_is_drawn_from_the_choice_and_nothing_of_the_data_becomes_markup(shared, section, jsonl):
    data = DataStep(source=jsonl(evil_rows())).model_dump_json()
    outputs = _refresh(shared, section, "data", data, MODEL, "", 1, "Colours")
    page = " ".join(o for o in outputs if isinstance(o, str))
    assert "9 rows" in page
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "<img" not in page


def test_another_tab_costs_nothing(shared, section):
    outputs = _refresh(shared, section, "live", "", MODEL, "", 1, "Colours")
    assert len(outputs) == len(_refresh(shared, section, "data", "", MODEL, "", 1, "Colours"))
    assert all(isinstance(o, dict) for o in outputs)


def test_a_source_that_cannot_be_read_is_a_sentence_on_the_page(shared, section):
    data = DataStep(source="/no/such/file.csv").model_dump_json()
    assert "There is no dataset" in _refresh(shared, section, "data", data, MODEL, "", 1, "Colours")[0]


@pytest.mark.parametrize("view", ["colours", "mask", "tokens"])
def test_all_views_escape_and_show_what_is_trained(view):
    chat = ChatTokenizer.load("tiny")
    row = {"system": "", "question": EVIL, "completion": f"<reasoning>\n{EVIL}\n</reasoning>\n<answer>4</answer>"}
    shown = preview(chat, row, SCHEMES["reasoning"])
    html = chat_html(shown, view, chat)
    assert "<script" not in html
    assert "<img" not in html
    assert ("trained" in html) == (view != "colours")
    assert f"{shown.tokenised.completion_tokens} of answer" in trained_words(shown)


def test_the_mask_marks_exactly_the_answer_and_its_end_token():
    chat = ChatTokenizer.load("tiny")
    row = {"system": "s", "question": "q", "completion": "<answer>4</answer>"}
    html = chat_html(preview(chat, row, SCHEMES["reasoning"]), "mask", chat)
    assert '<span class="trained">&lt;answer&gt;4&lt;/answer&gt;&lt;|im_end|&gt;</span>' in html


def test_jumps_and_search_lead_to_rows(section, jsonl):
    rows = [{"question": "Why? " + "long " * 9 * i, "solution": "We see it. Yes.", "answer": i} for i in range(1, 6)]
    rows.append({"question": "No answer here?", "solution": "none", "answer": None})
    data = DataStep(source=jsonl(rows)).model_dump_json()
    arguments = (data, MODEL, "", 1, "Colours")
    assert section.go("longest", *arguments)[1] == 5
    assert section.go("no_reference", *arguments)[1] == 6
    assert section.go("broken", *arguments)[1] == 6
    assert section.go("search no ANSWER", *arguments)[1] == 6
    assert section.show(data, MODEL, "", 99, "Colours")[1] == 6


def test_another_source_keeps_the_tags_and_forgets_the_columns():
    old = DataStep(question="q", source="a.csv", tags={"scheme": "think"}).model_dump_json()
    step = DataStep.model_validate_json(new_source(old, "gsm8k"))
    assert (step.source, step.question, step.tags.scheme) == ("gsm8k", None, "think")


def test_an_upload_that_fills_the_disk_is_told_and_leaves_nothing_there(shared, tmp_path, monkeypatch):
    """A limit of 1,000 bytes a file stands for the disk, and a refused link for an upload that lies on another one."""
    (tmp_path / "a.csv").write_text("question,answer\n" + "Why?,1\n" * 500)

    def refuse(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(gr.Error) as told:
            guard(lambda: keep_upload(shared.home.path, str(tmp_path / "a.csv")))()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "The disk is full, and nothing was changed: free some space" in told.value.message
    assert [p for p in (shared.home.path / "uploads").rglob("*") if p.is_file()] == []


def test_uploads_are_kept_once_and_pasted_rows_become_a_file(shared, tmp_path):
    (tmp_path / "a.csv").write_text("question,answer\nWhy?,1\n")
    first = keep_upload(shared.home.path, str(tmp_path / "a.csv"))
    assert keep_upload(shared.home.path, str(tmp_path / "a.csv")) == first
    step = DataStep.model_validate_json(_pasted(shared, "question,answer\nWhy?,1", DataStep().model_dump_json()))
    assert step.source.endswith("pasted-rows.txt")
    with pytest.raises(DatasetError, match="heading"):
        _pasted(shared, "question,answer", DataStep().model_dump_json())


def test_on_a_space_other_files_of_the_machine_are_refused(shared):
    shared.on_space = True
    with pytest.raises(DatasetError, match="On a Space"):
        choice_of(shared, DataStep(source="/etc/passwd").model_dump_json(), MODEL, "")


def test_the_check_ends_in_a_report_or_a_sentence(shared, jsonl):
    section = CheckSection.__new__(CheckSection)
    section.shared = shared
    good = list(section.check(DataStep(source=jsonl(evil_rows())).model_dump_json(), MODEL, "", ""))
    assert "rows kept" in good[-1][1]
    assert "<script" not in good[-1][1]
    assert 'data-row="' not in good[-1][1]  # nothing to look at
    prepared = PreparedSection.__new__(PreparedSection)
    prepared.shared = shared
    kept = section.keep_it(prepared, "Mine", good[-1][4])
    assert "Mine" in kept[1]
    assert "rows.jsonl" in kept[1]  # what was checked, whatever is chosen now
    key, now = good[-1][7], DataStep(source="demo").model_dump_json()
    assert _stale(key, json.dumps(json.loads(key)["data"]), MODEL, "") == ""
    assert "the data settings changed" in _stale(key, now, MODEL, "")
    bad = list(section.check(DataStep(source="/gone.csv").model_dump_json(), MODEL, "", ""))
    assert "There is no dataset" in bad[-1][0]
    for wrong in ("short", "0", "-1", "1.5", "9999999", "²"):
        bad = list(section.check(DataStep(source="demo").model_dump_json(), MODEL, "", wrong))
        assert "whole number of tokens" in bad[-1][0]


def test_the_suggested_limit_changes_training_and_makes_room_in_the_sequence():
    training, model = with_limit("", ModelStep(max_length=600), 512)
    assert json.loads(training)["grpo"]["max_completion_tokens"] == 512
    assert ModelStep.model_validate_json(model).max_length == 1024


def test_a_report_with_everything_in_it_is_safe():
    report = PreparedReport("x", rows_in=1, warnings=[EVIL], notes=[EVIL])
    for name in ("duplicate", "tags", "unreadable"):
        report.drop(name, 1, EVIL)
    report.notice("disagrees", 1, EVIL)
    assert "<script" not in report_html(report)
    sample = SimpleNamespace(rows=[(1, {EVIL: EVIL})], columns=[EVIL])
    assert "<script" not in rows_html(sample, None)


@pytest.mark.parametrize("name", ["~nobody-of-this-name/x", "a\0b"])
def test_what_cannot_be_a_path_is_told_like_any_other_wrong_name(shared, name):
    """`~nobody-of-this-name` has no home folder, which pathlib tells with a RuntimeError."""
    step = DataStep(source=name)
    check_path(shared, step)
    with pytest.raises(DatasetError, match="There is no file"):
        _path(shared, name, step.model_dump_json())
    with pytest.raises(DatasetError):
        open_named(name)
    with pytest.raises(EngineError):
        read_facts(name)
    assert "There is no dataset" in checks.dataset(DataStep(source=name))


def test_nothing_written_asks_for_something(shared):
    with pytest.raises(DatasetError, match="Write the full path"):
        _path(shared, "  ", "")
    with pytest.raises(DatasetError, match="Write the name"):
        _from_hub("", "", "", "", "")
