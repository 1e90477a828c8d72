"""The other translation units of a case's program: which they are, and the whole program as one module of IR.

The units that a directive names are all linked. Of a compilation database, the units are linked that define what the
case and other linked units only declare, as a linker takes members of an archive.

What is local to a unit gets the unit's name in front, `util.c:count`, so that each file has its own. A second `main`
becomes local to its unit too.
"""

from __future__ import annotations

import functools
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.program.case import Case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.compile_flags import read_flags
from pytest_llmcompiler.program.compiled_case import CompiledCase
from pytest_llmcompiler.program.ir import merge, parse
from pytest_llmcompiler.program.signature import find_definition_line

_CACHED = 1024
"""Compiled units that are kept: the other cases of a project need them too. About as many megabytes."""


class UnitSymbols(NamedTuple):
    """The symbols of a unit that others can see."""

    strong: frozenset[str]
    """The definitions of which a program has one."""
    weak: frozenset[str]
    """The definitions that give way to another."""
    undefined: tuple[str, ...]
    """What the unit needs from others."""


class LinkedUnit(NamedTuple):
    """A unit of a case's program, besides the case itself."""

    name: str
    """The shortest relative path that tells the units of the program apart. It stands before names of local symbols."""
    compiled: CompiledCase

    def program_name(self, symbol: str) -> str:
        """The name in the program of a variable or function of this unit."""
        return f"{self.name}:{symbol}" if symbol in _local_symbols(self.compiled) else symbol


def find_units(compiled: CompiledCase) -> tuple[LinkedUnit, ...]:
    """The units that are linked with a case. Raises CaseError."""
    case = compiled.case
    units = [_compile_unit(path, case, compiled.toolchain) for path in case.links]
    _refuse_duplicates(compiled, units)
    _, *names = _name_units([case.path, *(unit.case.path for unit in units)])
    return tuple(map(LinkedUnit, names, units))


def link_units(text: str, units: Sequence[tuple[LinkedUnit, str]]) -> str:
    """The module of a whole program, from that of the case and those of its units. Raises IRError."""
    has_main = "main" in _read_symbols(text).strong
    texts = [text]
    for unit, unit_text in units:
        texts.append(_rename_locals(unit_text, unit.name, is_second_program=has_main))
        has_main = has_main or "main" in _read_symbols(unit_text).strong
    return merge(texts) if units else text


def _rename_locals(text: str, unit: str, *, is_second_program: bool) -> str:
    """The module of a unit with its name before those of its local symbols; of a second program, `main` is one."""
    module = parse(text)
    for value in (*module.functions, *module.global_variables):
        if is_second_program and value.name == "main" and not value.is_declaration:
            value.linkage = "internal"
        if value.linkage.name in ("internal", "private") and value.name and not value.name.startswith("llvm."):
            value.name = f"{unit}:{value.name}"
    return str(module)


@functools.lru_cache(_CACHED)
def _local_symbols(compiled: CompiledCase) -> frozenset[str]:
    module = parse(compiled.ir)
    values = (*module.functions, *module.global_variables)
    return frozenset(value.name for value in values if value.linkage.name in ("internal", "private"))


@functools.lru_cache(_CACHED)
def _symbols_of(compiled: CompiledCase) -> UnitSymbols:
    return _read_symbols(compiled.ir)


def _read_symbols(text: str) -> UnitSymbols:
    module = parse(text)
    values = [v for v in (*module.functions, *module.global_variables) if not v.name.startswith("llvm.")]
    hidden = ("internal", "private", "available_externally")
    defined = [value for value in values if not value.is_declaration and value.linkage.name not in hidden]
    strong = frozenset(value.name for value in defined if value.linkage.name == "external")
    # A weak declaration needs nothing, and an inline function of C needs the definition in another file.
    undefined = (value for value in values if value.is_declaration or value.linkage.name == "available_externally")
    return UnitSymbols(
        strong,
        frozenset(value.name for value in defined) - strong,
        tuple(value.name for value in undefined if value.linkage.name != "external_weak"),
    )


# -- which units


def _compile_unit(path: Path, case: Case, toolchain: Toolchain) -> CompiledCase:
    flags = () if path.suffix == ".ll" else read_flags(path, case.flag_sources)
    return CompiledCase(Case(path, path.name, compile_flags=flags), toolchain)


def _refuse_duplicates(case: CompiledCase, units: Sequence[CompiledCase]) -> None:
    """Raise CaseError where a directive links two definitions of a symbol, but for a `main` beside that of the case."""
    places: dict[str, CompiledCase] = dict.fromkeys(_symbols_of(case).strong, case)
    for unit in units:
        symbols = _symbols_of(unit).strong
        for name in sorted(symbols & places.keys()):
            if name == "main" and places[name] is case:
                continue
            where, twice = (
                case.case.links[unit.case.path],
                " and ".join(_describe_definition(owner, name) for owner in (places[name], unit)),
            )
            raise CaseError(f"{where}: {name!r} is defined twice in one program: in {twice}")
        places |= dict.fromkeys(symbols, unit)


def _describe_definition(unit: CompiledCase, name: str) -> str:
    line = None if unit.case.is_ir else find_definition_line(unit.debug_image, name)
    return f"{unit.case.path}:{line}" if line else str(unit.case.path)


def _name_units(paths: Sequence[Path]) -> list[str]:
    """The names of units, of which the first is the case: file names, or paths from the case where two are the same."""
    counts = Counter(path.name for path in paths)
    relative = (os.path.relpath(path, paths[0].parent) for path in paths)
    names = [path.name if counts[path.name] == 1 else other for path, other in zip(paths, relative, strict=True)]
    return [re.sub(r"[^-\w./]", "_", name.replace(os.sep, "/")) for name in names]
