"""The command about rewards before training: `dry-run`. Gives (exit code, JSON document, text for people)."""

import argparse
from typing import Any

from pipeline import jobs
from pipeline.demo import demo_recipe
from pipeline.errors import RunError
from pipeline.follow import follow
from pipeline.recipe import Recipe
from pipeline.rewards.dry_report import seconds
from pipeline.run_folder import RunReader
from pipeline.whole_paths import MODELS, whole_path

Outcome = tuple[int, Any, str]


def dry_run(options: argparse.Namespace) -> Outcome:
    """`dry-run [RECIPE] [--prompts N] [--sft-run RUN | --model FOLDER]`: sample, score, judge.

    Without a recipe it is the demo's.
    """
    from pipeline.stages.dry_run import DryRunRequest

    home = options.home
    recipe = Recipe.load(options.recipe) if options.recipe else demo_recipe(1)
    request: dict[str, Any] = {"prompts": options.prompts}
    if options.sft_run:
        request["model"] = f"{home.run(options.sft_run).id}/sft"
    elif options.model:
        request["model"] = whole_path(options.model, MODELS)
    DryRunRequest.of(request)  # raises in words
    run_id = jobs.submit(home, "dry_run", recipe=recipe, request=request)
    now = follow(home, run_id)
    report = RunReader(home.run(run_id)).status().get("dry_run")
    if now.state != "finished" or report is None:
        words = " ".join(filter(None, [now.reason, now.remedy])) or "The dry run did not finish."
        return 1, {"run": run_id, "state": now.state, "error": words}, words
    return 0, {"run": run_id, "state": now.state, **report}, as_text(report)


def as_text(report: dict[str, Any]) -> str:
    """The report of a dry run for a terminal."""
    if not report:
        raise RunError("There is no report: run the dry run to its end.")
    lines = [f"{report['model']}, {report['prompts']} questions x {report['group_size']} answers"]
    for reward in report["rewards"]:
        mean = "not scored" if reward["mean"] is None else (
            f"mean {reward['mean']:+.2f}, {reward['low']:+g} to {reward['high']:+g}")
        bars = ", ".join(f"{value}: {count}" for value, count in reward["bars"])
        lines.append(f"  {reward['label']}: {mean}  ({bars})")
    right = "" if report["right"] is None else f"right {report['right']:.0%}, "
    lines.append(f"  equal rewards in {report['zero_variance']:.0%} of the groups, {right}"
                 f"format {report['format_rate']:.0%}, cut off {report['truncated']:.0%}, "
                 f"{report['mean_tokens']:.0f} tokens on average")
    if report["step_seconds"] is not None:
        lines.append(f"  {seconds(report['step_seconds'])} a step, about {seconds(report['run_seconds'])} in all")
    lines.append(f"  {report['time_words']}")
    return "\n".join([*lines, *report["verdict"]])
