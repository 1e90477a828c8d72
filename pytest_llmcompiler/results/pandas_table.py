"""Records as a table of pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmcompiler.errors import ResultsError
from pytest_llmcompiler.judge.verdict import KINDS
from pytest_llmcompiler.report.columns import COLUMNS
from pytest_llmcompiler.report.records import Record

if TYPE_CHECKING:
    from pandas import DataFrame

_TYPES: dict[type, str] = {str: "string", int: "Int64", float: "Float64", bool: "boolean"}
"""The types of pandas that can hold a missing value beside each type."""


def build_table(records: Sequence[Record], *, answers: bool) -> DataFrame:
    """A row for each record. Raises ResultsError without pandas, and for numbers that its columns can't hold."""
    try:
        import pandas
    except ImportError as error:
        raise ResultsError("to_pandas needs pandas: pip install 'pytest-llmcompiler[plot]'") from error
    data: dict[str, Any] = {}
    for column in COLUMNS:
        values = [column.value(record) for record in records]
        if column.name == "verdict":
            data[column.name] = pandas.Categorical(values, categories=KINDS, ordered=True)
            continue
        try:
            data[column.name] = pandas.array(values, dtype=_TYPES[column.type])
        except (OverflowError, TypeError, ValueError) as error:
            raise ResultsError(f"the values of {column.name!r} don't fit into a column: {error}") from error
    if answers:
        data["answer"] = pandas.array([record["answer"] for record in records], dtype="string")
    return pandas.DataFrame(data)
