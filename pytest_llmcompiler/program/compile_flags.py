"""The flags that a C file is compiled with, from all that can name flags: databases, settings, directives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmcompiler.program.compilation_database import find_databases, list_files, read_entry
from pytest_llmcompiler.program.directive_comments import find_directives, read_source
from pytest_llmcompiler.program.flag_words import CompileFlags, parse_flags
from pytest_llmcompiler.targets.levels import ISA_LEVELS

DIRECTIVE = "cflags"
"""The first word of the directive that names flags."""
ISA_DIRECTIVE = "isa"
"""The first word of the directive that names a level of the instruction set, which is a flag of clang too."""


@dataclass(frozen=True)
class FlagSources:
    """Where the flags of C files come from, besides their own directives."""

    common: tuple[CompileFlags, ...] = ()
    """Flags of every file."""
    database: Path | None = None
    """The compilation database, or its folder. None: the nearest one above a file that has an entry for it."""
    has_databases: bool = True
    """Whether compilation databases count at all. They don't for source text."""
    links_database: bool = False
    """Whether the other files of the compilation database are linked, as far as the case needs them."""

    def to_json(self) -> dict[str, Any]:
        """The sources as a JSON object."""
        return {
            "common": [(list(flags.flags), flags.origin) for flags in self.common],
            "database": str(self.database) if self.database else None,
            "has_databases": self.has_databases,
            "links_database": self.links_database,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> FlagSources:
        """The sources that `to_json` wrote."""
        return cls(
            common=tuple(CompileFlags(tuple(flags), origin) for flags, origin in data["common"]),
            database=Path(data["database"]) if data["database"] else None,
            has_databases=data["has_databases"],
            links_database=data["links_database"],
        )


def read_flags(path: Path, sources: FlagSources | None = None) -> tuple[CompileFlags, ...]:
    """The flags of the C file at `path`, which need not be a case. In clang a later flag wins.

    First come those of a compilation database, then those of all files, then those of the file's directives. Raises
    CaseError.
    """
    sources = sources or FlagSources()
    return *_read_database(path, sources), *sources.common, *_read_directives(path)


def _read_database(path: Path, sources: FlagSources) -> Iterator[CompileFlags]:
    for database in _databases(path, sources):
        flags = read_entry(database, path)
        if flags:
            yield flags
            return


def _databases(path: Path, sources: FlagSources) -> Iterator[Path]:
    """The databases that may have an entry for a file. The first that has one counts."""
    if sources.has_databases:
        yield from (sources.database,) if sources.database else find_databases(path)


def list_database_files(path: Path, sources: FlagSources) -> list[Path]:
    """The C files in the compilation database that has the flags of a file. Raises CaseError."""
    databases = (database for database in _databases(path, sources) if read_entry(database, path))
    return next(map(list_files, databases), [])


def _read_directives(path: Path) -> Iterator[CompileFlags]:
    for line, text in find_directives(path, read_source(path)):
        word, _, rest = text.partition(" ")
        if word == DIRECTIVE:
            yield parse_flags(rest, path.parent, f"{path}:{line}")
        elif word == ISA_DIRECTIVE and rest.strip() in ISA_LEVELS:
            yield CompileFlags((f"-march={rest.strip()}",), f"{path}:{line}")
