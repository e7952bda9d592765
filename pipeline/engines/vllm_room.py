"""How much of a GPU a vLLM gets that answers while nothing trains, and how many answers it works on at a time.

vLLM keeps a compiled model for every list of graphs and every length that it is told, and compiling takes up to half a
minute; so both are one of a few.
"""

from typing import NamedTuple

from pipeline.hardware import Gpu, Hardware
from pipeline.memory import CONSTANTS, LEAST_AT_ONCE, vllm_gib, vllm_holds
from pipeline.model_facts import ModelFacts

EVALUATION_SHARE = 0.5  # of the GPU: nothing trains while models answer
USABLE = 0.85  # of what is free, when other processes hold the rest
MOST_AT_ONCE = 2048  # that it samples at a time at our wish
GRAPHS = (64, 256, 512, 1024, 1536, MOST_AT_ONCE)
LENGTH_STEP = 512
LARGE_GPU_GIB = 70.0  # from here on vLLM samples 1,024 at a time by itself, except on an A100; 256 otherwise


class Room(NamedTuple):
    """What vLLM is told: its share of the GPU, the tokens of the longest text, and how many answers to sample at a time
    (None: it decides)."""

    share: float
    length: int
    at_once: int | None


def room_for(share: float, answers: int, length: int, facts: ModelFacts | None, precision: str,
             hardware: Hardware) -> Room:
    """The room for `answers` (0: not known how many) of at most `length` tokens, each with its question.

    `share` is what the recipe gives vLLM at least; without `facts` of the model, or where the GPU cannot be looked at,
    that and half of the GPU are all that is known.
    """
    if not hardware.gpus:  # NVML may not be asked here
        return Room(max(share, EVALUATION_SHARE), length, None)
    gpu = hardware.gpus[0]
    if facts is None:
        return Room(evaluation_share(share, gpu.free_gib, gpu.memory_gib), length, None)
    how, graphs = (facts, precision, hardware), CONSTANTS["vllm_graphs_gib"]
    told, most = round_length(length, facts.positions), min(max(answers, LEAST_AT_ONCE), MOST_AT_ONCE)
    wanted = graphs + max(vllm_gib(most, length, *how), vllm_gib(1, told, *how))  # one of the longest must have room
    share = evaluation_share(max(share, wanted / gpu.memory_gib), gpu.free_gib, gpu.memory_gib)
    held = vllm_holds(share * gpu.memory_gib - graphs, length, *how)
    return Room(share, told, sampled_at_once(answers, held, own_at_once(gpu)))


def evaluation_share(wanted: float, free_gib: float, total_gib: float) -> float:
    """The share of the GPU that vLLM asks for to answer: what is wanted or half, but never more than is free."""
    return max(0.01, min(max(wanted, EVALUATION_SHARE), USABLE * free_gib / total_gib))


def sampled_at_once(answers: int, held: int, own: int) -> int | None:
    """How many of so many answers vLLM is told to sample at a time where memory holds `held`; None leaves it to vLLM,
    which takes `own`.

    All of them where that can be: every further round lasts as long as its longest answer. Fewer than `own` only where
    there are no more; then it records fewer CUDA graphs while it starts.
    """
    most = min(answers, held, MOST_AT_ONCE)
    return most if 0 < most == answers or most >= own else None


def graphs_for(answers: int) -> int:
    """For how many answers graphs are recorded when so many are sampled at a time: one of a few numbers."""
    return next((most for most in GRAPHS if most >= answers), GRAPHS[-1])


def round_length(length: int, positions: int | None) -> int:
    """The length that vLLM is told for texts of `length` tokens: one of a few, and not more than the model's
    `positions` (None: not known)."""
    rounded = -(-length // LENGTH_STEP) * LENGTH_STEP
    return max(length, min(rounded, positions or length))


def own_at_once(gpu: Gpu) -> int:
    """How many answers vLLM 0.26 samples at a time by itself (`EngineArgs.get_batch_defaults`)."""
    return 1024 if gpu.memory_gib >= LARGE_GPU_GIB and "a100" not in gpu.name.lower() else 256
