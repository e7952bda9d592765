"""Answers of vLLM's engine in their order, and a stop in the middle. vLLM needs a GPU: its engine is stood in for."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.dataset.models import model_folder
from pipeline.engines import vllm_sampling
from pipeline.engines.base import Sample
from pipeline.engines.vllm_sampling import (
    USABLE,
    VllmGenerator,
    evaluation_share,
    own_at_once,
    sampled_at_once,
    told_cause,
    vllm_answers,
    vllm_rank,
)
from pipeline.engines.vllm_worker import WorkerReport
from pipeline.hardware import Gpu, Hardware
from pipeline.model_facts import ModelFacts, read_facts
from pipeline.recipe import ModelStep
from pipeline.working_time import CLOCK


class StepEngine:
    """Ends requests in a scattered order, a few at each step, as continuous batching does."""

    def __init__(self, count: int, samples: int) -> None:
        self.samples, self.aborted = samples, []
        self.left = sorted(range(count), key=lambda i: (i % 3, -i))

    def has_unfinished_requests(self) -> bool:
        return bool(self.left)

    def step(self) -> list[SimpleNamespace]:
        ended, self.left = self.left[:7], self.left[7:]
        outputs = [[SimpleNamespace(token_ids=(i, s), finish_reason="length" if i == 4 else "stop")
                    for s in range(self.samples)] for i in ended]
        unfinished = [SimpleNamespace(finished=False, request_id=str(100 + i), outputs=[]) for i in self.left[:2]]
        return [SimpleNamespace(finished=True, request_id=str(100 + i), outputs=o)
                for i, o in zip(ended, outputs, strict=True)] + unfinished

    def abort_request(self, ids: list[str], internal: bool) -> None:
        assert internal
        self.aborted = ids


def language_model(count: int, samples: int = 1) -> SimpleNamespace:
    """`LLM.enqueue` gives ids with a random ending; answers come under the part before it."""
    engine = StepEngine(count, samples)
    return SimpleNamespace(llm_engine=engine, enqueue=lambda prompts, *_, **__: [
        f"{100 + i}-{i * 7919:08x}" for i in range(len(prompts))])


TOKENIZER = SimpleNamespace(decode=lambda ids, skip_special_tokens: " ".join(map(str, ids)))


def test_answers_come_in_the_order_of_their_prompts() -> None:
    handed: list[list[int]] = []
    texts: dict[int, str] = {}

    def on_batch(at: Sequence[int], new: list[list[Sample]]) -> None:
        handed.append(list(at))
        texts.update((i, samples[1].text) for i, samples in zip(at, new, strict=True))

    answers = vllm_answers(language_model(900, 2), TOKENIZER, [[1]] * 900, None, on_batch=on_batch)
    assert [[sample.text for sample in samples] for samples in answers] == [[f"{i} 0", f"{i} 1"] for i in range(900)]
    assert [i for i, samples in enumerate(answers) if samples[0].truncated] == [4]
    assert sorted(i for part in handed for i in part) == list(range(900)) and len(handed) > 1
    assert all(i % 3 == 0 for i in handed[0])  # those that ended first, whatever their place
    assert texts == {i: f"{i} 1" for i in range(900)}
    assert all(sample.seconds > 0 for samples in answers for sample in samples)


def test_a_stop_keeps_what_is_done_and_ends_the_rest() -> None:
    llm, calls = language_model(90), iter(range(1000))
    answers = vllm_answers(llm, TOKENIZER, [[1]] * 90, None, should_stop=lambda: next(calls) >= 9)
    # 63 are done: all of the first kind, all of the second, three of the third, counted from the end.
    done = [i for i in range(90) if i % 3 < 2 or i > 80]
    assert [samples[0].text for samples in answers] == [f"{i} 0" for i in done]
    assert len(llm.llm_engine.aborted) == 27 and llm.llm_engine.aborted[0].startswith("102-")


def test_a_pause_for_the_disk_is_not_in_the_seconds_of_an_answer() -> None:
    """It lasts 0.3 s before the first step; ten answers of a made-up engine take far less, together."""
    calls = iter(range(1000))

    def pauses_once() -> bool:
        if next(calls) == 0:
            with CLOCK.paused():
                time.sleep(0.3)
        return False

    answers = vllm_answers(language_model(10), TOKENIZER, [[1]] * 10, None, should_stop=pauses_once)
    assert sum(samples[0].seconds for samples in answers) < 0.2


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


@pytest.mark.parametrize("memory, answers, expected", [(140.0, 1319, 1319), (0.9, 1319, None), (140.0, 0, None)])
def test_vllm_is_told_of_the_answers_that_will_be_asked_for_and_records_graphs_for_as_many(
        monkeypatch: pytest.MonkeyPatch, memory: float, answers: int, expected: int | None) -> None:
    told = loaded_on(monkeypatch, memory, ModelStep(), length=400, answers=answers)
    assert told.get("max_num_seqs") == expected
    sizes = told.get("compilation_config", {}).get("cudagraph_capture_sizes", [None])
    assert sizes[-1] == expected
    assert told["gpu_memory_utilization"] == pytest.approx(0.5 if memory > 1 else USABLE)


def test_a_model_that_fills_more_than_half_of_the_gpu_gets_more_and_no_more_than_is_free(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """1.5 billion weights and what vLLM needs to work take 3.84 GiB; 100 answers of 600 tokens 1.83 more."""
    qwen = ModelFacts("qwen", "Qwen2ForCausalLM", "qwen2", 1_543_714_304, 3_087_467_144, 28, 1536, 8960, 151_936, 2,
                      128, 32_768, True, {})
    monkeypatch.setattr(vllm_sampling, "read_facts", lambda *_: qwen)
    told = loaded_on(monkeypatch, 6.0, ModelStep(gpu_memory_share=0.2), length=600, answers=100)
    assert told["gpu_memory_utilization"] == pytest.approx(USABLE) and "max_num_seqs" not in told
    told = loaded_on(monkeypatch, 8.0, ModelStep(gpu_memory_share=0.2), length=600, answers=100)
    assert told["gpu_memory_utilization"] == pytest.approx((3.8442 + 0.6 + 100 * 0.018286) / 8, abs=1e-4)
    assert told["max_num_seqs"] == 100 and told["max_model_len"] == 600  # vLLM wants room for one of the longest


def test_a_model_whose_shape_is_not_told_leaves_it_all_to_vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    empty = ModelFacts("odd", "Odd", "odd", 1000, 2000, 0, 64, 64, 0, 0, 0, 0, True, {})
    for facts in (lambda *_: empty, read_facts):
        monkeypatch.setattr(vllm_sampling, "read_facts", facts)
        generator = VllmGenerator(tmp_path, ModelStep(), length=400, answers=100)
        assert generator._room(Hardware(8, 64, 60, (Gpu(0, "GPU", 24.0, 0.0, (9, 0)),))) == (0.5, None)
    assert generator._room(Hardware(8, 64, 60)) == (0.5, None)  # NVML may not be asked


def loaded_on(monkeypatch: pytest.MonkeyPatch, memory: float, step: ModelStep, **how: int) -> dict[str, Any]:
    """What vLLM is told when it loads the bundled model on a GPU of so many GiB."""
    told: dict[str, Any] = {}

    def start(**options: Any) -> SimpleNamespace:
        told.update(options)
        return SimpleNamespace(collective_rpc=lambda *_, **__: [{"weights": 1, "peak": None}], llm_engine=None)

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=start))
    machine = Hardware(8, 64, 60, (Gpu(0, "GPU", memory, 0.0, (9, 0)),))
    monkeypatch.setattr(vllm_sampling, "detect", lambda: machine)
    with VllmGenerator(model_folder("tiny"), step, **how):
        return told


def test_rank_ceiling() -> None:
    assert [vllm_rank(r) for r in (1, 8, 9, 64, 65, 300, 999)] == [8, 8, 16, 64, 128, 320, 512]


def test_memory_report_adds_up() -> None:
    worker = WorkerReport()
    worker.model_runner = SimpleNamespace(model_memory_usage=270e6)
    worker.peak_activation_memory, worker.non_torch_memory = 1e9, None
    assert worker.memory_report() == {"weights": 270_000_000, "peak": 1_270_000_000}
    worker.peak_activation_memory = 0  # vLLM did not look: the weights alone are no peak
    assert worker.memory_report()["peak"] is None


def test_why_vllm_s_own_process_failed_is_found_in_the_log(tmp_path: Path) -> None:
    """The caller only hears that initialization failed; what was printed before this attempt does not count."""
    log = tmp_path / "log.txt"
    old = "ValueError: from an earlier attempt, out of memory\n"
    log.write_text(old + "(EngineCore pid=7) ERROR 11-22 [core.py:843] torch.OutOfMemoryError: CUDA out of memory. "
                   "Tried to allocate 2.50 GiB.\nRuntimeError: Engine core initialization failed. See above.\n"
                   "ValueError: something later\n")
    assert told_cause(log, len(old)) == "CUDA out of memory. Tried to allocate 2.50 GiB."
    log.write_text("(EngineCore pid=7) ERROR [core.py:843] ValueError: There is no module named q_norm\n")
    assert told_cause(log, 0) == "There is no module named q_norm"
    assert told_cause(log, 10_000) == "" and told_cause(None, 0) == "" and told_cause(tmp_path / "none", 0) == ""
