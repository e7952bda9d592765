"""What a model is: its architecture, size and layers, read without loading it.

Reads config.json, the tokenizer's files and the headers of the safetensors files, of a folder or over the network; no
weights are loaded, no code of the model is run, and torch is not imported.
"""

import functools
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from pipeline import reach
from pipeline.errors import EngineError, StudioError
from pipeline.model_files import (
    GGUF_WAY,
    has_template,
    is_whole,
    read_json,
    refuse_quantised,
    refuse_without_tokenizer,
    tensor_shapes,
    without_config,
    without_weights,
)

TINY = Path(__file__).resolve().parent.parent / "assets" / "tiny-reasoner"
NOT_LORA = ("embed", "lm_head", "norm", "wte", "wpe", "router", "gate.weight")
LAYER = re.compile(r"\.\d+\.")


@dataclass(frozen=True)
class ModelFacts:
    """A model's shape. `linears` maps a linear layer's name, such as q_proj, to the (out, in) of each of that name."""

    source: str
    architecture: str
    model_type: str
    parameters: int
    size_bytes: int
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    kv_heads: int
    head_dim: int
    positions: int | None
    has_chat_template: bool
    linears: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict, repr=False)

    @property
    def linear_parameters(self) -> int:
        """Weights in the layers' linear parts, which quantisation shrinks; embeddings stay in 16 bit."""
        return sum(a * b for shapes in self.linears.values() for a, b in shapes)


def read_facts(source: str, revision: str | None = None) -> ModelFacts:
    """The facts of the bundled model (`tiny`), a folder, or a Hub id. Raises EngineError in words."""
    folder = local_folder(source, revision)
    if folder is not None:
        return _facts_of_folder(source, folder)
    return _facts_of_hub(source, revision)


def facts_at_hand(source: str, revision: str | None = None) -> ModelFacts | None:
    """The facts of a model that is on this machine; None for another, whose Hub is not asked, and where they cannot be
    read."""
    try:
        folder = local_folder(source, revision)
        return _facts_of_folder(source, folder) if folder else None
    except (StudioError, OSError, ValueError):
        return None


def local_folder(source: str, revision: str | None = None) -> Path | None:
    """The folder of a model that is on this machine already (the Hub's cache included), or None for one to fetch."""
    if source == "tiny":
        return TINY
    path = reach.path_of(source)
    if reach.looks_like_path(source):
        reach.check(path, EngineError)
    if path.is_dir():
        return path
    if path.suffix == ".gguf":
        raise EngineError(f"{source} is a GGUF file, which cannot be trained: {GGUF_WAY}")
    if path.is_file():
        raise EngineError(f"{source} is a file: give the folder that it is in, {path.parent}.")
    if address := re.match(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)", source):
        raise EngineError(f"{source} is an address: give the model's id alone, {address[1]}.")
    if source.startswith((".", "~")) or Path(source).is_absolute() or source.count("/") > 1:
        raise EngineError(f"There is no folder {source}: give the path of a model folder, or a Hub id like owner/name.")
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(source, "config.json", revision=revision)
    except HFValidationError as error:
        raise EngineError(f"{source!r} is neither a folder on this machine nor a Hub id like owner/name.") from error
    cached = Path(config).parent if isinstance(config, str) else None
    return cached if cached and is_whole(cached) else None


def architecture(source: str, revision: str | None = None) -> tuple[str, str]:
    """Class name and model type in the config.json of a model on this machine; empty where they cannot be read."""
    try:
        folder = local_folder(source, revision)
        config = read_json(folder / "config.json") if folder else {}
    except EngineError:
        return "", ""
    return _class_name(config), str(config.get("model_type", ""))


def check_config(source: str, config: Mapping[str, Any]) -> str:
    """The architecture of a config.json that can be trained. Raises EngineError for one that cannot, in words."""
    if "auto_map" in config and not _known_architecture(config):
        raise EngineError(f"{source} brings its own Python code to load it, and code of strangers is not run here: "
                          "choose a model whose architecture transformers knows.")
    refuse_quantised(source, config)
    name = _class_name(config)
    if not name:
        raise EngineError(f"The config.json of {source} names no architecture, so it is not a language model that "
                          "transformers can load.")
    if not name.endswith(("ForCausalLM", "LMHeadModel")):
        raise EngineError(f"{source} is a {name}, not a causal language model: it cannot write text token after token. "
                          "Choose a model whose config.json says …ForCausalLM.")
    if not _known_architecture(config):
        raise EngineError(f"The installed transformers does not know the architecture {name} of {source}: choose "
                          "another model, or update transformers.")
    return name


# ------------------------------------------------------------------------------------------------------------------


def _facts_of_folder(source: str, folder: Path) -> ModelFacts:
    if not (folder / "config.json").is_file():
        raise EngineError(without_config(source, folder))
    config = read_json(folder / "config.json")
    architecture = check_config(source, config)
    shapes, size = tensor_shapes(source, folder)
    refuse_quantised(source, config, shapes)
    refuse_without_tokenizer(source, [path.name for path in folder.iterdir()])
    return _facts(source, architecture, config, shapes, size, has_template(folder))


def _facts_of_hub(source: str, revision: str | None) -> ModelFacts:
    import httpx
    from huggingface_hub.errors import EntryNotFoundError, NotASafetensorsRepoError

    try:
        return _fetched_facts(source, revision)
    except (EntryNotFoundError, NotASafetensorsRepoError, httpx.HTTPError, OSError) as error:
        raise EngineError(_hub_problem(error, source, revision)) from error


def _fetched_facts(source: str, revision: str | None) -> ModelFacts:
    from huggingface_hub import HfApi, hf_hub_download

    info = HfApi().model_info(source, revision=revision, files_metadata=True, timeout=15)
    names = [s.rfilename for s in info.siblings or []]
    if "config.json" not in names:
        gguf = f" GGUF files cannot be trained: {GGUF_WAY}" if any(n.endswith(".gguf") for n in names) else ""
        raise EngineError(f"{source} on the Hub has no config.json: transformers cannot load it.{gguf}")
    config = read_json(Path(hf_hub_download(source, "config.json", revision=revision)))
    architecture = check_config(source, config)
    if not any(name.endswith(".safetensors") for name in names):
        raise EngineError(without_weights(source, names))
    metadata = HfApi().get_safetensors_metadata(source, revision=revision)
    shapes = {n: t.shape for f in metadata.files_metadata.values() for n, t in f.tensors.items()}
    refuse_quantised(source, config, shapes)
    refuse_without_tokenizer(source, names)
    size = sum(s.size or 0 for s in info.siblings or [] if s.rfilename.endswith(".safetensors"))
    template = "chat_template.jinja" in names
    if not template and "tokenizer_config.json" in names:
        path = hf_hub_download(source, "tokenizer_config.json", revision=revision)
        template = bool(read_json(Path(path)).get("chat_template"))
    return _facts(source, architecture, config, shapes, size, template)


def _hub_problem(error: Exception, source: str, revision: str | None) -> str:
    """An error of the Hub's client in words; a gated model and a file that could not be fetched come before the kinds
    of error that they are, too."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return (f"{source} is gated: open https://huggingface.co/{source}, accept its conditions, log in with "
                "`hf auth login` or set HF_TOKEN, and start the app again.")
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{source} has no revision {revision!r}: leave it empty for the newest."
    if isinstance(error, errors.RepositoryNotFoundError):
        return (f"There is no model {source} on the Hub, and no such folder here. Check the spelling; a private model "
                "needs `hf auth login` or HF_TOKEN.")
    fetched = not isinstance(error, errors.LocalEntryNotFoundError)
    if fetched and isinstance(error, (errors.EntryNotFoundError, errors.NotASafetensorsRepoError)):
        return without_weights(source, [])
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.HfHubHTTPError) and status:
        return f"The Hub answered {status} for {source}: try again later."
    return (f"{source} is not on this machine and the Hub cannot be reached: connect to the network, or give a model "
            "folder. `tiny` needs no network.")


def _facts(source: str, architecture: str, config: Mapping[str, Any], shapes: Mapping[str, list[int]], size: int,
           template: bool) -> ModelFacts:
    def number(*names: str, default: int = 0) -> int:
        return next((max(0, config[n]) for n in names if isinstance(config.get(n), int)), default)

    hidden = number("hidden_size", "n_embd", "d_model")
    heads = number("num_attention_heads", "n_head", default=1)
    linears: dict[str, list[tuple[int, int]]] = {}
    for name, shape in shapes.items():
        if len(shape) == 2 and LAYER.search(name) and name.endswith(".weight") and not _left_out(name):
            linears.setdefault(name.split(".")[-2], []).append((shape[0], shape[1]))
    return ModelFacts(
        source=source, architecture=architecture, model_type=str(config.get("model_type", "")),
        parameters=sum(prod(shape) for shape in shapes.values()), size_bytes=size,
        layers=number("num_hidden_layers", "n_layer"), hidden=hidden,
        intermediate=number("intermediate_size", "n_inner", default=4 * hidden), vocabulary=number("vocab_size"),
        kv_heads=number("num_key_value_heads", default=heads),
        head_dim=number("head_dim", default=hidden // max(heads, 1)),
        positions=number("max_position_embeddings", "n_positions") or None, has_chat_template=template,
        linears={name: tuple(found) for name, found in linears.items()})


def _left_out(name: str) -> bool:
    return any(part in name for part in NOT_LORA)


def _known_architecture(config: Mapping[str, Any]) -> bool:
    return _class_name(config) in _architectures()


def _class_name(config: Mapping[str, Any]) -> str:
    """The first of `architectures`; empty where there is none."""
    names = config.get("architectures")
    return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""


@functools.lru_cache(maxsize=1)
def _architectures() -> frozenset[str]:
    """Class names in the installed transformers, read from its source text: importing it would be slow."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        return frozenset()
    folder = Path(next(iter(spec.submodule_search_locations))) / "models"
    found: set[str] = set()
    for path in folder.glob("*/modeling_*.py"):
        found.update(re.findall(r"^class (\w+(?:ForCausalLM|LMHeadModel))\(", path.read_text(encoding="utf-8"), re.M))
    return frozenset(found)
