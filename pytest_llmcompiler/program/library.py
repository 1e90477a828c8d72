"""The rest of the C library, for candidates that name functions which the program of a case does not have.

The program of a case holds the library functions that the case uses, and the few that compilers call on their own most
often. A candidate may name any other: gcc makes one call of `sincos` from those of `sin` and `cos`, and glibc's headers
name glibc's own functions (`glibc`). So all that the program lacks is linked at addresses of its own, when the first
candidate asks for it. The program itself stays as it is, so that what is expected of candidates stays too. What the
program has of the library is not linked again: both parts share one `errno`, one `stdout`, one `rand`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace

from pytest_llmcompiler.program.c_library import link_beside, list_library_names
from pytest_llmcompiler.program.glibc import build_aliases, load_names
from pytest_llmcompiler.program.image import ProgramImage, Symbol, read_defined_names, read_elf
from pytest_llmcompiler.program.ir import emit_object, parse
from pytest_llmcompiler.program.runtime_objects import compile_glibc
from pytest_llmcompiler.targets.target import Target

_CANDIDATE_BYTES = 64 << 20
"""Bytes of addresses that are left to candidates, which lie between the program and the rest of the library
(`assembler.linker.IMAGE_BYTES`)."""


def add_library(program: ProgramImage) -> ProgramImage:
    """The program with the rest of the C library beside it. Raises ClangError."""
    target = program.target
    shared = {name: symbol for name, symbol in program.library.items() if not symbol.is_static}
    objects = [_define_absolute(shared, target), compile_glibc(target), build_aliases(target)]
    wanted = list_library_names(target) - shared.keys()
    elf = read_elf(link_beside(objects, sorted(wanted), target.load_address + _CANDIDATE_BYTES, target))
    own = {name: symbol for name, symbol in elf.symbols.items() if name not in shared}
    return replace(
        program,
        segments=(*program.segments, *elf.segments),
        symbols=own | program.symbols,
        library=own | program.library,
    )


def may_define(name: str, target: Target) -> bool:
    """Whether the rest of the C library may define a name. It is not linked to find that out, which takes a tenth of a
    second: models name functions that are nowhere. Of names with an underscore in front, the linker defines some."""
    return name.startswith("_") or name in list_library_names(target) or name in _glibc_names(target)


@functools.cache
def _glibc_names(target: Target) -> frozenset[str]:
    """The names that `glibc.c` and the aliases define."""
    return frozenset(read_defined_names(compile_glibc(target)) | load_names().aliases.keys())


def _define_absolute(symbols: Mapping[str, Symbol], target: Target) -> bytes:
    """An object that defines symbols by their addresses."""
    lines = (
        f'@"{name}" = weak alias i8, ptr inttoptr (i64 {symbol.address} to ptr)' for name, symbol in symbols.items()
    )
    return emit_object(parse("\n".join(lines)), target.host)
