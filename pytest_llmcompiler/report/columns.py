"""Records as columns: what each column of a table of samples holds, for files and for notebooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pytest_llmcompiler.report.cost_ratios import MEASURES, read_ratio
from pytest_llmcompiler.report.records import Record


class Column(NamedTuple):
    """A column of a table of samples."""

    name: str
    type: type
    """The type of its values: str, int, float or bool."""
    value: Callable[[Record], Any]
    """The value in the row of a record; None where it is unknown. The record must have a valid layout."""


def _member(*names: str) -> Callable[[Record], Any]:
    """The value of a member of records, by the names on the way to it; None where one is missing."""

    def find(record: Record) -> Any:
        value: Any = record
        for name in names:
            value = value.get(name) if value else None
        return value

    return find


def _ratio(measure: str) -> Callable[[Record], float | None]:
    """Speed or size of an answer that passes, beside clang's code."""
    return lambda record: read_ratio(record.get("detail", {}).get("cost"), measure)


def _columns() -> Iterator[Column]:
    yield Column("case", str, _member("case"))
    yield Column("function", str, _member("function"))
    yield Column("task", str, _member("task"))
    yield Column("passes", str, _member("passes"))
    yield Column("sample", int, _member("sample"))
    yield Column("verdict", str, _member("verdict"))
    yield Column("message", str, _member("detail", "message"))
    yield Column("previous", str, _member("previous"))
    yield Column("stop", str, _member("stop"))
    yield Column("prompt_tokens", int, _member("tokens", "prompt"))
    yield Column("answer_tokens", int, _member("tokens", "answer"))
    yield Column("seconds", float, _member("seconds"))
    yield Column("seed", int, _member("seed"))
    yield Column("prompt", str, _member("prompt"))
    yield Column("model", str, _member("model", "name"))
    yield Column("ir_instructions", int, _member("detail", "instructions"))
    yield Column("inputs", int, _member("detail", "inputs"))
    yield Column("edges_reached", int, _member("detail", "coverage", "edges"))
    yield Column("edges", int, _member("detail", "coverage", "of"))
    yield Column("proved", bool, _member("detail", "proved"))
    yield Column("published_tests", str, _member("detail", "published", "tests"))
    yield Column("published_hold", bool, _member("detail", "published", "holds"))
    yield Column("executed", int, _member("detail", "cost", "instructions"))
    yield Column("code_bytes", int, _member("detail", "cost", "bytes"))
    for measure in MEASURES:
        yield Column(measure, float, _ratio(measure))


COLUMNS = tuple(_columns())
"""The columns in their order. New ones are added behind the others. Text of models (the answer) is none of them: it has
many lines."""
