"""The builds of the reference beside the golden image and the probe: what other rules make of the same function."""

from __future__ import annotations

import functools

from pytest_llmcompiler.corpus.probing import UndefinedInputError
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.program.build import LINKED_FUNCTIONS
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.program.ir_assumptions import remove_aliasing, remove_assumptions
from pytest_llmcompiler.program.ir_extract import extract
from pytest_llmcompiler.program.ir_queries import global_names
from pytest_llmcompiler.targets.code import AssembledCode


class ReferenceBuilds:
    """Builds of one function. Each is compiled at its first use, and kept.

    All but `perturbed` are code for the place of the function in the golden image.
    """

    def __init__(self, under_test: FunctionUnderTest) -> None:
        self._under_test = under_test
        self._is_closed = False

    def close(self) -> None:
        """Compile no further build from now on. Children of this process explain failures, and they can't link."""
        self._is_closed = True

    @functools.cached_property
    def optimised(self) -> AssembledCode:
        """The function as clang -O2 compiles it."""
        return self._assemble(self._ir)

    @functools.cached_property
    def optimised_without_aliasing(self) -> AssembledCode:
        """The same without strict aliasing."""
        self._require_open()
        return self._assemble(remove_aliasing(self._ir))

    @functools.cached_property
    def optimised_without_assumptions(self) -> AssembledCode:
        """The function at -O2, where nothing is assumed to be defined.

        The probe has checked that no signed arithmetic overflows, for C; no sanitizer checks IR.
        """
        self._require_open()
        reference = self._under_test.reference
        names = {self._under_test.function, *global_names(self._ir)}
        return self._assemble(
            remove_assumptions(
                self._ir,
                keeps_signed_overflow=not reference.case.is_ir,
                assumes_library=names.isdisjoint({*reference.golden.library, *LINKED_FUNCTIONS.split()}),
            )
        )

    @functools.cached_property
    def perturbed(self) -> ProgramImage:
        """The program at -O0 with other choices in everything that C leaves open."""
        self._require_open()
        return self._under_test.reference.perturbed

    @functools.cached_property
    def is_comparable(self) -> bool:
        """Whether the function has no instructions whose rules the builds can't vary: inline assembly may forget to say
        what it changes, and `setjmp` leaves changed local variables indeterminate."""
        return not self._is_closed and " asm " not in self._ir and "returns_twice" not in self._ir

    @functools.cached_property
    def _ir(self) -> str:
        reference = self._under_test.reference
        return extract(reference.optimisable_ir, self._under_test.function, reference.target)

    def _require_open(self) -> None:
        """Raise UndefinedInputError where nothing is compiled any more."""
        if self._is_closed:
            raise UndefinedInputError("the references disagree")

    def _assemble(self, ir: str) -> AssembledCode:
        reference = self._under_test.reference
        with reference.blame_case():
            text = reference.toolchain.emit_assembly(ir, "O2")
        return self._under_test.assemble_candidate(text, "llvm")
