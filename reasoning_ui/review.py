"""What a recipe will do on this machine, as safe HTML: problems, trained parameters, memory bars, hardware."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape

from pipeline.engine_choice import choose
from pipeline.fitting import lower_to_fit
from pipeline.gpu_problems import shortcomings
from pipeline.hardware import Hardware, hardware_line, usable
from pipeline.memory import Estimate, choose_engine, estimates, samples_with_vllm, vllm_share
from pipeline.model_check import ModelCheck, trainable_parameters
from pipeline.model_facts import ModelFacts
from pipeline.processor_time import processor_doubt
from pipeline.recipe import Recipe

SPACE_WARNING = ("This Space has no lasting storage: when it sleeps or restarts, all runs are erased. Download what "
                 "you want to keep from the Export tab, or give the Space storage at /data.")
# A part has the same colour (`rs-bar-N` in app.css) in every stage; those that share one are never in the same bar.
BAR_COLOURS = {"Weights": 0, "Adapter and optimizer": 1, "Runtime": 2, "Activations": 3, "Token scores": 4,
               "vLLM weights": 5, "vLLM KV cache": 6, "KV cache": 6, "vLLM, in turns": 6, "CUDA graphs": 7,
               "Copy of the weights": 7}


def problems_html(problems: Sequence[str], doubts: Sequence[str] = ()) -> str:
    """What must be changed before training can start; what speaks against starting; or that nothing does."""
    if problems:
        return ('<div class="rs-note rs-bad" role="alert"><b>Change this before training:</b>'
                f"<ul>{_items(problems)}</ul></div>")
    if doubts:
        return ('<div class="rs-note rs-warn" role="status"><b>Training can start, but:</b>'
                f"<ul>{_items(doubts)}</ul></div>")
    return '<div class="rs-note rs-good" role="status">Ready to train.</div>'


def doubts_of(recipe: Recipe, check: ModelCheck, hardware: Hardware, offers: bool) -> list[str]:
    """What speaks against starting: too little memory or time, what the machine lacks.

    `offers`: buttons lower it to fit.
    """
    used = usable(hardware)
    found = _memory_doubts(recipe, check.facts, used, offers) if check.facts is not None else []
    if check.facts is not None and (slow := processor_doubt(recipe, check.facts.parameters, used)):
        found.append(slow)
    return [*found, *shortcomings(hardware), *check.warnings]


def _memory_doubts(recipe: Recipe, facts: ModelFacts, hardware: Hardware, offers: bool) -> list[str]:
    found = []
    if too_large := [e for e in estimates(recipe, facts, hardware) if not e.fits]:
        needs = " and ".join(f"{e.stage} needs about {_gib(e.total_gib)}" for e in too_large)
        device = "the GPU" if hardware.gpus else "this machine"
        way = ("The buttons below make it fit." if offers else
               "It fits, or can be made to fit, once other programs do not hold the rest."
               if _fits_alone(recipe, facts, hardware) else
               "No setting here makes it fit: choose a smaller model or a larger GPU.")
        found.append(f"{needs} of memory; {device} has {_gib(too_large[0].capacity_gib)} free, so training would "
                     f"probably run out of it. {way}")
    if recipe.grpo.enabled and samples_with_vllm(recipe, facts, hardware):
        least, share = vllm_share(recipe, facts, hardware), recipe.model.gpu_memory_share
        if share < least <= 0.95:
            found.append(f"A share of {share:.0%} of the GPU is too small for vLLM with this model: set it to "
                         f"{least:.0%} or more.")
    return found


def _fits_alone(recipe: Recipe, facts: ModelFacts, hardware: Hardware) -> bool:
    """Whether the recipe fits, as it is or with other settings, where nothing else uses the device."""
    alone = replace(hardware, available_gib=hardware.memory_gib,
                    gpus=tuple(replace(gpu, used_gib=0.0) for gpu in hardware.gpus))
    return all(e.fits for e in estimates(recipe, facts, alone)) or bool(lower_to_fit(recipe, facts, alone))


def review_html(recipe: Recipe, check: ModelCheck, hardware: Hardware) -> str:
    """The page's right column: what will be trained, what it needs, what it runs on."""
    parts = [f"<h3>What will happen</h3><ul>{''.join(f'<li>{escape(s)}</li>' for s in plan_lines(recipe, check))}</ul>"]
    if check.facts is not None:
        parts.append("<h3>Memory it needs (estimate)</h3>")
        parts += [bars_html(estimate) for estimate in estimates(recipe, check.facts, usable(hardware))]
    parts.append(hardware_html(recipe, check.facts, hardware))
    return "".join(parts)


def plan_lines(recipe: Recipe, check: ModelCheck) -> list[str]:
    """Sentences on what the run does, with the numbers that follow from the settings."""
    grpo, sft = recipe.grpo, recipe.sft
    lines = []
    if check.facts is not None:
        lines.append(parameters_line(check.facts, recipe))
    if sft.enabled:
        until = f"{sft.max_steps} steps" if sft.max_steps else f"{sft.epochs:g} epoch{'s' * (sft.epochs != 1)}"
        lines.append(f"SFT imitates worked solutions for {until}, {sft.batch_size * sft.accumulation} at a time.")
    if grpo.enabled:
        answers = grpo.completions_per_step * recipe.model.processes
        questions = answers // grpo.num_generations
        asked = "1 question gets" if questions == 1 else f"each of {questions} questions gets"
        lines.append(f"GRPO takes {grpo.steps} steps; in a step {asked} {grpo.num_generations} answers, which the "
                     "rewards compare.")
    if recipe.evaluate.enabled:
        names = {"base": "the base model", "sft": "the SFT model", "grpo": "the GRPO model"}
        trained = {"base": True, "sft": sft.enabled, "grpo": grpo.enabled}
        models = [names[m] for m in recipe.evaluate.models if trained[m]]
        who = " and ".join([", ".join(models[:-1]), models[-1]] if len(models) > 1 else models)
        asked = ["the held-out test" if name == "test" else name for name in recipe.evaluate.benchmarks]
        if models:
            lines.append(f"At the end {who} answer{'s' * (len(models) == 1)} {' and '.join(asked)}.")
    return lines


def parameters_line(facts: ModelFacts, recipe: Recipe) -> str:
    """How much of the model the adapter trains."""
    trained = trainable_parameters(facts, recipe.lora.rank, recipe.lora.targets)
    total = facts.parameters + trained
    return (f"The adapter trains {trained:,} of {total:,} parameters ({trained / max(total, 1):.1%}); "
            "the rest stays as it is.")


def bars_html(estimate: Estimate) -> str:
    """One stage's memory as a stacked bar with a legend; the outline, or a mark, is what the device has."""
    scale = max(estimate.capacity_gib, estimate.total_gib, 1e-9)
    pieces, legend = [], []
    for bar in estimate.bars:
        colour, width = f"rs-bar-{BAR_COLOURS[bar.name]}", 100 * bar.gib / scale
        pieces.append(f'<span class="rs-bar {colour}" style="width:{width:.2f}%" '
                      f'title="{escape(bar.name)}: {_gib(bar.gib)}"></span>')
        legend.append(f'<li><i class="{colour}"></i><span>{escape(bar.name)}</span> <b>{_gib(bar.gib)}</b>'
                      f'<small>{escape(bar.why)}</small></li>')
    if estimate.total_gib > estimate.capacity_gib:
        pieces.append(f'<i class="rs-limit" style="left:{100 * estimate.capacity_gib / scale:.2f}%" title="What there '
                      f'is: {_gib(estimate.capacity_gib)}"></i>')
    tight = estimate.total_gib <= estimate.capacity_gib
    verdict = "fits" if estimate.fits else "too tight" if tight else "does not fit"
    style = "rs-good-text" if estimate.fits else "rs-bad-text"
    return (f'<div class="rs-memory"><div class="rs-memory-head"><b>{escape(estimate.stage)}</b> '
            f'{_gib(estimate.total_gib)} of {_gib(estimate.capacity_gib)}: <b class="{style}">{verdict}</b></div>'
            f'<div class="rs-bars" role="img" aria-label="{escape(estimate.stage)} needs {_gib(estimate.total_gib)} of '
            f'{_gib(estimate.capacity_gib)}">{"".join(pieces)}</div>'
            '<details><summary>What it is made of</summary>'
            f'<ul class="rs-legend">{"".join(legend)}</ul></details></div>')


def hardware_html(recipe: Recipe, facts: ModelFacts | None, hardware: Hardware) -> str:
    """The device, the engine, and what several GPUs are for."""
    used = usable(hardware)
    choice = choose_engine(recipe, facts, used) if facts else choose(recipe.model, used)
    lines = [hardware_line(hardware), f"Engine: {choice.why}."]
    if recipe.model.machines > 1:
        lines.append(f"{recipe.model.machines} machines train together: the run waits for the others before each "
                     "stage, and its log says which command to give there.")
    if len(used.gpus) > 1 and recipe.model.gpus == 1:
        lines.append(f"{len(used.gpus)} GPUs are here and this run uses one, so others can train beside it. Set GPUs "
                     f"(Model, Advanced) to {len(used.gpus)} and TRL trains on all of them together.")
    if not used.gpus and recipe.model.source != "tiny":
        lines.append("Without a GPU only very small models train in bearable time; the bundled one takes minutes.")
    return f"<h3>This machine</h3><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _items(sentences: Sequence[str]) -> str:
    return "".join(f"<li>{_code(sentence)}</li>" for sentence in sentences)


def _code(text: str) -> str:
    """Escaped text in which `…` becomes a code span."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if i % 2 and i < len(pieces) - 1 else piece
                   for i, piece in enumerate(pieces))


def _gib(value: float) -> str:
    return f"{value:.1f} GiB" if value >= 1 else f"{value * 1024:.0f} MiB"
