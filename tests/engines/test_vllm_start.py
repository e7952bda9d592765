"""How a vLLM inside a trainer is started; vLLM itself needs a GPU (docs/gpu.md)."""

from pathlib import Path

import pytest

from pipeline.dataset.chat import model_folder
from pipeline.engines.vllm_start import graph_sizes, graphs_alone, is_small


@pytest.mark.parametrize(("answers", "sizes"), [
    (1, [1]), (12, [1, 2, 4, 8, 12]), (64, [1, 2, 4, *range(8, 65, 8)]),
    (2000, [1, 2, 4, *range(8, 257, 8), *range(272, 513, 16)])])
def test_graphs_are_recorded_for_as_many_answers_as_are_sampled_at_once(answers: int, sizes: list[int]) -> None:
    assert graph_sizes(answers) == sizes
    assert graphs_alone(answers)["cudagraph_capture_sizes"] == sizes and graphs_alone(answers)["mode"] == 0


def test_more_answers_than_vllm_records_graphs_for_by_itself_get_graphs_in_wider_steps() -> None:
    sizes = graph_sizes(1319, 2048)
    assert sizes == [*graph_sizes(512), *range(576, 1281, 64), 1319]
    assert graph_sizes(9000, 2048)[-1] == 2048


def test_the_bundled_model_is_small_and_one_that_cannot_be_read_is_not(tmp_path: Path) -> None:
    assert is_small(model_folder("tiny"))
    assert not is_small(tmp_path)
