"""The data behind the Live page: thinning, paging, search, log."""

from pathlib import Path

import pytest

from pipeline import live_data, live_groups
from pipeline.run_folder import RunFolder, RunReader
from reasoning_ui.charts import CHARTS
from tests.live.synthetic import Synthetic, constant, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """120 GRPO steps with two groups of four, 60 SFT steps."""
    return write_run(tmp_path_factory.mktemp("runs") / "r1", Synthetic(grpo={
        "reward/total": lambda step, t, rng: 100.0 if step == 37 else float(step), "policy/kl": constant(0.0)}))


def test_keys_are_found_by_stage(run: RunFolder) -> None:
    """The hop through the index finds what DISTINCT finds."""
    reader = RunReader(run)
    rows = reader.rows("SELECT DISTINCT stage, key FROM metrics ORDER BY stage, key")
    expected: dict[str, list[str]] = {}
    for row in rows:
        expected.setdefault(row["stage"], []).append(row["key"])
    assert live_data.metric_keys(reader) == expected
    assert expected["sft"][-1] == "time/step_seconds"


def test_what_a_chart_shows_as_a_share_is_written_as_one(run: RunFolder) -> None:
    """Between 0 and 1, as the trainer records it: the page multiplies by 100. Seconds of the parts add up to a step."""
    reader = RunReader(run)
    shares = [key for chart in CHARTS if chart.unit == "share" for key, _ in chart.series]
    found = {key: live_data.values(reader, "grpo", key)[1] for key in shares}
    assert found["gpu/utilisation"] and found["completion/truncated"]
    assert all(-0.2 < value < 1.2 for values in found.values() for value in values)  # noise included
    split = sum(sum(live_data.values(reader, "grpo", f"time/{part}_seconds")[1])
                for part in ("generate", "score", "learn"))
    assert split == pytest.approx(sum(live_data.values(reader, "grpo", "time/step_seconds")[1]), rel=0.02)


def test_an_absent_run_reads_as_empty(tmp_path: Path) -> None:
    """No database, no error: a run that waits in the queue has none yet."""
    reader = RunReader(RunFolder(tmp_path / "none"))
    assert live_data.metric_keys(reader) == {}
    assert live_data.newest(reader) == live_data.last_step(reader, "grpo") == 0
    assert live_groups.groups(reader, live_groups.GroupQuery()) == []
    assert live_groups.search(reader, "x").hits == []
    assert live_groups.step_range(reader, "grpo") is None
    assert live_data.log_after(tmp_path / "none" / "log.txt", None).size == 0


def test_a_thinned_series_keeps_the_mean_the_extremes_and_the_last_point(run: RunFolder) -> None:
    """Stride 16 over steps 1..120: bucket 2 holds 32..47 with 100 in place of 37.

    Its mean is (sum(32..47) - 37 + 100) / 16 = (632 + 63) / 16 = 43.4375; the last bucket, 112..120, ends at 120.
    """
    s = live_data.series(RunReader(run), "grpo", ["reward/total"], 0, 16)["reward/total"]
    assert s.steps == [15, 31, 47, 63, 79, 95, 111, 120]
    assert (s.mean[2], s.low[2], s.high[2]) == (43.4375, 32.0, 100.0)
    assert s.mean[-1] == 116.0


def test_a_series_continues_from_the_last_unfinished_bucket(run: RunFolder) -> None:
    """Reading from step 112 gives exactly the tail of reading everything."""
    reader = RunReader(run)
    whole = live_data.series(reader, "grpo", ["reward/total"], 0, 16)["reward/total"]
    tail = live_data.series(reader, "grpo", ["reward/total"], 112, 16)["reward/total"]
    assert tail.steps == whole.steps[-1:] and tail.mean == whole.mean[-1:]


@pytest.mark.parametrize(("steps", "stride"), [(0, 1), (1, 1), (300, 1), (301, 2), (600, 2), (10_000, 64)])
def test_the_stride_keeps_points_under_three_hundred(steps: int, stride: int) -> None:
    """10,000 / 32 = 312.5 is too many, / 64 = 157 fits."""
    assert live_data.stride_for(steps) == stride


def test_csv_holds_every_step_and_leaves_missing_values_empty(run: RunFolder) -> None:
    """The SFT evaluation loss exists on every tenth step only."""
    lines = live_data.to_csv(RunReader(run), "sft", ["sft/loss", "sft/eval_loss"]).splitlines()
    assert lines[0] == "step,sft/loss,sft/eval_loss"
    assert len(lines) == 61
    assert lines[1].endswith(",") and not lines[10].endswith(",")


def test_groups_are_filtered_and_ordered(run: RunFolder) -> None:
    """Each filter's promise holds on every row that it returns, and something is left out by each."""
    reader = RunReader(run)
    everything = live_groups.groups(reader, live_groups.GroupQuery(limit=1000))
    assert len(everything) == 240
    checks = {"all_wrong": lambda g: g["right"] == 0, "all_right": lambda g: g["right"] == g["size"],
              "mixed": lambda g: 0 < g["right"] < g["size"], "equal": lambda g: g["spread"] == 0}
    for name, holds in checks.items():
        rows = live_groups.groups(reader, live_groups.GroupQuery(filter=name, limit=1000))
        assert rows and all(holds(g) for g in rows) and len(rows) == sum(map(holds, everything))
    for name, key, extreme in (("best", "mean_total", max), ("worst", "mean_total", min), ("spread", "spread", max)):
        rows = live_groups.groups(reader, live_groups.GroupQuery(filter=name, limit=1000))
        by_step = {step: extreme(g[key] for g in everything if g["step"] == step) for step in range(1, 121)}
        assert {g["step"]: g[key] for g in rows} == by_step and len(rows) == 120
    best = live_groups.groups(reader, live_groups.GroupQuery(order="best"))
    assert [g["mean_total"] for g in best] == sorted((g["mean_total"] for g in everything), reverse=True)[:20]
    assert live_groups.groups(reader, live_groups.GroupQuery(filter="truncated")) == []
    assert len(live_groups.groups(reader, live_groups.GroupQuery(filter="nonsense; --", order="?"))) == 20


def test_the_nearest_step_with_groups_is_found(run: RunFolder) -> None:
    """Steps 1 to 120 have groups."""
    reader = RunReader(run)
    assert [live_groups.nearest_step(reader, "grpo", s) for s in (-3, 1, 60, 500)] == [1, 1, 60, 120]
    assert live_groups.nearest_step(reader, "sft", 3) is None
    assert live_groups.step_range(reader, "grpo") == (1, 120)


def test_one_prompt_is_followed_through_training(run: RunFolder) -> None:
    """Prompts repeat every 50 steps: step 7 comes again at 57 and 107."""
    reader = RunReader(run)
    prompt = live_groups.groups(reader, live_groups.GroupQuery(step=7))[0]["prompt"]
    assert [r["step"] for r in live_groups.follow(reader, prompt)] == [7, 57, 107]


def test_search_finds_words_in_all_steps_newest_first_and_pages(run: RunFolder) -> None:
    """`<answer>27</answer>` is found by 27; the next page starts below the last id."""
    reader = RunReader(run)
    first = live_groups.search(reader, "boxes apples", limit=5)
    assert first.count == 960 and not first.more
    assert [h["step"] for h in first.hits] == [120] * 5
    second = live_groups.search(reader, "boxes apples", before=first.hits[-1]["id"], limit=5)
    assert second.hits[0]["id"] == first.hits[-1]["id"] - 1
    assert "\x01apples\x02" in first.hits[0]["snippet"]
    assert live_groups.search(reader, "boxes apples", count_to=10).more


@pytest.mark.parametrize("text", [
    '"', '""', "AND zebra", "zebra OR", "NEAR(", "* *", "text:apples", "^x", "-", "(", "日本", "\x00"])
def test_a_search_takes_whatever_is_typed(run: RunFolder, text: str) -> None:
    """FTS5 syntax in the text is only text: no error, and no column filter."""
    assert live_groups.search(RunReader(run), text).hits == []


def test_the_log_is_sent_in_pieces_of_whole_lines(tmp_path: Path) -> None:
    """First the tail, starting with a whole line; then only what is new; from the start when the file was replaced."""
    log = tmp_path / "log.txt"
    log.write_text("".join(f"line {i:04}\n" for i in range(1000)))  # 10 bytes a line
    tail = live_data.log_after(log, None, piece=95)
    assert tail.text.splitlines()[0] == "line 0991" and tail.end == 10_000
    with log.open("a") as f:
        f.write("new é\n")
    assert live_data.log_after(log, tail.end).text == "new é\n"
    log.write_text("fresh\n")
    assert live_data.log_after(log, tail.end).text == "fresh\n"


def test_the_whole_log_is_searched(tmp_path: Path) -> None:
    """Case does not matter; the last hits are kept."""
    log = tmp_path / "log.txt"
    log.write_text("".join(f"Line {i}\n" for i in range(1, 5001)))
    assert live_data.log_search(log, "line 4999") == [(4999, "Line 4999")]
    assert len(live_data.log_search(log, "LINE", limit=10)) == 10
    assert live_data.log_search(log, "LINE", limit=10)[-1] == (5000, "Line 5000")
