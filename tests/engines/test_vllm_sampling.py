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
from pipeline.engines.vllm_sampling import VllmGenerator, told_cause, vllm_answers, vllm_rank
from pipeline.engines.vllm_worker import WorkerReport
from pipeline.hardware import Gpu, Hardware
from pipeline.model_facts import ModelFacts
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


def test_vllm_is_told_of_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """All 1,319 questions at a time, graphs for a few more, and the longest text rounded up."""
    told: dict[str, Any] = {}

    def start(**options: Any) -> SimpleNamespace:
        told.update(options)
        return SimpleNamespace(collective_rpc=lambda *_, **__: [{"weights": 1, "peak": None}], llm_engine=None)

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=start))
    machine = Hardware(8, 64, 60, (Gpu(0, "GPU", 140.0, 0.0, (9, 0)),))
    monkeypatch.setattr(vllm_sampling, "detect", lambda: machine)
    with VllmGenerator(model_folder("tiny"), ModelStep(), length=400, answers=1319):
        assert (told["gpu_memory_utilization"], told["max_model_len"], told["max_num_seqs"]) == (0.5, 512, 1319)
        assert told["compilation_config"]["cudagraph_capture_sizes"][-1] == 1536
    told.clear()
    with VllmGenerator(model_folder("tiny"), ModelStep(max_length=300)):
        assert told["max_model_len"] == 512 and not {"max_num_seqs", "compilation_config"} & told.keys()


def test_a_model_whose_shape_is_not_told_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert VllmGenerator(tmp_path, ModelStep())._facts() is None
    empty = ModelFacts("odd", "Odd", "odd", 1000, 2000, 0, 64, 64, 0, 0, 0, None, True, {})
    monkeypatch.setattr(vllm_sampling, "read_facts", lambda *_: empty)
    assert VllmGenerator(tmp_path, ModelStep())._facts() is None


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
