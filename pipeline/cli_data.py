"""The commands about data and models. Each gives (exit code, JSON document, text for people)."""

import argparse
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import cli_runs, jobs
from pipeline.errors import DatasetError, RecipeError
from pipeline.evaluation import EvaluationRequest
from pipeline.recipe import EvaluateStep, Recipe, Split
from pipeline.whole_paths import BENCHMARKS, whole_path

if TYPE_CHECKING:
    from pipeline.dataset.report import PreparedReport

ROLES = ("question", "reasoning", "answer", "system")
Outcome = tuple[int, Any, str]


def data(options: argparse.Namespace) -> Outcome:
    """`data FILE_OR_ID`: prepare it as a run would, and report."""
    recipe = Recipe.parse({"data": {
        "source": options.file, "config": options.config, "source_split": options.split, "revision": options.revision,
        "test_source": options.test, "answer_rule": options.answer_rule, "tags": {"scheme": options.tags},
        **columns_of_map(options.map)}})
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(options.out or scratch)
        try:
            report = _prepare(recipe, options.model, out)
        except DatasetError as error:
            usable = re.search(r"only ([\d,]+) are usable", str(error))  # rows can be counted that cannot be split
            if options.out or not usable or usable.group(1) == "0":
                raise
            split = Split(sft=int(usable.group(1).replace(",", "")), grpo=0, validation=0, test=0)
            everything = recipe.data.model_copy(update={"split": split})
            report = _prepare(recipe.model_copy(update={"data": everything}), options.model, out)
            report.warnings.append(f"Too few rows to train on: {error}")
    document = report.as_dict()
    if not report.kept:
        raise DatasetError(f"No usable row in {options.file!r}: {report.rows_in:,} were read and all were dropped: "
                           f"{_reasons(document)}.")
    return 0, document, _report_text(document)


def columns_of_map(given: Sequence[str]) -> dict[str, str]:
    """`question=col,answer=col` as columns by role. A column's name may hold `=`, and a comma before no other role.

    Raises DatasetError for a part that names no role.
    """
    found: dict[str, str] = {}
    for text in given:
        for part in re.split(rf",\s*(?=(?:{'|'.join(ROLES)})\s*=)", text):
            role, equals, column = part.partition("=")
            if not equals or role.strip() not in ROLES:
                raise DatasetError(f"--map {part.strip()!r} names no role. Write for example "
                                   f"--map question=prompt,answer=target; the roles are {', '.join(ROLES)}.")
            found[role.strip()] = column.strip()
    return found


def _prepare(recipe: Recipe, model: str, out: Path) -> "PreparedReport":
    from pipeline.dataset.chat import ChatTokenizer
    from pipeline.dataset.prepare import prepare_parts

    return prepare_parts(recipe.data, ChatTokenizer.load(model), seed=recipe.seed, max_length=recipe.model.max_length,
                         max_completion_tokens=recipe.grpo.max_completion_tokens, out=out)


def _reasons(document: dict[str, Any]) -> str:
    return _counted(document["dropped"])


def _counted(lists: dict[str, Any]) -> str:
    return ", ".join(f"{rows['count']:,} {name.replace('_', ' ')}" for name, rows in lists.items())


def _report_text(document: dict[str, Any]) -> str:
    rows, references = document["rows"], document["references"]
    lines = [f"Rows: {rows['in']:,} read, {rows['kept']:,} kept, {rows['dropped']:,} dropped"
             + (f" ({_reasons(document)})" if rows["dropped"] else "") + ".",
             f"Answers: {references['found']:,} found, {references['missing']:,} missing.",
             "Parts: " + ", ".join(f"{part} {count:,}" for part, count in document["parts"].items()) + "."]
    if document["noticed"]:
        lines.append("Kept, but look at: " + _counted(document["noticed"]) + ".")
    if document["compared_with"] or document["not_compared"]:
        lines.append(f"Also in benchmarks: {_counted(document['leakage']) or 'none'} (compared with "
                     f"{', '.join(document['compared_with']) or 'none'}).")
        lines += [f"Not compared with {title}: {why}." for title, why in document["not_compared"].items()]
    return "\n".join([*lines, *document.get("notes", []), *document.get("warnings", [])])


def evaluate(options: argparse.Namespace) -> Outcome:
    """`evaluate --model FOLDER --data FILE`, or `evaluate RUN [--data FILE]`."""
    home = options.home
    wanted = {"limit": options.limit, "samples": options.samples, "temperature": options.temperature,
              "max_completion_tokens": options.max_completion_tokens, "top_p": options.top_p, "top_k": options.top_k,
              "seed": options.seed, "plausible_tolerance": options.plausible_tolerance,
              "precisions": options.precisions.split(",") if options.precisions else None}
    request = {key: value for key, value in wanted.items() if value is not None}
    if options.data:
        request["benchmarks"] = [whole_path(options.data, BENCHMARKS)]
    if options.run and options.model:
        raise RecipeError("Say what to evaluate: a run or --model, not both.")
    if options.run:
        if options.models:
            request["models"] = options.models.split(",")
        EvaluationRequest.of(home.run(options.run).recipe(), request)  # raises in words
        jobs.submit(home, "evaluate", options.run, request=request)
        return cli_runs.finish_job(home, options.run, options.data and whole_path(options.data, BENCHMARKS))
    if not options.model or not options.data:
        raise RecipeError("Say what to evaluate: a run, or --model FOLDER together with --data FILE.")
    if options.models:
        raise RecipeError("--models names models of a run: give the run too, or leave it out.")
    values = {k: request[k] for k in EvaluateStep.model_fields if k in request} | {"enabled": True, "models": ["base"]}
    recipe = Recipe.parse({
        "name": f"Evaluation of {Path(options.model).name}"[:100], "model": {"source": options.model},
        "data": {"tags": {"scheme": options.tags}}, "evaluate": values})
    EvaluationRequest.of(recipe, request)  # raises in words
    return cli_runs.finish(home, jobs.start(home, recipe, "evaluate", request))
