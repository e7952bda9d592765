"""The part files of a run: `sft`, `grpo`, `validation` and `test.parquet`, one row for each example."""

from pathlib import Path
from typing import Any

from pipeline.errors import DatasetError

COLUMNS = ("id", "row", "system", "question", "reasoning", "reference", "completion", "subject")


def read_part(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a part file. Raises DatasetError when it is missing or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=list(COLUMNS)).to_pylist()
    except (OSError, pa.ArrowException) as error:
        why = str(error).rstrip(".")
        raise DatasetError(f"The prepared data {str(path)!r} cannot be read: {why}. Prepare it again.") from error


def write_part(path: Path, records: list[dict[str, Any]]) -> None:
    """Write records with COLUMNS; the file appears whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.int64() if name == "row" else pa.string()) for name in COLUMNS])
    for record in records:
        for name, value in record.items():
            if isinstance(value, str):
                record[name] = value.encode("utf-8", "replace").decode("utf-8")  # lone surrogates cannot be stored
    temporary = path.with_suffix(".parquet.part")
    pq.write_table(pa.Table.from_pylist(records, schema=schema), temporary)
    temporary.replace(path)
