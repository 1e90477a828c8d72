"""Compiled cases on disk: a reference whose parts an earlier process has compiled, without a call of the compiler.

A file of the cache is named by what the caller gives: the bytes of the case, its flags, the target, the compiler, the
text of this package. Which headers and linked files the compiler then reads, only the compiler says. So the file has a
list of them, with a digest of each, and is of no use where one has changed. Nor is it where a file has appeared that
the compiler would read in the place of one of them. This is what ccache calls its direct mode.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_llmcompiler.cache_files import CacheFile, describe_libraries, describe_package
from pytest_llmcompiler.program.case import Case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.compile_flags import read_flags
from pytest_llmcompiler.program.flag_table import FOLDER_FLAGS
from pytest_llmcompiler.program.image import ProgramImage, ProgramSegment, Symbol
from pytest_llmcompiler.program.initial_values import CellValue, SymbolAddress
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.program.stand_ins import DeclaredVariable
from pytest_llmcompiler.program.symbol_facts import ProgramVariable, SymbolFacts
from pytest_llmcompiler.values.c_types import (
    Array,
    Field,
    Float,
    Function,
    Int,
    Param,
    Pointer,
    Struct,
    Unsupported,
    Vector,
)
from pytest_llmcompiler.values.pickled import PickleFormat

_LIBRARIES = ("llvmlite", "ziglang")
"""The libraries that compile."""
_VARIABLES = ("CPATH", "C_INCLUDE_PATH", "CCC_OVERRIDE_OPTIONS", "COMPILER_PATH", "SOURCE_DATE_EPOCH")
"""The variables of the environment that clang reads."""
_OWN_HEADERS = re.compile(rb"^[ \t]*(?:#|%:)[ \t]*(?:include|import)\b(?!\s*<)|include_next", re.M)
"""What may read other files where the case lies in another folder."""
_UNSTABLE = re.compile(rb"__DATE__|__TIME__|__TIMESTAMP__|__has_include|__has_embed|\.incbin|#\s*embed")
"""What makes other code of the same text: the time, files that the compiler does not name, files that are not there."""
_CLOCK_TICK = 10_000_000
"""Nanoseconds by which the time of a change may be older than the change: the kernel's clock has ticks."""
_PARTS = (
    *("ir", "program_ir", "thread_locals", "included", "headers_digest", "fingerprint", "source_files"),
    *("signatures", "defined_variables", "_declared_variables", "external_functions"),
    *("golden", "symbol_facts"),
)
"""The properties of a reference that are stored."""
_C_PARTS = ("own_lines",)
"""Those that only a C file has."""
_PROGRAMS = ("probe", "perturbed", "golden_with_library")
"""The programs that are stored each in a file of its own."""
_PATHS = ("included", "source_files")
"""Those that are paths."""
_RECURSION = 20_000
"""Calls that pickling may nest: each struct that leads to another takes seven."""


@dataclass(frozen=True)
class SavedReference:
    """The parts of a reference, and what they depend on beside the name of the file."""

    files: tuple[tuple[str, str], ...]
    """The headers and linked files, each with the digest of its contents."""
    absent: tuple[str, ...]
    """Files that the compiler would read in the place of one of these, if they were there."""
    parts: dict[str, Any]

    @property
    def is_valid(self) -> bool:
        """Whether the file can be used: all parts are there, and nothing has changed."""
        if not self.parts.keys() >= {*_PARTS}:
            return False
        is_hidden = any(Path(path).exists() for path in self.absent)
        return not is_hidden and all(_hash_file(path) == digest for path, digest in self.files)


_CLASSES = (
    *(SavedReference, ProgramImage, ProgramSegment, Symbol, DeclaredVariable),
    *(SymbolFacts, ProgramVariable, CellValue, SymbolAddress),
    *(Int, Float, Pointer, Array, Vector, Field, Struct, Function, Param, Unsupported),
)


class CachedReference(Reference):
    """A reference that is read from the cache, and stored there once it was compiled. Raises CaseError."""

    def __init__(self, case: Case, toolchain: Toolchain) -> None:
        super().__init__(case, toolchain)
        self._opened, self._source = time.time_ns(), _read_source(case.path)
        self._is_stored, self._stored_programs = False, set[str]()
        # Whatever other file of a database changes, another one of its files may be linked.
        self._can_be_stored = not case.flag_sources.links_database
        if not self._can_be_stored:
            return
        self._format = PickleFormat(_CLASSES, (), [self.target])
        self._file = CacheFile("cases", self._describe())
        saved = self._load()
        if saved:
            self._is_stored = True
            paths = {name: tuple(map(Path, saved.parts[name])) for name in _PATHS}
            paths["source_files"] = (case.path, *case.flag_files, *paths["source_files"])
            vars(self).update(saved.parts | paths)

    @functools.cached_property
    def _has_place(self) -> bool:
        """Whether the case can mean something else in another folder."""
        case = self.case
        return bool(case.links or any(map(os.path.isabs, case.cflags)) or _OWN_HEADERS.search(self._source))

    def _describe(self) -> Iterator[str]:
        """All that the parts depend on, but for headers and the contents of linked files."""
        case, clang = self.case, self.toolchain.clang
        yield from (describe_package(), describe_libraries(*_LIBRARIES), *self._format.describe())
        yield from (self.target.name, _describe_clang(clang), *(repr(os.environ.get(name)) for name in _VARIABLES))
        yield from (case.path.name, hashlib.sha256(self._source).hexdigest(), *case.cflags)
        yield str(case.path.parent) if self._has_place else ""
        for path in case.links:
            flags = () if path.suffix == ".ll" else read_flags(path, case.flag_sources)
            yield from (str(path), *(flag for group in flags for flag in group.flags))

    def _load(self) -> SavedReference | None:
        data = self._file.read()
        try:
            saved = self._format.load(data) if data is not None else None
            return saved if isinstance(saved, SavedReference) and saved.is_valid else None
        except Exception:  # unpickling a broken file can raise any exception
            return None

    @functools.cached_property
    def probe(self) -> ProgramImage:
        return self._load_program("probe") or super().probe

    @functools.cached_property
    def perturbed(self) -> ProgramImage:
        return self._load_program("perturbed") or super().perturbed

    @functools.cached_property
    def golden_with_library(self) -> ProgramImage:
        return self._load_program("golden_with_library") or super().golden_with_library

    def _load_program(self, name: str) -> ProgramImage | None:
        """A program that is stored apart, since few processes need it."""
        if not self._can_be_stored:
            return None
        try:
            data = self._program_file(name).read()
            program = self._program_format.load(data) if data is not None else None
        except Exception:  # as above
            return None
        if not isinstance(program, ProgramImage):
            return None
        self._stored_programs.add(name)
        return program

    def _program_file(self, name: str) -> CacheFile:
        libraries = describe_libraries(*_LIBRARIES)
        return CacheFile("programs", (describe_package(), libraries, self.target.name, self.fingerprint, name))

    @functools.cached_property
    def _program_format(self) -> PickleFormat:
        """How programs are stored that may have parts of the golden one."""
        return PickleFormat(_CLASSES, (), [self.target, *(part.data for part in self.golden.segments)])

    def keep(self) -> None:
        """Store what was compiled for later processes, as far as it can be stored."""
        self._keep_parts()
        programs = {name: vars(self)[name] for name in _PROGRAMS if name in vars(self)}
        new = programs.keys() - self._stored_programs
        self._stored_programs |= new
        if new and self._can_be_stored and self._is_stable(self._list_others()):
            for name in new:
                program = replace(programs[name])  # as above
                self._program_file(name).write(self._program_format.dump(program, zlib.Z_BEST_SPEED))

    def _list_others(self) -> list[str]:
        """The headers and linked files."""
        own = {self.case.path, *self.case.flag_files}
        return [str(path) for path in self.source_files if path not in own]

    def _keep_parts(self) -> None:
        if self._is_stored or not self._can_be_stored:
            return
        self._is_stored = True
        others = self._list_others()
        if (others and not self._has_place) or not self._is_stable(others):
            return
        # Paths are objects of the standard library's own classes, so they are stored as texts.
        parts = {name: getattr(self, name) for name in (*_PARTS, *(() if self.case.is_ir else _C_PARTS))}
        parts |= {"included": tuple(map(str, self.included)), "source_files": tuple(others)}
        parts["golden"] = replace(self.golden)  # without what is computed from it
        files = tuple((path, _hash_file(path)) for path in (*others, *_list_flag_files(self.case)))
        saved = SavedReference(files, tuple(_list_shadows(others, self.case)), parts)
        with contextlib.suppress(RecursionError), _deep_recursion():
            self._file.write(self._format.dump(saved, zlib.Z_BEST_SPEED))

    def _is_stable(self, others: Sequence[str]) -> bool:
        """Whether the same files give the same parts, and whether none of them has changed since they were read."""
        try:
            states = [(Path(path).stat(), Path(path).read_bytes()) for path in others]
            is_same = self.case.path.read_bytes() == self._source
        except OSError:
            return False
        is_old = all(state.st_mtime_ns < self._opened - _CLOCK_TICK for state, _ in states)
        return is_same and is_old and not any(map(_UNSTABLE.search, (self._source, *(data for _, data in states))))


def _read_source(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the compiler says so in words
        return b""


@contextlib.contextmanager
def _deep_recursion() -> Iterator[None]:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(_RECURSION)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _describe_clang(clang: str | None) -> str:
    """A system clang, as the file system knows it. The bundled one is of one release."""
    path = shutil.which(clang) if clang else None
    if path is None:
        return str(clang)
    state = Path(path).stat()
    return f"{Path(path).resolve()} {state.st_size} {state.st_mtime_ns}"


def _hash_file(path: str) -> str:
    """A digest of a file's contents; empty where there is none."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def _list_flag_files(case: Case) -> Iterator[str]:
    """The files that flags name."""
    values = (value for flag in case.cflags for value in (flag, flag.partition("=")[2]))
    yield from (value for value in values if Path(value).is_absolute() and Path(value).is_file())


def _list_shadows(files: Sequence[str], case: Case) -> list[str]:
    """Files that are not there, and that a compiler may find before it finds some header: the same names in the other
    folders in which it searches."""
    flags = (flag.removeprefix(option) for flag in case.cflags for option in ("", *FOLDER_FLAGS))
    folders = {str(case.path.parent), *(str(Path(file).parent) for file in files), *filter(os.path.isabs, flags)}
    inside = ((file, f"{folder}{os.sep}") for file in files for folder in folders)
    names = {file.removeprefix(start) for file, start in inside if file.startswith(start)}
    paths = (Path(folder, name) for folder in folders for name in names)
    return sorted(str(path) for path in paths if not path.exists())
