"""Whether the questions of the Hub can be had: does it answer, and is a copy on this machine? Found out in seconds.

`datasets` asks again and again for half a minute before it looks into its cache or gives up. Here one request is sent,
to the address that `datasets` asks first; nothing is downloaded.
"""

import logging
import os
import re
import threading
import time
from typing import Any

from pipeline.errors import DatasetError

ANSWER_SECONDS = 5.0  # for one try
AGAIN_SECONDS = 2.0
PATIENCE = 3  # tries of what has begun: a network that is away for a moment must not end a run
COMMIT = re.compile(r"[0-9a-f]{7,40}")
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]*")
TRUE = {"1", "ON", "YES", "TRUE"}


def is_offline() -> bool:
    """Whether a person has switched the Hub off for this process."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE) or os.environ.get("HF_DATASETS_OFFLINE", "").upper() in TRUE


def answers(repo: str, tries: int = 1) -> bool:
    """Whether the Hub answers for a dataset, with whatever it says; at once False when it is switched off."""
    if is_offline():
        return False
    for number in range(tries):
        if number:
            time.sleep(AGAIN_SECONDS)
        if _answers_once(repo):
            return True
    return False


def kept(repo: str, config: str | None, revision: str | None = None) -> Any:
    """The copy that `datasets.load_dataset` once left on this machine, to be streamed; None where there is none, or
    only one of another commit than asked for. Its `hash` is the commit."""
    os.environ.setdefault("USE_TORCH", "0")  # read when `datasets` is imported; the app never imports torch
    import datasets
    from datasets.packaged_modules.cache.cache import Cache

    datasets.utils.logging.set_verbosity_error()
    try:
        copy = Cache(repo_id=repo, dataset_name=repo.split("/")[-1], config_name=config, version="auto", hash="auto")
    except (ValueError, OSError, KeyError):  # KeyError: a copy that was cut off while it was written
        return None
    other = revision is not None and COMMIT.fullmatch(revision) and not str(copy.hash).startswith(revision)
    return copy if copy.info.splits and not other else None


def away(repo: str, config: str | None, revision: str | None = None) -> DatasetError:
    """What to say of a dataset that is neither here nor to be had, and what to do."""
    why, first = (("the Hub is switched off (HF_HUB_OFFLINE or HF_DATASETS_OFFLINE is set)", "Switch it on")
                  if is_offline() else ("the Hugging Face Hub cannot be reached", "Check the network"))
    which = f"{repo!r}, revision {revision!r}," if revision else repr(repo)
    return DatasetError(f"The dataset {which} is not kept on this machine, and {why}. {first}; or choose another, "
                        f"upload a file, or give the path of one.{_way_to_keep(repo, config, revision)}")


# ------------------------------------------------------------------------------------------------------------------


def _way_to_keep(repo: str, config: str | None, revision: str | None) -> str:
    """The command that leaves a copy here; none for names that a shell would read as more than names."""
    if not all(PLAIN.fullmatch(name) for name in (repo, config, revision) if name):
        return ""
    named = [f"'{name}'" for name in (repo, config) if name] + ([f"revision='{revision}'"] if revision else [])
    return (" To keep the dataset here for times without a network, give this command once while online: "
            f'python -c "import datasets; datasets.load_dataset({", ".join(named)})"')


def _answers_once(repo: str) -> bool:
    """In a thread, since looking up a name has no deadline of its own."""
    found: list[bool] = []
    asking = threading.Thread(target=lambda: found.append(_ask(repo)), name="hub", daemon=True)
    asking.start()
    asking.join(ANSWER_SECONDS)
    return found == [True]


def _ask(repo: str) -> bool:
    import httpx
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    try:
        address = hf_hub_url(repo, "README.md", repo_type="dataset")
        return get_session().head(address, headers=build_hf_headers(), timeout=ANSWER_SECONDS).status_code < 500
    except (httpx.HTTPError, OSError) as error:  # OfflineModeIsEnabled is an OSError too
        logging.getLogger(__name__).info("The Hub does not answer: %s", error)
        return False
    except ValueError:  # no valid name: the Hub says it better
        return True
