"""A whole program under test: its reference, and the machines that run builds of it and candidates for it."""

from __future__ import annotations

import contextlib
import functools
import re

from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.assembler.job import Encoder
from pytest_llmcompiler.assembler.keystone_engine import run_keystone
from pytest_llmcompiler.assembler.thread_storage import ThreadStorage, describe_threads
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.errors import AssemblyError, CaseError, LinkError, ProcessStartError, UnsupportedError
from pytest_llmcompiler.judge.contraction import assemble_contractions
from pytest_llmcompiler.judge.most_recent import MostRecent
from pytest_llmcompiler.judge.native_policy import NativePolicy
from pytest_llmcompiler.program.glibc import load_names
from pytest_llmcompiler.program.host_program import load_host_program
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.program.ir_rewrites import split_multiply_add
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets.code import AssembledCode, AssemblerName
from pytest_llmcompiler.targets.levels import IsaLevel

MAIN = "main"
_CONSTRUCTORS = re.compile(r"\.(?:init_array|fini_array|preinit_array|ctors|dtors)\b")
"""Sections of functions that run before or after `main`."""


class ProgramUnderTest:
    """The program of a reference."""

    def __init__(self, reference: Reference, native_level: IsaLevel | None = None) -> None:
        """`native_level` is as for `NativePolicy`."""
        self.reference, self.native = reference, NativePolicy(reference, native_level)
        reference.start_golden()
        self.signature = reference.signatures[MAIN]

    @property
    def takes_arguments(self) -> bool:
        """Whether `main` has parameters."""
        return bool(self.signature.params)

    @property
    def has_varying_inputs(self) -> bool:
        """Whether anything that the program does can depend on its arguments or on standard input."""
        return self.takes_arguments or self.reference.reads_standard_input(MAIN)

    def find_unjudgeable_reason(self) -> str | None:
        """Why no candidate for the program can be judged; None where any can."""
        reference = self.reference
        if reference.target.foreign_system:
            return f"whole programs are not judged for {reference.target.name}"
        if reference.units:
            names = ", ".join(unit.name for unit in reference.units)
            return f"a whole program is one file, and this one is linked with {names}"
        missing = [*reference.golden.stubs, *(variable.name for variable in reference.golden.declared_variables)]
        if missing:
            return f"the program needs what nothing defines: {', '.join(missing)}"
        if re.search(r"^@llvm\.global_(?:ctors|dtors) = .*\[[1-9]", reference.ir, re.M):
            return "the program has functions that run before or after main"
        return self.native.find_unjudgeable_reason()

    @functools.cached_property
    def host(self) -> ProgramImage:
        """The program that candidates run in."""
        return load_host_program(self.reference.target)

    def assemble_candidate(self, text: str, assembler: AssemblerName, encode: Encoder = run_keystone) -> AssembledCode:
        """Assemble the text of a whole program. Raises AssemblyError, LinkError and UnsupportedError."""
        target = self.reference.target
        try:
            code = assemble(
                text,
                MAIN,
                target.load_address,
                self.host.addresses,
                assembler,
                encode=encode,
                target=target,
                is_program=True,
                threads=self._threads,
            )
        except LinkError as error:
            if error.missing and load_names().lacking.issuperset(error.missing):
                names = ", ".join(error.missing)
                raise UnsupportedError(f"the C library that code is judged with lacks glibc's {names}") from error
            raise
        if any(_CONSTRUCTORS.match(segment.name) for segment in code.segments):
            raise UnsupportedError("the answer has functions that run before or after main")
        return code

    @functools.cached_property
    def _threads(self) -> ThreadStorage | None:
        return describe_threads(self.host, self._find_thread_pointer)

    def _find_thread_pointer(self) -> int:
        with contextlib.closing(self.open_machine(self.host, awaits_candidate=True)) as machine:
            return machine.thread_pointer

    @functools.cached_property
    def contracted_variants(self) -> tuple[AssembledCode, ...]:
        """The program as clang compiles it for FMA (see `assemble_contractions`); empty where it does not compile."""
        with contextlib.suppress(CaseError, AssemblyError, LinkError, UnsupportedError):
            return assemble_contractions(
                self.reference, MAIN, self.native, lambda text: self.assemble_candidate(text, "llvm")
            )
        return ()

    def open_contracted_machines(self) -> list[Machine]:
        """Machines that run the variants. Only a process that may run them may call this."""
        return [
            self.open_machine(self.host, code, natively=self.native.applies_to(code))
            for code in self.contracted_variants
        ]

    @functools.cached_property
    def optimised(self) -> AssembledCode:
        """The program as clang -O2 compiles it, where each product is rounded."""
        ir = split_multiply_add(self.reference.texts.ir(MAIN))
        with self.reference.blame_case():
            return self.assemble_candidate(self.reference.toolchain.emit_assembly(ir, "O2"), "llvm")

    @functools.cached_property
    def _waiting_machine(self) -> Machine:
        return self.open_machine(self.host, awaits_candidate=True)

    def prepare_machine(self) -> None:
        """Build what `open_candidate_machine` needs, before a child is forked. Children inherit it.

        The machine of the program for which this was called longest ago is freed, if they are too many.
        """
        _ = self._waiting_machine
        self.reference.target.processor.get_decoder()  # children can't import it
        for other in _WAITING.use(self):
            machine: Machine | None = other.__dict__.pop("_waiting_machine", None)
            if machine is not None:
                machine.close()

    def open_candidate_machine(self, candidate: AssembledCode) -> Machine:
        """A machine with a candidate. To be called once in a process, in a child: the candidate's code is hostile, and
        the machine is not loaded again."""
        machine = self._waiting_machine
        del self._waiting_machine
        machine.load_candidate(candidate, natively=self.native.applies_to(candidate))
        return machine

    def open_machine(
        self,
        program: ProgramImage,
        candidate: AssembledCode | None = None,
        *,
        awaits_candidate: bool = False,
        natively: bool = False,
        garbage_pattern: int = 0,
        trace_blocks: bool = False,
        check_preconditions: bool = False,
    ) -> Machine:
        """A machine that runs a build of the program; `natively`, or where the emulator can't run it. Raises CaseError
        where it ends before `main`."""
        try:
            return Machine(
                program,
                MAIN,
                self.signature,
                candidate=candidate,
                awaits_candidate=awaits_candidate,
                natively=natively or self.native.needs_processor,
                garbage_pattern=garbage_pattern,
                trace_blocks=trace_blocks,
                check_preconditions=check_preconditions,
                runs_processes=True,
            )
        except ProcessStartError as error:
            raise CaseError(f"{self.reference.case.path}: {error}") from error


_WAITING: MostRecent[ProgramUnderTest] = MostRecent(8)
"""The programs that keep a machine which awaits a candidate: about 6 MB each."""
