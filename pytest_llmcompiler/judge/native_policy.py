"""Which code of a case runs on the machine's own processor."""

from __future__ import annotations

import re

from pytest_llmcompiler.emulator.native.support import find_native_level, find_problem
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.levels import ISA_LEVELS, IsaLevel, find_needed_level, is_within
from pytest_llmcompiler.targets.target import Target

BYTES_PER_NATIVE_STEP = 20
"""Bytes of code at -O0 that a step of the probe stands for, where nothing counts what the processor executes."""


class NativePolicy:
    """What runs natively of a case and of the candidates for it.

    `level` is the highest level of the instruction set of which code runs natively, where the emulator can't run it;
    None: none does.
    """

    def __init__(self, reference: Reference, level: IsaLevel | None) -> None:
        self._reference, self._level = reference, level

    @property
    def target(self) -> Target:
        """What the case is compiled for."""
        return self._reference.target

    @property
    def needs_processor(self) -> bool:
        """Whether the case itself is compiled for instructions that the emulator does not have."""
        return self._reference.case.isa in ISA_LEVELS[2:]

    @property
    def is_possible(self) -> bool:
        """Whether code for the target can run on this machine's processor."""
        target = self.target
        return target.is_native and target.foreign_system is None and not find_problem()

    def find_unjudgeable_reason(self) -> str | None:
        """Why a case that only the processor itself can run can't be judged; None where it can, and for any other."""
        isa = self._reference.case.isa
        if not self.needs_processor:
            return None
        if self._level is None or not is_within(isa, self._level):
            return f"the case is for {isa}: code of that level runs where --llmc-isa {isa} allows it"
        if not self.is_possible:
            return f"the case is for {isa}, and nothing runs natively here: {find_problem()}"
        if not is_within(isa, find_native_level(isa)):
            return f"the case is for {isa}, and this machine's processor is {find_native_level(isa)}"
        if re.search(r"^@llvm\.global_ctors = .*\[[1-9]", self._reference.program_ir, re.M):
            return f"the case is for {isa} and has constructors, which run in the emulator"
        return None

    def applies_to(self, candidate: AssembledCode) -> bool:
        """Whether a candidate runs natively: the emulator lacks instructions of it or of the case, the settings allow
        it, and the processor has them."""
        if self._level is None or not self.is_possible:
            return False
        if self.needs_processor:
            return True
        level = find_needed_level(candidate, self.target.processor)
        return level != "x86-64" and is_within(level, find_native_level(self._level))
