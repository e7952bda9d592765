"""Writes a folder that can be pushed to a Hugging Face Space: `make space`, or `make space GPU=1`.

Nothing is uploaded and no login is needed. The folder holds what runs: not the tests, benchmarks or this script.
"""

import argparse
import re
import shutil
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PARTS = ("app.py", "LICENSE", "README.md", "pipeline", "reasoning_ui", "assets", "docs")
CPU_TORCH = "--extra-index-url https://download.pytorch.org/whl/cpu"  # a tenth of the default download
GPU_HARDWARE = "a10g-small"


def main(arguments: list[str] | None = None) -> None:
    """Read the arguments and write the folder."""
    p = argparse.ArgumentParser(prog="make space", description=__doc__)
    p.add_argument("--out", type=Path, default=PROJECT / "space", help="the folder to write; it is replaced")
    p.add_argument("--gpu", action="store_true", help="for a Space with an NVIDIA GPU")
    options = p.parse_args(arguments)
    write_space(options.out, options.gpu)
    print(f"{options.out} is ready. Create a Space (SDK Gradio) on huggingface.co, then:\n"
          f"  hf upload YOUR-NAME/YOUR-SPACE {options.out} . --repo-type space")


def write_space(out: Path, gpu: bool) -> None:
    """Replace `out` by the Space's files. Refuses a folder that this script did not write."""
    marker = out / ".reasoning-studio-space"
    if out.exists() and any(out.iterdir()) and not marker.exists():
        raise SystemExit(f"{out} holds other files: choose another folder with --out.")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    marker.touch()
    for name in PARTS:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, out / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", "results"))
        else:
            shutil.copy2(source, out / name)
    (out / "requirements.txt").write_text(requirements(gpu), encoding="utf-8")
    if gpu:
        readme = out / "README.md"
        text = readme.read_text(encoding="utf-8")
        readme.write_text(re.sub(r"^suggested_hardware: .*$", f"suggested_hardware: {GPU_HARDWARE}", text, flags=re.M),
                          encoding="utf-8")


def requirements(gpu: bool) -> str:
    """The Space's one requirements file: the app's lines with CPU torch, or with the GPU's lines in their place."""
    base = (PROJECT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if not gpu:
        return "\n".join([CPU_TORCH, *base]) + "\n"
    extra = [line for line in (PROJECT / "requirements-gpu.txt").read_text(encoding="utf-8").splitlines()
             if line and not line.startswith("-r ")]
    replaced = {_name(line) for line in extra}
    return "\n".join([line for line in base if _name(line) not in replaced] + extra) + "\n"


def _name(line: str) -> str:
    return re.split(r"[<>=!;\s]", line.strip(), maxsplit=1)[0].lower()


if __name__ == "__main__":
    main()
