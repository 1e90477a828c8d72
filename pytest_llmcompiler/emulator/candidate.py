"""The image of a candidate: machine code from an answer, loaded in the place of the function under test."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import unicorn

from pytest_llmcompiler.emulator.guest import Guest, RunEnd
from pytest_llmcompiler.emulator.memory import MappedMemory
from pytest_llmcompiler.emulator.observation import GuestFault
from pytest_llmcompiler.targets.code import AssembledCode, CodeSegment
from pytest_llmcompiler.targets.processor import AlignedOperand, Outcome, Processor
from pytest_llmcompiler.values.layout import PAGE

_DATA_EXECUTED: tuple[Outcome, str] = "vex", "raw bytes are executed as code"
"""The end of a run that executes a data directive: which instruction the bytes are, the text does not say."""


class CandidateImage:
    """A candidate in a guest's memory.

    A jump leads from the function under test to the candidate. Nothing of the function's own code is left, so that a
    candidate can't call it by its address. The same is done for the local functions of the candidate whose addresses
    it uses: the address is the program's, the code the candidate's.
    """

    def __init__(self, guest: Guest, code: AssembledCode, function: str, *, natively: bool = False) -> None:
        """`natively`: the processor itself will run the code."""
        self._guest, self.code, self._natively = guest, code, natively
        self.original_entry = guest.program.symbols[function].address
        """The address of the function under test, which holds a jump to the candidate."""
        self.entry = code.symbols[function]
        for segment in code.segments:
            self._load(segment)
        for name in {function, *code.replaced_functions}:
            self._replace(name)
        # A function that ran before `main`, such as a constructor, was translated then; unicorn does not notice that
        # its code has changed.
        guest.uc.ctl_flush_tb()
        self._stop_at_hazards()
        self.data_ranges = [(s.address, s.address + len(s.data)) for s in code.segments if s.is_writable]
        """The first address and the end of each segment of its own writable memory."""

    def _load(self, segment: CodeSegment) -> None:
        size = max(PAGE, -(-len(segment.data) // PAGE) * PAGE)
        if segment.is_writable:
            memory = self._guest.map(segment.address, size)
            memory.write(segment.data)
            self._guest.writable.append(MappedMemory(segment.address, memory))
        else:
            permissions = unicorn.UC_PROT_READ | (unicorn.UC_PROT_EXEC if segment.is_executable else 0)
            self._guest.uc.mem_map(segment.address, size, permissions)
            self._guest.write(segment.address, segment.data)

    def _replace(self, function: str) -> None:
        """Put a jump to the candidate's function into the place of the program's."""
        processor, original = self._guest.processor, self._guest.program.symbols[function]
        jump = processor.encode_jump(original.address, self.code.symbols[function])
        traps = (original.size - len(jump)) // len(processor.trap_code)
        self._guest.write(original.address, jump + processor.trap_code * traps)

    def _stop_at_hazards(self) -> None:
        """End a run before an instruction that the emulator computes wrongly, or that hardware would refuse."""
        processor = self._guest.processor
        for address, hazard in list_hazards(self.code, processor):
            if not (self._natively and processor.needs_hardware(self.code.read_code(address))):
                self._guest.watch(address, address, functools.partial(self._on_hazard, *hazard))
        if self._natively:
            return  # the processor itself refuses what is not aligned
        for address, operand in processor.find_guards(self.code):
            self._guest.watch(address, address, functools.partial(self._on_guarded_access, operand))

    def _on_hazard(self, outcome: Outcome, description: str, pc: int) -> None:
        self._guest.stop(RunEnd(outcome, GuestFault(description, pc)))

    def _on_guarded_access(self, operand: AlignedOperand, pc: int) -> None:
        guest = self._guest
        misaligned = operand.find_misalignment(
            lambda name: int(guest.uc.reg_read(guest.processor.register_number(name)))
        )
        if misaligned:
            fault = GuestFault("misaligned access", pc, misaligned.address, "misaligned", misaligned.size)
            guest.stop(RunEnd("fault", fault))

    def contains_code(self, address: int) -> bool:
        """Whether an address lies in the candidate's code, or at its end."""
        return self.code.contains_code(address)

    def contains_data(self, address: int) -> bool:
        """Whether an address lies in the candidate's own writable memory, or at its end."""
        return any(start <= address <= end for start, end in self.data_ranges)

    def end_of_object(self, address: int) -> int | None:
        """The end of the candidate's own object at an address: at the latest its next label, those of compilers aside.

        None where the address is not in the candidate's memory.
        """
        for segment in self.code.segments:
            end = segment.address + len(segment.data)
            if segment.address <= address < end:
                labels = (at for name, at in self.code.symbols.items() if not name.startswith(".L"))
                return min((at for at in labels if address < at < end), default=end)
        return None

    def line_of(self, pc: int, return_addresses: Iterable[int]) -> int | None:
        """The line of an address (see `find_line`)."""
        return find_line(self.code, pc, return_addresses)


def list_hazards(code: AssembledCode, processor: Processor) -> list[tuple[int, tuple[Outcome, str]]]:
    """The address of each instruction that must not be executed, with the outcome of the run and a message."""
    data = ((address, _DATA_EXECUTED) for address, name in code.mnemonics.items() if name.startswith("."))
    return [*data, *processor.find_hazards(code)]


def find_line(code: AssembledCode, pc: int, return_addresses: Iterable[int]) -> int | None:
    """The 1-based line of the assembly with the instruction at `pc`, or else with the innermost call that led there;
    None where no address belongs to the candidate."""
    lines = code.lines
    for address in (pc, *return_addresses):
        if not code.contains_code(address):
            continue
        if address == pc and address in lines:
            return lines[address]
        starts = [start for start in lines if start < address]  # a return address is behind its call
        if starts:
            return lines[max(starts)]
    return None
