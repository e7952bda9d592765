"""Stage: read, map, filter and split the dataset into the run's four Parquet files."""

from pipeline.dataset.chat import ChatTokenizer
from pipeline.dataset.prepare import prepare_parts
from pipeline.errors import DatasetError
from pipeline.run import Run, Stopped


def prepare(run: Run) -> None:
    """Write `data/*.parquet` and tell how many rows were kept. Raises Stopped, DatasetError."""
    model = run.recipe.model
    chat = ChatTokenizer.load(model.source, model.revision, model.chat_template)
    report = prepare_parts(
        run.recipe.data, chat, seed=run.recipe.seed, max_length=model.max_length,
        max_completion_tokens=run.recipe.grpo.max_completion_tokens, out=run.folder.path / "data",
        progress=lambda done, total, message="": run.progress(done, total, "rows", message),
        should_stop=run.stop_requested)
    if run.stop_requested():
        raise Stopped
    run.event("info", f"Data: {report.rows_in:,} rows read, {report.kept:,} kept; " + ", ".join(
        f"{count:,} for {part}" for part, count in report.parts.items()) + ".")
    for words in report.warnings:  # for whoever did not check the data first
        run.event("warning", words)
    if run.recipe.sft.enabled and not report.parts.get("sft"):
        raise DatasetError("No row is left for SFT: raise its share of the split, or switch SFT off.")
    if run.recipe.grpo.enabled and not report.parts.get("grpo"):
        raise DatasetError("No row is left for GRPO: raise its share of the split, or switch GRPO off.")
