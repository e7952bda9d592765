"""What a person takes away from a run: adapter, merged model, recipe, script with its data, GGUF file.

Everything is written to `exports/<run>/` in the home, whole or not at all. Nothing here imports torch.
"""

import contextlib
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.disk import room_problem
from pipeline.errors import RunError
from pipeline.export_gguf import Format, write_gguf
from pipeline.export_script import script
from pipeline.export_weights import AGAIN, check_whole, weight_files
from pipeline.merge_check import Check, run_check
from pipeline.model_files import refuse_without_tokenizer
from pipeline.run_folder import RunFolder

STAGES = {"grpo": "GRPO", "sft": "SFT"}
Progress = Callable[[float, str], None]


def _quiet(share: float, text: str) -> None:
    pass


def exportable(folder: RunFolder) -> list[str]:
    """The stages with a merged model, the last one first."""
    return [stage for stage in STAGES if (folder.model(stage) / "config.json").is_file()]


def exports(folder: RunFolder) -> Path:
    """Where exports are written: beside the runs, so that the page can offer them without a copy."""
    path = folder.path.parent.parent / "exports" / folder.id
    path.mkdir(parents=True, exist_ok=True)
    return path


def existing(folder: RunFolder) -> list[Path]:
    """The finished exports of a run."""
    return sorted(p for p in exports(folder).iterdir() if p.is_file() and not p.name.endswith(".part"))


def text_file(folder: RunFolder, name: str, text: str) -> Path:
    """A text export."""
    path = exports(folder) / name
    half = path.with_name(f"{name}.part")
    try:
        half.write_text(text, encoding="utf-8")
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
    return path


def model_files(folder: RunFolder, stage: str) -> list[Path]:
    """The files of a merged model that belong in an export. Raises RunError when there is no such model, EngineError
    when a part of it is missing or damaged."""
    model = _model(folder, stage)
    check_whole(weight_files(model))
    refuse_without_tokenizer(str(model), [path.name for path in model.iterdir()])
    return sorted(p for p in model.iterdir() if p.is_file() and p.name not in ("merged.json", "README.md"))


def adapter_zip(folder: RunFolder, stage: str, card: str = "") -> Path:
    """The adapter as a zip, its base named as people can find it instead of as a path on this machine."""
    adapter = folder.adapter(stage)
    if not (adapter / "adapter_config.json").is_file():
        raise RunError(f"This run has no {STAGES.get(stage, stage)} adapter: train that stage first.")
    check_whole([adapter / "adapter_model.safetensors"])
    files = [p for p in sorted(adapter.iterdir()) if p.is_file() and p.name not in ("README.md", "adapter_config.json")]
    texts = {"adapter_config.json": adapter_config(folder, stage)} | ({"README.md": card} if card else {})
    return _zip(exports(folder) / f"{stage}-adapter.zip", files, texts)


def adapter_config(folder: RunFolder, stage: str) -> str:
    """`adapter_config.json` without paths of this machine."""
    config = json.loads((folder.adapter(stage) / "adapter_config.json").read_text(encoding="utf-8"))
    recipe = folder.recipe()
    on_sft = stage == "grpo" and recipe.sft.enabled
    config["base_model_name_or_path"] = "the merged SFT model of this run" if on_sft else recipe.model.source
    return json.dumps(config, indent=2)


def model_zip(folder: RunFolder, stage: str, card: str = "", progress: Progress = _quiet) -> Path:
    """The merged model as a zip (stored, since weights do not compress). Raises RunError for too little space."""
    files = model_files(folder, stage)
    return _zip(exports(folder) / f"{stage}-model.zip", files, {"README.md": card} if card else {}, progress)


def repeat_zip(folder: RunFolder) -> Path:
    """`repeat.py`, the recipe, the data that it trained on and, for the bundled or a local model, the model."""
    recipe = folder.recipe()
    texts = {"repeat.py": script(recipe), "recipe.yaml": recipe.to_yaml()}
    parts = [folder.data(part) for part in ("sft", "grpo", "test")]
    files = {f"data/{p.name}": p for p in parts if p.is_file()}
    if recipe.model.source == "tiny" or Path(recipe.model.source).is_dir():
        from pipeline.dataset.models import model_folder

        files |= {f"model/{p.name}": p for p in sorted(model_folder(recipe.model.source).iterdir()) if p.is_file()}
        texts["README.txt"] = "pip install what repeat.py names, then: python repeat.py\n"
    return _zip(exports(folder) / "repeat.zip", files, texts)


def gguf_file(folder: RunFolder, stage: str, kind: Format, progress: Progress = _quiet,
              check: bool = True) -> tuple[Path, Check | None]:
    """A GGUF file, read back through transformers in a process of its own. It appears among the exports only then; one
    that fails its check is deleted."""
    model, recipe = _model(folder, stage), folder.recipe()
    out = exports(folder) / f"{stage}-{kind}.gguf"
    unchecked = out.parent / ".unchecked" / out.name
    unchecked.parent.mkdir(exist_ok=True)
    try:
        write_gguf(model, unchecked, kind, f"{recipe.name} ({STAGES[stage]})",
                   lambda done, total: progress(0.6 * done / total, f"Writing {done} of {total} tensors"))
        result = None
        if check:
            progress(0.65, "Reading the file back through transformers")
            result = run_check("gguf", str(model), str(unchecked))
            if not result.passed:
                raise RunError(f"The GGUF file was deleted, because what it holds is not the model: {result.sentence}")
        unchecked.replace(out)
        return out, result
    finally:
        unchecked.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another export is at work there
            unchecked.parent.rmdir()


def merge_check(folder: RunFolder, stage: str) -> Check:
    """Compare the merged model with its adapter, in a process of its own. Raises RunError, EngineError when one of them
    is missing or damaged."""
    model_files(folder, stage)
    if not (folder.adapter(stage) / "adapter_config.json").is_file():
        raise RunError(f"This run has no {STAGES.get(stage, stage)} adapter to compare its model with.")
    check_whole([folder.adapter(stage) / "adapter_model.safetensors"])
    return run_check("merge", str(folder.path), stage)


def _model(folder: RunFolder, stage: str) -> Path:
    if stage not in exportable(folder) and folder.model(stage).is_dir():
        raise RunError(f"The merged {STAGES.get(stage, stage)} model is not whole: {folder.model(stage)} has no "
                       f"config.json. {AGAIN}")
    if stage not in exportable(folder):
        raise RunError(f"This run has no merged {STAGES.get(stage, stage)} model yet: finish that stage first.")
    return folder.model(stage)


def _zip(out: Path, files: list[Path] | dict[str, Path], texts: dict[str, str], progress: Progress = _quiet) -> Path:
    named = files if isinstance(files, dict) else {p.name: p for p in files}
    needed = sum(p.stat().st_size for p in named.values()) + 1_000_000
    if problem := room_problem(out.parent, needed, out.name):
        raise RunError(problem)
    half = out.with_name(out.name + ".part")
    try:
        with zipfile.ZipFile(half, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, text in texts.items():
                archive.writestr(name, text)
            for done, (name, path) in enumerate(_each(named)):
                progress(done / len(named), f"Packing {name}")
                archive.write(path, name)
        half.replace(out)
    finally:
        half.unlink(missing_ok=True)
    return out


def _each(named: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    yield from sorted(named.items())
