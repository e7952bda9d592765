"""What is evaluated and how an answer is judged: contenders, the settings that identify a result, the score.

A result is identified by everything that can change it: the model's files, the questions with their system prompts,
the sampling and the tags. All of that is in `settings_key`, so an evaluation that was done before, in this run or in
another one of the same home, is taken over instead of being repeated.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from pipeline.dataset.sources import needs_hub
from pipeline.errors import EngineError, RecipeError
from pipeline.recipe import EvaluateStep, Recipe, Tags
from pipeline.rewards.answers import lenient_match, plausible, same_answer
from pipeline.run_folder import AnswerRecord, RunFolder
from pipeline.tags import TagScheme, extract, is_well_formed, scheme_of
from pipeline.wrong_values import setting_name, wrong_value

Precision = Literal["16bit", "8bit", "4bit"]
TRAINED = ("sft", "grpo")


class EvaluationRequest(EvaluateStep):
    """An evaluation asked for later: more models, precisions and sampling choices than a recipe has."""

    models: list[str] = Field(["base", "sft", "grpo"], title="Models", min_length=1,  # type: ignore[assignment]
        description="base, sft, grpo, a checkpoint such as grpo/checkpoint-20, a model folder or a Hub id.")
    precisions: list[Precision] = Field(["16bit"], title="Precisions", min_length=1,
        description="Each model answers at each of these.")
    top_k: int = Field(0, title="Top-k", ge=0, le=100_000, description="0 switches it off.")
    seed: int | None = Field(None, title="Seed", ge=0, le=2**31 - 1,
        description="Only with a temperature above 0. Empty takes the recipe's.")
    measure: bool = Field(False, title="Measure", description="Memory and speed of this precision, in its own process.")
    system_prompt: str | None = Field(None, title="System prompt", max_length=20_000,
        description="Empty takes the recipe's.")
    tags: Tags | None = Field(None, title="Tags", description="Empty takes the recipe's.")

    @classmethod
    def of(cls, recipe: Recipe, changes: Mapping[str, Any] | None = None) -> "EvaluationRequest":
        """The evaluation that ends a run, with changes. Raises RecipeError in words."""
        values = recipe.evaluate.model_dump() | {"precisions": [recipe.evaluate.precision]}
        try:
            return cls.model_validate(values | dict(changes or {}))
        except ValidationError as error:
            problems = (f"{setting_name(e, 'evaluation')}: {wrong_value(e, cls)}" for e in error.errors())
            raise RecipeError("The evaluation cannot be done as asked. " + "; ".join(problems)) from error


@dataclass(frozen=True)
class Contender:
    """A model that answers: its label, its folder or Hub id, perhaps an adapter on it, and its precision."""

    label: str
    source: str
    precision: str = "16bit"
    adapter: Path | None = None


def contenders(folder: RunFolder, recipe: Recipe, request: EvaluationRequest) -> tuple[list[Contender], list[str]]:
    """The models of a request, and one sentence for each that this run does not have."""
    found, absent = [], []
    for name in dict.fromkeys(request.models):
        for precision in dict.fromkeys(request.precisions):
            contender = _contender(folder, recipe, name, precision)
            if isinstance(contender, str):
                absent.append(contender)
                break
            found.append(contender)
    return found, absent


def _contender(folder: RunFolder, recipe: Recipe, name: str, precision: str) -> Contender | str:
    if name == "base":
        return Contender("base", recipe.model.source, precision)
    if name in TRAINED:
        if not getattr(recipe, name).enabled:
            return f"This run has no {name.upper()} model: its recipe switches {name.upper()} off."
        if not (folder.model(name) / "config.json").exists():
            return (f"The {name.upper()} model is not there yet: {folder.model(name)} is missing. Finish that stage, "
                    "or choose another model.")
        return Contender(name, str(folder.model(name)), precision)
    stage, _, checkpoint = name.partition("/")
    if stage in TRAINED and checkpoint.startswith("checkpoint-") and "/" not in checkpoint:
        adapter = folder.checkpoints(stage) / checkpoint
        if not (adapter / "adapter_config.json").exists():
            return f"There is no checkpoint {name!r}; kept ones: {', '.join(checkpoints(folder)) or 'none'}."
        below = folder.model("sft") if stage == "grpo" and recipe.sft.enabled else recipe.model.source
        return Contender(name, str(below), precision, adapter)
    return Contender(Path(name).name if Path(name).is_dir() else name, name, precision)


def asks_hub(request: EvaluationRequest) -> bool:
    """Whether a model or the questions of an evaluation come from the Hub, whatever the run's own model."""
    own = {"base", *TRAINED}
    others = [name for name in request.models if name.partition("/")[0] not in own]
    return (any(not Path(name).is_dir() for name in others)
            or any(needs_hub(name) for name in request.benchmarks if name != "test"))


def checkpoints(folder: RunFolder) -> list[str]:
    """The complete checkpoints of a run, as `sft/checkpoint-50`, in training order."""
    found = []
    for stage in TRAINED:
        steps = [path for path in folder.checkpoints(stage).glob("checkpoint-*") if (path / "complete").exists()]
        steps = [path for path in steps if path.name.removeprefix("checkpoint-").isdigit()]
        found += [f"{stage}/{p.name}" for p in sorted(steps, key=lambda p: int(p.name.removeprefix("checkpoint-")))]
    return found


def folder_hash(paths: Iterable[Path]) -> str:
    """A fingerprint of the files that decide what a model writes: weights, configuration, tokenizer, template."""
    digest, seen = hashlib.blake2b(digest_size=12), False
    for path in paths:
        for file in sorted(path.iterdir()) if path.is_dir() else []:
            if file.suffix not in (".safetensors", ".json", ".jinja", ".model") or not file.is_file():
                continue
            seen |= file.suffix == ".safetensors"
            digest.update(file.name.encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "blake2b").digest())
    if not seen:
        raise EngineError(f"No model weights (*.safetensors) in {', '.join(map(str, paths)) or 'the folder'}: "
                          "give a folder with a complete model.")
    return digest.hexdigest()


def tokenizer_hash(model: Path) -> str:
    """A fingerprint of how a model's tokenizer cuts text; empty where it has no readable tokenizer.json.

    Not of the file: a merged model's is written anew, with an idle post-processor and perhaps merges in other brackets.
    """
    try:
        data = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
        found, added = data["model"], [(token["id"], token["content"]) for token in data.get("added_tokens") or []]
    except (OSError, ValueError, KeyError):
        return ""
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in found.get("merges") or []]
    rules = [found.get("type"), found.get("vocab"), merges, added, data.get("normalizer"), data.get("pre_tokenizer")]
    return hashlib.blake2b(json.dumps(rules, sort_keys=True).encode(), digest_size=8).hexdigest()


def rows_hash(rows: Sequence[dict[str, Any]]) -> str:
    """A fingerprint of the questions, references and system prompts in their order."""
    digest = hashlib.blake2b(digest_size=12)
    for row in rows:
        digest.update(json.dumps([row.get("system") or "", row["question"], row["reference"]]).encode())
    return digest.hexdigest()


def usable_rows(rows: Sequence[dict[str, Any]], name: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows with a question and an answer, each question once; and what was left out, in words."""
    kept: dict[str, dict[str, Any]] = {}
    empty = repeated = 0
    for row in rows:
        question, reference = str(row.get("question") or "").strip(), row.get("reference")
        if not question or reference is None or not str(reference).strip():
            empty += 1
        elif question in kept:
            repeated += 1
        else:
            kept[question] = row
    if not kept:
        raise RecipeError(f"None of the {len(rows)} rows of {name!r} has both a question and an answer: "
                          "nothing can be scored. Name the columns question and answer, or choose other data.")
    notes = []
    if empty:
        notes.append(f"{empty} of {len(rows)} rows of {name!r} have no question or no answer and are left out.")
    if repeated:
        notes.append(f"{repeated} of {len(rows)} rows of {name!r} repeat a question and are left out.")
    return list(kept.values()), notes


def settings_key(request: EvaluationRequest, contender: Contender, model_hash: str, data_hash: str,
                 max_completion_tokens: int, scheme: TagScheme, seed: int) -> str:
    """Canonical JSON of everything that identifies a result."""
    return json.dumps({
        "data": data_hash, "max_completion_tokens": max_completion_tokens, "model": model_hash,
        "plausible_tolerance": request.plausible_tolerance, "precision": contender.precision,
        "samples": request.samples, "seed": seed if request.temperature else 0,
        "tags": scheme.tags, "temperature": request.temperature, "top_k": request.top_k, "top_p": request.top_p,
    }, sort_keys=True)


def sampled_alike(settings: str) -> dict[str, Any]:
    """What had to be equal for an answer to be the same: all of the settings but how near counts as plausible."""
    return {key: value for key, value in json.loads(settings).items() if key != "plausible_tolerance"}


def answer_record(contender: Contender, benchmark: str, settings: str, index: int, sample: int,
                  row: dict[str, Any], text: str, tokens: int, truncated: bool, seconds: float,
                  scheme: TagScheme, tolerance: float = 0.1) -> AnswerRecord:
    """An answer with its judgement: exact (in the tags), lenient (last number anywhere), plausible, format."""
    reference, extracted = str(row["reference"]), extract(scheme, text)
    exact = same_answer(extracted, reference)
    return AnswerRecord(
        model=contender.label, benchmark=benchmark, settings=settings, question_index=index, sample=sample,
        question=row["question"], reference=reference, completion=text, extracted=extracted, exact=exact,
        lenient=exact or lenient_match(text, reference),
        plausible=exact or plausible(extracted, reference, tolerance),
        format=is_well_formed(scheme, text), tokens=tokens, truncated=truncated, seconds=seconds,
        subject=row.get("subject"))


def scheme_for(request: EvaluationRequest, recipe: Recipe) -> TagScheme:
    """The tags that the answers are read with."""
    return scheme_of(request.tags or recipe.data.tags)
