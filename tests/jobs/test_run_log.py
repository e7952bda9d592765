"""A log that a library floods is cut in the middle, at whole lines, while others go on writing to it."""

import subprocess
import sys

from waiting import recipe, until

from pipeline import run_log
from pipeline.jobs import start
from pipeline.run_folder import RunWriter
from pipeline.watch import Watch

LINES = "".join(f"line {number}\n" for number in range(1000))


def test_a_log_within_the_limit_stays(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text(LINES)
    assert not run_log.shorten(log, most=len(LINES))
    assert log.read_text() == LINES


def test_a_larger_one_keeps_whole_lines_of_its_beginning_and_its_end(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text(LINES)
    assert run_log.shorten(log, most=1000, head=100, tail=200)
    lines = log.read_text().splitlines()
    assert lines[:13] == [f"line {number}" for number in range(13)]
    assert lines[13].endswith("of this log were left out …]")
    assert lines[14:] == [f"line {number}" for number in range(978, 1000)]


def test_a_single_endless_line_goes_too(tmp_path):
    log = tmp_path / "log.txt"
    log.write_bytes(b"\xff" * 5000)
    assert run_log.shorten(log, most=1000, head=100, tail=200)
    assert log.stat().st_size < 300


def test_who_has_it_open_for_appending_writes_on_behind_the_cut(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text(LINES)
    with log.open("ab") as file:
        writer = subprocess.Popen([sys.executable, "-c", "input(); print('still here')"], stdin=subprocess.PIPE,
                                  stdout=file)
        assert run_log.shorten(log, most=1000, head=100, tail=200)
        writer.communicate(b"\n", timeout=60)
    text = log.read_text()
    assert text.endswith("line 999\nstill here\n") and len(text) < 500


def test_the_worker_looks_after_its_log(home, monkeypatch):
    monkeypatch.setattr("pipeline.run_queue.advance", lambda home: [])
    folder = home.run(start(home, recipe(20)))
    with folder.log.open("ab") as log:
        log.write(b"[info] Data: read\n" + b"a line of a library\n" * (run_log.MOST // 20))
    writer = RunWriter(folder)
    monkeypatch.setattr("pipeline.watch.signal.signal", lambda *_: None)  # this process keeps its own
    watch = Watch(home, folder, writer)
    watch.start()
    try:
        until(lambda: folder.log.stat().st_size < run_log.MOST // 2)
    finally:
        watch.end()
        writer.close()
    assert folder.log.read_bytes().startswith(b"[info] Data: read\n")
