"""What is said about a machine, for machines that are made up; and the real one is looked at without torch."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import cuda_driver, devices, gpu_problems, hardware, locks
from pipeline.cuda_driver import CudaAnswer
from pipeline.engine_choice import choose, engine_problems
from pipeline.gpu_problems import shortcomings
from pipeline.hardware import Gpu, Hardware, detect, hardware_line, usable
from pipeline.recipe import ModelStep
from pipeline.studio_home import StudioHome

PACKAGES = {"torch": "2.11.0", "vllm": "0.26.0", "unsloth": "2026.10.5", "unsloth_zoo": "2026.10.7",
            "bitsandbytes": "0.50.2"}
GOOD = Hardware(8, 64, 60, (Gpu(0, "NVIDIA H200", 139.8, 0.4, (9, 0)),), "580.95.05", None, PACKAGES)
P100 = (Gpu(0, "Tesla P100", 16, 0.1, (6, 0)),)


def without(*names: str) -> dict[str, str]:
    """The packages of a complete machine, some left out."""
    return {name: version for name, version in PACKAGES.items() if name not in names}


def test_a_complete_gpu_machine_lacks_nothing_and_gets_unsloth() -> None:
    assert shortcomings(GOOD) == []
    choice = choose(ModelStep(), GOOD, "LlamaForCausalLM", "llama")
    assert (choice.engine, choice.vllm, choice.slower, choice.doubt) == ("unsloth", True, "", "")
    assert hardware_line(GOOD) == ("NVIDIA H200, 140 GiB (139 GiB free), compute capability 9.0, driver 580.95.05.")


def test_another_build_of_the_same_version_is_no_fault() -> None:
    assert shortcomings(replace(GOOD, packages=PACKAGES | {"vllm": "0.26.0+cu129", "torch": "2.11.0+cu129"})) == []


def test_gpus_of_several_kinds_are_told_one_by_one() -> None:
    alike = replace(GOOD, gpus=(GOOD.gpus[0], replace(GOOD.gpus[0], index=1, used_gib=200.0)))
    assert hardware_line(alike).startswith("2 × NVIDIA H200, 140 GiB (139 GiB free), compute capability 9.0, driver")
    mixed = hardware_line(replace(GOOD, gpus=(alike.gpus[1], replace(P100[0], index=1))))
    assert mixed == ("NVIDIA H200, 140 GiB (0 GiB free), compute capability 9.0; Tesla P100, 16 GiB (16 GiB free), "
                     "compute capability 6.0; driver 580.95.05.")


def test_no_gpu_is_no_fault_and_gets_trl() -> None:
    bare = Hardware(2, 24, 20)
    choice = choose(ModelStep(), bare)
    assert shortcomings(bare) == [] and (choice.engine, choice.vllm, choice.slower) == ("trl", False, "")
    assert "training runs on 2 CPU cores" in hardware_line(bare)


@pytest.mark.parametrize(("machine", "says"), [
    (replace(GOOD, packages={"torch": "2.11.0"}), "vllm, unsloth, unsloth_zoo and bitsandbytes are not installed: run "
     "`pip install -r requirements-gpu.txt`"),
    (replace(GOOD, packages=without("vllm")), "a GRPO step takes several times as long"),
    (replace(GOOD, packages=without("unsloth")), "unsloth is not installed: run `pip install -r requirements-gpu.txt`"),
    (replace(GOOD, packages=PACKAGES | {"vllm": "0.27.0"}), "vllm 0.27.0 is installed, but 0.26.0"),
    (replace(GOOD, packages=PACKAGES | {"unsloth": "2026.11.1"}), "unsloth 2026.11.1 is installed, but 2026.10.5"),
    (replace(GOOD, packages=PACKAGES | {"torch": "2.13.0"}), "torch 2.13.0 is installed, but 2.11.0"),
    (replace(GOOD, packages=PACKAGES | {"torch": "2.13.0+cpu"}), "CPU-only build"),
    (replace(GOOD, packages=PACKAGES | {"torch": "2.11.0+rocm6.4"}), "2.11.0+rocm6.4, is the build for AMD GPUs"),
    (replace(GOOD, gpus=(*GOOD.gpus, replace(P100[0], index=1))), "CUDA_VISIBLE_DEVICES=… to use only the newer ones"),
    (replace(GOOD, driver="575.57.08"), "driver is 575.57.08; torch 2.11.0 is built for CUDA 13, which needs 580"),
    (replace(GOOD, gpus=P100), "compute capability 6.0; torch for CUDA 13 needs 7.5"),
    (replace(GOOD, gpus=P100, packages=PACKAGES | {"torch": "2.11.0+cu126"}), "TRL trains here, and transformers"),
    (replace(GOOD, gpus=(Gpu(0, "GTX 1650", 4, 0.1, (7, 5)),)), "has 4.0 GiB"),
    (replace(GOOD, gpus=(Gpu(0, "L4", 24, 9.0, (8, 9), 2),)), "in use by 2 processes outside this app: 9.0 of 24 GiB"),
    (replace(GOOD, gpus=(Gpu(0, "L4", 24, 9.0, (8, 9), 2, ours=True),)), "a new run waits in the queue"),
    (replace(GOOD, gpus=(), driver_problem="An NVIDIA driver is installed but does not answer"), "does not answer"),
])
def test_each_shortcoming_is_named_with_what_to_do(machine: Hardware, says: str) -> None:
    assert says in " ".join(shortcomings(machine))


@pytest.mark.parametrize("changes", [
    {"driver": "575.57.08"}, {"packages": PACKAGES | {"torch": "2.11.0+cpu"}}, {"gpus": P100}])
def test_a_gpu_that_torch_cannot_use_is_told_once_and_counts_as_none(changes: dict[str, Any]) -> None:
    """Otherwise memory, engine and precision would be promised for a GPU, and the run would start on the CPU."""
    machine = replace(GOOD, **changes)
    assert usable(machine).gpus == () and len(shortcomings(machine)) == 1
    assert "training runs on the CPU" in shortcomings(machine)[0]
    assert choose(ModelStep(), usable(machine)).why == "TRL, because there is no GPU to use"
    assert "that torch can use" in engine_problems(ModelStep(engine="unsloth"), usable(machine))[0]


@pytest.mark.parametrize(("packages", "driver", "works"), [
    ({"torch": "2.11.0"}, "580.65.06", True), ({"torch": "2.11.0"}, "570.211.01", False),
    ({"torch": "2.11.0+cu128"}, "570.211.01", True), ({"torch": "2.11.0+cu128"}, "515.65.01", False)])
def test_the_driver_must_suit_the_cuda_that_torch_is_built_for(
        packages: dict[str, str], driver: str, works: bool) -> None:
    """CUDA 13 needs a driver from 580 on, every CUDA 12 one from 525 on."""
    assert bool(usable(replace(GOOD, packages=packages, driver=driver)).gpus) is works


@pytest.mark.parametrize(("driver", "cuda", "says"), [
    ("535.104.05", CudaAnswer(13000), ""),  # an old driver behind cuda-compat-13-0
    ("580.95.05", CudaAnswer(13000), ""),
    ("535.104.05", None, "driver is 535.104.05; torch 2.11.0 is built for CUDA 13, which needs 580"),
    ("535.104.05", CudaAnswer(12020), "driver is 535.104.05 and runs CUDA 12.2 at most; torch 2.11.0 is built for"),
    ("580.95.05", CudaAnswer(13010, 804, "forward compatibility was attempted on non supported HW"),
     "library of a cuda-compat package stands before that of the driver, 580.95.05, and this GPU does not allow it"),
    ("590.48.01", CudaAnswer(13000, 803, "system has unsupported display driver"), "the two do not go together"),
    ("580.95.05", CudaAnswer(13000, 802, "system not yet initialized"), "(error 802: system not yet initialized)")])
def test_cuda_s_own_word_counts_more_than_the_number_of_the_driver(
        driver: str, cuda: CudaAnswer | None, says: str) -> None:
    """With NVIDIA's package for forward compatibility an old driver may run a new CUDA, and a new one may not."""
    machine = replace(GOOD, driver=driver, cuda=cuda)
    assert len(usable(machine).gpus) == (not says)
    assert says in " ".join(shortcomings(machine)) and bool(shortcomings(machine)) is bool(says)


LIBCUDA = """int cuInit(unsigned flags) { return ERROR; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuGetErrorString(int error, const char **words) { *words = "no CUDA-capable device is detected"; return 0; }
"""


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs a C compiler on Linux")
@pytest.mark.parametrize("error", [0, 100])
def test_the_library_that_the_linker_finds_first_is_asked_in_a_child(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """As cuda-compat does it: a folder on LD_LIBRARY_PATH with a library of that name, here one of three functions."""
    (tmp_path / "cuda.c").write_text(LIBCUDA)
    subprocess.run(["cc", "-shared", "-fPIC", f"-DERROR={error}", "-o", str(tmp_path / cuda_driver.LIBRARY),
                    str(tmp_path / "cuda.c")], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    found = cuda_driver.ask()
    assert found == CudaAnswer(13000, error, "no CUDA-capable device is detected" if error else "")
    assert hardware_line(replace(GOOD, cuda=found)).endswith("driver 580.95.05, CUDA 13.0.")


def test_what_cuda_says_is_kept_and_a_failure_asked_again_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU whose services still start (error 802) at the first look, and works at the next."""
    answers, now = iter([CudaAnswer(13000, 802), CudaAnswer(13000)]), [0.0]
    monkeypatch.setattr(cuda_driver, "_kept", [])
    monkeypatch.setattr(cuda_driver, "ask", lambda: next(answers))
    monkeypatch.setattr(cuda_driver.time, "monotonic", lambda: now[0])
    seen = []
    for now[0] in (0.0, 50.0, 70.0, 9999.0):
        seen.append(cuda_driver.answer().error)
    assert seen == [802, 802, 0, 0]


@pytest.mark.parametrize(("step", "machine", "because"), [
    ({"gpus": 2}, GOOD, "2 GPUs train together"), ({}, replace(GOOD, packages={}), "not both installed"),
    ({}, replace(GOOD, packages=without("unsloth_zoo")), "not both installed"), ({"machines": 2}, GOOD, "2 machines"),
    ({}, replace(GOOD, packages=without("vllm")), "not both installed"), ({"engine": "trl"}, GOOD, "as chosen"),
    ({"vllm_sleep": True}, GOOD, "sleep"), ({"fast_inference": False}, GOOD, "switched off")])
def test_trl_is_taken_where_unsloth_cannot_work(step: dict[str, Any], machine: Hardware, because: str) -> None:
    choice = choose(ModelStep(**step), machine)
    assert choice.engine == "trl" and because in choice.why


@pytest.mark.parametrize(("step", "machine", "says"), [
    ({}, replace(GOOD, packages=without("vllm")), "vLLM is not installed"),
    ({"precision": "8bit"}, GOOD, "8-bit base"),
    ({}, replace(GOOD, gpus=P100, packages=PACKAGES | {"torch": "2.11.0+cu126"}), "compute capability 7.5")])
def test_where_vllm_cannot_sample_the_cost_is_told(step: dict[str, Any], machine: Hardware, says: str) -> None:
    choice = choose(ModelStep(**step), machine)
    assert not choice.vllm and says in choice.slower
    assert "transformers samples the answers, and a GRPO step takes several times as long" in choice.slower
    assert ("4bit needs less memory" in choice.slower) == ("precision" in step)
    assert choose(ModelStep(fast_inference=False, **step), machine).slower == ""  # nobody asked for it


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages named vllm and unsloth whose lists of models read as in the real ones."""
    registry = tmp_path / "vllm" / "model_executor" / "models" / "registry.py"
    loader = tmp_path / "unsloth" / "models" / "loader.py"
    for file in (registry, loader):
        file.parent.mkdir(parents=True)
    for name in ("vllm", "unsloth"):
        (tmp_path / name / "__init__.py").write_text("raise AssertionError('must not be imported')")
    registry.write_text('_TEXT_GENERATION_MODELS = {\n    "LlamaForCausalLM": ("llama", "LlamaForCausalLM"),\n'
                        '    "LongNameForCausalLM": (\n        "long", "LongNameForCausalLM",\n    ),\n'
                        '    "GPT2LMHeadModel": ("gpt2", "GPT2LMHeadModel"),\n}')
    loader.write_text('if model_type == "llama":\n    x = 1\nelif model_type == "qwen2":\n    x = 2\n')
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("installed")
def test_an_architecture_that_vllm_or_unsloth_does_not_know_is_told_before_loading() -> None:
    """The lists are read from the installed packages' text, without importing them."""
    assert choose(ModelStep(), GOOD, "LongNameForCausalLM", "llama").vllm
    strange = choose(ModelStep(), GOOD, "MadeUpForCausalLM", "llama")
    assert not strange.vllm and "does not know the architecture MadeUpForCausalLM" in strange.slower
    other = choose(ModelStep(), GOOD, "GPT2LMHeadModel", "gpt2")
    assert (other.engine, other.vllm) == ("trl", True) and "no kernels of its own for gpt2" in other.why
    forced = choose(ModelStep(engine="unsloth"), GOOD, "GPT2LMHeadModel", "gpt2")
    assert forced.engine == "unsloth" and "(only for llama, qwen2)" in forced.doubt and "auto or trl" in forced.doubt
    assert choose(ModelStep(), GOOD).engine == "unsloth"  # of a model that cannot be read nothing is claimed


@pytest.mark.parametrize(("step", "machine", "says"), [
    ({"engine": "unsloth"}, Hardware(2, 24, 20), "choose the engine auto or trl"),
    ({"engine": "unsloth"}, replace(GOOD, packages=without("unsloth_zoo")), "pip install -r requirements-gpu.txt"),
    ({"engine": "unsloth"}, replace(GOOD, packages=without("unsloth")), "pip install -r requirements-gpu.txt"),
    ({"precision": "fp8", "engine": "trl"}, GOOD, "choose 16bit or 4bit, or the unsloth engine"),
    ({"precision": "fp8"}, replace(GOOD, gpus=(Gpu(0, "A100", 80, 0.4, (8, 9)),)), "9.0 or newer"),
    ({"precision": "fp8", "fast_inference": False, "engine": "unsloth"}, GOOD, "needs fast inference"),
    ({"precision": "4bit"}, replace(GOOD, packages=without("bitsandbytes")), "needs bitsandbytes"),
    ({"gpus": 2}, GOOD, "asks for 2 GPUs and 1 were found")])
def test_what_cannot_work_is_refused_before_loading(step: dict[str, Any], machine: Hardware, says: str) -> None:
    assert says in " ".join(engine_problems(ModelStep(**step), machine))


def test_the_worker_takes_torch_s_word_for_whether_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three machines: torch sees none of its GPUs, it sees one, and it sees two that NVML is not allowed to tell of."""
    from pipeline.engines import choose as worker

    for found, count, expected in ((GOOD, 0, []), (GOOD, 1, ["NVIDIA H200"]),
                                   (replace(GOOD, gpus=()), 2, ["NVIDIA GPU", "NVIDIA GPU"])):
        monkeypatch.setattr(worker, "detect", lambda found=found: found)
        monkeypatch.setattr(worker, "gpu_count", lambda count=count: count)
        assert [gpu.name for gpu in worker.machine().gpus] == expected
        assert worker.choice(ModelStep()).engine == ("unsloth" if expected else "trl")


def test_gpus_on_which_cuda_does_not_start_are_hidden_from_the_worker_s_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML counts them, and torch believes it: the run would end in an error instead of training on the CPU."""
    from pipeline.engines import choose as worker

    for found, hidden in ((GOOD, "0"), (replace(GOOD, cuda=CudaAnswer(12020)), "")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        monkeypatch.setattr(worker, "detect", lambda found=found: found)
        worker.gpu_count()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == hidden


def test_a_gpu_on_which_a_run_of_this_home_trains_is_marked(tmp_path: Path) -> None:
    home = StudioHome(tmp_path / "home")
    two = replace(GOOD, gpus=(replace(GOOD.gpus[0], used_gib=100), Gpu(1, "NVIDIA H200", 139.8, 60.0, (9, 0))))
    assert locks.take(home.device_lock("gpu-0"))
    try:
        marked = devices.with_own_runs(two, home)
    finally:
        locks.release(home.device_lock("gpu-0"))
    assert [gpu.ours for gpu in marked.gpus] == [True, False]
    assert [round(gpu.for_a_run_gib) for gpu in marked.gpus] == [140, 80]


def test_a_run_gets_the_emptiest_gpu_and_numbers_mean_the_same_to_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    three = replace(GOOD, gpus=tuple(Gpu(i, "L4", 24, used, (8, 9)) for i, used in enumerate((20.0, 0.4, 0.3))))
    assert devices.emptiest_first(["gpu-0", "gpu-1", "gpu-2"], three) == ["gpu-1", "gpu-2", "gpu-0"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices.environment(["gpu-1"]) == {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert devices.environment(["gpu-1"]) == {"CUDA_VISIBLE_DEVICES": "1"}


@pytest.mark.parametrize(("listed", "seen"), [
    (None, True), ("", False), ("0,3", True), ("1", False), ("GPU-aa11", True), ("GPU-bb", False), ("MIG-5", True)])
def test_gpus_that_the_environment_hides_are_not_counted(
        monkeypatch: pytest.MonkeyPatch, listed: str | None, seen: bool) -> None:
    """CUDA_VISIBLE_DEVICES names GPUs by index or by the beginning of their name."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if listed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert hardware._visible(3, "GPU-aa11bb22") is seen


def test_this_machine_can_be_looked_at() -> None:
    found = detect()
    assert found.cpus >= 1 and 0 < found.available_gib <= found.memory_gib
    assert "torch" in found.packages


def test_the_pins_of_the_gpu_packages_are_those_of_the_requirements() -> None:
    pins = (Path(__file__).resolve().parents[2] / "requirements-gpu.txt").read_text()
    for name, version in (*gpu_problems.GPU_PACKAGES.items(), ("torch", gpu_problems.TORCH_OF_VLLM)):
        assert f"{name.replace('_', '-')}=={version}" in pins
