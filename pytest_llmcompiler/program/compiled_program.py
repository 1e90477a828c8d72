"""A case with the other files of its program, as clang reads them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmcompiler.program import signature
from pytest_llmcompiler.program.compiled_case import CompiledCase, remove_path
from pytest_llmcompiler.program.ir import parse
from pytest_llmcompiler.program.ir_queries import mentioned_globals
from pytest_llmcompiler.program.linked_units import LinkedUnit, find_units, link_units
from pytest_llmcompiler.program.stand_ins import unsized_array_count
from pytest_llmcompiler.program.thread_locals import drop_thread_locals, list_thread_locals
from pytest_llmcompiler.values.c_types import Array, Function, Type

if TYPE_CHECKING:
    import llvmlite.binding as llvm


class CompiledProgram(CompiledCase):
    """A case and the files that are linked with it. What `CompiledCase` has is that of the case alone."""

    @functools.cached_property
    def units(self) -> tuple[LinkedUnit, ...]:
        """The other files of the program. Raises CaseError."""
        return find_units(self)

    @functools.cached_property
    def threaded_ir(self) -> str:
        """The IR of the whole program as the compiler reads it, with its thread-local variables."""
        return self._link(self.ir, [(unit, unit.compiled.ir) for unit in self.units])

    @functools.cached_property
    def thread_locals(self) -> frozenset[str]:
        """The thread-local variables of the program."""
        return list_thread_locals(self.threaded_ir)

    @functools.cached_property
    def program_ir(self) -> str:
        """The IR of the whole program as it is judged: in its one thread, thread-local variables are ordinary ones."""
        return drop_thread_locals(self.threaded_ir)

    @property
    def program_ir_without_path(self) -> str:
        """The IR of the whole program without the lines that name the case."""
        return remove_path(self.program_ir)

    @functools.cached_property
    def program_module(self) -> llvm.ModuleRef:
        """The IR of the whole program, parsed. It is shared: don't change it."""
        return self.module if self.program_ir is self.ir else parse(self.program_ir)

    def mentioned_globals(self, function: str) -> frozenset[str]:
        """The global names that a function of the program mentions, and those that every function it reaches by call or
        address does."""
        if function not in self._mentioned:
            self._mentioned[function] = mentioned_globals(self.program_module, function)
        return self._mentioned[function]

    @functools.cached_property
    def _mentioned(self) -> dict[str, frozenset[str]]:
        return {}

    @property
    def program_probe_ir(self) -> str:
        """The IR of the whole program in which undefined behaviour traps, in what is C."""
        text = self._link(self.probe_ir, [(unit, unit.compiled.probe_ir) for unit in self.units])
        return drop_thread_locals(text)

    def _link(self, text: str, units: Sequence[tuple[LinkedUnit, str]]) -> str:
        with self.blame_case():
            return link_units(text, units, has_main="main" in self.symbols.strong)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A SHA-256 digest, in hexadecimal. It changes with every file of the program and with the compiler."""
        digest = hashlib.sha256(super().fingerprint.encode())
        for unit in self.units:
            digest.update(f"{unit.name}\0{unit.compiled.fingerprint}".encode())
        return digest.hexdigest()

    @functools.cached_property
    def source_files(self) -> tuple[Path, ...]:
        """The files that decide what the program means."""
        linked = (file for unit in self.units for file in unit.compiled.source_files)
        return tuple(dict.fromkeys((*super().source_files, *linked)))

    @property
    def headers_digests(self) -> list[str]:
        """The digests of the included files of each file of the program."""
        return [self.headers_digest, *(unit.compiled.headers_digest for unit in self.units)]

    @functools.cached_property
    def defined_variables(self) -> Mapping[str, Type]:
        """The types of the variables of static storage that C files of the program define."""
        linked = {
            unit.program_name(name): type for unit in self.units for name, type in unit.compiled.variables.items()
        }
        return {**linked, **super().variables}

    def declaration_types(self, names: Sequence[str]) -> dict[str, Type]:
        """The types of variables that the program only declares. An array of unknown length has a length here.

        A declaration that says the size of the variable counts more than one that does not.
        """
        if not names:
            return {}
        types = signature.ir_variable_types(self.program_module)
        for file in (*(unit.compiled for unit in reversed(self.units)), self):
            declared = file.declared_variables(names)
            types |= {name: type for name, type in declared.items() if type.size or name not in types}
        return {name: _complete_type(types[name]) for name in names if name in types}

    def function_declarations(self, names: Sequence[str]) -> dict[str, Function]:
        """The types of functions that the program only declares."""
        if not names:
            return {}
        files = (self, *(unit.compiled for unit in self.units))
        dwarf = (file.declarations for file in files if not file.case.is_ir and file.declares(names))
        return signature.declaration_types(self.program_module, names, self.vector_sizes, dwarf)


def _complete_type(type: Type) -> Type:
    """A declared type; that of the stand-in for an array of unknown length."""
    if isinstance(type, Array) and not type.count:
        return replace(type, count=unsized_array_count(type.element.size))
    return type
