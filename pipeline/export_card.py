"""The model card: what it is, results with intervals, how to prompt it, data, recipe, limits."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from pipeline import comparison, report
from pipeline.errors import RunError
from pipeline.recipe import Recipe
from pipeline.run_folder import RunFolder
from pipeline.seeds import over_seeds
from pipeline.studio_home import StudioHome
from pipeline.tags import scheme_of, system_prompt

TITLES = {"sft": "supervised fine-tuning (SFT)", "grpo": "SFT and Group Relative Policy Optimization (GRPO)"}


def card(home: StudioHome, folder: RunFolder, stage: str, repo: str = "your-name/your-model") -> str:
    """The card of a run's model as Markdown with front matter; other seeds of its recipe are looked for in the home."""
    recipe = folder.recipe()
    rows, expected = comparison.load(folder)
    benchmark = next(iter(comparison.benchmarks(folder)), "test")
    front = _front(recipe, rows, stage, benchmark)
    results = _results(recipe, rows, expected, benchmark)
    several = report.several_seeds(over_seeds(home, folder.id, rows, expected), rows, about=stage)
    parts = [f"# {report.as_text(_plain(recipe.name))}", _what(recipe, stage),
             "## Results", results, *filter(None, [several]),
             "## How to prompt it", _prompting(recipe, repo),
             "## Data", _data(folder, recipe),
             "## Limits", _limits(recipe, rows),
             "## Recipe", f"```yaml\n{public_recipe(recipe)}```",
             "Trained with Reasoning Studio. The recipe above repeats the run."]
    content = f"---\n{front.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"
    return str(ModelCard(content))


def public_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, with names instead of paths of this machine."""
    model = recipe.model.model_copy(update={"source": _public(recipe.model.source)})
    data = recipe.data.model_copy(update={"source": _public(recipe.data.source)})
    benchmarks = [_public(name) for name in recipe.evaluate.benchmarks]
    changes = {"model": model, "data": data, "provenance": None,
               "evaluate": recipe.evaluate.model_copy(update={"benchmarks": benchmarks})}
    return recipe.model_copy(update=changes).to_yaml()


def _front(recipe: Recipe, rows: list[dict[str, Any]], stage: str, benchmark: str) -> ModelCardData:
    tags = ["reasoning", "sft", *(["grpo"] if stage == "grpo" else []), "lora", "reasoning-studio"]
    values: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": tags}
    if _is_hub_id(recipe.model.source):
        values["base_model"] = recipe.model.source
    if recipe.model.source == "tiny":
        values["license"] = "apache-2.0"
    if _is_hub_id(recipe.data.source):
        values["datasets"] = [recipe.data.source]
    found = comparison.summary(rows).get(stage) if rows else None
    if found and found["exact"]["rate"] is not None:
        values["model_name"] = _plain(recipe.name)
        source = _public(recipe.data.source)
        values["eval_results"] = [EvalResult(
            task_type="text-generation", dataset_type=source, dataset_name=f"{source} {benchmark}",
            metric_type=metric, metric_name=f"{metric} ({found[metric]['count']} of {found[metric]['n']})",
            metric_value=round(found[metric]["rate"], 4), dataset_split=benchmark) for metric in ("exact", "format")]
    return ModelCardData(**values)


def _what(recipe: Recipe, stage: str) -> str:
    adapter = f"LoRA adapters of rank {recipe.lora.rank}, merged into 16-bit weights"
    return (f"`{_public(recipe.model.source)}` after {TITLES[stage]} on `{_public(recipe.data.source)}`, trained with "
            f"{adapter}. It writes its reasoning and its answer between tags.")


def _results(recipe: Recipe, rows: list[dict[str, Any]], expected: list[dict[str, Any]], benchmark: str) -> str:
    if not rows:
        return "This model has not been evaluated."
    try:
        claims = report.claims(comparison.tests(rows, expected=expected))
    except RunError as error:
        claims = str(error)
    questions = len({row["question_index"] for row in rows})
    limit = json.loads(rows[0]["settings"]).get("max_completion_tokens")
    how = f"On {questions} questions ({benchmark}) that were not trained on, answers of at most {limit} tokens."
    return "\n\n".join([how + " Rates with 95 % intervals.", comparison.as_table(rows, expected), claims])


def _prompting(recipe: Recipe, repo: str) -> str:
    prompt = recipe.data.system_prompt or system_prompt(scheme_of(recipe.data.tags))
    limit = recipe.evaluate.max_completion_tokens or recipe.grpo.max_completion_tokens
    code = f"""from transformers import pipeline

generate = pipeline("text-generation", model={repo!r})
messages = [
    {{"role": "system", "content": {prompt!r}}},
    {{"role": "user", "content": "Tom has 12 apples and buys 5 more. How many has he now?"}},
]
print(generate(messages, max_new_tokens={limit}, do_sample=False)[0]["generated_text"][-1]["content"])"""
    scheme = scheme_of(recipe.data.tags)
    return (f"Use the chat template and this system prompt. The answer stands between `{scheme.answer_open}` and "
            f"`{scheme.answer_close}`.\n\n```python\n{code}\n```")


def _data(folder: RunFolder, recipe: Recipe) -> str:
    text = f"Source: `{_public(recipe.data.source)}`"
    text += f", revision `{recipe.data.revision}`" if recipe.data.revision else ""
    file = folder.path / "data" / "report.json"
    try:
        parts = json.loads(file.read_text(encoding="utf-8")).get("parts")
    except (OSError, ValueError):
        parts = None
    if isinstance(parts, dict):
        text += ". Rows: " + ", ".join(f"{name} {count}" for name, count in parts.items())
    return text + ". No question is in two parts."


def _limits(recipe: Recipe, rows: list[dict[str, Any]]) -> str:
    lines = ["The numbers hold for questions like those above; elsewhere it was not tested.",
             "A well-formed answer can be wrong, and the reasoning shown need not be how the answer was found.",
             f"Answers longer than {recipe.grpo.max_completion_tokens} tokens were cut off in training."]
    if not rows:
        lines.append("It has not been evaluated.")
    return "\n".join(f"- {line}" for line in lines)


def _is_hub_id(source: str) -> bool:
    return source.count("/") == 1 and _public(source) == source


def _public(source: str) -> str:
    """A Hub id or built-in name as it is; of a path on this machine, its last part."""
    return Path(source).name if source.startswith((".", "/", "~")) or Path(source).exists() else source


def _plain(text: str) -> str:
    return " ".join(text.split()).lstrip("#").strip() or "Reasoner"
