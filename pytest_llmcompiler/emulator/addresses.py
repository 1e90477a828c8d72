"""The kinds of memory of the emulated process, and the objects in it: what an address belongs to."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Callable
from typing import Literal

from pytest_llmcompiler.emulator.candidate import CandidateImage
from pytest_llmcompiler.emulator.generated_values import mix
from pytest_llmcompiler.emulator.guest import Guest
from pytest_llmcompiler.emulator.heap import Heap, is_heap
from pytest_llmcompiler.emulator.observation import ELSEWHERE, Constants
from pytest_llmcompiler.emulator.stack import CALLER_FRAME, STACK_SIZE, STACK_START
from pytest_llmcompiler.program.image import ProgramImage, ProgramSegment, SymbolRange
from pytest_llmcompiler.targets.code import AssembledCode, CodeSegment
from pytest_llmcompiler.values.layout import STREAMS, STUB_SIZE, STUBS, Layout, is_in_slot

Region = Literal["stack", "candidate", "data", "constant", "object", "heap", "none"]
"""A kind of memory: `candidate` is a candidate's own writable memory, `data` the program's, `object` the slots of the
input's objects, `none` everything else, code included."""


class CodeAddresses:
    """Tells what an address belongs to in a program with a candidate's code, or without it."""

    def __init__(
        self, program: ProgramImage, code: AssembledCode | None, find_layout: Callable[[], Layout | None]
    ) -> None:
        """`find_layout` gives the input of the present run."""
        self._program, self._code, self._find_layout = program, code, find_layout
        segments: tuple[ProgramSegment | CodeSegment, ...] = (*program.segments, *(code.segments if code else ()))
        relocated = [part for part in program.segments if part.is_relro]
        self._relocated = [range(part.address, part.address + len(part.data)) for part in relocated]
        """The program's constants that hold addresses: their pages are writable."""
        self.constants = Constants(
            tuple(
                (part.address, part.data)
                for part in segments
                if not part.is_executable and (not part.is_writable or part in relocated)
            )
        )
        """The read-only data of the program and of the candidate."""
        self._symbols = program.symbol_ranges

    def is_in_candidate(self, address: int) -> bool:
        """Whether an address lies in the candidate's code."""
        return self._code is not None and self._code.contains_code(address)

    def symbol_at(self, address: int) -> SymbolRange | None:
        """The symbol of the program that holds an address."""
        index = bisect_right(self._symbols, (address, 1 << 64)) - 1
        return self._symbols[index] if index >= 0 and address < self._symbols[index].end else None

    def name_of(self, address: int) -> str:
        """The name of the callback, function or variable that an address belongs to, or the address in hexadecimal."""
        layout = self._find_layout()
        stub, callbacks = (address - STUBS) // STUB_SIZE, layout.callbacks if layout else ()
        if 0 <= stub < len(callbacks):
            return f"callback {callbacks[stub].number}"
        names = [
            name
            for name, symbol in (*self._program.symbols.items(), *self._program.library.items())
            if symbol.address <= address < symbol.address + max(symbol.size, 1)
        ]
        # Of several names the plainest: memcmp rather than compiler_rt.memcmp.
        return min(names, key=lambda name: ("." in name, name.startswith("_"), len(name)), default=hex(address))


class AddressMap(CodeAddresses):
    """Tells what an address belongs to in a guest, with a candidate or without."""

    def __init__(self, guest: Guest, heap: Heap, candidate: CandidateImage | None) -> None:
        super().__init__(guest.program, candidate.code if candidate else None, lambda: guest.layout)
        self._guest, self._heap, self._candidate = guest, heap, candidate

    def read_constants(self) -> Constants:
        """The constants, and the candidate's own writable data as it is now: a compiler may put constants there, such
        as tables of addresses, that the reference has among the constants."""
        ranges = self._candidate.data_ranges if self._candidate else ()
        if not ranges:
            return self.constants
        return Constants(
            (*self.constants.pieces, *((start, self._guest.read(start, end - start)) for start, end in ranges))
        )

    def region_of(self, address: int) -> Region:
        """The kind of memory that an address belongs to. One past the end of a constant counts as a constant."""
        if self._guest.stack.contains(address):
            return "stack"
        if self._candidate and self._candidate.contains_data(address):
            return "candidate"
        if any(address in part for part in self._relocated):
            return "constant"
        if any(start <= address < start + memory.size for start, memory in self._guest.writable):
            return "data"
        if any(start <= address <= start + len(data) for start, data in self.constants.pieces):
            return "constant"
        if self.is_in_candidate(address) and self._candidate and address != self._candidate.entry:
            return "constant"  # data among the code
        if is_in_slot(address):
            return "object"
        return "heap" if is_heap(address) else "none"

    def is_in_program(self, address: int) -> bool:
        """Whether an address lies in the program's own memory."""
        return any(part.address <= address < part.address + len(part.data) for part in self._program.segments)

    def shared_address(self, address: int) -> int:
        """The address that stands for the same thing in every run: the function under test for a candidate's entry,
        `ELSEWHERE` for any other address of a candidate's code, and what a layout has for a standard stream."""
        if address in self._guest.streams:
            return STREAMS[self._guest.streams.index(address)]
        if self._candidate is not None and address == self._candidate.entry:
            return self._candidate.original_entry
        return ELSEWHERE if self.is_in_candidate(address) else address

    def end_of_object(self, address: int) -> int | None:
        """The end of the object that holds an address; None where it is not known, as on the stack."""
        for placed in self._guest.layout.objects if self._guest.layout else ():
            if placed.address <= address < placed.address + placed.size:
                return placed.address + placed.size
        size, symbol = self._heap.bytes_to_end(address), self.symbol_at(address)
        if size:
            return address + size
        if symbol:
            return symbol.end
        return self._candidate.end_of_object(address) if self._candidate else None

    def bytes_to_end(self, address: int) -> int:
        """Bytes from an address to the end of the global variable, stack or heap object that holds it; 0 where none
        does."""
        for symbol in self._program.symbols.values():
            if symbol.address <= address < symbol.address + symbol.size:
                return symbol.address + symbol.size - address
        if STACK_START <= address < STACK_START + STACK_SIZE:
            return STACK_START + STACK_SIZE - CALLER_FRAME - address
        return self._heap.bytes_to_end(address)

    def identity(self, address: int) -> int:
        """A number for an address that is the same in every build of the program, and wherever the objects lie."""
        for number, placed in enumerate(self._guest.layout.objects if self._guest.layout else ()):
            if placed.address <= address <= placed.address + placed.size:
                return mix((number, address - placed.address))
        symbol = self.symbol_at(address)
        return mix((zlib.crc32(symbol.name.encode()), address - symbol.start)) if symbol else address
