"""The command that scores completions in a file, and the checks of the test bench on them: `score`."""

import argparse
import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import DatasetError, RecipeError
from pipeline.recipe import Recipe, RewardsStep
from pipeline.tags import SCHEMES

Outcome = tuple[int, Any, str]


def score(options: argparse.Namespace) -> Outcome:
    """`score FILE.jsonl --tags NAME [--rewards FILE] [--why] [--mutants] [--gaming]`."""
    from pipeline.rewards import RewardSet
    from pipeline.rewards.mutants import bench
    from pipeline.rewards.probes import gaming_check

    rows = list(read_rows(Path(options.file)))
    first = rows[0]
    document: dict[str, Any] = {}
    with RewardSet(rewards_from(options.rewards), SCHEMES[options.tags]) as rewards:
        scores = rewards.score([row["completion"] for row in rows], [row["answer"] for row in rows],
                               [row["prompt"] for row in rows])
        if options.mutants:
            document["mutants"] = bench(rewards, first["completion"], first["answer"], first["prompt"]).sentences
        if options.gaming:
            if first["answer"] is None:
                raise DatasetError("The gaming check needs the right answer: the first row has none.")
            document["gaming"] = gaming_check(rewards, first["prompt"], first["answer"]).warnings
    found = [{"rewards": {label: values[i] for label, values in scores.raw.items()}, "total": scores.totals[i],
              "extracted": scores.extracted[i], "why": {label: why for label, _, _, why in scores.explain(i)}}
             for i in range(len(rows))]
    totals = [total for total in scores.totals if total is not None]
    summary = {"rows": len(rows), "mean_total": statistics.fmean(totals) if totals else None,
               "mean": {label: _mean(values) for label, values in scores.raw.items()},
               "not_scored": sum(total is None for total in scores.totals)}
    lines = []
    for i, row in enumerate(found, start=1):
        lines.append(f"row {i}: total {_number(row['total'])}  " + "  ".join(
            f"{label} {_number(value)}" for label, value in row["rewards"].items()))
        if options.why:
            lines += [f"    {label}: {why}" for label, why in row["why"].items()]
    lines.append(f"{len(rows)} rows, mean total {_number(summary['mean_total'])}")
    for name, fine in (("mutants", "Every mutant scores less than the first completion."),
                       ("gaming", "No probe is paid like an honest answer.")):
        lines += document.get(name) or ([fine] if name in document else [])
    return 0, {"rows": found, "summary": summary, **document}, "\n".join(lines)


def read_rows(file: Path) -> Iterable[dict[str, Any]]:
    """Rows with `completion`, `answer` (text or None) and `prompt`. Raises DatasetError that names the line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"Cannot read {str(file)!r}: {error}. Give a text file (UTF-8) with one JSON object a line, "
                           "each with `completion` and `answer`.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DatasetError(f"{file}, line {number}: not a JSON object ({error}).") from error
        if not isinstance(row, dict) or not isinstance(row.get("completion"), str) or "answer" not in row:
            raise DatasetError(f"{file}, line {number}: a row needs `completion` (text) and `answer`.")
        answer = row["answer"]
        yield {"completion": row["completion"], "prompt": str(row.get("prompt", "")),
               "answer": None if answer is None else answer if isinstance(answer, str) else json.dumps(answer)}
    if not any(line.strip() for line in lines):
        raise DatasetError(f"{str(file)!r} has no rows.")


def rewards_from(file: str | None) -> RewardsStep:
    """The rewards of a YAML file: a recipe's `rewards`, a whole recipe, or a list of functions. Raises RecipeError."""
    if file is None:
        return RewardsStep()
    try:
        values = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"Cannot read the rewards {file!r}: {error}. Give a YAML file: the `rewards` of a recipe, a "
                          "whole recipe, or a list of functions.") from error
    if isinstance(values, list):
        values = {"functions": values}
    if isinstance(values, dict) and "rewards" in values:
        values = values["rewards"]
    return Recipe.parse({"rewards": values}).rewards


# --------------------------------------------------------------------------------------------------


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _number(value: float | None) -> str:
    return "not scored" if value is None else f"{value:.3g}"
