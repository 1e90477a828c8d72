"""Records as a table for notebooks and spreadsheets: one row for each sample."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytest_llmcompiler.errors import ExportError
from pytest_llmcompiler.files import replace_file
from pytest_llmcompiler.report.records import Record

EXPORT_SUFFIXES = (".csv", ".parquet")
"""The endings of files that `export` writes."""

_Column = Callable[[Record], Any]
# The answer itself stays in the record: it has many lines, and a spreadsheet evaluates a text that begins with `=`.
_COLUMNS: dict[str, tuple[type, _Column]] = {
    "case": (str, lambda record: record["case"]),
    "function": (str, lambda record: record["function"]),
    "task": (str, lambda record: record["task"]),
    "passes": (str, lambda record: record["passes"]),
    "sample": (int, lambda record: record["sample"]),
    "verdict": (str, lambda record: record["verdict"]),
    "message": (str, lambda record: record["detail"].get("message")),
    "previous": (str, lambda record: record.get("previous")),
    "stop": (str, lambda record: record["stop"]),
    "prompt_tokens": (int, lambda record: record["tokens"]["prompt"]),
    "answer_tokens": (int, lambda record: record["tokens"]["answer"]),
    "seconds": (float, lambda record: record["seconds"]),
    "seed": (int, lambda record: record["seed"]),
    "prompt": (str, lambda record: record["prompt"]),
    "model": (str, lambda record: record["model"].get("name")),
}


def check_export(path: Path) -> None:
    """Raise ExportError if `export` could not write `path` later on. Creates its folder."""
    if path.suffix == ".parquet" and not find_spec("pyarrow"):
        raise ExportError(f"{path} needs pyarrow: pip install pyarrow, or write a .csv file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ExportError(f"can't write {path}: {error.strerror}") from error


def export(records: Sequence[Record], path: Path) -> None:
    """Write a CSV file, or an Apache Parquet file if `path` ends in `.parquet`. Replaces an existing file.

    Columns have types; an unknown value is empty (CSV) or null (Parquet). Raises ExportError.
    """
    try:
        write = _write_parquet if path.suffix == ".parquet" else _write_csv
        with replace_file(path) as part:
            write(records, part)
    except (OSError, ValueError, TypeError, OverflowError) as error:  # a model of the user's may describe itself oddly
        raise ExportError(f"can't write {path}: {error}") from error


def _write_csv(records: Sequence[Record], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows([value(record) for _, value in _COLUMNS.values()] for record in records)


def _write_parquet(records: Sequence[Record], path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    columns = {name: [value(record) for record in records] for name, (_, value) in _COLUMNS.items()}
    schema = pyarrow.schema([(name, types[kind]) for name, (kind, _) in _COLUMNS.items()])
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), path)
