"""Prepared datasets that are kept under a name, for several runs: a folder with the parts, the report and a card."""

import json
import re
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.dataset.report import PreparedReport
from pipeline.dataset.split import PARTS
from pipeline.errors import DatasetError
from pipeline.recipe import DataStep

CARD = "card.json"
_ID = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class Card:
    """What a prepared dataset was made from. `id` is the beginning of the hash of its parts."""

    id: str
    name: str
    created: float
    hash: str
    data: dict[str, Any]  # the DataStep it was made with
    model: str  # whose tokenizer counted the lengths
    seed: int
    parts: dict[str, int] = field(default_factory=dict)

    @property
    def step(self) -> DataStep:
        """The DataStep it was made with."""
        return DataStep.model_validate(self.data)


def folder_of(home: Path) -> Path:
    """Where prepared datasets are kept."""
    return Path(home) / "datasets"


def keep(home: Path, made: Path, name: str, data: DataStep, model: str, seed: int) -> Card:
    """Keep a folder that `prepare_parts` wrote (it is moved) under a name. Raises DatasetError."""
    if not name.strip():
        raise DatasetError("Give the prepared dataset a name.")
    report = PreparedReport.load(made / "report.json")
    card = Card(report.hash[:12], name.strip()[:100], time.time(), report.hash, data.model_dump(mode="json"), model,
                seed, report.parts)
    target = folder_of(home) / card.id
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    (made / CARD).write_text(json.dumps(asdict(card), ensure_ascii=False, indent=1), encoding="utf-8")
    shutil.move(made, target)
    return card


def cards(home: Path) -> list[Card]:
    """All prepared datasets, newest first; damaged ones are left out."""
    found = []
    for folder in folder_of(home).glob("*") if folder_of(home).is_dir() else ():
        if _ID.fullmatch(folder.name) and (card := card_of(folder)):
            found.append(card)
    return sorted(found, key=lambda c: -c.created)


def card_of(folder: Path) -> Card | None:
    """The card of a prepared dataset's folder; None when it is none."""
    try:
        return Card(**json.loads((folder / CARD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def find(home: Path, card_id: str) -> Path:
    """The folder of a prepared dataset. Raises DatasetError for anything that is not the id of one."""
    folder = folder_of(home) / card_id
    if not _ID.fullmatch(card_id or "") or not folder.is_dir():
        raise DatasetError("Choose one of the prepared datasets first.")
    return folder


def delete(home: Path, card_id: str) -> None:
    """Delete a prepared dataset. Runs have their own copies of their parts."""
    shutil.rmtree(find(home, card_id))


def as_jsonl(folder: Path, out: Path) -> list[Path]:
    """Write the parts as JSONL files into `out`."""
    from pipeline.dataset.part_files import read_part

    out.mkdir(parents=True, exist_ok=True)
    files = []
    for part in PARTS:
        rows = read_part(folder / f"{part}.parquet")
        files.append(out / f"{part}.jsonl")
        files[-1].write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return files
