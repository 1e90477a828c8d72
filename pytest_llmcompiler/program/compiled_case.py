"""A case as clang reads it: its IR, its debug information, and where its functions are in the file."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmcompiler.errors import ClangError, IRError
from pytest_llmcompiler.program import signature
from pytest_llmcompiler.program.case import Case
from pytest_llmcompiler.program.clang import CompiledUnit, Toolchain
from pytest_llmcompiler.program.compile_errors import describe_failure
from pytest_llmcompiler.program.directive_comments import read_ir
from pytest_llmcompiler.program.included_files import hash_contents
from pytest_llmcompiler.program.ir import parse
from pytest_llmcompiler.program.ir_extract import inline_always, retarget
from pytest_llmcompiler.program.ir_names import print_ir, require_readable_symbols
from pytest_llmcompiler.program.ir_rewrites import call_memcpy, remove_source_path, tighten_pointer_checks
from pytest_llmcompiler.program.tool_run import Background
from pytest_llmcompiler.program.unit_symbols import UnitSymbols, read_symbols
from pytest_llmcompiler.program.varargs import find_indirect_arguments
from pytest_llmcompiler.values.c_types import Type

_TARGET_FEATURES = re.compile(r'"target-features"="([^"]*)"')

if TYPE_CHECKING:
    import llvmlite.binding as llvm


class CompiledCase:
    """A case and what the compiler says of the whole file. Each property is computed at its first use, and kept."""

    def __init__(self, case: Case, toolchain: Toolchain) -> None:
        self.case = case
        self.toolchain = toolchain
        self.target = toolchain.target

    @functools.cached_property
    def ir(self) -> str:
        """The IR of the whole file. Raises CompileError with the compiler's message where the file does not compile."""
        with self.blame_case():
            text = read_ir(self.case.path) if self.case.is_ir else self._unit.ir
            require_readable_symbols(text)
            if not self.case.is_ir:
                return text
            parse(text)
            return retarget(text, self.target)

    @functools.cached_property
    def _unit(self) -> CompiledUnit:
        return self.toolchain.compile_unit(self.case.path, self.case.cflags)

    def start_probe_ir(self) -> None:
        """Start to compile what `probe_ir` is made of."""
        if not self.case.is_ir and "probe_ir" not in vars(self):
            _ = self._probe

    @functools.cached_property
    def _debug(self) -> Background[bytes]:
        return Background(lambda: self.toolchain.start_debug_image(self.case.path, self.case.cflags))

    @functools.cached_property
    def _probe(self) -> Background[str]:
        return Background(lambda: self.toolchain.start_probe_ir(self.case.path, self.case.cflags))

    @functools.cached_property
    def _optimisable(self) -> Background[str]:
        return Background(lambda: self.toolchain.start_optimisable_ir(self.case.path, self.case.cflags))

    @functools.cached_property
    def included(self) -> tuple[Path, ...]:
        """The files that a C file includes, without the headers of the C library. Empty for IR."""
        with self.blame_case():
            return () if self.case.is_ir else self._unit.included

    @functools.cached_property
    def headers_digest(self) -> str:
        """A digest of the contents of the included files, in hexadecimal."""
        return hash_contents(self.included)

    @property
    def source_files(self) -> tuple[Path, ...]:
        """The files that decide what the case means: itself, those with its flags, and those that it includes."""
        return self.case.path, *self.case.flag_files, *self.included

    @functools.cached_property
    def optimisable_ir(self) -> str:
        """The IR of the whole file as clang hands it to its optimiser: with the aliasing rules of C's types, and the
        lifetimes of local variables. Its symbols are those of `ir`."""
        if self.case.is_ir:
            return self.ir
        with self.blame_case():
            text = self._optimisable.result()
            text = inline_always(text, self.target)
            # Code with another set of constants could not use those of the program.
            return text if _constants_of(parse(text)) == _constants_of(self.module) else self.ir

    @property
    def ir_without_path(self) -> str:
        """The IR of the whole file without the lines that name the file."""
        return remove_path(self.ir)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A SHA-256 digest, in hexadecimal. It changes with the file, with its headers and with the compiler."""
        digest = hashlib.sha256(self.case.path.read_bytes())
        for text in (self.headers_digest, *self.case.modes, self.ir_without_path):
            digest.update(text.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    @functools.cached_property
    def module(self) -> llvm.ModuleRef:
        """The IR of the whole file, parsed. It is shared: don't change it."""
        return parse(self.ir)

    @functools.cached_property
    def symbols(self) -> UnitSymbols:
        """The symbols of the file: what other files can see of it, and what it needs of them."""
        return read_symbols(self.module)

    @contextmanager
    def blame_case(self) -> Iterator[None]:
        """Turn an error of a tool into a CompileError that names the file."""
        try:
            yield
        except (ClangError, IRError) as error:
            raise describe_failure(self.case, str(error)) from error

    @functools.cached_property
    def debug_image(self) -> bytes:
        """An ELF file with the DWARF of a C file."""
        with self.blame_case():
            return self._debug.result()

    @functools.cached_property
    def vector_sizes(self) -> frozenset[int]:
        """The sizes in bytes of the vectors that functions of the file can take and return."""
        convention = self.target.convention
        features = [names.split(",") for names in set(_TARGET_FEATURES.findall(self.ir))]
        wide = {
            size
            for size, feature in convention.wide_vector_features.items()
            if features and all(feature in names for names in features)
        }
        return convention.vector_sizes | wide

    @property
    def variables(self) -> Mapping[str, Type]:
        """The types of the variables of static storage that a C file defines. Empty for IR, which has no such types."""
        if self.case.is_ir:
            return {}
        return signature.variable_types(self.debug_image, self.vector_sizes, find_indirect_arguments(self.module))

    @functools.cached_property
    def declarations(self) -> bytes:
        """An ELF file with DWARF that also describes the functions that a C file calls and only declares."""
        with self.blame_case():
            return self.toolchain.emit_declarations(self.case.path, self.case.cflags)

    def declares(self, names: Collection[str]) -> bool:
        """Whether the file declares any of some functions and variables that it does not define."""
        return any(
            value.is_declaration and value.name in names
            for value in (*self.module.functions, *self.module.global_variables)
        )

    def declared_variables(self, names: Collection[str]) -> dict[str, Type]:
        """The types with which a C file declares variables of some names, as far as it does."""
        declared = [value.name for value in self.module.global_variables if value.is_declaration]
        known = [name for name in declared if name in names]
        if self.case.is_ir or not known:
            return {}
        try:
            dwarf, pointers = self.toolchain.emit_declared_variables(self.case.path, known, self.case.cflags)
        except ClangError:  # the file compiles, so the fault is in what was added: a name that means something else
            return {}
        return signature.pointer_targets(dwarf, self.vector_sizes, pointers)

    @functools.cached_property
    def probe_ir(self) -> str:
        """The IR of the whole file in which undefined behaviour traps, where the file is C."""
        if self.case.is_ir:
            return self.ir
        with self.blame_case():
            text = self._probe.result()
        return call_memcpy(tighten_pointer_checks(remove_source_path(text)))

    @functools.cached_property
    def own_lines(self) -> dict[str, int]:
        """The functions that a C file itself defines, and none of its headers, with their 1-based lines."""
        return signature.own_function_lines(self.debug_image)

    @functools.cached_property
    def bodies(self) -> Mapping[str, tuple[int, int]]:
        """The bodies of the functions of a C file: offsets in bytes of the opening brace and past the closing one."""
        with self.blame_case():
            return self.toolchain.find_bodies(self.case.path, self.case.cflags)


def remove_path(text: str) -> str:
    """A module of IR without the lines that name its file."""
    return re.sub(r"^(?:; ModuleID|source_filename) = .*\n", "", text, flags=re.M)


def _constants_of(module: llvm.ModuleRef) -> dict[str, str]:
    """The private variables of a module, each with its definition. Their names are not those of the source."""
    return {value.name: print_ir(value) for value in module.global_variables if value.linkage.name == "private"}
