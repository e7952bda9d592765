"""What the Data tab's sections have in common: the chosen data with its tokenizer, limits and files."""

import hashlib
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline import reach
from pipeline.dataset.chat import ChatTokenizer
from pipeline.dataset.sources import DATASETS
from pipeline.errors import DatasetError, EngineError
from pipeline.recipe import DataStep, GrpoStep, ModelStep
from reasoning_ui.shared import Shared, data_step, model_step

UPLOAD_SUFFIX = 120  # characters kept of an uploaded file's name
LARGE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Choice:
    """The chosen data and model, and the tokenizer that stands in where the model's own is not here."""

    data: DataStep
    model: ModelStep
    chat: ChatTokenizer
    tokenizer: str  # whose tokenizer counts
    note: str  # why another tokenizer is used, or empty
    max_completion_tokens: int
    seed: int


def choice_of(shared: Shared, data: str, model: str, training: str) -> Choice:
    """The choices of the page. Raises DatasetError where a Space's visitor names a file that is not theirs."""
    step, chosen = data_step(data), model_step(model)
    check_path(shared, step)
    note = ""
    tokenizer = chosen.source
    try:
        chat = ChatTokenizer.load(chosen.source, chosen.revision, chosen.chat_template)
        if not chat.has_template:
            chat = ChatTokenizer.load(chosen.source, chosen.revision, "plain")
            note = "This model has no chat template of its own; a plain one is used. Set it under Train."
    except EngineError as error:
        chat, tokenizer = ChatTokenizer.load("tiny"), "tiny"
        note = f"Lengths are counted with the bundled model's tokenizer for now: {error}"
    values = _training(training)
    grpo = values.get("grpo") if isinstance(values.get("grpo"), dict) else {}
    limit = grpo.get("max_completion_tokens", GrpoStep().max_completion_tokens)
    return Choice(step, chosen, chat, tokenizer, note, int(limit), int(values.get("seed", 1)))


def choice_key(data: str, model: str, training: str) -> str:
    """The choices that a check depends on, as JSON with `data`, `model`, `limits` and `seed`."""
    step, chosen, values = data_step(data), model_step(model), _training(training)
    grpo = values.get("grpo") if isinstance(values.get("grpo"), dict) else {}
    limits = [chosen.max_length, grpo.get("max_completion_tokens", GrpoStep().max_completion_tokens)]
    return json.dumps({"data": step.model_dump(mode="json"), "limits": limits, "seed": values.get("seed", 1),
                       "model": [chosen.source, chosen.revision, chosen.chat_template]})


def check_path(shared: Shared, data: DataStep) -> None:
    """On a Space, only uploads may be read, never another file of the machine."""
    for source in (data.source, data.test_source):
        if not source or source in DATASETS or not shared.on_space:
            continue
        path = reach.path_of(source)
        if path.exists() and not path.resolve().is_relative_to(shared.home.private.resolve()):
            raise DatasetError("On a Space, files of the machine cannot be opened. Upload the file instead.")


def keep_upload(home: Path, path: str) -> Path:
    """Put an uploaded file into the home, so that runs find it later; the same content is kept once.

    Of a file above LARGE_BYTES only the first bytes are read, and its time counts too: its rows are to show at once.
    Raises OSError on a full disk, and keeps nothing then.
    """
    source = Path(path)
    status = source.stat()
    digest = hashlib.blake2b(digest_size=8)
    with source.open("rb") as file:
        digest.update(file.read(LARGE_BYTES))
    if status.st_size > LARGE_BYTES:
        digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
    target = home / "uploads" / digest.hexdigest() / source.name[-UPLOAD_SUFFIX:]
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{time.time_ns()}")
        try:
            _link_or_copy(source, temporary)
            temporary.replace(target)
        except OSError:
            temporary.unlink(missing_ok=True)  # what was copied of it would fill the disk for good
            raise
    return target


def keep_text(home: Path, text: str, name: str) -> Path:
    """Put a text into the home as an uploaded file."""
    with tempfile.TemporaryDirectory(prefix="reasoning-studio-") as folder:
        file = Path(folder) / name
        file.write_text(text, encoding="utf-8", errors="replace")
        return keep_upload(home, str(file))


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def with_limit(training: str, model: ModelStep, tokens: int) -> tuple[str, str]:
    """Training and model choices with another longest answer; the sequence grows where it must."""
    values = _training(training)
    grpo = values.get("grpo") if isinstance(values.get("grpo"), dict) else {}
    values["grpo"] = grpo | {"max_completion_tokens": tokens}
    longer = max(model.max_length, 2 * tokens)
    return json.dumps(values), model.model_copy(update={"max_length": longer}).model_dump_json()


def _training(text: str) -> dict:
    try:
        values = json.loads(text) if text else {}
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
