"""glibc's names: which of them the bundled C library has, which are other names of its functions, and which it lacks.

Answers and training data are compiled against glibc's headers, which turn calls into calls of glibc's own functions.
`glibc.c` defines those that musl has no equal of. `glibc_names.txt` has every name that glibc exports.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pytest_llmcompiler.cache_files import CacheFile, describe_libraries
from pytest_llmcompiler.program.image import read_defined_names, read_undefined_names
from pytest_llmcompiler.program.ir import emit_object, parse
from pytest_llmcompiler.program.runtime_objects import compile_glibc
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.target import Target


class GlibcNames(NamedTuple):
    """The names that glibc exports."""

    available: frozenset[str]
    """Those that the bundled C library or `glibc.c` has."""
    aliases: dict[str, str]
    """Other names of functions of the bundled C library or of `glibc.c` -> the name there."""
    lacking: frozenset[str]
    """All others."""

    def find_known(self, names: Iterable[str]) -> frozenset[str]:
        """Those of `names` that the bundled C library or `glibc.c` has under any name."""
        return frozenset(name for name in names if name in self.available or name in self.aliases)


@functools.cache
def load_names() -> GlibcNames:
    """Read the list. `benchmarks/list_glibc_names.py` writes it: a line for each name, followed by `= NAME` for an
    alias, and by `?` for a function or variable that the bundled C library lacks."""
    text = Path(__file__).with_name("glibc_names.txt").read_text(encoding="ascii")
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return GlibcNames(
        frozenset(words[0] for words in lines if len(words) == 1),
        {words[0]: words[2] for words in lines if len(words) == 3},
        frozenset(words[0] for words in lines if words[1:] == ["?"]),
    )


def build_glibc(names: frozenset[str], target: Target) -> list[bytes]:
    """The objects that define names of glibc for a program, with all of `glibc.c`."""
    return [compile_glibc(target), build_aliases(target, names)]


def find_glibc_objects(data: bytes) -> dict[str, bytes]:
    """The objects, by the names of their files, that define what an object for x86-64 Linux names of glibc; none where
    musl has all of it."""
    undefined, target = read_undefined_names(data), get_target()
    if undefined.isdisjoint(load_names().aliases.keys() | read_defined_names(compile_glibc(target))):
        return {}
    return dict(zip(("glibc.o", "glibc_aliases.o"), build_glibc(undefined, target)))


@functools.cache
def build_aliases(target: Target, names: frozenset[str] | None = None) -> bytes:
    """The object that defines aliases, all or those of `names`: each is a jump to the function that it stands for."""
    aliases = {name: to for name, to in load_names().aliases.items() if names is None or name in names}
    lines = [f"declare void @{to}(...)" for to in sorted({*aliases.values()} - aliases.keys())]
    lines += [
        f"define void @{name}(...) {{\n musttail call void (...) @{to}(...)\n ret void\n}}"
        for name, to in aliases.items()
    ]
    text = "\n".join(lines)
    file = CacheFile("objects", (describe_libraries("llvmlite"), target.name, text))
    data = file.read()
    if data is None:
        data = emit_object(parse(text), target.host)
        file.write(data)
    return data
