"""Writes the README's tree: every file of the project with the first sentence of its own docstring, `make tree`."""

import ast
import re
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- tree: written by `make tree` -->", "<!-- end of tree -->"
FOLDERS = ("pipeline", "reasoning_ui", "assets", "benchmarks", "scripts", "docs", "tests")
COMMENTS = {
    "app.py": "arguments, then the page: `python app.py`",
    "requirements.txt": "app and CPU engine, exact pins", "requirements-gpu.txt": "what an NVIDIA GPU needs besides",
    "requirements-gym.txt": "what the tasks of Reasoning Gym need besides",
    "requirements-dev.txt": "what tests and benchmarks need besides", "Makefile": "check · bench · soak · space · …",
    "pyproject.toml": "settings of ruff and pytest", "LICENSE": "Apache-2.0", "README.md": "this page",
    ".ci/run": "what continuous integration runs", "assets/app.css": "the rules that the theme does not cover",
    "assets/benchmarks.npz": "hashes of the benchmarks' questions, to notice them in training data",
    "assets/compare.css": "the look of the comparison", "assets/icon.png": "the app's icon",
}
WIDTH = 118


def main() -> None:
    """Replace the tree between its two markers."""
    readme = PROJECT / "README.md"
    text = readme.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    readme.write_text(f"{head}{BEGIN}\n```text\n{tree()}\n```\n{END}{tail}", encoding="utf-8")


def tree() -> str:
    """The tree's lines: files at the top, then each folder with its files."""
    files = project_files()
    lines = [_line(name, name) for name in files if "/" not in name]
    for folder in FOLDERS:
        lines.append(f"{folder}/")
        inside = [name.removeprefix(f"{folder}/") for name in files if name.startswith(f"{folder}/")]
        for name in sorted(inside, key=lambda name: ("/" in name, name)):
            lines.append(_line(f"  {name}", f"{folder}/{name}"))
    return "\n".join(lines)


def project_files() -> list[str]:
    """The files that the tree names: tracked ones, without data, pictures and empty package markers."""
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split()
    return sorted(name for name in listed if _named(name))


def comment(name: str) -> str:
    """One file's comment: its own first sentence where it has one."""
    if name in COMMENTS:
        return COMMENTS[name]
    path = PROJECT / name
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    elif path.suffix == ".md":
        found = re.search(r"^# (.+)$", path.read_text(encoding="utf-8"), re.M)
        text = found.group(1) if found else ""
    else:
        whole = path.read_text(encoding="utf-8", errors="ignore")
        found = re.search(r"(?:/\*|//|#(?!!))\s*(.+?)(?:\*/|$)", whole, re.M)
        text = found.group(1) if found else ""
    return re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0].rstrip(". ")


def _line(shown: str, name: str) -> str:
    text = f"{shown:<31} {comment(name)}".rstrip()
    return text if len(text) <= WIDTH else text[: WIDTH - 1].rsplit(" ", 1)[0] + " …"


def _named(name: str) -> bool:
    path = Path(name)
    if path.name == "__init__.py" and (not (PROJECT / name).exists() or not (PROJECT / name).read_text().strip()):
        return False
    return (name.split("/")[0] in FOLDERS or "/" not in name) and not name.startswith(
        ("docs/results/", "docs/images/", "assets/tiny-reasoner/", "assets/screenshots/", ".git"))


if __name__ == "__main__":
    main()
