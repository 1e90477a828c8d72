"""The function under test, in the program that holds it."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Mapping

from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.assembler.job import Encoder
from pytest_llmcompiler.assembler.keystone_engine import run_keystone
from pytest_llmcompiler.assembler.recent_code import RecentCode, strip_text
from pytest_llmcompiler.assembler.thread_storage import ThreadStorage, describe_threads
from pytest_llmcompiler.corpus.possible_values import PossibleValues
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.errors import AssemblyError, CaseError, LinkError, ProcessStartError, UnsupportedError
from pytest_llmcompiler.judge.contraction import assemble_contractions, has_contractions
from pytest_llmcompiler.judge.foreign_names import describe_foreign_name, find_foreign_name
from pytest_llmcompiler.judge.most_recent import MostRecent
from pytest_llmcompiler.judge.native_policy import NativePolicy
from pytest_llmcompiler.program.case_symbols import CaseSymbols, collect_case_symbols
from pytest_llmcompiler.program.glibc import load_names
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.program.ir_labels import keeps_label
from pytest_llmcompiler.program.ir_queries import defined_functions
from pytest_llmcompiler.program.library import may_define
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets.code import AssembledCode, AssemblerName
from pytest_llmcompiler.targets.levels import IsaLevel
from pytest_llmcompiler.targets.target import ForeignSystem
from pytest_llmcompiler.values.c_types import Pointer, Type, find_unsupported
from pytest_llmcompiler.values.layout import MAX_OBJECT_BYTES

_TABLE_OF_CLASSES = "__ctype_b_loc"
"""The function that glibc's <ctype.h> makes of isalpha and the like."""

REFERENCE_LEVELS = ("O0", "O1", "O2", "O3")
"""The levels of clang's own assembly that candidates are compared with."""

_MAX_VARIABLE_BYTES = 32 << 20
"""Bytes of all variables of a program. Each run resets them, and each of the machines that take part holds them."""


class FunctionUnderTest:
    """A function of a reference. Raises CaseError where the reference does not define it."""

    def __init__(self, reference: Reference, function: str, native_level: IsaLevel | None = None) -> None:
        """`native_level`: the highest level of the instruction set of which candidates run natively, where the emulator
        can't run them; None: none does."""
        self.reference, self.function = reference, function
        self.native = NativePolicy(reference, native_level)
        reference.start_golden()
        if function not in reference.signatures:
            known = ", ".join(reference.signatures)
            raise CaseError(f"{reference.case.path}: no function {function!r} is defined here; there are: {known}")
        self.signature = reference.signatures[function]

    def find_unjudgeable_reason(self) -> str | None:
        """Why no candidate for the function can be judged; None where any can."""
        return self._unjudgeable_reason

    @functools.cached_property
    def _unjudgeable_reason(self) -> str | None:
        types: list[Type] = [param.type for param in self.signature.params]
        if self.signature.result is not None:
            types.append(self.signature.result)
        reason = next(filter(None, map(find_unsupported, types)), None)
        if reason:
            return f"{self.function} can't be called here: {reason}"
        if any(_object_size(type) > MAX_OBJECT_BYTES for type in types):
            size = f"more than {MAX_OBJECT_BYTES} bytes"
            return f"{self.function} can't be called here: an argument or what it points to has {size}"
        variables = sum(type.size for type in self.reference.defined_variables.values())
        if variables > _MAX_VARIABLE_BYTES:
            return (
                f"the program has {variables / (1 << 20):,.0f} MiB of variables: the emulated process has room for "
                f"{_MAX_VARIABLE_BYTES >> 20} MiB"
            )
        mentioned = self.reference.mentioned_globals(self.function)
        foreign_name = find_foreign_name((self.function, *sorted(mentioned)))
        if foreign_name:
            return describe_foreign_name(foreign_name)
        if keeps_label(self.reference.ir, self.function, self.reference.target):
            return (
                f"{self.function} stores, returns or passes the address of a label, which is another one in other code"
            )
        foreign_system = self.reference.target.foreign_system
        if self.native.needs_processor:
            return self.native.find_unjudgeable_reason()
        return self._find_foreign_reason(foreign_system) if foreign_system else None

    def _find_foreign_reason(self, system: ForeignSystem) -> str | None:
        """Why the code of a foreign system can't be judged in a process of its host system."""
        module = self.reference.program_module
        unwrapped = system.unwrapped_functions.difference(defined_functions(module))
        called = sorted(self.reference.mentioned_globals(self.function) & unwrapped)
        if called:
            return f"{self.function} calls {called[0]}, which is another function on {self.reference.target.name}"
        local = sorted(self.reference.mentioned_globals(self.function) & self.reference.thread_locals)
        if local:
            return f"{self.function} uses the thread-local variable {local[0]}: such code is judged for Linux alone"
        if re.search(r"^@llvm\.global_ctors = .*\[[1-9]", self.reference.program_ir, re.M):
            return f"the file has constructors, which the start of a process for {system.host.name} does not call"
        return None

    @functools.cached_property
    def globals(self) -> dict[str, Type]:
        """The global variables that are part of the function's inputs."""
        return self.reference.input_globals(self.function)

    @functools.cached_property
    def possible_values(self) -> PossibleValues:
        """The values that static variables can have when the function is called."""
        return PossibleValues(self.reference.known_variables(self.function))

    @functools.cached_property
    def case_symbols(self) -> CaseSymbols:
        """The functions and variables of the case."""
        return collect_case_symbols(self.reference)

    def assemble_candidate(
        self, text: str, assembler: AssemblerName, binding_number: int = 0, encode: Encoder = run_keystone
    ) -> AssembledCode:
        """Assemble a text for the place of the function. Where its names may mean several things, `binding_number`
        chooses one. `encode` runs keystone. Raises AssemblyError, LinkError and UnsupportedError."""
        code = self._assemble(text, assembler, binding_number, encode)
        if self.has_glibc_results(code):
            _ = self.glibc_variant  # candidates are judged in child processes, each of which would compile it again
        if has_contractions(code, self.native):
            _ = self.contracted_variants
        return code

    @functools.cached_property
    def contracted_variants(self) -> tuple[AssembledCode, ...]:
        """The function as clang compiles it for FMA (see `assemble_contractions`); empty where it does not compile."""
        with contextlib.suppress(CaseError, AssemblyError, LinkError, UnsupportedError):
            return assemble_contractions(
                self.reference, self.function, self.native, lambda text: self._assemble(text, "llvm", 0)
            )
        return ()

    @functools.cached_property
    def glibc_variant(self) -> AssembledCode:
        """The function of a C file as compiled against glibc, whose isalpha and the like, and isinf, return other
        numbers than musl's where C says "nonzero"."""
        return self._assemble(self.reference.glibc_assembly(self.function), "llvm", 0)

    def has_glibc_results(self, candidate: AssembledCode) -> bool:
        """Whether a candidate may have results of glibc's functions that C leaves open."""
        if self.reference.case.is_ir or self.reference.target.foreign_system is not None:
            return False
        return self._uses_isinf or _TABLE_OF_CLASSES in candidate.external_symbols

    @functools.cached_property
    def _uses_isinf(self) -> bool:
        """Whether the file mentions isinf, which is a macro: no symbol tells of it."""
        return re.search(rb"\bisinf\b", self.reference.case.path.read_bytes()) is not None

    def _assemble(
        self, text: str, assembler: AssemblerName, binding_number: int, encode: Encoder = run_keystone
    ) -> AssembledCode:
        stripped = strip_text(text, self.reference.target.dialect)
        key = stripped, assembler, binding_number
        code = None if stripped is None else self._recent_code.find(key)
        if code is None:
            code = self._assemble_new(text, assembler, binding_number, encode)
            if stripped is not None:
                self._recent_code.add(key, code)
        return code

    @functools.cached_property
    def _recent_code(self) -> RecentCode:
        return RecentCode()

    def _assemble_new(self, text: str, assembler: AssemblerName, binding_number: int, encode: Encoder) -> AssembledCode:
        golden, target = self.reference.golden, self.reference.target
        system = target.foreign_system
        library = system.linker_symbols if system else _LibraryAddresses(self.reference)
        try:
            return assemble(
                text,
                self.function,
                target.load_address,
                golden.addresses,
                assembler,
                library=library,
                target=target,
                case=self.case_symbols,
                binding_number=binding_number,
                encode=encode,
                threads=self._threads,
            )
        except LinkError as error:
            if system is None and error.missing and load_names().lacking.issuperset(error.missing):
                names = ", ".join(error.missing)
                raise UnsupportedError(f"the C library that code is judged with lacks glibc's {names}") from error
            raise

    @functools.cached_property
    def _threads(self) -> ThreadStorage | None:
        reference = self.reference
        return describe_threads(reference.golden, self._find_thread_pointer, reference.thread_locals)

    def _find_thread_pointer(self) -> int:
        with contextlib.closing(self.open_machine(self.reference.golden, awaits_candidate=True)) as machine:
            return machine.thread_pointer

    def program_for(self, candidate: AssembledCode) -> ProgramImage:
        """The program that a candidate runs in: the golden one, with the rest of the C library where it names any of
        that."""
        golden, is_foreign = self.reference.golden, self.reference.target.foreign_system is not None
        is_enough = is_foreign or candidate.external_symbols <= golden.addresses.keys()
        return golden if is_enough else self.reference.golden_with_library

    @functools.cached_property
    def _waiting_machine(self) -> Machine:
        """A machine that awaits a candidate, in the golden program. Children inherit it: building one takes longer than
        most runs."""
        return self.open_machine(self.reference.golden, awaits_candidate=True)

    def prepare_machine(self) -> None:
        """Build what `open_candidate_machine` needs, before a child is forked.

        The machine of the function for which this was called longest ago is freed, if they are too many.
        """
        _ = self._waiting_machine
        for other in _WAITING.use(self):
            machine: Machine | None = other.__dict__.pop("_waiting_machine", None)
            if machine is not None:
                machine.close()

    def open_candidate_machine(self, candidate: AssembledCode, *, natively: bool = False) -> Machine:
        """A machine with a candidate, which runs on the processor itself if `natively`.

        Only a child may call this, since the candidate's code is hostile. The first one takes the machine that awaits a
        candidate.
        """
        if self.program_for(candidate) is not self.reference.golden or "_waiting_machine" not in vars(self):
            return self.open_machine(self.program_for(candidate), candidate, natively=natively)
        machine = self._waiting_machine
        del self._waiting_machine
        machine.load_candidate(candidate, natively=natively or self.native.needs_processor)
        return machine

    def open_reference_machine(self, code: AssembledCode) -> Machine:
        """A machine with code of clang's own. It is kept, and children inherit it."""
        if id(code) not in self._reference_machines:
            self._reference_machines[id(code)] = self.open_machine(self.program_for(code), code)
        return self._reference_machines[id(code)]

    def release_reference_machines(self) -> None:
        """Free the machines of `open_reference_machine`."""
        self._reference_machines.clear()

    @functools.cached_property
    def _reference_machines(self) -> dict[int, Machine]:
        """By the identity of the code, which each machine keeps."""
        return {}

    def open_glibc_machine(self) -> Machine:
        """A machine that runs the function as compiled against glibc."""
        return self.open_machine(self.program_for(self.glibc_variant), self.glibc_variant)

    def open_contracted_machines(self) -> list[Machine]:
        """Machines that run the variants. Only a process that may run them may call this."""
        return [
            self.open_machine(self.program_for(code), code, natively=self.native.applies_to(code))
            for code in self.contracted_variants
        ]

    def assemble_reference(self, level: str) -> tuple[str, AssembledCode]:
        """clang's own assembly for the function at an optimisation level, as text and assembled."""
        if level not in self.assembled_references:
            text = self.reference.texts.assembly(self.function, level)
            self.assembled_references[level] = text, self.assemble_candidate(text, "llvm")
        return self.assembled_references[level]

    @functools.cached_property
    def assembled_references(self) -> dict[str, tuple[str, AssembledCode]]:
        """What `assemble_reference` has returned so far, by level."""
        return {}

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
        """A machine that runs the function, or a candidate in its place, in one of the reference's programs. The
        options are those of `Machine`; where the emulator can't run the function, every machine runs natively.

        Raises CaseError where the program ends before `main`.
        """
        try:
            return Machine(
                program,
                self.function,
                self.signature,
                candidate=candidate,
                awaits_candidate=awaits_candidate,
                natively=natively or self.native.needs_processor,
                externals=self.reference.external_functions,
                garbage_pattern=garbage_pattern,
                trace_blocks=trace_blocks,
                check_preconditions=check_preconditions,
            )
        except ProcessStartError as error:
            raise CaseError(f"{self.reference.case.path}: {error}") from error


_WAITING: MostRecent[FunctionUnderTest] = MostRecent(8)
"""The functions that keep a machine which awaits a candidate: about 6 MB each."""


class _LibraryAddresses(Mapping[str, int]):
    """The addresses of the C library's names that the program lacks. They are linked when one is first asked for."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference

    def __getitem__(self, name: str) -> int:
        if not may_define(name, self._reference.target):
            raise KeyError(name)
        return self._reference.golden_with_library.addresses[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._reference.golden_with_library.addresses)

    def __len__(self) -> int:
        return len(self._reference.golden_with_library.addresses)


def _object_size(type: Type) -> int:
    """The size of a value in bytes; for a pointer, that of the object that it points to."""
    return type.target.size if isinstance(type, Pointer) and type.target else type.size
