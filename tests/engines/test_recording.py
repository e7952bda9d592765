"""The numbers that each training step puts on record."""

import threading

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from pipeline import tags
from pipeline.engines.gpu_use import GpuUse
from pipeline.engines.recording import GIB, gpu_metrics, refuse_not_finite, summarise
from pipeline.errors import EngineError
from pipeline.failures import KILLED, OUT_OF_GPU_MEMORY, OUT_OF_MEMORY, explain
from pipeline.recipe import ModelStep, Recipe
from pipeline.run_folder import CompletionRecord, GroupRecord

SCHEME = tags.SCHEMES["reasoning"]
GOOD = tags.wrap(SCHEME, "1 + 1 = 2", "2")


def _completion(text: str, total: float | None, tokens: int = 10, truncated: bool = False) -> CompletionRecord:
    return CompletionRecord(text, tokens, truncated, {"format": total}, total, 0.0, tags.extract(SCHEME, text))


def test_the_metrics_of_a_step_follow_from_its_groups():
    """Two groups of two: totals 3, 1 and 2, 2. Mean 2; spread sqrt((1 + 1 + 0 + 0) / 4) = 0.7071; one group of two is
    flat; one of four is cut off; two of four are well formed; three of four answers are right; lengths 10, 20, 30, 40.
    The weighted mean is the weight 2 times the raw mean 2."""
    groups = [
        GroupRecord("a", "2", [_completion(GOOD, 3.0), _completion("2", 1.0, 20)], right=1),
        GroupRecord("b", "2", [_completion(GOOD, 2.0, 30), _completion("…", 2.0, 40, truncated=True)], right=2),
    ]
    values = summarise(groups, {"format": 2.0}, SCHEME)
    assert values["reward/total"] == 2.0
    assert values["reward/std"] == pytest.approx(0.70711, abs=1e-5)
    assert values["groups/zero_variance"] == 0.5
    assert values["completion/truncated"] == 0.25
    assert values["completion/format_rate"] == 0.5
    assert values["completion/exact_rate"] == 0.75
    assert values["completion/mean_tokens"] == 25.0
    assert values["reward_raw/format"] == 2.0
    assert values["reward_weighted/format"] == 4.0


def test_scores_that_failed_are_left_out_and_not_counted_as_zero():
    """Totals 4 and None: the mean is 4, and a group with one score has no spread."""
    values = summarise([GroupRecord("a", None, [_completion(GOOD, 4.0), _completion(GOOD, None)])],
                       {"format": 1.0}, SCHEME)
    assert values["reward/total"] == 4.0
    assert values["groups/zero_variance"] == 1.0
    assert "completion/exact_rate" not in values


@pytest.mark.parametrize("logs", [{"loss": float("nan"), "grad_norm": 1.0}, {"grad_norm": float("inf")}])
def test_a_step_that_is_not_finite_ends_the_stage_with_its_own_learning_rate_to_lower(logs):
    """SFT's rate 2e-4, not GRPO's: without this SFT would end well and hand a broken model on."""
    refuse_not_finite({"loss": 0.5, "grad_norm": 2.0}, 3)
    with pytest.raises(EngineError) as caught:
        refuse_not_finite(logs, 4)
    failure = explain(caught.value, Recipe(), "sft")
    assert failure.reason.startswith("SFT diverged") and "0.0002 → 5e-05" in failure.remedy


def test_weights_that_are_cut_off_are_told_as_such(tmp_path):
    """A real file, half of it: what safetensors raises becomes a sentence with a remedy."""
    save_file({"w": np.zeros(1000)}, tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:4000])
    with pytest.raises(Exception, match="incomplete") as caught, safe_open(tmp_path / "model.safetensors", "np"):
        pass
    failure = explain(caught.value, Recipe(), "sft")
    assert "damaged or incomplete" in failure.reason and "Fetch or copy the model again" in failure.remedy


def test_vllm_without_room_for_its_cache_is_not_told_to_take_less():
    """vLLM 0.26's words on an H200, where another run took memory while it loaded; and Unsloth's error around them."""
    words = ("No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the "
             "engine (this flag also controls CPU memory reservation on the CPU backend, despite its name).")
    for error in (ValueError(words), EngineError(f"Unsloth cannot load 'models/sft': {words}")):
        failure = explain(error, Recipe(model=ModelStep(gpu_memory_share=0.1)), "grpo")
        assert failure.reason.startswith("GRPO: vLLM found no room") and "10%" in failure.reason
        assert failure.kind == ""  # no «Try again with less memory»: it would lower the share
        assert "press Resume" in failure.remedy and "a vLLM share of 15%" in failure.remedy
    one = ("To serve at least one request with the model's max seq len (32768), (3.5 GiB KV cache is needed, which is "
           "larger than the available KV cache memory (1.21 GiB). Based on the available memory, the estimated maximum "
           "model length is 11328. Try increasing `gpu_memory_utilization` or decreasing `max_model_len`.")
    short = explain(EngineError(f"vLLM cannot load 'models/sft': {one}"), Recipe(), "grpo")
    assert "50% (one of 32768 tokens needs 3.5 GiB, and 1.21 GiB are left)" in short.reason and short.kind == ""
    assert "a vLLM share of 75%, or a sequence length below 1024" in short.remedy
    asked = explain(ValueError(words), Recipe(model=ModelStep(gpu_memory_share=0.1)), "evaluate")
    assert "10%" not in asked.reason and "15%" not in asked.remedy and "a larger GPU" in asked.remedy
    large = explain(ValueError(words), Recipe(model=ModelStep(gpu_memory_share=0.9)), "grpo")
    assert "a vLLM share of 95%" in large.remedy


@pytest.mark.parametrize(("said", "told"), [
    ("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 23.65 GiB of which 812.00 MiB is "
     "free. Including non-PyTorch memory, this process has 22.8 GiB memory in use.",
     "GRPO ran out of GPU memory (it asked for 2.50 GiB more, of 23.65 GiB in all 812.00 MiB were free)."),
    ("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
     "GRPO ran out of GPU memory."),
    ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "GRPO ran out of GPU memory."),
    ("Triton Error [CUDA]: out of memory", "GRPO ran out of GPU memory."),
    ("CUDA driver error: out of memory", "GRPO ran out of GPU memory."),
    ("NCCL error: unhandled cuda error, Cuda failure 2 'out of memory'", "GRPO ran out of GPU memory."),
    ("Error out of memory at line 380 in file /src/csrc/pythonInterface.cpp", "GRPO ran out of GPU memory."),
    ("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate "
     "8589934592 bytes. Error code 12", "GRPO ran out of memory on this machine (it asked for 8.0 GB more)."),
    (f"The process of stage grpo was {KILLED}.", "ran out of memory on this machine and was ended by the system"),
])
def test_out_of_memory_is_explained_with_the_numbers_that_were_told(said, told):
    """As torch and vLLM write it; every one leads to a proposal that one click starts."""
    failure = explain(RuntimeError(said), Recipe(grpo={"batch_size": 16}), "grpo")
    assert told in failure.reason
    assert failure.kind == (OUT_OF_GPU_MEMORY if "GPU" in told else OUT_OF_MEMORY)
    assert "GRPO batch size from 16 to 8 with accumulation 2 (the same learning" in failure.remedy


def test_a_gpu_that_another_program_fills_is_told_with_the_share_that_would_fit():
    """vLLM 0.26's words. A smaller batch would not help: 10.21 of 139.8 GiB are 7 %, of which it gets nine tenths."""
    said = RuntimeError("Free memory on device cuda:0 (10.21/139.8 GiB) on startup is less than desired GPU memory "
                        "utilization (0.5, 69.9 GiB). Decrease GPU memory utilization or use less.")
    failure = explain(said, Recipe(), "grpo")
    assert failure.reason.endswith("free for vLLM: 10.21 of 139.8 GiB, and its share is 69.9 GiB.")
    assert failure.kind == ""
    assert "press Resume when it has ended. Or duplicate the run with a vLLM share of 6%." in failure.remedy
    assert "duplicate" not in explain(said, Recipe(), "evaluate").remedy


@pytest.mark.parametrize("stage", ["merge_sft", "merge_grpo"])
def test_a_merge_that_ran_out_of_memory_says_how_much_it_holds_and_proposes_nothing(stage):
    """The bundled model has 1,148,032 parameters less its adapter's: two copies of 4 bytes of each are 7.5 MB."""
    failure = explain(RuntimeError(f"The process of stage {stage} was {KILLED}."), Recipe(), stage)
    assert "32 bits in this machine's memory, 7.5 MB together," in failure.remedy and "press Resume" in failure.remedy
    assert "4bit" not in failure.remedy and "Try again" not in failure.remedy and failure.kind == ""
    on_gpu = explain(RuntimeError("CUDA out of memory. Tried to allocate 2.50 GiB."), Recipe(), stage)
    assert "on the GPU: end other programs there" in on_gpu.remedy and on_gpu.kind == ""


def test_gpu_use_is_averaged_over_a_step_and_is_a_share():
    """Asked several times: 100, 0, 100, 0, … percent are a half; without NVML there is no number."""
    answers = iter([100, 0] * 3)
    done = threading.Event()

    def ask():
        now = next(answers, None)
        if now is None:
            done.set()
            raise RuntimeError("NVML is gone")
        return now

    use = GpuUse(ask)
    assert use.take() is None
    use.start()
    assert done.wait(60)
    assert use.take() == 0.5 and use.take() is None
    use.stop()


def test_what_torch_counts_of_a_sleeping_vllm_is_not_told_as_memory(monkeypatch):
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (100 * GIB, 140 * GIB))
    monkeypatch.setattr("torch.cuda.max_memory_reserved", lambda: 55 * GIB)
    use = GpuUse(lambda: 50)
    assert gpu_metrics(use, sleeps=False) == {"gpu/memory_gib": 40.0, "gpu/own_peak_gib": 55.0}
    assert gpu_metrics(use, sleeps=True) == {"gpu/memory_gib": 40.0}
