"""A home that visitors share, as on a Space: each one sees, steers and reads only what is theirs.

`OwnedHome` is given to the page in place of `StudioHome`. Every way to a run goes through `run`, `trashed`, `about` and
`known_runs`, so the rule stands here once: a run belongs to the visitor who started it, and to everybody else it does
not exist. The queue and the workers use `whole`, the same home without the rule.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import RunError
from pipeline.reach import REFUSED, looks_like_path, path_of
from pipeline.recipe import Recipe
from pipeline.run_folder import RunFolder
from pipeline.studio_home import StudioHome

STRANGER = "another visitor's run"


@dataclass(frozen=True)
class Visitor:
    """Somebody who uses the page. `name` is what runs keep of them; `trusted`: the owner of the Space, who sees all."""

    name: str
    trusted: bool = False


NOBODY = Visitor("")


@dataclass(frozen=True)
class OwnedHome(StudioHome):
    """A home as the visitor sees it who asks now. Whoever is nobody owns nothing and starts nothing."""

    who: Callable[[], Visitor] = field(default=lambda: NOBODY, compare=False)

    @cached_property
    def whole(self) -> StudioHome:
        """The same home, without the rule."""
        return StudioHome(self.path)

    @property
    def trusted(self) -> bool:
        """Whether the one who asks is the owner of the Space."""
        return self.who().trusted

    @property
    def private(self) -> Path:
        """Where uploads and prepared datasets of the visitor are kept."""
        visitor = self.who()
        if visitor.trusted:
            return self.path
        if not visitor.name:
            raise RunError(_without_name())
        return self.path / "visitors" / hashlib.blake2b(visitor.name.encode(), digest_size=12).hexdigest()

    def owns(self, run_id: str) -> bool:
        """Whether the visitor may see a run (deleted ones too)."""
        visitor = self.who()
        if visitor.trusted:
            return True
        row = self.whole.about(run_id)
        return bool(visitor.name) and row["owner"] == visitor.name

    def run(self, run_id: str) -> RunFolder:
        """The folder of a run of the visitor. Somebody else's is told apart from none in no way."""
        folder = super().run(run_id)
        if not self.owns(run_id):
            raise RunError(f"There is no run {run_id!r}: `python -m pipeline list` names those there are.")
        return folder

    def trashed(self, run_id: str) -> Path:
        """The folder in the trash."""
        folder = super().trashed(run_id)
        if not self.owns(run_id):
            raise RunError(f"Run {run_id} is not in the trash.")
        return folder

    def about(self, run_id: str) -> dict[str, Any]:
        """The row of a run; of a stranger's only that there is one."""
        row = super().about(run_id)
        if self.owns(run_id):
            return row
        return {"id": run_id, "name": STRANGER, "note": "", "kind": row["kind"], "created": 0.0, "parent": None,
                "deleted": None, "owner": None}

    def known_runs(self, deleted: bool = False) -> list[dict[str, Any]]:
        """The visitor's runs, newest first."""
        visitor = self.who()
        rows = self.whole.known_runs(deleted)
        return [row for row in rows if visitor.trusted or (visitor.name and row["owner"] == visitor.name)]

    def add_run(self, run_id: str, name: str, kind: str, parent: str | None = None, owner: str | None = None) -> None:
        """Note a new run of the visitor."""
        visitor = self.who()
        self.whole.add_run(run_id, name, kind, parent, None if visitor.trusted else visitor.name)

    def marks(self, run_id: str) -> list[dict[str, Any]]:
        """Notes at the steps of a run of the visitor."""
        return super().marks(self.run(run_id).id)

    def votes(self, run_id: str) -> dict[str, Any]:
        """Judgements of a run of the visitor."""
        return super().votes(self.run(run_id).id)

    def may_start(self, recipe: Recipe, request: object = None) -> None:
        """Raise RunError when a job would read what is not the visitor's, or nobody asks for it."""
        visitor = self.who()
        if visitor.trusted:
            return
        if not visitor.name:
            raise RunError(_without_name())
        if recipe.parent is not None and recipe.parent.run:
            self.run(recipe.parent.run)
        named = [recipe.model.source, recipe.data.source, recipe.data.test_source, *recipe.evaluate.benchmarks]
        for source in [*filter(None, named), *_texts(request)]:
            if looks_like_path(source) and not self.may_read(path_of(source)):
                raise RunError(REFUSED)

    def may_read(self, path: Path) -> bool:
        """Whether a file or folder is among the visitor's runs, uploads and prepared datasets."""
        visitor, real = self.who(), path.resolve()
        if visitor.trusted:
            return real.is_relative_to(self.path.resolve())
        if not visitor.name:
            return False
        if real.is_relative_to(self.private.resolve()):
            return True
        for root in (self.runs_dir.resolve(), self.path.resolve() / "exports"):
            if real.is_relative_to(root) and real != root:
                return self.owns(real.relative_to(root).parts[0])
        return False


def _without_name() -> str:
    return ("Your browser did not keep this page's cookie, so your runs could not be told from other people's: allow "
            "cookies for this page, or open it in a window of its own.")


def _texts(value: object) -> list[str]:
    """Every text in a request, however deep."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for part in value.values() for text in _texts(part)]
    return [text for part in value for text in _texts(part)] if isinstance(value, list | tuple) else []
