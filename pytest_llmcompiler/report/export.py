"""Records for other programs: as a table for notebooks and spreadsheets, or as the results of another harness."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from pytest_llmcompiler.errors import ExportError
from pytest_llmcompiler.files import replace_file
from pytest_llmcompiler.judge.verdict import harmless
from pytest_llmcompiler.report.columns import COLUMNS
from pytest_llmcompiler.report.evalplus_results import write_evalplus_results
from pytest_llmcompiler.report.lm_eval_results import write_lm_eval_results
from pytest_llmcompiler.report.records import Record

_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n")
ExportFormat = Literal["csv", "parquet", "evalplus", "lm-eval"]


class ExportFile(NamedTuple):
    """A file to write, and its format."""

    format: ExportFormat
    path: Path


def parse_export(text: str) -> ExportFile:
    """Parse `FILE.csv`, `FILE.parquet`, `evalplus:FILE` or `lm-eval:FILE`. Raises ValueError."""
    for name in _NAMED:
        path = text.removeprefix(f"{name}:")
        if path != text and path:
            return ExportFile(name, Path(path))
    known = _BY_SUFFIX.get(Path(text).suffix)
    if known is None:
        raise ValueError(
            f"expected a file that ends in {' or '.join(_BY_SUFFIX)}, or "
            f"{' or '.join(f'{name}:FILE.json' for name in _NAMED)}"
        )
    return ExportFile(known, Path(text))


def check_export(file: ExportFile) -> None:
    """Raise ExportError if `export` could not write `file` later on. Creates its folder."""
    path = file.path
    if file.format == "parquet" and not find_spec("pyarrow"):
        raise ExportError(f"{path} needs pyarrow: pip install pyarrow, or write a .csv file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ExportError(f"can't write {path}: {error.strerror}") from error


def export(records: Sequence[Record], file: ExportFile, ks: Sequence[int] = (1,)) -> None:
    """Write records as a file of another format. Replaces an existing file.

    Tables have a row for each record, and typed columns: an unknown value is empty (CSV) or null (Parquet). `ks` are
    the k of pass@k in the results for lm-eval. Raises ExportError.
    """
    try:
        with replace_file(file.path) as part:
            _WRITERS[file.format](records, part, ks)
    except (OSError, ValueError, TypeError, OverflowError) as error:  # a model of the user's may describe itself oddly
        raise ExportError(f"can't write {file.path}: {error}") from error


def _write_csv(records: Sequence[Record], path: Path, ks: Sequence[int]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(column.name for column in COLUMNS)
        writer.writerows([_make_plain(column.value(record)) for column in COLUMNS] for record in records)


def _make_plain(value: object) -> object:
    """A value of a table as a cell that a terminal does not act on, and that a spreadsheet takes for text where it is
    text: behind an apostrophe where it begins as a formula does (OWASP, CSV Injection)."""
    if not isinstance(value, str):
        return value
    return f"'{harmless(value)}" if value.startswith(_FORMULA_SIGNS) else harmless(value)


def _write_parquet(records: Sequence[Record], path: Path, ks: Sequence[int]) -> None:
    import pyarrow
    import pyarrow.parquet

    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    columns = {column.name: [column.value(record) for record in records] for column in COLUMNS}
    schema = pyarrow.schema([(column.name, types[column.type]) for column in COLUMNS])
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), path)


_WRITERS: dict[ExportFormat, Callable[[Sequence[Record], Path, Sequence[int]], None]] = {
    "csv": _write_csv,
    "parquet": _write_parquet,
    "evalplus": write_evalplus_results,
    "lm-eval": write_lm_eval_results,
}
_BY_SUFFIX: dict[str, ExportFormat] = {".csv": "csv", ".parquet": "parquet"}
"""The formats that the end of a file's name says."""
_NAMED: tuple[ExportFormat, ...] = ("evalplus", "lm-eval")
"""The formats that are named before the file: both are JSON."""
