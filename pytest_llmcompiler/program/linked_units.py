"""The other translation units of a case's program: which they are, and the whole program as one module of IR.

The units that a directive names are all linked. Of a compilation database, the units are linked that define what the
case and other linked units only declare, as a linker takes members of an archive.

What is local to a unit gets the unit's name in front, `util.c.count`, so that each file has its own. A second `main`
becomes local to its unit too.
"""

from __future__ import annotations

import functools
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.program.case import Case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.compile_flags import FlagSources, list_database_files, read_flags
from pytest_llmcompiler.program.compiled_case import CompiledCase
from pytest_llmcompiler.program.file_cache import FileCache
from pytest_llmcompiler.program.ir import merge, parse
from pytest_llmcompiler.program.ir_names import print_ir
from pytest_llmcompiler.program.needed_units import select_needed
from pytest_llmcompiler.program.signature import find_definition_line
from pytest_llmcompiler.program.unit_symbols import NO_SYMBOLS, UnitSymbols

_UNITS: FileCache[CompiledCase] = FileCache(64)
"""Compiled units: the other cases of a project need them too. Some megabytes each."""
_SYMBOLS: FileCache[UnitSymbols] = FileCache(4096)
"""The symbols of the files of compilation databases. Some kilobytes each."""


class LinkedUnit(NamedTuple):
    """A unit of a case's program, besides the case itself."""

    name: str
    """The file's name or, where two files have the same, its path from the case. It stands before local symbols."""
    compiled: CompiledCase

    def program_name(self, symbol: str) -> str:
        """The name in the program of a variable or function of this unit."""
        return f"{self.name}.{symbol}" if symbol in self.compiled.symbols.local else symbol


def find_units(compiled: CompiledCase) -> tuple[LinkedUnit, ...]:
    """The units that are linked with a case. Raises CaseError."""
    case = compiled.case
    units = [_compile_unit(path, case.flag_sources, compiled.toolchain) for path in case.links]
    _refuse_duplicates(compiled, units)
    _require_main(compiled, units)
    if case.flag_sources.links_database:
        needed = select_needed([compiled.symbols, *(unit.symbols for unit in units)], _read_database(compiled))
        units += [_compile_unit(path, case.flag_sources, compiled.toolchain) for path in needed]
    _, *names = _name_units([case.path, *(unit.case.path for unit in units)])
    return tuple(map(LinkedUnit, names, units))


def link_units(text: str, units: Sequence[tuple[LinkedUnit, str]], *, has_main: bool) -> str:
    """The module of a whole program, from that of the case and those of its units. `has_main` says whether the case
    defines `main`. Raises IRError."""
    texts = [text]
    for unit, unit_text in units:
        texts.append(_rename_locals(unit_text, unit.name, is_second_program=has_main))
        has_main = has_main or "main" in unit.compiled.symbols.strong
    return merge(texts) if units else text


def _rename_locals(text: str, unit: str, *, is_second_program: bool) -> str:
    """The module of a unit with its name before those of its local symbols; of a second program, `main` is one."""
    module = parse(text)
    for value in (*module.functions, *module.global_variables):
        if is_second_program and value.name == "main" and not value.is_declaration:
            value.linkage = "internal"
        if value.linkage.name in ("internal", "private") and value.name and not value.name.startswith("llvm."):
            value.name = f"{unit}.{value.name}"
    return print_ir(module)


# -- which units


def _compile_unit(path: Path, sources: FlagSources, toolchain: Toolchain) -> CompiledCase:
    def compile_unit() -> tuple[CompiledCase, Iterable[Path]]:
        flags = () if path.suffix == ".ll" else read_flags(path, sources)
        unit = CompiledCase(Case(path, path.name, compile_flags=flags), toolchain)
        return unit, unit.source_files

    return _UNITS.find((path, sources, toolchain), compile_unit)


def _read_database(case: CompiledCase) -> dict[Path, UnitSymbols]:
    """The symbols of the files of the case's compilation database that it does not link by a directive.

    A file that does not compile has none.
    """
    sources, toolchain = case.case.flag_sources, case.toolchain
    program = {path.resolve() for path in (case.case.path, *case.case.links)}
    return {
        path: _SYMBOLS.find((path, sources, toolchain), functools.partial(_read_symbols, path, sources, toolchain))
        for path in list_database_files(case.case.path, sources)
        if path not in program
    }


def _read_symbols(path: Path, sources: FlagSources, toolchain: Toolchain) -> tuple[UnitSymbols, Iterable[Path]]:
    try:
        unit = CompiledCase(Case(path, path.name, compile_flags=read_flags(path, sources)), toolchain)
        return unit.symbols, unit.source_files
    except CaseError:
        return NO_SYMBOLS, (path,)


def _refuse_duplicates(case: CompiledCase, units: Sequence[CompiledCase]) -> None:
    """Raise CaseError where a directive links two definitions of a symbol, but for a `main` beside that of the case."""
    places: dict[str, CompiledCase] = dict.fromkeys(case.symbols.strong, case)
    for unit in units:
        symbols = unit.symbols.strong
        for name in sorted(symbols & places.keys()):
            if name == "main" and places[name] is case:
                continue
            first, second = (_describe_definition(owner, name) for owner in (places[name], unit))
            where = case.case.links[unit.case.path]
            raise CaseError(f"{where}: {name!r} is defined twice in one program: in {first} and {second}")
        places |= dict.fromkeys(symbols, unit)


def _require_main(case: CompiledCase, units: Sequence[CompiledCase]) -> None:
    """Raise CaseError where the published tests of a case have no `main`, or are not the only ones that have."""
    tests = case.case.tests
    if tests is None:
        return
    owners = [unit.case.path for unit in (case, *units) if "main" in unit.symbols.strong]
    if tests.path not in owners:
        raise CaseError(f"{tests.where}: {tests.path} defines no `main`")
    if len(owners) > 1:
        other = next(path for path in owners if path != tests.path)
        raise CaseError(f"{tests.where}: {other} has a `main` of its own, so these tests can't be run")


def _describe_definition(unit: CompiledCase, name: str) -> str:
    line = None if unit.case.is_ir else find_definition_line(unit.debug_image, name)
    return f"{unit.case.path}:{line}" if line else str(unit.case.path)


def _name_units(paths: Sequence[Path]) -> list[str]:
    """The names of units, of which the first is the case: file names, or paths from the case where two are the same."""
    counts = Counter(path.name for path in paths)
    relative = (os.path.relpath(path, paths[0].parent) for path in paths)
    names = [path.name if counts[path.name] == 1 else other for path, other in zip(paths, relative, strict=True)]
    return [re.sub(r"[^-\w.]", "_", name, flags=re.A) for name in names]  # what needs no quotes in IR
