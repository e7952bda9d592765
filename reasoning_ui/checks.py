"""What the page asks again and again about this machine and the chosen model, remembered for a few seconds."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import reach
from pipeline.devices import with_own_runs
from pipeline.errors import DatasetError, EngineError
from pipeline.hardware import Hardware, detect
from pipeline.model_check import ModelCheck, check_model
from pipeline.recipe import DataStep, ModelStep
from pipeline.studio_home import StudioHome

_kept: dict[Any, tuple[float, Any]] = {}
_lock = threading.Lock()  # handlers run in threads


def hardware() -> Hardware:
    """This machine, looked at no more than every ten seconds."""
    return _remember("hardware", 10, detect)


def hardware_for(home: StudioHome) -> Hardware:
    """This machine, with a mark at the GPUs that this home's runs hold."""
    return with_own_runs(hardware(), home.whole)


def model(step: ModelStep, home: Path) -> ModelCheck:
    """The check of a model; asked again after half a minute, since a folder may have changed."""
    if reach.looks_like_path(step.source):
        try:
            reach.check(Path(step.source), EngineError)  # what is remembered was not asked for by this visitor
        except EngineError as error:
            return ModelCheck(None, (str(error),))
    return _remember(("model", step, home), 30, lambda: check_model(step, hardware(), home))


def dataset(step: DataStep) -> str:
    """Why no row of the chosen file can be read, or empty; looked at again after half a minute. A set with a name of
    its own is looked for when the Data tab or a run needs it."""
    from pipeline.dataset.sources import DATASETS, gym, looks_like_hub_id

    source = step.source
    if source in DATASETS or source.startswith(gym.PREFIX) or looks_like_hub_id(source):
        return ""
    try:
        reach.check(reach.path_of(source))  # what is remembered was not asked for by this visitor
    except DatasetError as error:
        return str(error)
    return _remember(("dataset", source, reach.path_of(source).exists()), 30, lambda: _unreadable(step))


def sft_rows(step: DataStep, seed: int) -> int | None:
    """About how many worked solutions SFT gets of the demo's rows or of a file; counted again after half a minute.
    None where that is not known without asking the Hub."""
    from pipeline.dataset.sources import DATASETS, gym, looks_like_hub_id
    from pipeline.suiting import sft_rows as count

    source = step.source
    known = source != "demo" and (source in DATASETS or source.startswith(gym.PREFIX) or looks_like_hub_id(source))
    if known or dataset(step):
        return None
    return _remember(("sft rows", step.model_dump_json(), seed), 30, lambda: count(step, seed))


def _unreadable(step: DataStep) -> str:
    from pipeline.dataset.sample import load_sample

    try:
        load_sample(step)
    except DatasetError as error:
        return str(error)
    return ""


def _remember(key: Any, seconds: float, make: Callable[[], Any]) -> Any:
    with _lock:
        if key in _kept and time.monotonic() - _kept[key][0] < seconds:
            return _kept[key][1]
    value = make()  # outside the lock: a look-up on the Hub may take long, and the page must not wait for it
    with _lock:
        if len(_kept) > 200:
            _kept.clear()
        _kept[key] = (time.monotonic(), value)
    return value
