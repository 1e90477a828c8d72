"""The emulated process: its memory, its registers, and the hooks on its code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import unicorn

from pytest_llmcompiler.emulator.kernel import (
    GuestAbortError,
    GuestExitError,
    GuestLimitError,
    GuestTrapError,
    GuestUnsupportedError,
)
from pytest_llmcompiler.emulator.memory import HostMemory, MappedMemory
from pytest_llmcompiler.emulator.observation import GuestFault
from pytest_llmcompiler.emulator.pages import GuestPages
from pytest_llmcompiler.emulator.register_batch import RegisterAccess
from pytest_llmcompiler.emulator.stack import STACK_SIZE, STACK_START, GuestStack
from pytest_llmcompiler.emulator.upper_parts import XMM_BYTES, UpperParts
from pytest_llmcompiler.program.image import ProgramImage
from pytest_llmcompiler.targets.code import BooleanVariable
from pytest_llmcompiler.targets.processor import Outcome
from pytest_llmcompiler.values.c_types import Type
from pytest_llmcompiler.values.input import STREAM_NAMES, SymbolPointer
from pytest_llmcompiler.values.layout import PAGE, STREAMS, STUBS, Layout

_READ, _READ_EXECUTE = unicorn.UC_PROT_READ, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC
_READ_WRITE = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE
_XMM_MASK = (1 << 8 * XMM_BYTES) - 1


class RunEnd(NamedTuple):
    """How a run ends before its return."""

    outcome: Outcome
    fault: GuestFault | None = None
    exit_code: int = 0
    assertion: str | None = None
    """The expression of the assertion that failed; None for another end."""


class Guest:
    """A linked program in an emulator, with a stack.

    The writable memory of the program lies in blocks of the host's memory, so that each run can start from the same
    contents at the cost of one copy.
    """

    def __init__(self, program: ProgramImage, max_stack_growth: int) -> None:
        self.program = program
        self.processor, self.convention = program.target.processor, program.target.convention
        self.library_convention = program.target.host.convention
        """How functions of the C library are called: as the host of the target calls them."""
        self.numbers = self.processor.register_numbers
        """unicorn's number of each register, by name."""
        self.stack_number = self.numbers[self.processor.stack_pointer]
        self.counter_number = self.numbers[self.processor.program_counter]
        self.uc = self.processor.create_emulator()
        self.registers = RegisterAccess(self.uc)
        self.uppers = UpperParts()
        self.pages = GuestPages(self.uc)
        """The pages that come and go during runs."""
        self.watched: list[tuple[int, int]] = []
        """The first and the last address of each range of code that hooks watch."""
        self.clobbers = 0
        """How often a hook has overwritten all registers that a call may change."""
        self.writable: list[MappedMemory] = []
        """The writable segments of the program and of a candidate."""
        self.read_only: list[MappedMemory] = []
        """The program's segments that are neither writable nor executable."""
        self.streams = find_streams(program)
        self.stream_addresses = dict(zip(STREAMS, self.streams, strict=True))
        """The same by what a layout has for each stream."""
        self.layout: Layout | None = None
        """The input of the run."""
        self.end: RunEnd | None = None
        """How the run ended, unless it is still running or has returned."""
        self.hook_error: Exception | None = None
        """An error of the harness inside of a hook: unicorn would swallow it."""
        self.hook_calls = 0
        """Calls of hooks in the run, such as for system calls and for the library's functions."""
        self.initial_memory: list[tuple[HostMemory, bytes]] = []
        """The contents of the writable memory from which every run starts."""
        self._loaded_memory: list[tuple[HostMemory, bytes]] = []
        self._load_program()
        self.stack = GuestStack(self.uc, self.pages, max_stack_growth)
        self.uc.mem_map(STUBS, PAGE, _READ_EXECUTE)
        self.uc.mem_write(STUBS, self.processor.return_code * (PAGE // len(self.processor.return_code)))
        self.variables = self._locate_variables()
        """For each global variable of the case: the memory that holds it, its offset there, and its size."""

    def _load_program(self) -> None:
        for segment in self.program.segments:
            start = segment.address // PAGE * PAGE
            size = -(-(segment.address + len(segment.data) - start) // PAGE) * PAGE
            if segment.is_executable:
                self.uc.mem_map(start, size, _READ_EXECUTE)
                self.uc.mem_write(segment.address, segment.data)
            else:
                memory = self.map(start, size, _READ_WRITE if segment.is_writable else _READ)
                memory.write(segment.data, segment.address - start)
                (self.writable if segment.is_writable else self.read_only).append(MappedMemory(start, memory))
        if self.program.constants:  # inputs vary these variables, so they are part of a writable segment
            self.uc.mem_protect(self.program.constants.address, self.program.constants.size, _READ)

    def _locate_variables(self) -> dict[str, tuple[HostMemory, int, int]]:
        variables = {}
        for name in self.program.globals:
            symbol = self.program.symbols[name]
            start, memory = next(block for block in self.writable if 0 <= symbol.address - block[0] < block[1].size)
            variables[name] = memory, symbol.address - start, symbol.size
        return variables

    def map(self, address: int, size: int, permissions: int = _READ_WRITE) -> HostMemory:
        """Map a new block of the host's memory."""
        memory = HostMemory(size)
        self.uc.mem_map_ptr(address, size, permissions, memory.pointer)
        return memory

    def close(self) -> None:
        """Free the emulator and its memory: nothing runs here any more.

        Hooks and emulator refer to each other, and so do other parts of a machine. The garbage collector would find
        them later; to look for them now takes 50 ms.
        """
        finalizer = vars(self.uc).get("_Uc__finalizer")
        if finalizer is None:  # another release of unicorn
            return
        finalizer()
        for memory in (self.stack.memory, *(memory for _, memory in (*self.writable, *self.read_only))):
            memory.free()

    # -- memory

    def read(self, address: int, size: int) -> bytes:
        """Read memory, and less than `size` bytes where the rest is not mapped."""
        if STACK_START <= address < STACK_START + STACK_SIZE:
            return self.stack.read(address, size)
        for start, memory in self.writable:
            if start <= address < start + memory.size:
                return memory.read(address - start, min(size, start + memory.size - address))
        for part in (size, min(size, PAGE - address % PAGE)):
            try:
                return bytes(self.uc.mem_read(address, part))
            except unicorn.UcError:
                continue
        return b""

    def read_string(self, address: int, most: int) -> bytes:
        """Read a string without its zero: at most so many bytes, and none of unmapped memory."""
        text = b""
        while len(text) < most:
            part = self.read(address + len(text), PAGE - (address + len(text)) % PAGE)
            text += part.partition(b"\0")[0]
            if not part or b"\0" in part:
                break
        return text[:most]

    def write(self, address: int, data: bytes) -> None:
        """Write memory, whatever the permissions of its pages."""
        self.uc.mem_write(address, data)

    def read_variable(self, name: str) -> bytes:
        """Read a writable global variable of the case."""
        memory, offset, size = self.variables[name]
        return memory.read(offset, size)

    def save_loaded_memory(self) -> None:
        """Make the present contents of the program's writable memory those with which a process starts."""
        self._loaded_memory = [(memory, memory.read()) for _, memory in self.writable]

    def changed_since_loading(self) -> Iterator[tuple[int, bytes]]:
        """The pages of the program's writable memory that a process starts with and a run does not: addresses and
        contents."""
        for (start, _), (_, loaded), (_, initial) in zip(self.writable, self._loaded_memory, self.initial_memory):
            for at in range(0, len(loaded), PAGE):
                if loaded[at : at + PAGE] != initial[at : at + PAGE]:
                    yield start + at, loaded[at : at + PAGE]

    def restore_loaded_memory(self) -> None:
        """Give the program's writable memory the contents with which a process starts."""
        for memory, data in self._loaded_memory:
            memory.write(data)

    def save_memory(self) -> None:
        """Make the present contents of the writable memory those from which every run starts."""
        self.initial_memory = [(memory, memory.read()) for _, memory in self.writable]

    def restore_memory(self, variables: Sequence[tuple[str, bytes]]) -> None:
        """Give the writable memory its initial contents, and some global variables the values of an input."""
        for memory, data in self.initial_memory:
            memory.write(data)
        for name, data in variables:
            memory, offset, _ = self.variables[name]
            memory.write(self.insert_streams(data), offset)

    def set_symbol_pointers(self, pointers: Sequence[tuple[str, int, SymbolPointer]]) -> None:
        """Let pointers in global variables lead to symbols of the program. A symbol that it does not have is null."""
        for pointer in pointers:
            memory, offset, data = self.locate_symbol_pointer(*pointer)
            memory.write(data, offset)

    def locate_symbol_pointer(self, name: str, at: int, target: SymbolPointer) -> tuple[HostMemory, int, bytes]:
        """Where a pointer in a global variable lies in the host's memory, and its bytes in this program."""
        memory, offset, _ = self.variables[name]
        address = self.program.addresses.get(target.symbol)
        value = 0 if address is None else address + target.offset
        return memory, offset + at, value.to_bytes(8, "little")

    def find_writable(self, address: int) -> tuple[HostMemory, int] | None:
        """Where a byte of the program's writable memory lies in the host's memory; None for another address."""
        return next(
            ((memory, address - start) for start, memory in self.writable if 0 <= address - start < memory.size), None
        )

    def set_boolean(self, boolean: BooleanVariable) -> None:
        """Give a candidate's byte the value that stands for that of the program's variable."""
        self.write(boolean.address, bytes([self.read_variable(boolean.name) == boolean.values[1]]))

    def read_boolean(self, boolean: BooleanVariable) -> None:
        """Give the program's variable the value that a candidate's byte stands for. A byte that is neither 0 nor 1 is
        copied as it is, so that the variable has none of its values."""
        byte = self.read(boolean.address, 1)[0]
        memory, offset, size = self.variables[boolean.name]
        memory.write(boolean.values[byte] if byte < len(boolean.values) else bytes([byte]) * size, offset)

    def insert_streams(self, data: bytes) -> bytes:
        """Data of a layout with the addresses of the standard streams in this program."""
        if self.layout and self.layout.has_streams:
            for placeholder, address in self.stream_addresses.items():
                data = _replace_word(data, placeholder, address)
        return data

    def remove_streams(self, data: bytes) -> bytes:
        """The inverse of `insert_streams`, for what a run leaves in memory."""
        if self.layout and self.layout.has_streams:
            for placeholder, address in self.stream_addresses.items():
                data = _replace_word(data, address, placeholder)
        return data

    def name_streams(self, data: bytes) -> bytes:
        """A pointer of this program, as a layout has it where it leads to a standard stream."""
        return name_stream(self.streams, data)

    def preset(self, address: int, data: bytes) -> None:
        """Change the initial contents of the writable memory for all further runs."""
        for index, (start, memory) in enumerate(self.writable):
            if start <= address < start + memory.size:
                initial = bytearray(self.initial_memory[index][1])
                initial[address - start : address - start + len(data)] = data
                self.initial_memory[index] = memory, bytes(initial)

    # -- registers and calls

    def register(self, name: str) -> int:
        """The value of a register."""
        return self.registers.read(self.numbers[name])

    def set_register(self, name: str, value: int) -> None:
        """Set a register."""
        self.registers.write(self.numbers[name], value)

    def whole_register(self, name: str) -> int:
        """The value of a register, of a vector register with what the emulator does not have of it."""
        return self.register(name) | self.uppers.read(name) << 8 * XMM_BYTES

    def set_whole_register(self, name: str, value: int) -> None:
        """Set a register, as `whole_register` has read it."""
        self.set_register(name, value & _XMM_MASK)
        self.uppers.give_back(name, value >> 8 * XMM_BYTES)

    def set_low_bytes(self, register: str, data: bytes) -> None:
        """Set the lowest bytes of a register, as a function does whose result is narrower than the register."""
        if len(data) > XMM_BYTES:
            self.uppers.give(register, data[XMM_BYTES:])
            data = data[:XMM_BYTES]
        mask = (1 << 8 * len(data)) - 1
        number = self.numbers[register]
        self.registers.write(number, self.registers.read(number) & ~mask | int.from_bytes(data, "little"))

    def library_argument(self, index: int) -> int:
        """An integer argument at the entry of a function of the C library: one of those in registers."""
        return self.register(self.library_convention.integer_registers[index])

    def read_arguments(
        self, types: Sequence[Type], *, in_memory: bool = False, known: Mapping[str, int] | None = None
    ) -> list[bytes]:
        """The bytes of each argument at the entry of a function, whose result may be `in_memory`.

        `known` are registers that were read already. An argument has fewer bytes than its type where a part of it lies
        in unmapped memory.
        """
        known = known or {}

        def read_register(name: str) -> int:
            return known[name] if name in known else self.whole_register(name)

        def read_area(offset: int, size: int) -> bytes:
            return self.read(
                self.registers.read(self.stack_number) + self.processor.return_address_bytes + offset, size
            )

        return self.convention.read_arguments(types, read_register, read_area, self.read, in_memory=in_memory)

    def return_address(self) -> int:
        """Where the function that was just entered returns to; 0 where the stack pointer leads to no memory."""
        if self.processor.link_register:
            return self.register(self.processor.link_register)
        try:
            return int.from_bytes(self.uc.mem_read(self.registers.read(self.stack_number), 8), "little")
        except unicorn.UcError:
            return 0

    def set_return_address(self, address: int) -> None:
        """Let the function that was just entered return to another address."""
        if self.processor.link_register:
            self.set_register(self.processor.link_register, address)
        else:
            self.uc.mem_write(self.registers.read(self.stack_number), address.to_bytes(8, "little"))

    def stack_words(self, most: int) -> Iterator[tuple[int, int]]:
        """The first words from the stack pointer on, at most so many: the address and the value of each."""
        top = self.registers.read(self.stack_number)
        if STACK_START <= top < STACK_START + STACK_SIZE - 8:
            size = min(8 * most, (STACK_START + STACK_SIZE - top) // 8 * 8)
            data = self.stack.memory.read(top - STACK_START, size)
            for start in range(0, len(data), 8):
                yield top + start, int.from_bytes(data[start : start + 8], "little")

    # -- hooks

    def watch(self, first: int, last: int, action: Callable[[int], None]) -> None:
        """Call `action` with the address before each instruction from `first` to `last` is executed."""

        def on_code(uc: Any, address: int, size: int, data: Any) -> None:
            self.guard(action, address)

        self.watched.append((first, last))
        self.uc.hook_add(unicorn.UC_HOOK_CODE, on_code, None, first, last)

    def replace_function(self, address: int, action: Callable[[], None]) -> None:
        """Do the work of a function in the host: the function itself returns at once, after `action`."""
        self.uc.mem_write(address, self.processor.return_code)
        self.watch(address, address, lambda _: action())

    @contextmanager
    def hooked(self, kind: int, action: Callable[..., None], first: int = 1, last: int = 0) -> Iterator[None]:
        """Have unicorn call `action`, for events from one address to another, or anywhere (`first` above `last`)."""
        hook = self.uc.hook_add(kind, action, None, first, last)
        self.uc.ctl_flush_tb()  # code that was translated before does not call the hook
        try:
            yield
        finally:
            self.uc.hook_del(hook)

    def guard(self, action: Callable[..., None], *args: int) -> None:
        """Run the action of a hook. Where it raises, the run stops: the guest's own errors become the run's end, and
        any other error is kept in `hook_error`."""
        self.hook_calls += 1
        try:
            action(*args)
        except GuestExitError as error:
            self.stop(RunEnd("exit", None, error.code))
        except GuestAbortError:
            self.stop(RunEnd("abort"))
        except GuestUnsupportedError as error:
            self.stop(RunEnd("vex", GuestFault(str(error), self.return_address())))
        except GuestLimitError:
            self.stop(RunEnd("limit"))
        except GuestTrapError as error:
            fault = GuestFault(str(error), self.return_address(), error.address, size=error.size)
            self.stop(RunEnd("fault", fault))
        except unicorn.UcError as error:
            self.stop(RunEnd("fault", GuestFault(f"an emulated library call fails: {error}", self.return_address())))
        except Exception as error:
            self.hook_error = error
            self.uc.emu_stop()

    def stop(self, end: RunEnd) -> None:
        """End the run; of several ends in one run the first one counts."""
        if self.end is None:
            self.end = end
        self.uc.emu_stop()

    def begin_run(self, layout: Layout) -> None:
        """Forget how the last run ended, and take in the next input."""
        self.layout, self.end, self.hook_error, self.hook_calls = layout, None, None, 0
        self.uppers.forget()


def find_streams(program: ProgramImage) -> tuple[int, ...]:
    """The addresses of the C library's standard streams. One that is not linked, since no code of the program can use
    it, has an address at which there is no memory."""
    return tuple(
        program.library[f"__{name}_FILE"].address if f"__{name}_FILE" in program.library else placeholder
        for name, placeholder in zip(STREAM_NAMES, STREAMS, strict=True)
    )


def name_stream(streams: tuple[int, ...], data: bytes) -> bytes:
    """A pointer of a program, as a layout has it where it leads to one of the program's standard streams."""
    address = int.from_bytes(data, "little")
    return STREAMS[streams.index(address)].to_bytes(8, "little") if address in streams else data


def _replace_word(data: bytes, old: int, new: int) -> bytes:
    """Data in which one number of 64 bits stands for another. In a megabyte of zeros `bytes.replace` takes milliseconds
    for a number that ends with zeros; that one of its bytes occurs nowhere is seen in microseconds."""
    word = old.to_bytes(8, "little")
    return data.replace(word, new.to_bytes(8, "little")) if all(byte in data for byte in word) else data
