"""Pairs of inputs and outputs as a C program: a `main` that calls the function and compares.

A pair has the values of the parameters by name before and after the call, and the result under another name. Values
are JSON's: numbers, texts for pointers to characters, lists for other pointers, objects for structs. ExeBench's own
wrappers (github.com/jordiae/exebench) write them so, and compare numbers with a decimal point up to a relative error of
1e-9, as Python's `math.isclose` does.

Types are never read: `__typeof__` has them. What C there is for the pairs may not compile, and is then left out.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.importers.c_text import declare_for_tests, split_c
from pytest_llmcompiler.repro.c_literals import format_string

_MAX_PAIRS, _MAX_BYTES = 32, 1 << 18
"""Pairs of a function that are taken, and bytes of C that are written for all of them: each candidate runs on them."""
_MAX_VALUE_CHARACTERS, _MAX_ELEMENTS, _MAX_DEPTH = 1 << 16, 4096, 4
"""Of one value: characters of its text, elements of its lists, and objects in objects."""
_ROOM = 256
"""Bytes of the buffer of a text, at least: functions write behind the end of a text that they are given."""
_PARAMETER = re.compile(r"(?P<type>.*?[\s*])(?P<name>[A-Za-z_]\w*)\s*(?P<array>(?:\[[^\]]*\]\s*)*)", re.S)
_FIELD = re.compile(r"[A-Za-z_]\w*")
_PRELUDE = """\
static int llmc_is_close(double a, double b)
{
    double larger = __builtin_fabs(a) > __builtin_fabs(b) ? __builtin_fabs(a) : __builtin_fabs(b);
    return a == b || (a != a && b != b) || (__builtin_isfinite(larger) && __builtin_fabs(a - b) <= 1e-9 * larger);
}
"""


class UnwritablePairsError(LLMCompilerError):
    """No C can be written for the pairs of a function; the message says why."""


class IOPair(NamedTuple):
    """Values by name, before the call and after it."""

    input: Mapping[str, Any]
    output: Mapping[str, Any]


class WrittenTests(NamedTuple):
    """A `main` that runs pairs, and how many of them it lacks."""

    text: str
    left_out: int


class _Parameter(NamedTuple):
    declaration: str
    """The declaration with `{}` in the place of the name; an array is a pointer."""
    name: str


def read_pairs(value: object) -> tuple[list[IOPair], tuple[str, ...]]:
    """The pairs in a row, and what is said of those that can't be used.

    They are a list of objects with `input` and `output`; or an object of lists, in which the values are texts, as the
    loader of ExeBench makes it.
    """
    if isinstance(value, Mapping):
        stubs = value.get("dummy_funcs")
        found = [IOPair(_decode(one), _decode(other)) for one, other in _zip(value.get("input"), value.get("output"))]
    elif isinstance(value, list):
        rows = [row for row in value if isinstance(row, Mapping)]
        stubs = [row.get("dummy_funcs") for row in rows]
        found = [IOPair(_to_mapping(row.get("input")), _to_mapping(row.get("output"))) for row in rows]
    else:
        return [], ()
    if any(isinstance(text, str) and text.strip() for text in (stubs if isinstance(stubs, list) else [stubs])):
        # With stand-ins linked, calls of functions that the row lacks would not be compared any more.
        return [], ("the pairs are left out: they need stand-ins for functions that the row lacks",)
    return [pair for pair in found if pair.input or pair.output], ()


def write_tests(text: str, function: str, pairs: Sequence[IOPair]) -> WrittenTests:
    """C that runs the pairs on a function of a C text. Raises UnwritablePairsError."""
    head = next((item.head for item in split_c(text) if item.kind == "function" and item.name == function), "")
    parameters = _read_parameters(head, function)
    blocks, size = [], 0
    for number, pair in enumerate(pairs[:_MAX_PAIRS]):
        try:
            block = "\n".join(_write_pair(number, function, parameters, pair))
        except UnwritablePairsError:
            continue
        size += len(block)
        if size > _MAX_BYTES:
            break
        blocks.append(block)
    if not blocks:
        raise UnwritablePairsError("their values do not fit the parameters, or they say nothing of the result")
    declarations = declare_for_tests(text, "")
    body = "\n".join(blocks)
    written = f"{declarations}\n\n{_PRELUDE}\nint main(void)\n{{\n{body}\n    return 0;\n}}\n"
    return WrittenTests(written, len(pairs) - len(blocks))


# -- reading


def _zip(first: object, second: object) -> Iterator[tuple[object, object]]:
    if isinstance(first, list) and isinstance(second, list):
        yield from zip(first, second)


def _to_mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _decode(value: object) -> dict[str, Any]:
    """An object with the lists `var` and `value` as a mapping, its values read from their texts."""
    pair = _to_mapping(value)
    names, values = pair.get("var"), pair.get("value")
    if not (isinstance(names, list) and isinstance(values, list)):
        return {}
    return {str(name): _decode_value(text) for name, text in zip(names, values)}


def _decode_value(text: object) -> Any:
    """A value from its text as JSON or as Python writes it; a text that is neither stands for itself."""
    if not isinstance(text, str) or len(text) > _MAX_VALUE_CHARACTERS:
        return text
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return text


def _read_parameters(head: str, function: str) -> list[_Parameter]:
    """The parameters in the head of a function. Raises UnwritablePairsError."""
    start = re.search(rf"\b{re.escape(function)}\s*\(", head)
    if start is None:
        raise UnwritablePairsError("the head of the function can't be read")
    parts, depth = [""], 1
    for character in head[start.end() :]:
        depth += (character in "([") - (character in ")]")
        if depth == 0:
            break
        if character == "," and depth == 1:
            parts.append("")
        else:
            parts[-1] += character
    parts = [part.strip() for part in parts]
    if parts in ([""], ["void"]):
        return []
    return [_read_parameter(part) for part in parts]


def _read_parameter(text: str) -> _Parameter:
    match = _PARAMETER.fullmatch(text)
    if match is None or "(" in text or text.endswith("..."):
        raise UnwritablePairsError("a parameter is a function, or can't be read")
    if match["array"].count("[") > 1:
        raise UnwritablePairsError("a parameter is an array of arrays")
    type = re.sub(r"\*\s*const\s*$", "*", match["type"].rstrip()) + (" *" if match["array"] else "")
    if re.fullmatch(r"(?:const\s+)?void\s*(?:const\s*)?\*", type):
        raise UnwritablePairsError("a parameter is a pointer to void")
    return _Parameter(
        f"{type} {{}}".replace("{}", "\0").replace("{", "{{").replace("}", "}}").replace("\0", "{}"), match["name"]
    )


# -- writing


def _write_pair(number: int, function: str, parameters: Sequence[_Parameter], pair: IOPair) -> Iterator[str]:
    """The lines that run one pair. Raises UnwritablePairsError."""
    names = [parameter.name for parameter in parameters]
    results = [name for name in pair.output if name not in names]
    if not pair.input.keys() <= set(names) or len(results) > 1:
        raise UnwritablePairsError("it has values for what is no parameter")
    yield "    {"
    for position, parameter in enumerate(parameters):
        if parameter.name not in pair.input:
            raise UnwritablePairsError("it lacks a parameter")
        yield from _declare(position, parameter, pair.input[parameter.name])
    call = f"{function}({', '.join(f'llmc_a{position}' for position in range(len(parameters)))})"
    yield f"        __typeof__({call}) llmc_r = {call};" if results else f"        {call};"
    checks = [check for name in results for check in _compare("llmc_r", "result", pair.output[name], 0)]
    for position, name in enumerate(names):
        value, before = pair.output.get(name), pair.input[name]
        if isinstance(before, (list, str, dict)) and value is not None:
            checks += _compare_pointed(position, name, before, value)
    if not checks:
        raise UnwritablePairsError("it says nothing of what the function does")
    for condition, place in checks:
        said = format_string(f"pair {number}: {place}\n").replace("%", "%%")
        yield f"        if (!({condition})) {{ __builtin_printf({said}); return 1; }}"
    yield "    }"


def _declare(position: int, parameter: _Parameter, value: Any) -> Iterator[str]:
    """The lines that declare the variable of a parameter, and what it points to."""
    name, data = f"llmc_a{position}", f"llmc_d{position}"
    declaration = parameter.declaration.format(name)
    if isinstance(value, dict) and "*" in declaration:
        value = [value]
    if value is None:
        yield f"        {declaration} = 0;"
    elif isinstance(value, (list, str)):
        size = max(1, len(value)) if isinstance(value, list) else max(_ROOM, 4 * len(value.encode()))
        yield f"        {declaration};"
        yield f"        __typeof__(*{name}) {data}[{size}] = {_format_value(value, 0)};"
        yield f"        {name} = {data};"
    else:
        yield f"        {declaration} = {_format_value(value, 0)};"


def _format_value(value: Any, depth: int) -> str:
    """A value as an initialiser. Raises UnwritablePairsError."""
    if isinstance(value, str) and len(value) <= _MAX_VALUE_CHARACTERS:
        return format_string(value)
    if isinstance(value, (bool, int, float)):
        return _format_number(value)
    if depth < _MAX_DEPTH and isinstance(value, list) and len(value) <= _MAX_ELEMENTS:
        return f"{{{', '.join(_format_value(one, depth + 1) for one in value) or '0'}}}"
    if depth < _MAX_DEPTH and isinstance(value, dict) and value and all(map(_FIELD.fullmatch, map(str, value))):
        return f"{{{', '.join(f'.{name} = {_format_value(one, depth + 1)}' for name, one in value.items())}}}"
    raise UnwritablePairsError("a value has another shape")


def _format_number(value: bool | int | float) -> str:
    if isinstance(value, float):
        if math.isnan(value):
            return '__builtin_nan("")'
        return repr(value) if math.isfinite(value) else f"{'-' if value < 0 else ''}__builtin_inf()"
    number = int(value)
    if -(1 << 63) < number < 1 << 63:
        return str(number) if abs(number) < 1 << 31 else f"{number}LL"
    if number == -(1 << 63):
        return "(-9223372036854775807LL - 1)"
    if 0 <= number < 1 << 64:
        return f"{number}ULL"
    raise UnwritablePairsError("a number has more than 64 bits")


def _compare_pointed(position: int, name: str, before: Any, value: Any) -> list[tuple[str, str]]:
    """Conditions for what a parameter points to after the call, with the places that they are about."""
    data = f"llmc_d{position}"
    if isinstance(before, str):
        return (
            [(f"!__builtin_strcmp((const char *){data}, {format_string(value)})", name)]
            if isinstance(value, str)
            else []
        )
    if isinstance(before, dict):
        return _compare(f"{data}[0]", name, value, 0) if isinstance(value, dict) else []
    if not isinstance(value, list):
        return []
    return [
        check
        for index, one in enumerate(value[: len(before)])
        for check in _compare(f"{data}[{index}]", f"{name}[{index}]", one, 0)
    ]


def _compare(expression: str, place: str, value: Any, depth: int) -> list[tuple[str, str]]:
    """Conditions for a value after the call. What can't be compared has none."""
    if isinstance(value, float):
        return [(f"llmc_is_close({expression}, {_format_number(value)})", place)]
    if isinstance(value, (bool, int)):
        return [(f"{expression} == (__typeof__({expression}))({_format_number(value)})", place)]
    if isinstance(value, str):
        return [(f"!__builtin_strcmp((const char *){expression}, {format_string(value)})", place)]
    if isinstance(value, dict) and depth < _MAX_DEPTH and all(map(_FIELD.fullmatch, map(str, value))):
        return [
            check
            for name, one in value.items()
            for check in _compare(f"{expression}.{name}", f"{place}.{name}", one, depth + 1)
        ]
    return []
