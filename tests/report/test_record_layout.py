"""The types of records in Python and their JSON Schema describe the same layout."""

from __future__ import annotations

import json
import types
from importlib.resources import files
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from pytest_llmcompiler.report import records

SCHEMA: dict[str, Any] = json.loads(files("pytest_llmcompiler.report").joinpath("record.schema.json").read_text())

OBJECTS = [
    (records.Record, ()),
    (records.TokenCounts, ("tokens",)),
    (records.RecordModel, ("model",)),
    (records.RecordSettings, ("settings",)),
    (records.RecordDetail, ("detail",)),
    (records.RecordCompilerBug, ("detail", "compiler_bug")),
    (records.RecordCoverage, ("detail", "coverage")),
    (records.RecordAdequacy, ("detail", "adequacy")),
    (records.RecordCost, ("detail", "cost")),
    (records.RecordSecondLook, ("detail", "second_look")),
    (records.RecordPublishedTests, ("detail", "published")),
    (records.RecordProof, ("detail", "proof")),
    (records.ProgramStart, ("detail", "program_input")),
    (records.LookInput, ("detail", "second_look", "input")),
    (records.IRComparison, ("detail", "ir")),
    (records.RoundTrip, ("detail", "round_trip")),
    (records.TuneResult, ("detail", "tune")),
    (records.ClaimedSizes, ("detail", "promised")),
    (records.ClaimedCount, ("detail", "promised", "size")),
    (records.RecordCost, ("detail", "cost")),
]
"""Each typed dictionary and the place of its object in a record."""


def object_at(path: tuple[str, ...]) -> dict[str, Any]:
    """The schema of a member of a record."""
    schema = SCHEMA
    for name in path:
        schema = resolve(schema["properties"][name])
    return schema


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with its reference replaced by the definition."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return SCHEMA["$defs"][name] | {key: value for key, value in schema.items() if key != "$ref"} if name else schema


def values_of_schema(schema: dict[str, Any]) -> frozenset[object]:
    """What a schema permits: names of JSON types, and the values of an enumeration."""
    schema = resolve(schema)
    if "const" in schema:
        return frozenset([schema["const"]])
    if "enum" in schema:
        return frozenset("null" if value is None else value for value in schema["enum"])
    permitted = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    items = schema.get("items")
    return frozenset(("array", values_of_schema(items)) if kind == "array" and items else kind for kind in permitted)


JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", dict: "object"}


def values_of_type(hint: Any) -> frozenset[object]:
    """What a Python type permits, in the same terms."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return frozenset().union(*map(values_of_type, get_args(hint)))
    if origin is Literal:
        return frozenset(get_args(hint))
    if origin is list:
        return frozenset([("array", values_of_type(*get_args(hint)))])
    return frozenset(["object" if is_typeddict(hint) else JSON_TYPES[origin or hint]])


@pytest.mark.parametrize(("typed", "path"), OBJECTS)
def test_type_and_schema_have_the_same_keys(typed: Any, path: tuple[str, ...]) -> None:
    schema = object_at(path)
    assert typed.__required_keys__ | typed.__optional_keys__ == schema["properties"].keys()
    assert typed.__required_keys__ == set(schema.get("required", ()))


@pytest.mark.parametrize(("typed", "path"), OBJECTS)
def test_type_and_schema_permit_the_same_values(typed: Any, path: tuple[str, ...]) -> None:
    schema = object_at(path)
    for name, hint in get_type_hints(typed).items():
        assert values_of_type(hint) == values_of_schema(schema["properties"][name]), name


def test_every_object_of_the_schema_has_a_type() -> None:
    def paths(schema: dict[str, Any], path: tuple[str, ...]) -> set[tuple[str, ...]]:
        below = [paths(resolve(member), (*path, name)) for name, member in schema.get("properties", {}).items()]
        return {path}.union(*below) if "properties" in schema else set().union(*below)

    # The two claimed counts share a definition, and a type.
    assert paths(SCHEMA, ()) == {path for _, path in OBJECTS} | {("detail", "promised", "instructions")}
