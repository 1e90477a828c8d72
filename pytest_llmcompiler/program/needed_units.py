"""The units of a compilation database that a program needs, as a linker takes members of an archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_llmcompiler.program.unit_symbols import UnitSymbols


def select_needed(program: Sequence[UnitSymbols], others: Mapping[Path, UnitSymbols]) -> Iterator[Path]:
    """Those of the other files that define what the files of a program only declare, and what these need in turn.

    Of several definitions of a symbol the first counts whose file defines nothing that the program has already: a test
    may replace a part of the program that it tests.
    """
    defined = {name for symbols in program for name in symbols.defined}
    wanted = [name for symbols in program for name in symbols.undefined]
    providers: dict[str, list[Path]] = {}
    for path, symbols in others.items():
        for name in symbols.defined:
            providers.setdefault(name, []).append(path)
    for name in wanted:  # grows with each file that is taken
        paths = providers.get(name, ()) if name not in defined else ()
        for path in [path for path in paths if not (others[path].strong & defined) - {"main"}][:1]:
            defined |= others[path].defined
            wanted += others[path].undefined
            yield path
