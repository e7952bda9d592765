"""Upload a model to the Hugging Face Hub: files are listed first, private by default, and a broken upload continues.

1. `plan` lists what would be sent, with sizes, and what the repository already has (same name and same content).
2. `upload` makes the repository and sends the rest file by file, one commit each, small files first; what was sent is
   not sent again. The access token comes from the Hub's login or the environment and is stored nowhere.

Large files go to the Hub's Xet storage in blocks, which are known by their content: those of a broken upload that
arrived are not stored twice. Where hf_xet is missing, huggingface_hub sends them over the older LFS interface.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import validate_repo_id

from pipeline import export
from pipeline.errors import RunError
from pipeline.export_card import card, public_recipe
from pipeline.run_folder import RunFolder
from pipeline.studio_home import StudioHome

# huggingface_hub wraps a broken transfer in RuntimeError, and lets those of its HTTP client through
NETWORK_ERRORS = (HfHubHTTPError, OSError, RuntimeError, httpx.HTTPError)


@dataclass(frozen=True)
class Upload:
    """One file: its name in the repository, what it holds (a file, or text), and whether it is there already."""

    name: str
    content: Path | bytes
    there: bool = False

    @property
    def bytes(self) -> int:
        """Its size."""
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)


def plan(home: StudioHome, folder: RunFolder, stage: str, repo: str, adapter: bool = False, gguf: bool = False,
         api: HfApi | None = None) -> list[Upload]:
    """What `upload` would send, small files first. Raises RunError for a name that the Hub refuses."""
    _check_name(repo)
    files = [Upload("README.md", card(home, folder, stage, repo).encode()),
             Upload("recipe.yaml", public_recipe(folder.recipe()).encode())]
    files += [Upload(path.name, path) for path in export.model_files(folder, stage)]
    if adapter:
        weights = folder.adapter(stage) / "adapter_model.safetensors"
        if not weights.is_file():
            raise RunError(f"The adapter of {stage} is not there: {weights} is missing. Leave it out, or train again.")
        files += [Upload("adapter/adapter_config.json", export.adapter_config(folder, stage).encode()),
                  Upload("adapter/adapter_model.safetensors", weights)]
    if gguf:
        files += [Upload(path.name, path) for path in sorted(export.exports(folder).glob(f"{stage}-*.gguf"))]
    present = _present(repo, api or HfApi())
    marked = [Upload(f.name, f.content, f.name in present and _is_same(f, present[f.name])) for f in files]
    return sorted(marked, key=lambda f: f.bytes)


def upload(files: list[Upload], repo: str, private: bool = True, api: HfApi | None = None,
           progress: Callable[[int, int, str], None] = lambda done, total, name: None,
           should_stop: Callable[[], bool] = lambda: False) -> str:
    """Send what is not there yet; gives the address. Raises RunError in words; a later call continues."""
    api = api or HfApi()
    _check_name(repo)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # hf_xet would report each transfer
    sent = sum(f.bytes for f in files if f.there)
    total = sum(f.bytes for f in files)
    name = ""
    try:
        address = str(api.create_repo(repo, private=private, exist_ok=True))
        for file in (f for f in files if not f.there):
            if should_stop():
                raise RunError(f"Stopped before {file.name}: upload again to continue; what was sent stays.")
            name = file.name
            progress(sent, total, name)
            api.upload_file(path_or_fileobj=file.content, path_in_repo=name, repo_id=repo,
                            commit_message=f"Add {name}")
            sent += file.bytes
    except NETWORK_ERRORS as error:
        raise RunError(_in_words(error, repo, name)) from error
    progress(total, total, "")
    return address


def _present(repo: str, api: HfApi) -> dict[str, RepoFile]:
    """The repository's files by name; none when it does not exist or cannot be seen."""
    try:
        return {f.path: f for f in api.list_repo_tree(repo, recursive=True) if isinstance(f, RepoFile)}
    except (RepositoryNotFoundError, LocalTokenNotFoundError):
        return {}
    except NETWORK_ERRORS as error:
        raise RunError(_in_words(error, repo, "")) from error


def _is_same(file: Upload, remote: RepoFile) -> bool:
    if remote.size != file.bytes:
        return False
    if remote.lfs is not None:
        return remote.lfs.sha256 == _digest(file, "sha256", b"")
    return remote.blob_id == _digest(file, "sha1", b"blob %d\0" % file.bytes)  # as git names a file's content


def _digest(file: Upload, kind: str, start: bytes) -> str:
    digest = hashlib.new(kind, start)
    if isinstance(file.content, bytes):
        digest.update(file.content)
    else:
        with file.content.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _check_name(repo: str) -> None:
    try:
        validate_repo_id(repo)
        valid = repo.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise RunError(f"{repo!r} cannot be a repository's name: write owner/name, with letters, digits, . _ and -.")


def _in_words(error: Exception, repo: str, name: str) -> str:
    if isinstance(error, httpx.ConnectError):
        return f"The Hub cannot be reached ({error}): check the network, then upload again to continue."
    if isinstance(error, OfflineModeIsEnabled):
        return "Offline mode is on, so nothing can be uploaded: unset HF_HUB_OFFLINE and start the app again."
    known = error if isinstance(error, HfHubHTTPError) else error.__cause__
    status = getattr(getattr(known, "response", None), "status_code", None)
    if isinstance(error, LocalTokenNotFoundError) or status == 401:
        return ("The Hub does not know you: run `hf auth login` with a token that may write, or set HF_TOKEN, "
                "then start the app again.")
    if status == 403:
        return f"Your token may not write to {repo}: use one with write access, or another owner."
    what = f" while sending {name}" if name else ""
    why = f"status {status}" if status else type(error).__name__
    return (f"The upload to {repo} broke off{what} ({why}). Upload again to continue: what was sent stays, and is not "
            "sent twice.")
