"""The source of functions of this project, with all that they need of it, as one text for a single-file script.

What scores a training run and what the exported script scores with are then the same lines, not two versions of them.
The functions must be pure: standard library and public packages only. Names are resolved by reading the source, which
is not run: definitions at the top of a module, imports from other modules of the project, and `module.name`.
Annotations are left as they are and need `from __future__ import annotations` in the script.
"""

import ast
import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

PROJECT = "pipeline"
Place = tuple[str, str]  # module, name


@dataclass(frozen=True)
class Module:
    """A module's top: its definitions with their text, and where imported names come from."""

    name: str
    definitions: dict[str, ast.stmt]
    order: dict[str, int]
    text: dict[str, str]
    ours: dict[str, Place]  # name -> (module, name); the name is "" for a module itself
    public: dict[str, str] = field(default_factory=dict)  # name -> import statement


def bundle(roots: Iterable[Place], given: Iterable[Place] = ()) -> tuple[list[str], str]:
    """(import statements, source text) of the roots and of everything they use, in an order that can be executed.

    `given` are left out: the script defines them itself. Two definitions with one name are told apart by their module.
    """
    left, found, imports = list(roots), dict[Place, None](), set[str]()
    skip = set(given)
    while left:
        place = left.pop()
        if place in found or place in skip:
            continue
        found[place] = None
        module = _module(place[0])
        for name, attribute in _uses(module.definitions[place[1]]):
            target = _target(module, name, attribute)
            if isinstance(target, str):
                imports.add(target)
            elif target is not None:
                left.append(target)
    names = _names(found)
    # what a module defines at its top is in order there; modules that others import come first
    ranked = sorted(found, key=lambda p: (_depth(p[0]), p[0], _module(p[0]).order[p[1]]))
    return sorted(imports), "\n\n\n".join(_renamed(place, names, skip) for place in ranked) + "\n"


@lru_cache(maxsize=64)
def _module(name: str) -> Module:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None, name
    source = Path(spec.origin).read_text(encoding="utf-8")
    module = Module(name, {}, {}, {}, {})
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            _take_import(module, node)
            continue
        for defined in _defined(node):
            module.definitions[defined] = node
            module.order[defined] = node.lineno
            module.text[defined] = _segment(source, node)
    return module


def _take_import(module: Module, node: ast.Import | ast.ImportFrom) -> None:
    origin = node.module or "" if isinstance(node, ast.ImportFrom) else ""
    for alias in node.names:
        name = alias.asname or alias.name
        if origin.startswith(PROJECT):
            inner = f"{origin}.{alias.name}"
            is_module = importlib.util.find_spec(origin).submodule_search_locations is not None  # type: ignore[union-attr]
            module.ours[name] = (inner, "") if is_module and importlib.util.find_spec(inner) else (origin, alias.name)
        elif origin:
            module.public[name] = f"from {origin} import {alias.name}" + (f" as {name}" if alias.asname else "")
        else:
            module.public[name.partition(".")[0]] = f"import {alias.name}" + (f" as {name}" if alias.asname else "")


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [t.id for t in targets if isinstance(t, ast.Name)]


def _segment(source: str, node: ast.stmt) -> str:
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    return "\n".join(source.splitlines()[first - 1 : node.end_lineno])


class _Uses(ast.NodeVisitor):
    """Names that are looked up when a definition runs, each with the attribute that is taken of it; no annotations."""

    def __init__(self) -> None:
        self.found: set[tuple[str, str]] = set()

    def visit_Name(self, node: ast.Name) -> None:
        self.found.add((node.id, ""))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name):
            self.found.add((node.value.id, node.attr))
        else:
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        pass

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for part in [*node.decorator_list, node.args, *node.body]:
            self.visit(part)


def _uses(node: ast.stmt) -> set[tuple[str, str]]:
    visitor = _Uses()
    visitor.visit(node)
    return visitor.found


def _target(module: Module, name: str, attribute: str) -> Place | str | None:
    """Where a used name is defined: a place in the project, an import statement, or None (a builtin, a local)."""
    if name in module.definitions:
        return module.name, name
    if name in module.ours:
        origin, inner = module.ours[name]
        return (origin, inner) if inner else (origin, attribute) if attribute else None
    return module.public.get(name)


def _names(places: Iterable[Place]) -> dict[Place, str]:
    """A name for each: its own, with the module's in front where two share one."""
    taken: dict[str, Place] = {}
    out = {}
    for place in sorted(places):
        name = place[1] if place[1] not in taken else f"_{place[0].rpartition('.')[2]}_{place[1].lstrip('_')}"
        taken[name], out[place] = place, name
    return out


def _renamed(place: Place, names: dict[Place, str], given: set[Place]) -> str:
    """The text of a definition, with the names that the bundle gives to what it uses."""
    module = _module(place[0])
    text = module.text[place[1]]
    for name, (origin, inner) in module.ours.items():
        if not inner:  # `tags.extract` becomes `extract`
            text = re.sub(rf"(?<![\w.]){name}\.(\w+)", lambda m, o=origin: names.get((o, m[1]), m[1]), text)
    known = {name: (module.name, name) for name in module.definitions} | {n: p for n, p in module.ours.items() if p[1]}
    changed = {name: names[p] for name, p in known.items() if p in names and names[p] != name}
    for name, other in changed.items():
        text = re.sub(rf"(?<![\w.'\"]){re.escape(name)}(?!\w)", other, text)
    return text


@lru_cache(maxsize=64)
def _depth(name: str) -> int:
    """How many layers of the project's modules lie below one: 0 for one that imports none."""
    below = {origin for origin, _ in _module(name).ours.values()} - {name}
    return 1 + max((_depth(origin) for origin in below), default=-1)
