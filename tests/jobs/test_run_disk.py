"""The checkpoints of a run: which did best on held-out questions, and whether chance alone may have made it so."""

import pytest

from pipeline import run_disk
from pipeline.engines.checkpoints import mark_complete
from pipeline.recipe import Recipe
from pipeline.run_folder import RunFolder, RunWriter
from reasoning_ui import runs_cards


@pytest.fixture
def run(tmp_path):
    """run({step: (reward, low, high) or (reward,), …}): a folder with these checkpoints of GRPO and their rewards."""
    def make(rewards):
        folder = RunFolder(tmp_path / "run")
        writer = RunWriter(folder)
        folder.recipe_file.write_text(Recipe().to_yaml())
        for step, values in rewards.items():
            checkpoint = folder.checkpoints("grpo") / f"checkpoint-{step}"
            checkpoint.mkdir(parents=True)
            mark_complete(checkpoint)
            names = ("validation/reward/total", "validation_low/reward/total", "validation_high/reward/total")
            writer.add_metrics("grpo", 1, step, dict(zip(names, values, strict=False)))
        writer.close()
        return folder
    return make


def test_a_lead_within_its_own_interval_is_not_called_the_best(run):
    folder = run({10: (1.00, 0.95, 1.05), 20: (1.03, 0.98, 1.08)})
    assert [(c.step, c.best, c.certain) for c in run_disk.checkpoints(folder)] == [(10, False, True), (20, True, False)]
    text = runs_cards._disk(folder)
    assert "held-out reward 1.03 (0.98 to 1.08) <b>(highest, by less than chance may do)</b>" in text
    assert "(best)" not in text


def test_a_clear_lead_is(run):
    assert "held-out reward 1.3 (1.25 to 1.35) <b>(best)</b>" in runs_cards._disk(
        run({10: (1.00, 0.95, 1.05), 20: (1.3, 1.25, 1.35)}))


def test_a_run_without_intervals_and_one_alone_keep_the_mark(run):
    assert "held-out reward 1.3 <b>(best)</b>" in runs_cards._disk(run({10: (1.0,), 20: (1.3,)}))


def test_the_only_checkpoint_is_the_best_there_is(run):
    assert [c.certain for c in run_disk.checkpoints(run({10: (1.0, 0.9, 1.1)}))] == [True]
