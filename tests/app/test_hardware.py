"""What is said about a machine, for machines that are made up; and the real one is looked at without torch."""

from dataclasses import replace

import pytest

from pipeline import hardware
from pipeline.hardware import Gpu, Hardware, detect, engine_choice, hardware_line, shortcomings

PACKAGES = {"torch": "2.11.0", "vllm": "0.26.0", "unsloth": "2026.10.5", "bitsandbytes": "0.50.2"}
GOOD = Hardware(8, 64, 60, (Gpu(0, "NVIDIA H200", 139.8, 0.4, (9, 0)),), "575.57.08", None, PACKAGES)


def test_a_complete_gpu_machine_lacks_nothing_and_gets_unsloth() -> None:
    assert shortcomings(GOOD) == []
    assert engine_choice(GOOD)[0] == "unsloth"
    assert hardware_line(GOOD) == ("NVIDIA H200, 140 GiB (139 GiB free), compute capability 9.0, driver 575.57.08.")


def test_no_gpu_is_no_fault_and_gets_trl() -> None:
    bare = Hardware(2, 24, 20)
    assert shortcomings(bare) == [] and engine_choice(bare)[0] == "trl"
    assert "training runs on 2 CPU cores" in hardware_line(bare)


@pytest.mark.parametrize(("machine", "says"), [
    (replace(GOOD, packages={"torch": "2.11.0"}), "pip install -r requirements-gpu.txt"),
    (replace(GOOD, packages=PACKAGES | {"vllm": "0.27.0"}), "vllm 0.27.0 is installed, but 0.26.0"),
    (replace(GOOD, packages=PACKAGES | {"torch": "2.13.0+cpu"}), "CPU-only build"),
    (replace(GOOD, driver="535.104"), "The NVIDIA driver is 535.104"),
    (replace(GOOD, gpus=(Gpu(0, "Tesla P100", 16, 0.1, (6, 0)),)), "compute capability 6.0"),
    (replace(GOOD, gpus=(Gpu(0, "GTX 1650", 4, 0.1, (7, 5)),)), "has 4.0 GiB"),
    (replace(GOOD, gpus=(Gpu(0, "L4", 24, 9.0, (8, 9), 2),)), "in use by 2 processes: 9.0 of 24 GiB"),
    (replace(GOOD, gpus=(), driver_problem="An NVIDIA driver is installed but does not answer"), "does not answer"),
])
def test_each_shortcoming_is_named_with_what_to_do(machine: Hardware, says: str) -> None:
    assert says in " ".join(shortcomings(machine))


def test_several_gpus_or_missing_packages_get_trl() -> None:
    assert engine_choice(GOOD, gpus=2)[0] == "trl"
    assert engine_choice(replace(GOOD, packages={}))[0] == "trl"
    assert engine_choice(GOOD, engine="trl")[0] == "trl"


def test_this_machine_can_be_looked_at() -> None:
    found = detect()
    assert found.cpus >= 1 and 0 < found.available_gib <= found.memory_gib
    assert "torch" in found.packages


def test_the_pins_of_the_gpu_packages_are_those_of_the_requirements() -> None:
    from pathlib import Path

    pins = (Path(__file__).resolve().parents[2] / "requirements-gpu.txt").read_text()
    for name, version in hardware.GPU_PACKAGES.items():
        assert f"{name}=={version}" in pins
