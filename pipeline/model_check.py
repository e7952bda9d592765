"""Whether a model can be trained here, found out before any work: can it write, chat, and does it fit?"""

from dataclasses import dataclass
from pathlib import Path

from pipeline.disk import in_words
from pipeline.engine_choice import choose, engine_problems
from pipeline.errors import EngineError
from pipeline.hardware import GIB, Hardware, free_disk_gib, usable
from pipeline.model_facts import ModelFacts, read_facts
from pipeline.recipe import ModelStep

WEIGHT_BYTES = {"16bit": 2.0, "8bit": 1.02, "fp8": 1.02, "4bit": 0.5 + 4 / 64}  # nf4: a float32 scale for 64 weights
CPU_WEIGHT_BYTES = 4.0  # a CPU trains in float32


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
        hardware = usable(hardware)
        problems += engine_problems(model, hardware)
        problems += _space_problems(facts, model, hardware, home)
        choice = choose(model, hardware, facts.architecture, facts.model_type)
        slower = choice.slower if hardware.has("vllm") else ""  # a missing package is told with the others
        warnings += [words for words in (slower, choice.doubt) if words]
    if not facts.hidden or not facts.layers or not facts.vocabulary:
        warnings.append(f"The config.json of {facts.source} does not tell the model's size under the usual names "
                        "(hidden_size, num_hidden_layers, vocab_size): the memory estimate is far too low.")
    if not facts.linears:
        warnings.append("No linear layers were recognised by name: the share of trainable parameters is not known.")
    return ModelCheck(facts, tuple(problems), tuple(warnings))


def weights_gib(facts: ModelFacts, precision: str, hardware: Hardware) -> float:
    """What a frozen base takes: quantised are the layers' linear parts, the rest stays in 16 bit; a CPU has float32."""
    if not hardware.gpus:
        return facts.parameters * CPU_WEIGHT_BYTES / GIB
    rest = facts.parameters - facts.linear_parameters
    return (facts.linear_parameters * WEIGHT_BYTES[precision] + rest * 2) / GIB


def lora_targets(facts: ModelFacts, targets: list[str]) -> dict[str, tuple[tuple[int, int], ...]]:
    """The linear layers that an adapter changes: the named ones, or all of attention and MLP."""
    return {name: shapes for name, shapes in facts.linears.items() if not targets or name in targets}


def trainable_parameters(facts: ModelFacts, rank: int, targets: list[str]) -> int:
    """Weights of a LoRA adapter: rank × (in + out) for each targeted layer."""
    return sum(rank * (a + b) for shapes in lora_targets(facts, targets).values() for a, b in shapes)


def targeted_parameters(facts: ModelFacts, targets: list[str]) -> int:
    """Weights of the layers that have an adapter."""
    return sum(a * b for shapes in lora_targets(facts, targets).values() for a, b in shapes)


def _space_problems(facts: ModelFacts, model: ModelStep, hardware: Hardware, home: Path | None) -> list[str]:
    problems = []
    weights, capacity = weights_gib(facts, model.precision, hardware), hardware.device_memory_gib
    if weights > capacity:
        where = "the GPU" if hardware.gpus else "this machine"
        problems.append(f"The weights of {facts.source} alone take {weights:.1f} GiB{_as_what(model, hardware)}; "
                        f"{where} has {capacity:.1f} GiB: {_smaller(facts, hardware, weights)}")
    merged = 2 * facts.parameters * 2 / GIB  # models/sft and models/grpo
    if home is not None and (free := free_disk_gib(home)) < merged + 0.2:
        problems.append(f"A run needs {in_words((merged + 0.2) * GIB)} of disk space, for two merged models of "
                        f"{in_words(merged / 2 * GIB)} each, checkpoints and its records; {home} has "
                        f"{in_words(free * GIB)} left: free some space, or start the app with --home on another disk.")
    return problems


def _as_what(model: ModelStep, hardware: Hardware) -> str:
    return f" in {model.precision}" if hardware.gpus else " in the float32 that a CPU trains in"


def _smaller(facts: ModelFacts, hardware: Hardware, weights: float) -> str:
    """What would work: 4 bit where the weights then leave a quarter of the memory, otherwise how small it must be."""
    room = 0.75 * hardware.device_memory_gib
    if hardware.gpus and (four := weights_gib(facts, "4bit", hardware)) < room:
        return f"choose 4bit, in which they take {four:.1f} GiB, or a smaller model."
    least = min(weights, weights_gib(facts, "4bit", hardware) if hardware.gpus else weights)
    billions = facts.parameters * room / least / 1e9
    size = f"{billions:.1f} billion" if billions >= 0.95 else f"{billions * 1000:.0f} million"
    in_what = " in 4bit" if hardware.gpus else ""
    return f"choose a smaller model, of about {size} parameters at most{in_what}."
