"""Which engine trains a recipe on a machine and what samples its answers: decided here, for the page and the worker.

What the installed vLLM and Unsloth know is read from their source text: importing either takes a quarter of a minute
and holds the GPU.
"""

import functools
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.hardware import GPU_COMMAND, SMALLEST_CAPABILITY, Hardware, vllm_misfit
from pipeline.recipe_steps import ModelStep

COST = "transformers samples the answers, and a GRPO step takes several times as long"  # 9 with 135M parameters
SLOW_8BIT = (" Sampling from an 8-bit base is slow besides (a third of a second a token was seen on an H200): 4bit "
             "needs less memory and has vLLM.")
NOT_8BIT = "vLLM cannot follow an 8-bit base while it learns (16bit and 4bit it can)"
VLLM_NAMES = ("vllm", "model_executor/models/registry.py", r'"(\w+(?:ForCausalLM|LMHeadModel))":\s*\(')
UNSLOTH_NAMES = ("unsloth", "models/loader.py", r'\bmodel_type == "(\w+)"')
SUMMED_FAMILIES = ("llama", "mistral", "gemma", "gemma2", "qwen2", "qwen3")  # others need vLLM's adapters in Unsloth
SUMMED_PARAMETERS = 1_200_000_000  # the copy takes two bytes for each; the largest timed has 1,074 million


@dataclass(frozen=True)
class Choice:
    """The engine and why, and whether vLLM samples. `slower`: what the lack of vLLM costs; `doubt`: why the engine that
    was asked for may fail; both empty when all is well."""

    engine: str
    vllm: bool
    why: str
    slower: str = ""
    doubt: str = ""


def choose(model: ModelStep, hardware: Hardware, architecture: str = "", model_type: str = "") -> Choice:
    """The choice on a machine whose GPUs torch can use (`hardware.usable`).

    `architecture` is the class name in config.json; what is not known of a model (empty) does not count against it.
    """
    if not hardware.gpus:
        return Choice("trl" if model.engine == "auto" else model.engine, False,
                      "TRL, because there is no GPU to use" if model.engine == "auto" else f"{model.engine}, as chosen")
    hindrance = _no_vllm(model, hardware, architecture)
    engine, why = _engine(model, hardware, model_type, hindrance)
    vllm = model.fast_inference and not hindrance
    slower = ""
    if model.fast_inference and hindrance:
        slower = f"{hindrance}: {COST}." + (SLOW_8BIT if hindrance == NOT_8BIT else "")
    return Choice(engine, vllm, why, slower, _doubt(model_type) if engine == "unsloth" else "")


def engine_problems(model: ModelStep, hardware: Hardware) -> list[str]:
    """What forbids a recipe's engine, precision or number of GPUs here, each with what would work."""
    found, chosen = len(hardware.gpus), choose(model, hardware)
    engine, problems = chosen.engine, []
    if model.gpus > max(found, 1):
        problems.append(f"The recipe asks for {model.gpus} GPUs and {found} were found: set GPUs to {max(found, 1)}.")
    if engine == "unsloth" and not found:
        problems.append("The unsloth engine needs an NVIDIA GPU that torch can use, and there is none: choose the "
                        "engine auto or trl.")
    elif engine == "unsloth" and not has_unsloth(hardware):
        problems.append(f"Unsloth is not installed: run `{GPU_COMMAND}`, or choose the engine auto or trl.")
    if model.precision == "fp8" and (not found or hardware.gpus[0].capability < (9, 0)):
        problems.append("fp8 needs an NVIDIA GPU of compute capability 9.0 or newer (Hopper, Blackwell): choose 16bit, "
                        "8bit or 4bit.")
    elif model.precision == "fp8" and engine == "trl":
        problems.append("The TRL engine cannot train on an fp8 base: choose 16bit or 4bit, or the unsloth engine.")
    elif model.precision == "fp8" and not chosen.vllm:
        problems.append("An fp8 base is made by vLLM while it loads, so it needs fast inference: switch it on, or "
                        "choose 16bit or 4bit.")
    if model.precision in ("8bit", "4bit") and not hardware.has("bitsandbytes"):
        problems.append(f"{model.precision} needs bitsandbytes, which is not installed (on Linux: "
                        "`pip install bitsandbytes`): choose 16bit.")
    return problems


def samples_from_sums(model: ModelStep, model_type: str, parameters: int) -> bool:
    """Whether vLLM samples from sums of the base and the adapter, as TRL's does, where Unsloth trains such a model
    (`pipeline.engines.unsloth_sums`); otherwise the adapter is in every request."""
    return model.precision == "16bit" and model_type in SUMMED_FAMILIES and 0 < parameters <= SUMMED_PARAMETERS


def has_unsloth(hardware: Hardware) -> bool:
    """Whether Unsloth is installed with the package that holds most of it."""
    return hardware.has("unsloth") and hardware.has("unsloth_zoo")


def vllm_architectures() -> frozenset[str]:
    """The model classes that the installed vLLM lists; empty where that cannot be read."""
    return _names(*VLLM_NAMES)


def unsloth_families() -> frozenset[str]:
    """The model types for which the installed Unsloth has kernels of its own; empty where that cannot be read."""
    return _names(*UNSLOTH_NAMES)


# ------------------------------------------------------------------------------------------------------------------


def _engine(model: ModelStep, hardware: Hardware, model_type: str, hindrance: str) -> tuple[str, str]:
    if model.engine != "auto":
        return model.engine, f"{model.engine}, as chosen"
    if model.machines > 1:
        return "trl", f"TRL, because {model.machines} machines train together"
    if model.gpus > 1:
        return "trl", f"TRL, because {model.gpus} GPUs train together"
    if model.vllm_sleep:
        return "trl", "TRL, because vLLM can sleep only there"
    if not model.fast_inference:
        return "trl", "TRL, because fast inference is switched off"
    if not has_unsloth(hardware) or not hardware.has("vllm"):
        return "trl", "TRL, because Unsloth and vLLM are not both installed"
    if _strange(model_type):
        return "trl", f"TRL, because Unsloth has no kernels of its own for {model_type}"
    if hindrance and model.precision != "8bit":
        return "trl", "TRL, because Unsloth's gain is in sampling with vLLM, which cannot be used"
    return "unsloth", "Unsloth with vLLM, on one GPU" if not hindrance else "Unsloth, on one GPU"


def _strange(model_type: str) -> bool:
    """Whether Unsloth is installed and has nothing of its own for this family of models."""
    families = unsloth_families()
    return bool(model_type and families and model_type not in families)


def _doubt(model_type: str) -> str:
    if not _strange(model_type):
        return ""
    return (f"The installed Unsloth has no kernels of its own for {model_type} (only for "
            f"{', '.join(sorted(unsloth_families()))}): it may fail, or gain nothing. Choose the engine auto or trl.")


def _no_vllm(model: ModelStep, hardware: Hardware, architecture: str) -> str:
    """Why vLLM cannot sample here, in words; empty when it can."""
    known = vllm_architectures()
    oldest = min(gpu.capability for gpu in hardware.gpus)
    if not hardware.has("vllm"):
        return f"vLLM is not installed (`{GPU_COMMAND}`)"
    if oldest < SMALLEST_CAPABILITY:
        return f"vLLM needs a GPU of compute capability 7.5 or newer, and this one has {oldest[0]}.{oldest[1]}"
    if misfit := vllm_misfit(hardware):
        return misfit
    if model.precision == "8bit":
        return NOT_8BIT
    if architecture and known and architecture not in known:
        return f"The installed vLLM does not know the architecture {architecture}"
    return ""


def _names(package: str, file: str, pattern: str) -> frozenset[str]:
    spec = importlib.util.find_spec(package)
    folder = next(iter(spec.submodule_search_locations or ()), None) if spec else None
    return _read_names(Path(folder) / file, pattern) if folder else frozenset()


@functools.lru_cache(maxsize=8)
def _read_names(path: Path, pattern: str) -> frozenset[str]:
    try:
        return frozenset(re.findall(pattern, path.read_text(encoding="utf-8")))
    except OSError:  # another version keeps it elsewhere
        return frozenset()
