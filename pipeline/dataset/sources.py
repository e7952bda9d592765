"""Where rows come from: a built-in set, a file, a prepared dataset, the Hugging Face Hub, or Reasoning Gym.

`REASONING_STUDIO_DATA=<folder>` with gsm8k/train.jsonl, gsm8k/test.jsonl, math500.jsonl, aime24.jsonl, … is looked at
before the Hub, for tests and for machines without a network.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import reach
from pipeline.dataset import gym, hub_reach
from pipeline.dataset.files import read_rows
from pipeline.dataset.rows import Broken, Rows
from pipeline.errors import DatasetError
from pipeline.recipe import DataStep


@dataclass(frozen=True)
class BuiltIn:
    """A dataset with its right mapping: where it is on the Hub, how its answers are found, its licence, a sentence."""

    title: str
    sentence: str
    licence: str
    hub: str = ""
    config: str | None = None
    split: str = "train"
    mapping: dict[str, str] = field(default_factory=dict)  # column by role
    rule: str = "auto"
    test_split: str | None = None  # the split that a benchmark of this name is
    local: str = ""  # file under REASONING_STUDIO_DATA; {split} is filled in


DATASETS: dict[str, BuiltIn] = {
    "demo": BuiltIn(
        "Demo problems", "Word problems of one to four steps, made on this machine; the bundled tiny model can learn "
        "them. Some of the worked solutions are hasty, as in real data.", "Apache-2.0",
        mapping={"question": "question", "reasoning": "reasoning", "answer": "answer"}, rule="column"),
    "gsm8k": BuiltIn(
        "GSM8K", "7,473 school mathematics word problems with worked solutions.", "MIT", "openai/gsm8k", "main",
        mapping={"question": "question", "reasoning": "answer", "answer": "answer"}, rule="hash", test_split="test",
        local="gsm8k/{split}.jsonl"),
    "limo": BuiltIn(
        "LIMO", "817 hard problems with long, carefully chosen solutions; for larger models.", "Apache-2.0",
        "GAIR/LIMO", mapping={"question": "question", "reasoning": "solution", "answer": "answer"}, rule="column",
        local="limo.jsonl"),
    "math500": BuiltIn(
        "MATH-500", "500 competition problems in seven subjects; usually kept as a test.", "MIT",
        "HuggingFaceH4/MATH-500", split="test",
        mapping={"question": "problem", "reasoning": "solution", "answer": "answer"}, rule="column",
        test_split="test", local="math500.jsonl"),
    "aime2024": BuiltIn(
        "AIME 2024", "30 olympiad problems whose answers are whole numbers from 0 to 999; a hard test.",
        "not stated (problems by the MAA)", "HuggingFaceH4/aime_2024",
        mapping={"question": "problem", "answer": "answer"}, rule="column", test_split="train", local="aime24.jsonl"),
    "aime2025": BuiltIn(
        "AIME 2025", "30 olympiad problems, newer than most models; a hard test.", "not stated (problems by the MAA)",
        "math-ai/aime25", split="test", mapping={"question": "problem", "answer": "answer"}, rule="column",
        test_split="test", local="aime25.jsonl"),
    "openr1": BuiltIn(
        "OpenR1-Math", "94,000 competition problems with solutions (the long machine-written traces are in its column "
        "'generations').", "Apache-2.0", "open-r1/OpenR1-Math-220k", "default",
        mapping={"question": "problem", "reasoning": "solution", "answer": "answer"}, rule="column",
        local="openr1.jsonl"),
}
SPLIT_ORDER = ("train", "training", "default", "validation", "test")


def open_source(data: DataStep) -> Rows:
    """The rows that a DataStep names (not `demo`, whose parts are made). Raises DatasetError in words."""
    return open_named(data.source, data.config, data.source_split, data.revision)


def open_named(source: str, config: str | None = None, split: str | None = None, revision: str | None = None) -> Rows:
    """The rows of a built-in set, a file, a folder of a prepared dataset, a Hub id, or a task of Reasoning Gym."""
    if built_in := DATASETS.get(source):
        split = split or built_in.split
        if (local := local_file(built_in, split)) is not None:
            return read_rows(local)
        rows = hub_rows(built_in.hub, config or built_in.config, split, revision)
        if split != built_in.test_split:
            return rows
        from pipeline.dataset.leakage import remembering

        return remembering(source, rows)
    if source.startswith(gym.PREFIX):
        return gym.gym_rows(source)
    path = reach.path_of(source)
    if reach.looks_like_path(source):
        reach.check(path)
    if path.is_file():
        return read_rows(path)
    if (path / "card.json").is_file():
        return _prepared_rows(path)
    if path.is_dir():
        raise DatasetError(f"{source!r} is a folder. Give the path of one file in it.")
    if not looks_like_hub_id(source):
        raise _unknown(source)
    return hub_rows(source, config, split, revision)


def local_file(built_in: BuiltIn, split: str) -> Path | None:
    """The file of a built-in set under REASONING_STUDIO_DATA, if there is one."""
    folder = os.environ.get("REASONING_STUDIO_DATA")
    if not folder or not built_in.local:
        return None
    path = Path(folder) / built_in.local.format(split=split)
    return path if path.is_file() else None


def local_file_of(data: DataStep) -> Path | None:
    """The local file that stands for a built-in set, if there is one."""
    known = DATASETS.get(data.source)
    return local_file(known, data.source_split or known.split) if known else None


def looks_like_hub_id(source: str) -> bool:
    """Whether a source has the shape owner/name and no file's extension or path."""
    parts = source.split("/")
    ends = source.lower().endswith((".csv", ".tsv", ".json", ".jsonl", ".parquet", ".gz", ".zip", ".txt"))
    return len(parts) == 2 and all(parts) and not source.startswith((".", "~", "/")) and not ends


def hub_rows(repo: str, config: str | None, split: str | None, revision: str | None) -> Rows:
    """Rows of a Hub dataset, streamed: the first ones come while the rest loads. No code of the dataset runs.

    Where the Hub does not answer, those of the copy on this machine, if there is one.
    """
    if not hub_reach.answers(repo, hub_reach.PATIENCE):
        return _kept_rows(repo, config, split, revision)
    os.environ.setdefault("USE_TORCH", "0")  # read when `datasets` is imported; the app never imports torch
    import datasets

    datasets.utils.logging.set_verbosity_error()
    try:
        if split is None:
            splits = datasets.get_dataset_split_names(repo, config, revision=revision)
            split = next((s for s in SPLIT_ORDER if s in splits), splits[0])
        stream = datasets.load_dataset(repo, config, split=split, revision=revision, streaming=True)
    except Exception as error:
        raise hub_error(repo, config, split, error) from error
    return _rows_of(repo, stream, split)


def check_at_hand(names: Iterable[str]) -> None:
    """Raises DatasetError for questions that will be missing: a name that means nothing, or a dataset of the Hub that
    is not kept here while the Hub does not answer. Found out before any work, in seconds."""
    reached = False
    for name in names:
        found = _on_hub(name)
        if found is None or reached:
            continue
        reached = hub_reach.answers(found[0])
        if not reached and hub_reach.kept(*found) is None:
            raise hub_reach.away(*found)


def needs_hub(name: str) -> bool:
    """Whether a dataset of this name is read from the Hub."""
    return _on_hub(name) is not None


def hub_error(repo: str, config: str | None, split: str | None, error: Exception) -> DatasetError:
    """The words for what `datasets` and the Hub raise."""
    name, text = type(error).__name__, str(error)
    if name == "DatasetNotFoundError" and "gated" in text.lower():
        return DatasetError(f"The dataset {repo!r} is gated: accept its terms at https://huggingface.co/datasets/"
                            f"{repo}, then log in with: hf auth login")
    if "Revision" in text and "doesn't exist" in text:
        return DatasetError(f"The dataset {repo!r} has no such revision: {text[:300]} Leave the revision empty for the "
                            "newest.")
    if "Config name is missing" in text or "BuilderConfig" in text:
        return DatasetError(f"The dataset {repo!r} needs a configuration (now {config!r}): {text[:400]}")
    if "split" in text.lower() and ("Unknown split" in text or "Bad split" in text):
        return DatasetError(f"The dataset {repo!r} has no split {split!r}: {text[:400]}")
    if "trust_remote_code" in text or "Dataset scripts are no longer supported" in text:
        return DatasetError(f"The dataset {repo!r} comes as a script, which is never run here. Look for "
                            "a copy in Parquet.")
    if _is_network(error):
        return DatasetError(f"The Hugging Face Hub cannot be reached for {repo!r}. Check the network, or download the "
                            "data and give the path of the file.")
    if name in ("DatasetNotFoundError", "RepositoryNotFoundError"):
        return DatasetError(f"There is no dataset {repo!r} on the Hugging Face Hub, or it is private: check the "
                            "spelling, or log in with: hf auth login")
    return DatasetError(f"The dataset {repo!r} could not be read ({name}: {text[:300]}). Try another revision, or "
                        "download it and give the path of the file.")


# ------------------------------------------------------------------------------------------------------------------


def _on_hub(name: str) -> tuple[str, str | None] | None:
    """Dataset and configuration on the Hub that a name means; None for what is on this machine or made here."""
    if built_in := DATASETS.get(name):
        is_local = not built_in.hub or local_file(built_in, built_in.test_split or built_in.split)
        return None if is_local else (built_in.hub, built_in.config)
    if name.startswith(gym.PREFIX) or _is_there(name):
        return None
    if not looks_like_hub_id(name):
        raise _unknown(name)
    return name, None


def _is_there(name: str) -> bool:
    """Whether a name is that of a file or folder that may be read."""
    try:
        path = reach.path_of(name)
        if reach.looks_like_path(name):
            reach.check(path)
        return path.exists()
    except (OSError, ValueError):  # not a path at all: too long, or with a null byte
        return False


def _unknown(source: str) -> DatasetError:
    return DatasetError(f"There is no dataset {source!r}. Give one of {', '.join(DATASETS)}, the path of a file that "
                        "exists, or a Hugging Face id such as openai/gsm8k.")


def _kept_rows(repo: str, config: str | None, split: str | None, revision: str | None) -> Rows:
    copy = hub_reach.kept(repo, config, revision)
    if copy is None:
        raise hub_reach.away(repo, config, revision)
    splits = list(copy.info.splits)
    split = split or next((s for s in SPLIT_ORDER if s in splits), splits[0])
    try:
        rows = _rows_of(repo, copy.as_streaming_dataset(split), split)
        rows.notes.append(f"The Hub does not answer: these rows are of the copy on this machine, commit {copy.hash}.")
        return rows
    except ValueError as error:
        raise hub_error(repo, config, split, error) from error


def _rows_of(repo: str, stream: Any, split: str) -> Rows:
    info = stream.info.splits or {}
    total = info[split].num_examples if split in info else None
    return Rows(_streamed(repo, stream), f"Hub dataset {repo}", total=total or None)


def _prepared_rows(folder: Path) -> Rows:
    """The rows of all parts of a prepared dataset, one part after the other."""
    parts = [read_rows(folder / f"{part}.parquet") for part in ("sft", "grpo", "validation", "test")]
    rows = (item for part in parts for item in part)
    numbered = (item if isinstance(item, Broken) else (n, item[1]) for n, item in enumerate(rows, 1))
    return Rows(numbered, "prepared dataset", total=sum(part.total or 0 for part in parts))


def _streamed(repo: str, stream: Any) -> Iterator[tuple[int, dict[str, Any]] | Broken]:
    number = 0
    try:
        for row in stream:
            number += 1
            yield number, row
    except Exception as error:
        if number == 0 or _is_network(error):
            raise hub_error(repo, None, None, error) from error
        yield Broken(number + 1, f"the dataset breaks after row {number} ({type(error).__name__}: {str(error)[:160]})")


def _is_network(error: BaseException | None) -> bool:
    names = {"ConnectionError", "ConnectError", "ConnectTimeout", "ReadTimeout", "OfflineModeIsEnabled",
             "MaxRetryError", "LocalEntryNotFoundError", "ProxyError", "TimeoutException", "gaierror",
             "SSLError", "NetworkError"}
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if type(error).__name__ in names or isinstance(error, ConnectionError | TimeoutError):
            return True
        error = error.__cause__ or error.__context__
    return False
