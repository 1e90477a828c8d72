"""ExeBench: functions from GitHub with what they need, pairs of inputs and outputs, and gcc's assembly.

The columns are those of the data set's loader (github.com/jordiae/exebench, huggingface.co/datasets/jordiae/exebench):
`path`, `func_def`, `func_head`, `func_head_types`, `fname`, `signature`, `asm` (`code` and `target`), `synth_deps`,
`real_deps`, `synth_io_pairs`, `real_io_pairs`. Its files have the same below `text`, where `synth` is called `angha`,
`asm` is an object by target, and pairs are a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pytest_llmcompiler.importers.c_text import list_functions, make_external, remove_line_markers
from pytest_llmcompiler.importers.columns import check_text, find_text, find_value, require_text
from pytest_llmcompiler.importers.imported import ImportedAnswer, ImportedCase, ImportedTests, Row, RowError
from pytest_llmcompiler.importers.io_pairs import IOPair, UnwritablePairsError, read_pairs, write_tests

_KINDS = (("real", ("real",)), ("synth", ("synth", "angha")))
"""What the function needs: as it was in its project, or as a tool has made it up; with the columns' names."""
_TARGET = re.compile(r"(?P<kind>real|synth|angha)_(?P<compiler>\w+)_x86_(?P<level>O[0-3sz])")
"""A target whose assembly is an answer here: `angha_gcc_x86_O0`, `real_gcc_x86_Os`."""


class _Dependencies(NamedTuple):
    names: tuple[str, ...]
    """What stands before `_deps` in the name of the column."""
    text: str
    pairs: Sequence[IOPair]
    notes: tuple[str, ...] = ()


def read_exebench(row: Row) -> ImportedCase:
    """The case of a row. Raises RowError."""
    data = _find_columns(row)
    definition = require_text(data, "func_def")
    functions = list_functions(definition)
    name = find_text(data, "fname") or next(iter(functions), "")
    if name not in functions:
        raise RowError("func_def does not define the function that fname names")
    needs = _choose_dependencies(data)
    external = make_external(definition, name) if needs.pairs else definition
    text = f"{remove_line_markers(needs.text).strip()}\n\n{external.strip()}\n".lstrip()
    tests, notes = _write_tests(text, name, needs)
    if external != definition:
        notes = (*notes, "`static` is left out, so that the pairs can call the function")
    return ImportedCase(
        name=f"{row.number:06d}_{name}",
        text=text,
        functions=(name,),
        tests=tests,
        answers=tuple(_read_answers(data, needs.names)),
        notes=(*needs.notes, *notes),
    )


def _find_columns(row: Row) -> Mapping[str, Any]:
    inner = row.data.get("text")
    return inner if isinstance(inner, Mapping) else row.data


def _choose_dependencies(data: Mapping[str, Any]) -> _Dependencies:
    """What the function needs: the first kind that has pairs, else the first that the row has at all."""
    found = []
    for kind, names in _KINDS:
        text = find_text(data, *(f"{name}_deps" for name in names))
        value = find_value(data, *(f"{name}_io_pairs" for name in names))
        pairs, notes = read_pairs(value)
        if text or value is not None:
            found.append(_Dependencies((*names, kind), text, pairs, notes))
    with_pairs = (one for one in found if one.pairs)
    return next(with_pairs, found[0] if found else _Dependencies((), "", ()))


def _write_tests(text: str, function: str, needs: _Dependencies) -> tuple[ImportedTests | None, tuple[str, ...]]:
    if not needs.pairs:
        return None, ()
    try:
        written = write_tests(text, function, needs.pairs)
    except UnwritablePairsError as error:
        return None, (f"the pairs are left out: {error}",)
    notes = (f"{written.left_out} of {len(needs.pairs)} pairs are left out",) if written.left_out else ()
    return ImportedTests(written.text, "io"), notes


def _read_answers(data: Mapping[str, Any], kinds: Sequence[str]) -> Iterator[ImportedAnswer]:
    """The assembly of compilers for x86-64 that were given what the case has."""
    for target, code in _list_assembly(find_value(data, "asm")):
        match = _TARGET.fullmatch(target)
        if match and match["kind"] in kinds and code.strip():
            yield ImportedAnswer(check_text(code, "asm"), match["compiler"], passes=match["level"])


def _list_assembly(value: object) -> Iterator[tuple[str, str]]:
    """Targets and assembly: of two lists side by side, or of an object by target."""
    if not isinstance(value, Mapping):
        return
    code, target = value.get("code"), value.get("target")
    if isinstance(code, list) and isinstance(target, list):
        yield from ((str(name), text) for name, text in zip(target, code) if isinstance(text, str))
        return
    for name, parts in value.items():
        if isinstance(parts, Mapping):
            texts = [parts.get(part) for part in ("pre_asm", "func_asm", "post_asm")]
            if isinstance(texts[1], str):
                yield str(name), "\n".join(text for text in texts if isinstance(text, str))
