"""The subject: the function under test, in the program that holds it."""

from __future__ import annotations

import functools
import re
from typing import Any

from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.program.ir_queries import defined_functions, mentioned_globals
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets.code import AssembledCode, AssemblerName
from pytest_llmcompiler.targets.target import ForeignSystem
from pytest_llmcompiler.values.c_types import Pointer, Type, find_unsupported
from pytest_llmcompiler.values.layout import MAX_OBJECT_BYTES


def _size_of(type: Type) -> int:
    """The bytes of a value, or of what it points to."""
    return type.target.size if isinstance(type, Pointer) and type.target else type.size


class FunctionUnderTest:
    """A function of a reference. Raises CaseError where the reference does not define it."""

    def __init__(self, reference: Reference, function: str) -> None:
        self.reference, self.function = reference, function
        if function not in reference.signatures:
            known = ", ".join(reference.signatures)
            raise CaseError(f"{reference.case.path}: no function {function!r} is defined here; there are: {known}")
        self.signature = reference.signatures[function]

    def unjudgeable(self) -> str | None:
        """Why nothing that takes its place can be judged; None where it can."""
        types: list[Type] = [param.type for param in self.signature.params]
        if self.signature.result is not None:
            types.append(self.signature.result)
        reason = next(filter(None, map(find_unsupported, types)), None)
        if reason:
            return f"{self.function} can't be called here: {reason}"
        if any(_size_of(type) > MAX_OBJECT_BYTES for type in types):
            size = f"more than {MAX_OBJECT_BYTES} bytes"
            return f"{self.function} can't be called here: an argument or what it points to has {size}"
        if "blockaddress(" in self.reference.ir:
            return "the file takes the addresses of labels, which only code of the same function can use"
        return self._apart(self.reference.target.foreign_system) if self.reference.target.foreign_system else None

    def _apart(self, guest: ForeignSystem) -> str | None:
        """Why a guest's function can't be judged in its host's process."""
        module = self.reference.module
        called = sorted(
            mentioned_globals(module, self.function) & guest.unwrapped_functions.difference(defined_functions(module))
        )
        if called:
            return f"{self.function} calls {called[0]}, which is another function on {self.reference.target.name}"
        if re.search(r"^@llvm\.global_ctors = .*\[[1-9]", self.reference.ir, re.M):
            return f"the file has constructors, which the start of a process for {guest.host.name} does not call"
        return None

    @functools.cached_property
    def globals(self) -> dict[str, Type]:
        """The global variables that are inputs of it."""
        return self.reference.input_globals(self.function)

    def assembled(self, text: str, assembler: AssemblerName) -> AssembledCode:
        """Code to take its place. Raises what `assemble` raises."""
        golden, target = self.reference.golden, self.reference.target
        return assemble(text, self.function, target.load_address, golden.addresses, assembler, target=target)

    def compiled(self, level: str) -> tuple[str, AssembledCode]:
        """clang's own text for it, and the code of that."""
        text = self.reference.texts.assembly(self.function, level)
        return text, self.assembled(text, "llvm")

    def machine(self, program: ProgramImage, candidate: AssembledCode | None = None, **options: Any) -> Machine:
        """A machine that runs it, or a candidate in its place, in one of the reference's programs."""
        return Machine(
            program,
            self.function,
            self.signature,
            candidate=candidate,
            externals=self.reference.external_functions,
            **options,
        )
