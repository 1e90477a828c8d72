"""Whether a value has the layout of a record: each member against `report/record.schema.json`, however deep it lies.

The schema uses few of the keywords of JSON Schema (draft 2020-12), and these are compiled once into functions, since
files have 50,000 records and more. Four things of the schema are not required of records that are read: the patterns
of texts, that a verdict has its evidence, that all settings are there (versions have added some), and what a model says
of itself, which is up to models of users.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, Literal

from pytest_llmcompiler.errors import LLMCompilerError

SCHEMA: Literal[1] = 1
"""The version of the format of records: their field `schema`."""

_Check = Callable[[object], str]
"""Returns what is wrong with a value, as `.MEMBER MESSAGE` or ` MESSAGE`; empty if nothing is."""

_TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "string": ("text", (str,)),
    "integer": ("a whole number", (int,)),
    "number": ("a number", (int, float)),
    "boolean": ("true or false", (bool,)),
    "object": ("an object", (dict,)),
    "array": ("a list", (list,)),
    "null": ("null", (type(None),)),
}
"""For each type of JSON Schema: its name in messages, and the types of such values as Python's JSON reads them."""
_NUMBERS = (int, float)
_KNOWN = {"type", "minimum", "maximum", "exclusiveMinimum", "enum", "const", "$ref"}
_KNOWN |= {"properties", "required", "additionalProperties", "items", "minItems", "maxItems"}
_IGNORED = {"$schema", "$id", "$defs", "title", "description", "pattern", "if", "then"}
_LARGEST_NUMBER = 1 << 128
"""Numbers that are larger have no use in a record, and arithmetic with the largest ones fails. Seeds of hypothesis have
128 bits."""
_DEEPEST = 50
"""Levels that a member may have which the schema does not know. Whoever writes a record anew recurses over them."""
_SURROGATE = re.compile(rb"\\ud[89a-f]", re.IGNORECASE)
"""The escape of a surrogate in JSON; most are halves of pairs."""
_SHOWN = 60
"""Characters of a wrong value that a message shows."""


class RecordLayoutError(LLMCompilerError):
    """A line or a value is no record; the message says what is wrong, and names the member at fault."""


def parse_record(line: bytes) -> dict[str, Any]:
    """Parse one line of a file of records. Raises RecordLayoutError."""
    try:
        value = json.loads(line)
    except RecursionError:
        raise RecordLayoutError("not a record: it is nested too deeply") from None
    except ValueError as error:
        raise RecordLayoutError(f"not JSON: {error}") from None
    record = check_record(value)
    return _replace_surrogates(record) if _SURROGATE.search(line) else record


def check_record(value: object) -> dict[str, Any]:
    """Return a value that has the layout of a record. Raises RecordLayoutError."""
    if not isinstance(value, dict):
        raise RecordLayoutError("a record is a JSON object")
    if value.get("schema", SCHEMA) != SCHEMA:
        raise RecordLayoutError(f"schema {_show(value['schema'])} is not known, only {SCHEMA}")
    fault = _compile_layout()(value)
    if fault:
        place, _, message = fault.partition(" ")
        raise RecordLayoutError(f"{place.removeprefix('.')!r} {message}" if place else f"a record {message}")
    return value


def _replace_surrogates(value: Any) -> Any:
    """The value with `?` for each half of a surrogate pair in its texts: such a half can't be written to any file."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_replace_surrogates(name): _replace_surrogates(member) for name, member in value.items()}
    return [_replace_surrogates(member) for member in value] if isinstance(value, list) else value


@functools.cache
def _compile_layout() -> _Check:
    file = resources.files("pytest_llmcompiler") / "report" / "record.schema.json"
    schema = json.loads(file.read_text(encoding="utf-8"))
    del schema["properties"]["settings"]["required"]
    schema["properties"]["model"] = {"type": "object", "additionalProperties": True}
    return _compile(schema, schema.get("$defs", {}))


def _compile(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> _Check:
    """The check of a schema. Raises ValueError for keywords that are not known here."""
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **schema}
    unknown = schema.keys() - _KNOWN - _IGNORED
    if unknown:
        raise ValueError(f"the layout of records uses {', '.join(sorted(unknown))}, which is not known here")
    parts = [_compile_type(schema)] if "type" in schema else []
    if "enum" in schema or "const" in schema:
        parts.append(_compile_values(schema["enum"] if "enum" in schema else [schema["const"]]))
    if "properties" in schema or "additionalProperties" in schema:
        parts.append(_compile_members(schema, definitions))
    if "items" in schema:
        parts.append(_compile_items(_compile(schema["items"], definitions)))
    if "minItems" in schema or "maxItems" in schema:
        parts.append(_compile_length(schema.get("minItems", 0), schema.get("maxItems", math.inf)))
    return _join(parts)


def _join(parts: list[_Check]) -> _Check:
    if len(parts) == 1:
        return parts[0]

    def check(value: object) -> str:
        for part in parts:
            fault = part(value)
            if fault:
                return fault
        return ""

    return check


def _compile_members(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> _Check:
    members = {name: _compile(member, definitions) for name, member in schema.get("properties", {}).items()}
    required, others = schema.get("required", ()), schema.get("additionalProperties", True)
    check_other = _compile(others, definitions) if isinstance(others, dict) else _check_depth if others else _refuse

    def check(value: object) -> str:
        if not isinstance(value, dict):
            return ""
        for name in required:
            if name not in value:
                return f" needs {name!r}"
        for name, member in value.items():
            fault = members.get(name, check_other)(member)
            if fault:
                return f".{name}{fault}"
        return ""

    return check


def _refuse(value: object) -> str:
    return " is not known"


def _check_depth(value: object) -> str:
    return " is nested too deeply" if _is_deeper(value, _DEEPEST) else ""


def _is_deeper(value: object, levels: int) -> bool:
    """Whether lists and objects in a value lie deeper than so many levels."""
    if not isinstance(value, (dict, list)):
        return False
    members = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(member, levels - 1) for member in members)


def _compile_items(check_item: _Check) -> _Check:
    def check(value: object) -> str:
        for number, item in enumerate(value if isinstance(value, list) else ()):
            fault = check_item(item)
            if fault:
                return f"[{number}]{fault}"
        return ""

    return check


def _compile_type(schema: Mapping[str, Any]) -> _Check:
    """The check of the type, and of the bounds of a number. NaN is within no bounds."""
    names = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    types = frozenset(kind for name in names for kind in _TYPES[name][1])
    low, high = schema.get("minimum", -_LARGEST_NUMBER), schema.get("maximum", _LARGEST_NUMBER)
    above = schema.get("exclusiveMinimum", -math.inf)
    bounds = f" from {low}" if "minimum" in schema else f" above {above}" if "exclusiveMinimum" in schema else ""
    bounds += f" up to {high}" if "maximum" in schema else ""
    titles = [_TYPES[name][0] for name in names if len(names) == 1 or name != "null"]
    expected = " or ".join(title + (bounds if "number" in title else "") for title in titles)

    def check(value: Any) -> str:
        kind = type(value)
        if kind in types and (kind not in _NUMBERS or (low <= value <= high and value > above)):
            return ""
        return f" must be {expected}, not {_show(value)}"

    return check


def _compile_values(values: list[object]) -> _Check:
    expected = ", ".join("null" if value is None else str(value) for value in values)

    def check(value: object) -> str:
        # `1 == True` in Python, and a list is in no set: so types are compared, and in a list.
        is_one = any(type(value) is type(known) and value == known for known in values)
        return "" if is_one else f" must be one of {expected}, not {_show(value)}"

    return check


def _compile_length(fewest: int, most: float) -> _Check:
    expected = f"{fewest}" if fewest == most else f"{fewest} to {most}" if most < math.inf else f"{fewest} or more"

    def check(value: object) -> str:
        is_wrong = isinstance(value, list) and not fewest <= len(value) <= most
        return f" must have {expected} entries, not {_show(value)}" if is_wrong else ""

    return check


def _show(value: object) -> str:
    try:
        text = repr(value)
    except RecursionError:
        return "what it is"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
