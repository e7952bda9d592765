"""The files around the code: pins, README, its tree, the Space folder."""

import re
import subprocess
from pathlib import Path

import pytest

from scripts.make_space import write_space
from scripts.readme_tree import project_files

PROJECT = Path(__file__).resolve().parents[2]
FIRST = "python3 -m venv .venv && . .venv/bin/activate && pip install -r requirements.txt && python app.py"
SECOND = ". .venv/bin/activate && pip install -r requirements-dev.txt && pytest"


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-gpu.txt", "requirements-gym.txt",
                                  "requirements-dev.txt"])
def test_every_requirement_is_pinned_exactly_torch_excepted(name: str) -> None:
    lines = [line for line in (PROJECT / name).read_text().splitlines() if line and not line.startswith("#")]
    for line in lines:
        exact = re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+(; .+)?", line)
        assert exact or line in ("-r requirements.txt", "torch>=2.11,<2.14"), line


def test_the_readme_begins_with_the_two_commands() -> None:
    blocks = re.findall(r"```bash\n(.*?)\n```", (PROJECT / "README.md").read_text(), re.S)
    assert blocks[:2] == [FIRST, SECOND]


def test_the_readme_carries_what_a_space_needs() -> None:
    front = (PROJECT / "README.md").read_text().split("---")[1]
    pinned = re.search(r"^gradio==(.+)$", (PROJECT / "requirements.txt").read_text(), re.M)
    assert pinned is not None
    for line in ("sdk: gradio", f"sdk_version: {pinned.group(1)}", "app_file: app.py", "license: apache-2.0"):
        assert line in front
    assert re.search(r'^python_version: "3\.1[123]"$', front, re.M)


def test_every_module_is_in_the_readmes_tree_and_every_file_of_the_tree_exists() -> None:
    """`make tree` writes it; a new file without a line fails here."""
    text = (PROJECT / "README.md").read_text().split("<!-- tree")[1]
    folder, named = "", set()
    for line in text.split("```text\n")[1].split("\n```")[0].splitlines():
        name = line.split()[0]
        if line.endswith("/") and not line.startswith(" "):
            folder = name
        else:
            named.add(folder + name if line.startswith(" ") else name)
    missing = [name for name in named if not (PROJECT / name).exists()]
    assert not missing, f"in the tree but not there: {missing}"
    unnamed = sorted(set(project_files()) - named)
    assert not unnamed, f"run `make tree`: {unnamed}"


def test_the_readmes_links_lead_somewhere() -> None:
    for page in [PROJECT / "README.md", *PROJECT.glob("docs/*.md")]:
        for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_app_file_stays_short() -> None:
    assert len((PROJECT / "app.py").read_text().splitlines()) <= 60


def test_no_file_of_code_is_longer_than_300_lines() -> None:
    """What does not fit is several subjects: split it at one of them."""
    lengths = {name: len((PROJECT / name).read_text(encoding="utf-8").splitlines()) for name in project_files()
               if name.endswith((".py", ".js", ".css"))}
    assert len(lengths) > 200 and not {name: count for name, count in lengths.items() if count > 300}


@pytest.mark.parametrize("gpu", [False, True])
def test_the_space_folder_holds_the_app_and_one_requirements_file(tmp_path: Path, gpu: bool) -> None:
    write_space(tmp_path / "space", gpu)
    space = tmp_path / "space"
    for name in ("app.py", "README.md", "LICENSE", "pipeline/recipe.py", "reasoning_ui/page.py",
                 "assets/tiny-reasoner/model.safetensors"):
        assert (space / name).is_file(), name
    needed = (space / "requirements.txt").read_text().splitlines()
    assert "-r requirements.txt" not in needed
    names = [re.split(r"[<>=;]", line)[0] for line in needed if not line.startswith(("#", "-"))]
    assert len(names) == len(set(names)), "a package is required twice"
    assert ("vllm" in names) == gpu == ("torch==2.11.0" in needed)
    assert not list(space.rglob("__pycache__"))


def test_the_space_starts_from_its_own_folder(tmp_path: Path) -> None:
    """As a Space runs it: its files alone, started in its folder; here only as far as the list of arguments."""
    import sys

    write_space(tmp_path / "space", gpu=False)
    code = "from reasoning_ui.page import build; from pipeline.studio_home import StudioHome; build(StudioHome('home'))"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "space", capture_output=True, text=True,
                            timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(SystemExit, match="choose another folder"):
        write_space(tmp_path, gpu=False)
    assert (tmp_path / "precious.txt").read_text() == "mine"
