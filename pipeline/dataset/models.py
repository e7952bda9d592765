"""Where a model's files are: the bundled one, a folder, or a snapshot from the Hugging Face Hub. Never a pickle."""

from pathlib import Path

from pipeline import reach
from pipeline.errors import EngineError

TINY_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "tiny-reasoner"
_TOKENIZER_FILES = ["tokenizer*", "special_tokens_map.json", "chat_template*", "config.json", "generation_config.json"]
_MODEL_FILES = [*_TOKENIZER_FILES, "*.safetensors", "*.safetensors.index.json", "*.model", "vocab.json", "merges.txt"]


def model_folder(source: str, revision: str | None = None, tokenizer_only: bool = False) -> Path:
    """The local folder of a model: `tiny`, a folder, or a Hub id (downloaded; pickled weights are left out).

    Raises EngineError in words when there is no such model or it cannot be fetched.
    """
    if source == "tiny":
        if not TINY_FOLDER.is_dir():
            raise EngineError("The bundled model assets/tiny-reasoner is missing. Get a complete copy of the project, "
                              "or make it with: python -m pipeline.tiny_model")
        return TINY_FOLDER
    folder = reach.path_of(source)
    if reach.looks_like_path(source):
        reach.check(folder, EngineError)
    if folder.is_dir():
        return folder
    if source.startswith(("/", "~", ".")) or source.count("/") != 1:
        raise EngineError(f"There is no model folder {source!r}. Give a folder that exists, a Hugging Face id such as "
                          "HuggingFaceTB/SmolLM2-135M-Instruct, or tiny.")
    return _snapshot(source, revision, _TOKENIZER_FILES if tokenizer_only else _MODEL_FILES)


def _snapshot(repo: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns))
    except HFValidationError as error:
        raise EngineError(f"{repo!r} is not a valid model id. It looks like owner/name.") from error
    except GatedRepoError as error:
        raise EngineError(f"The model {repo!r} is gated: accept its terms at https://huggingface.co/{repo}, then log "
                          "in with: hf auth login") from error
    except RevisionNotFoundError as error:
        raise EngineError(f"The model {repo!r} has no revision {revision!r}. Leave it empty for the newest.") from error
    except RepositoryNotFoundError as error:
        raise EngineError(f"There is no model {repo!r} on the Hugging Face Hub, or it is private: check the spelling, "
                          "or log in with: hf auth login") from error
    except LocalEntryNotFoundError as error:
        raise EngineError(f"The model {repo!r} is not on this machine and the Hugging Face Hub cannot be reached. "
                          "Check the network, or give a local folder.") from error
    except HfHubHTTPError as error:
        raise EngineError(f"The Hugging Face Hub refused {repo!r}: {error}. Try again later.") from error
    except OSError as error:
        raise EngineError(f"The model {repo!r} could not be fetched: {error}. Check the network and the free disk "
                          "space, or give a local folder.") from error
