"""`python -m pipeline export RUN`: the files of the Export tab, and the upload, from the shell."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pipeline import export
from pipeline.errors import RunError
from pipeline.run_folder import RunFolder
from pipeline.studio_home import StudioHome

Outcome = tuple[int, Any, str]
KINDS = ("model", "adapter", "f16", "q8_0", "recipe", "repeat", "card")


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """The options of `export`."""
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("what", nargs="*", metavar="WHAT", help=f"any of {', '.join(KINDS)} (default: model); f16 and "
                     "q8_0 are GGUF files")
    sub.add_argument("--stage", choices=list(export.STAGES), help="which model (default: the last one trained)")
    sub.add_argument("--check-merge", action="store_true", help="also compare the merged model with its adapter")
    sub.add_argument("--hub", metavar="OWNER/NAME", help="upload to this repository; lists the files first")
    sub.add_argument("--public", action="store_true", help="make the repository public (default: private)")
    sub.add_argument("--yes", action="store_true", help="upload without asking")


def run_export(options: argparse.Namespace) -> Outcome:
    """Write what was asked for; names and sizes as JSON. Raises RunError, EngineError in words."""
    folder = options.home.run(options.run)
    stage = options.stage or next((stage for stage in export.STAGES if folder.model(stage).is_dir()), None)
    if stage is None:
        raise RunError(f"Run {options.run} has no trained model to export yet: finish SFT or GRPO first.")
    unknown = [what for what in options.what if what not in KINDS]
    if unknown:
        raise RunError(f"There is no export {unknown[0]!r}. Choose any of: {', '.join(KINDS)}.")
    asked = options.what or ([] if options.hub else ["model"])
    paths = [_write(options.home, folder, stage, what) for what in dict.fromkeys(asked)]
    document: dict[str, Any] = {"stage": stage, "files": {p.name: {"path": str(p), "bytes": p.stat().st_size}
                                                          for p in paths}}
    lines = [str(path) for path in paths]
    if options.check_merge:
        check = export.merge_check(folder, stage)
        document["merge_check"] = vars(check)
        lines.append(check.sentence)
    if options.hub:
        document["hub"] = _upload(folder, stage, options)
        lines.append(document["hub"])
    return 0, document, "\n".join(lines)


def _write(home: StudioHome, folder: RunFolder, stage: str, what: str) -> Path:
    from pipeline.export_card import card, public_recipe

    if what == "model":
        return export.model_zip(folder, stage, card(home, folder, stage))
    if what == "adapter":
        return export.adapter_zip(folder, stage, card(home, folder, stage))
    if what == "recipe":
        return export.text_file(folder, "recipe.yaml", public_recipe(folder.recipe()))
    if what == "card":
        return export.text_file(folder, f"{stage}-README.md", card(home, folder, stage))
    if what == "repeat":
        return export.repeat_zip(folder)
    path, check = export.gguf_file(folder, stage, what)  # type: ignore[arg-type]
    print(check.sentence if check else "", file=sys.stderr)
    return path


def _upload(folder: RunFolder, stage: str, options: argparse.Namespace) -> str:
    from pipeline.export_hub import plan, upload

    files = plan(options.home, folder, stage, options.hub)
    for file in files:
        print(f"{file.bytes:>14,}  {file.name}{'  (there already)' if file.there else ''}", file=sys.stderr)
    visible = "public" if options.public else "private"
    if not options.yes:
        print(f"Send these to {options.hub} ({visible})? Type yes: ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip() != "yes":
            raise RunError("Nothing was sent.")
    return upload(files, options.hub, not options.public,
                  progress=lambda done, total, name: print(json.dumps([done, total, name]), file=sys.stderr))
