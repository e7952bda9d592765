"""Names of local files and folders as seen from anywhere: a worker has another working folder than whoever starts it.

A built-in name stays a name, also where a file or folder of that name lies beside the caller; `./demo` means the file.
"""

from collections.abc import Container, Mapping
from typing import Any

from pipeline import reach
from pipeline.dataset.sources import DATASETS
from pipeline.recipe import Recipe

MODELS = ("tiny",)
BENCHMARKS = ("test", *DATASETS)  # `test` is the held-out part of a run
CONTESTANTS = ("base", "sft", "grpo")  # and `grpo/checkpoint-20`: models of a run


def whole_path(source: str, names: Container[str] = ()) -> str:
    """`source` by its whole path where it is a local file or folder and none of the built-in `names`; else as it is."""
    if source in names:
        return source
    try:
        path = reach.path_of(source)
        return str(path.absolute()) if source and path.exists() else source
    except (OSError, ValueError):  # not a path at all: too long, or with a null byte
        return source


def whole_recipe(recipe: Recipe) -> Recipe:
    """The recipe with its model, its data and its questions by their whole paths."""
    data = {"source": whole_path(recipe.data.source, DATASETS)}
    if recipe.data.test_source:
        data["test_source"] = whole_path(recipe.data.test_source, DATASETS)
    return recipe.model_copy(update={
        "model": recipe.model.model_copy(update={"source": whole_path(recipe.model.source, MODELS)}),
        "data": recipe.data.model_copy(update=data),
        "evaluate": recipe.evaluate.model_copy(update={
            "benchmarks": [whole_path(name, BENCHMARKS) for name in recipe.evaluate.benchmarks]})})


def whole_request(request: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The request of an evaluation with its models and questions by their whole paths."""
    whole = dict(request or {})
    if "benchmarks" in whole:
        whole["benchmarks"] = [whole_path(name, BENCHMARKS) for name in whole["benchmarks"]]
    if "models" in whole:
        whole["models"] = [name if name.split("/")[0] in CONTESTANTS else whole_path(name, MODELS)
                           for name in whole["models"]]
    return whole or request
