"""Whether a model can be trained here, found out before any work: can it write, chat, and does it fit?"""

from dataclasses import dataclass
from pathlib import Path

from pipeline.disk import in_words
from pipeline.errors import EngineError
from pipeline.hardware import GIB, Hardware, free_disk_gib
from pipeline.model_facts import ModelFacts, read_facts
from pipeline.recipe import ModelStep


@dataclass(frozen=True)
class ModelCheck:
    """The outcome: the facts where they could be read, what forbids training, and what is worth knowing."""

    facts: ModelFacts | None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing forbids training this model."""
        return not self.problems


def check_model(model: ModelStep, hardware: Hardware | None = None, home: Path | None = None) -> ModelCheck:
    """Everything that can be known before loading. Problems come back in words; nothing is raised for a bad model."""
    try:
        facts = read_facts(model.source, model.revision)
    except EngineError as error:
        return ModelCheck(None, (str(error),))
    problems, warnings = [], []
    if model.chat_template == "model" and not facts.has_chat_template:
        problems.append(f"{facts.source} has no chat template: it is a base model that was never taught to chat. "
                        "Set the chat template to plain, which gives it a simple one.")
    if facts.positions and model.max_length > facts.positions:
        problems.append(f"The sequence length is {model.max_length}, but {facts.source} was made for {facts.positions} "
                        f"tokens: set it to {facts.positions} or less.")
    if hardware is not None:
        problems += _precision_problems(model, hardware)
        problems += _space_problems(facts, model, hardware, home)
    if not facts.linears:
        warnings.append("No linear layers were recognised by name: the share of trainable parameters is not known.")
    return ModelCheck(facts, tuple(problems), tuple(warnings))


def lora_targets(facts: ModelFacts, targets: list[str]) -> dict[str, tuple[tuple[int, int], ...]]:
    """The linear layers that an adapter changes: the named ones, or all of attention and MLP."""
    return {name: shapes for name, shapes in facts.linears.items() if not targets or name in targets}


def trainable_parameters(facts: ModelFacts, rank: int, targets: list[str]) -> int:
    """Weights of a LoRA adapter: rank × (in + out) for each targeted layer."""
    return sum(rank * (a + b) for shapes in lora_targets(facts, targets).values() for a, b in shapes)


def _precision_problems(model: ModelStep, hardware: Hardware) -> list[str]:
    if model.precision == "fp8" and (not hardware.gpus or hardware.gpus[0].capability < (8, 9)):
        return ["fp8 needs an NVIDIA GPU of compute capability 8.9 or newer (Ada, Hopper): choose 16bit, 8bit or 4bit."]
    if model.precision in ("8bit", "4bit") and not hardware.has("bitsandbytes"):
        return [f"{model.precision} needs bitsandbytes, which is not installed (on Linux: `pip install bitsandbytes`): "
                "choose 16bit."]
    if model.gpus > max(len(hardware.gpus), 1):
        return [f"{model.gpus} GPUs are asked for and {len(hardware.gpus)} found: lower the number of GPUs."]
    return []


def _space_problems(facts: ModelFacts, model: ModelStep, hardware: Hardware, home: Path | None) -> list[str]:
    problems = []
    bytes_each = {"16bit": 2, "8bit": 1, "fp8": 1, "4bit": 0.56}[model.precision] if hardware.gpus else 4
    weights = facts.parameters * bytes_each / GIB
    if weights > hardware.device_memory_gib:
        where = "the GPU" if hardware.gpus else "this machine"
        problems.append(f"The weights alone take {weights:.1f} GiB; {where} has {hardware.device_memory_gib:.1f} GiB: "
                        "choose a smaller model" + (", or 4bit." if model.precision == "16bit" else "."))
    merged = 2 * facts.parameters * 2 / GIB  # models/sft and models/grpo
    if home is not None and (free := free_disk_gib(home)) < merged + 0.2:
        problems.append(f"A run keeps two merged models of {in_words(merged / 2 * GIB)} each, beside checkpoints and "
                        f"its store; {home} has {in_words(free * GIB)} left: free some space, or start the app with "
                        "--home on another disk.")
    return problems


