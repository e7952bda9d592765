"""How much of a GPU a vLLM that answers gets, and how many answers at a time, against sums done by hand."""

import pytest

from pipeline.engines.vllm_room import (
    USABLE,
    Room,
    evaluation_share,
    graphs_for,
    own_at_once,
    room_for,
    round_length,
    sampled_at_once,
)
from pipeline.hardware import GIB, Gpu, Hardware
from pipeline.model_facts import ModelFacts

# The shape of Qwen2.5-1.5B: 1.5 billion weights take 2.875 GiB, vLLM's work 0.969, its graphs 0.6, and a token 28 KiB.
QWEN = ModelFacts("qwen", "Qwen2ForCausalLM", "qwen2", 1_543_714_304, 3_087_467_144, 28, 1536, 8960, 151_936, 2, 128,
                  32_768, True, {})
BESIDE = 2.8754 + 0.9688 + 0.6
ANSWER = (600 * 28 * 1024 + 16 * 151_936) / GIB  # of 600 tokens, with 16 bytes a word piece


def gpu(memory: float, used: float = 0.0) -> Hardware:
    """A machine with one GPU, of which other programs hold a part."""
    return Hardware(8, 64, 60, (Gpu(0, "GPU", memory, used, (9, 0)),))


@pytest.mark.parametrize("share, free, expected", [
    (0.3, 100, 0.5),  # nothing trains: at least half
    (0.8, 100, 0.8),
    (0.5, 40, 0.34),  # another process holds 60 of 100: a part of the rest
    (0.5, 0, 0.01),
])
def test_share_while_answering(share: float, free: int, expected: float) -> None:
    assert evaluation_share(share, free, 100) == pytest.approx(expected)


@pytest.mark.parametrize("answers, held, own, expected", [
    (0, 5000, 1024, None),  # how many come is not known
    (30, 5000, 1024, 30),  # as many graphs as there are questions
    (1319, 5000, 1024, 1319),  # one round instead of two
    (1319, 1200, 1024, 1200),
    (1319, 700, 1024, None),  # they are seldom as long as they may be: vLLM takes what its cache holds
    (1319, 700, 256, 700),  # two rounds instead of six
    (30, 20, 256, None),
    (9000, 5000, 256, 2048),
])
def test_how_many_answers_vllm_samples_at_a_time(answers: int, held: int, own: int, expected: int | None) -> None:
    assert sampled_at_once(answers, held, own) == expected


@pytest.mark.parametrize("name, memory, own", [
    ("NVIDIA H200", 139.8, 1024), ("NVIDIA A100-SXM4-80GB", 79.2, 256), ("NVIDIA GeForce RTX 4090", 23.6, 256)])
def test_how_many_vllm_takes_by_itself(name: str, memory: float, own: int) -> None:
    assert own_at_once(Gpu(0, name, memory, 0.0, (9, 0))) == own


def test_half_of_a_large_gpu_is_enough() -> None:
    assert room_for(0.3, 1319, 600, QWEN, "16bit", gpu(140)) == Room(0.5, 1024, 1319)


def test_a_model_that_fills_more_than_half_of_the_gpu_gets_more_and_no_more_than_is_free() -> None:
    room = room_for(0.2, 100, 600, QWEN, "16bit", gpu(8))
    assert room.share == pytest.approx((BESIDE + 100 * ANSWER) / 8, abs=1e-4) and room.at_once == 100
    assert room_for(0.2, 100, 600, QWEN, "16bit", gpu(6)) == Room(USABLE, 1024, None)
    assert room_for(0.2, 100, 600, QWEN, "16bit", gpu(80, used=70)) == Room(pytest.approx(0.85 / 8), 1024, 100)


def test_a_smaller_gpu_samples_as_many_at_a_time_as_it_holds() -> None:
    """Of 24 GiB, 85 % are 20.4: 15.96 beside weights and graphs, for 872 answers. By itself vLLM would take 256."""
    room = room_for(0.2, 1319, 600, QWEN, "16bit", gpu(24))
    assert room == Room(USABLE, 1024, int((20.4 - BESIDE) / ANSWER)) and room.at_once == 872


def test_one_text_of_the_told_length_has_room_since_vllm_asks_for_it() -> None:
    """An answer of 31,000 tokens; vLLM is told 31,232, which half of 10 GiB do not hold beside the weights."""
    room = room_for(0.2, 1, 31_000, QWEN, "16bit", gpu(10))
    assert room.length == 31_232 and room.share >= (BESIDE + 31_232 * 28 * 1024 / GIB) / 10


def test_without_the_shape_or_the_gpu_it_is_left_to_vllm() -> None:
    assert room_for(0.3, 1319, 600, None, "16bit", gpu(24)) == Room(0.5, 600, None)
    assert room_for(0.3, 1319, 600, QWEN, "16bit", Hardware(8, 64, 60)) == Room(0.5, 600, None)


@pytest.mark.parametrize("length, positions, told", [(600, 32_768, 1024), (1024, 2048, 1024), (600, 700, 700),
                                                     (600, None, 600), (600, 512, 600)])
def test_lengths_are_few_so_that_vllm_need_not_compile_anew(length: int, positions: int | None, told: int) -> None:
    """Its cache of compiled models has a key for every length and every list of graphs."""
    assert round_length(length, positions) == told


def test_graphs_are_recorded_for_one_of_a_few_numbers_of_answers() -> None:
    assert [graphs_for(n) for n in (1, 64, 65, 300, 1319, 2048)] == [64, 64, 256, 512, 1536, 2048]
