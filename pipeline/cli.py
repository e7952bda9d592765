"""The command line: `python -m pipeline COMMAND`. Exit codes: 0 done, 1 failed or stopped, 2 bad input.

`--json` prints exactly one JSON document on standard output (`{"error": …}` when something is wrong); progress and
messages go to standard error. The documents are described in docs/runs.md.
"""

import argparse
import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import cli_data, cli_export, cli_join, cli_rewards, cli_runs, cli_score
from pipeline.errors import DatasetError, EngineError, RecipeError, RewardError, RunError, StudioError
from pipeline.failures import is_disk_full, refusal
from pipeline.mirror import open_home
from pipeline.studio_home import default_home
from pipeline.tags import SCHEMES

BAD_INPUT: tuple[type[StudioError], ...] = (RecipeError, DatasetError, RewardError, RunError, EngineError)
Command = Callable[[argparse.Namespace], "Outcome"]
DISK_FULL = ("The disk is full. Free some space, then give the command again. A run that waits for space goes on "
             "by itself; one that failed goes on with `python -m pipeline resume RUN`.")
Outcome = tuple[int, Any, str]  # exit code, JSON document, text for people


def main(arguments: list[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    options = parser().parse_args(arguments)
    try:
        if not getattr(options, "without_home", False):
            _open_home(options)
        code, document, text = options.command(options)
    except StudioError as error:
        code, document, text = 2, {"error": str(error)}, ""
        print(f"Error: {error}", file=sys.stderr)
    except (OSError, sqlite3.Error) as error:
        words = DISK_FULL if is_disk_full(error) else _in_words(error)
        code, document, text = 1, {"error": words}, ""
        print(f"Error: {words}", file=sys.stderr)
    except KeyboardInterrupt:
        code, document, text = 1, {"error": "Interrupted."}, ""
        print("Interrupted.", file=sys.stderr)
    try:
        if options.json:
            print(json.dumps(document, ensure_ascii=False, indent=2))
        elif text:
            print(text)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
    return code


def _in_words(error: OSError | sqlite3.Error) -> str:
    """What the system refused, of which file, and what to look at. Raises what names no file: that is our fault."""
    if isinstance(error, OSError) and error.filename is not None:
        return refusal(error)
    raise error


def _open_home(options: argparse.Namespace) -> None:
    options.home, notice = open_home(Path(options.home).expanduser() if options.home else default_home())
    if notice:
        print(f"Note: {notice}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--home", metavar="FOLDER", help="the home folder (default: REASONING_STUDIO_HOME, or "
                        "~/.reasoning-studio)")
    common.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    top = argparse.ArgumentParser(prog="python -m pipeline", description="Train small language models to reason.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help, parents=[common])
        sub.set_defaults(command=command)
        return sub

    _add_run_commands(add)
    _add_data_commands(add)
    return top


def _add_run_commands(add: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    sub = add("demo", cli_runs.demo, "train the bundled tiny model: SFT, GRPO and the comparison")
    sub.add_argument("--seed", type=int, default=1, help="the same seed repeats the same run (default: 1)")
    sub = add("run", cli_runs.run, "start a run from a recipe and follow it; Ctrl-C stops it with a checkpoint")
    sub.add_argument("recipe", metavar="RECIPE", help="a YAML file, such as a run's recipe.yaml")
    sub.add_argument("--detach", action="store_true", help="start it, or queue it, and return at once")
    add("list", cli_runs.list_all, "list the runs")
    sub = add("show", cli_runs.show, "show one run: state, stages, last metrics, recipe")
    sub.add_argument("run", metavar="RUN")
    sub = add("log", cli_runs.log, "print a run's log")
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("--lines", type=int, default=200, help="at most the last N lines (default: 200; 0 is all)")
    sub.add_argument("--search", metavar="TEXT", help="only lines that contain this text")
    sub = add("stop", cli_runs.stop, "stop a run with a checkpoint, or take it out of the queue")
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("--wait", action="store_true", help="return when it has stopped")
    sub = add("resume", cli_runs.resume, "go on with a run that was stopped, interrupted or failed")
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("--detach", action="store_true", help="start it, or queue it, and return at once")
    sub.add_argument("--less-memory", action="store_true", help="after running out of memory: go on as a new run with "
                     "the proposed smaller settings")
    sub = add("compare", cli_runs.compare, "the comparison of a run's models, from its stored answers")
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("--benchmark", help="which questions (default: the held-out test)")
    cli_join.add_arguments(add("join", cli_join.join, "train along, as a second machine, in a run that was started on "
                               "another one"))
    cli_export.add_arguments(add("export", cli_export.run_export, "a run's model, adapter, GGUF file, script; upload"))


def _add_data_commands(add: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    sub = add("data", cli_data.data, "check a dataset: what is kept, what is dropped and why")
    sub.add_argument("file", metavar="FILE_OR_ID", help="a file, a built-in name (gsm8k, limo, …) or a Hub id")
    sub.add_argument("--map", metavar="ROLE=COLUMN,…", action="append", default=[],
                     help="columns by role: question, reasoning, answer, system; an empty column switches a role off; "
                          "roles that are not named are guessed; may be given several times")
    sub.add_argument("--config", help="named variant of a Hub dataset")
    sub.add_argument("--split", help="split of a Hub dataset (default: train)")
    sub.add_argument("--revision", help="branch, tag or commit of a Hub dataset")
    sub.add_argument("--test", metavar="FILE_OR_ID", help="separate test data")
    sub.add_argument("--answer-rule", default="auto", help="auto, column, hash, boxed, tag or last_number")
    sub.add_argument("--tags", choices=list(SCHEMES), default="reasoning")
    sub.add_argument("--model", default="tiny", help="whose tokens are counted (default: tiny)")
    sub.add_argument("--out", metavar="FOLDER", help="also write the prepared parts into this folder")
    sub = add("score", cli_score.score, "score completions with rewards: each reward and the total per row")
    sub.add_argument("file", metavar="FILE.jsonl", help="rows with `completion` and `answer`, perhaps `prompt`")
    sub.add_argument("--tags", choices=list(SCHEMES), default="reasoning")
    sub.add_argument("--rewards", metavar="FILE", help="YAML: the `rewards` of a recipe, or a list of functions")
    sub.add_argument("--why", action="store_true", help="also print the reason of each score")
    sub.add_argument("--mutants", action="store_true", help="damage the first completion; name what nobody notices")
    sub.add_argument("--gaming", action="store_true", help="score answers that know nothing to the first question")
    sub = add("dry-run", cli_rewards.dry_run, "sample and score a few answers before training, with a verdict")
    sub.add_argument("recipe", metavar="RECIPE", nargs="?", help="a YAML file (default: the demo's recipe)")
    sub.add_argument("--prompts", type=int, default=8, help="how many questions (default: 8)")
    sub.add_argument("--sft-run", metavar="RUN", help="let the SFT model of this run answer, not the base model")
    sub.add_argument("--model", metavar="FOLDER", help="let this model answer: a folder, RUN/sft or RUN/grpo")
    sub = add("evaluate", cli_data.evaluate, "let a model answer questions, or a run's models again")
    sub.add_argument("run", metavar="RUN", nargs="?", help="a run whose models answer")
    sub.add_argument("--model", metavar="FOLDER", help="a model folder or Hub id, instead of a run")
    sub.add_argument("--data", metavar="FILE", help="questions: a file, a built-in name or a Hub id")
    sub.add_argument("--models", default=None, help="which of a run's models, such as base,sft,grpo")
    sub.add_argument("--tags", choices=list(SCHEMES), default="reasoning")
    sub.add_argument("--limit", type=int, help="at most this many questions")
    sub.add_argument("--samples", type=int, default=1, help="answers per question")
    sub.add_argument("--temperature", type=float, default=0.0)
    sub.add_argument("--top-p", type=float, help="only with a temperature above 0 (default: 1)")
    sub.add_argument("--top-k", type=int, help="only with a temperature above 0 (default: 0, off)")
    sub.add_argument("--seed", type=int, help="of the sampling (default: the recipe's)")
    sub.add_argument("--max-completion-tokens", type=int, help="longest answer")
    sub.add_argument("--precisions", help="any of 16bit,8bit,4bit: what each costs in accuracy, memory and speed")
    sub.add_argument("--plausible-tolerance", type=float, help="how near counts as plausible (default: 0.1, 10 %%)")
