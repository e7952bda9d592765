"""What a recipe will do on this machine, as safe HTML: problems, trained parameters, memory bars, hardware."""

from html import escape

from pipeline.hardware import Hardware, engine_choice, hardware_line, shortcomings
from pipeline.memory import Estimate, estimates
from pipeline.model_check import ModelCheck, trainable_parameters
from pipeline.model_facts import ModelFacts
from pipeline.recipe import Recipe

SPACE_WARNING = ("This Space has no lasting storage: when it sleeps or restarts, all runs are erased. Download what "
                 "you want to keep from the Export tab, or give the Space storage at /data.")


def problems_html(problems: list[str]) -> str:
    """What must be changed before training can start, or that nothing must."""
    if not problems:
        return '<div class="rs-note rs-good" role="status">Ready to train.</div>'
    items = "".join(f"<li>{_code(problem)}</li>" for problem in problems)
    return f'<div class="rs-note rs-bad" role="alert"><b>Change this before training:</b><ul>{items}</ul></div>'


def review_html(recipe: Recipe, check: ModelCheck, hardware: Hardware) -> str:
    """The page's right column: what will be trained, what it needs, what it runs on."""
    parts = [f"<h3>What will happen</h3><ul>{''.join(f'<li>{escape(s)}</li>' for s in plan_lines(recipe, check))}</ul>"]
    if check.facts is not None:
        parts.append("<h3>Memory it needs (estimate)</h3>")
        parts += [bars_html(estimate) for estimate in estimates(recipe, check.facts, hardware)]
    parts.append(hardware_html(recipe, hardware))
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
        answers = grpo.completions_per_step * recipe.model.gpus
        questions = answers // grpo.num_generations
        asked = "1 question gets" if questions == 1 else f"each of {questions} questions gets"
        lines.append(f"GRPO takes {grpo.steps} steps; in a step {asked} {grpo.num_generations} answers, which the "
                     "rewards compare.")
    if recipe.evaluate.enabled:
        names = {"base": "the base model", "sft": "the SFT model", "grpo": "the GRPO model"}
        trained = {"base": True, "sft": sft.enabled, "grpo": grpo.enabled}
        models = [names[m] for m in recipe.evaluate.models if trained[m]]
        who = " and ".join([", ".join(models[:-1]), models[-1]] if len(models) > 1 else models)
        if models:
            lines.append(f"At the end {who} answer{'s' * (len(models) == 1)} the held-out test.")
    return lines


def parameters_line(facts: ModelFacts, recipe: Recipe) -> str:
    """How much of the model the adapter trains."""
    trained = trainable_parameters(facts, recipe.lora.rank, recipe.lora.targets)
    total = facts.parameters + trained
    return (f"The adapter trains {trained:,} of {total:,} parameters ({trained / max(total, 1):.1%}); "
            "the rest stays as it is.")


def bars_html(estimate: Estimate) -> str:
    """One stage's memory as a stacked bar with a legend; the outline is what the device has."""
    scale = max(estimate.capacity_gib, estimate.total_gib, 1e-9)
    pieces, legend = [], []
    for i, bar in enumerate(estimate.bars):
        width = 100 * bar.gib / scale
        pieces.append(f'<span class="rs-bar rs-bar-{i % 8}" style="width:{width:.2f}%" '
                      f'title="{escape(bar.name)}: {_gib(bar.gib)}"></span>')
        legend.append(f'<li><i class="rs-bar-{i % 8}"></i><span>{escape(bar.name)}</span> <b>{_gib(bar.gib)}</b>'
                      f'<small>{escape(bar.why)}</small></li>')
    verdict = "fits" if estimate.fits else "does not fit"
    style = "rs-good-text" if estimate.fits else "rs-bad-text"
    return (f'<div class="rs-memory"><div class="rs-memory-head"><b>{escape(estimate.stage)}</b> '
            f'{_gib(estimate.total_gib)} of {_gib(estimate.capacity_gib)}: <b class="{style}">{verdict}</b></div>'
            f'<div class="rs-bars" role="img" aria-label="{escape(estimate.stage)} needs {_gib(estimate.total_gib)} of '
            f'{_gib(estimate.capacity_gib)}">{"".join(pieces)}</div>'
            '<details><summary>What it is made of</summary>'
            f'<ul class="rs-legend">{"".join(legend)}</ul></details></div>')


def hardware_html(recipe: Recipe, hardware: Hardware) -> str:
    """The device, the engine, and what is missing with the command that installs it."""
    _, why = engine_choice(hardware, recipe.model.engine, recipe.model.gpus)
    lines = [hardware_line(hardware), f"Engine: {why}."]
    if not hardware.gpus and recipe.model.source != "tiny":
        lines.append("Without a GPU only very small models train in bearable time; the bundled one takes minutes.")
    missing = "".join(f'<li class="rs-missing">{_code(text)}</li>' for text in shortcomings(hardware))
    return f"<h3>This machine</h3><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}{missing}</ul>"


def _code(text: str) -> str:
    """Escaped text in which `…` becomes a code span."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if i % 2 and i < len(pieces) - 1 else piece
                   for i, piece in enumerate(pieces))


def _gib(value: float) -> str:
    return f"{value:.1f} GiB" if value >= 1 else f"{value * 1024:.0f} MiB"
