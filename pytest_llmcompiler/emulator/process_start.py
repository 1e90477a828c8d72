"""The start of the emulated process: what Linux gives it, and the C library's start-up code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import unicorn

from pytest_llmcompiler.emulator.guest import Guest, RunEnd
from pytest_llmcompiler.emulator.stack import CALLER_FRAME, STACK_SIZE, STACK_START
from pytest_llmcompiler.errors import ProcessStartError
from pytest_llmcompiler.program.reference import ERRNO_LOCATION
from pytest_llmcompiler.values.layout import PAGE, RETURN

_STARTUP_STACK, _STARTUP_SIZE = 0x7FFE00000000, 4 * PAGE
"""A stack of its own for the start-up code: the C library keeps pointers to the environment that lies there, and the
runs overwrite their stack."""
_LIMIT = 1_000_000
"""Instructions that the start-up code may take; musl needs a few thousand."""
_AT_PAGESZ, _AT_RANDOM = 6, 25
"""Keys of the auxiliary vector (elf.h)."""
_IONBF = 2
"""Unbuffered (musl's stdio.h)."""


_STACK_CONTENTS_BYTES = 512
"""Bytes of the stack that `place_process_stack` writes, rounded up to a multiple of 16."""


@dataclass(frozen=True)
class ProcessStart:
    """What the start-up code leaves behind."""

    main_arguments: tuple[int, int]
    """argc and argv."""
    errno_address: int
    """The address of the C library's error number; 0 where the program does not use it."""


def start_process(guest: Guest) -> ProcessStart:
    """Make standard output unbuffered, save the memory, and run the C library's start-up code up to `main`.

    Raises ProcessStartError where the program does not get as far as `main`: its functions that run before may end it.
    """
    stack = _STARTUP_STACK + _STARTUP_SIZE - PAGE
    guest.uc.mem_map(_STARTUP_STACK, _STARTUP_SIZE, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
    guest.processor.initialise(guest.uc)
    library = guest.program.library
    # Unbuffered from the very first function on: nothing printed waits in a buffer when `main` begins or ends.
    stdout = int.from_bytes(guest.read(library["stdout"].address, 8), "little")
    _call(guest, "setvbuf", (stdout, 0, _IONBF, 0))
    guest.save_loaded_memory()
    guest.uc.mem_write(stack, _initial_stack(stack))
    guest.uc.reg_write(guest.stack_number, stack)
    _emulate(guest, guest.program.entry, guest.program.symbols["main"].address)
    guest.uc.mem_protect(_STARTUP_STACK, _STARTUP_SIZE, unicorn.UC_PROT_READ)
    main_arguments = guest.library_argument(0), guest.library_argument(1)
    return ProcessStart(main_arguments, _call(guest, ERRNO_LOCATION, ()) if ERRNO_LOCATION in library else 0)


def place_process_stack(guest: Guest, frame_offset: int) -> None:
    """Write what a new process finds on its stack below the frame at `frame_offset`, and set the stack pointer."""
    offset, contents = process_stack(frame_offset)
    guest.stack.memory.write(contents, offset)
    guest.uc.reg_write(guest.stack_number, STACK_START + offset)


def process_stack(frame_offset: int) -> tuple[int, bytes]:
    """What a new process finds on its stack below the frame at `frame_offset`: the offset in the stack of where the
    stack pointer leads, and what is there."""
    offset = frame_offset - _STACK_CONTENTS_BYTES
    return offset, _initial_stack(STACK_START + offset)


def _initial_stack(address: int) -> bytes:
    """The contents of the stack of a new process: argc, argv, envp and the auxiliary vector, each ended by a zero.

    AT_RANDOM must point to 16 bytes; musl's allocator reads AT_PAGESZ.
    """
    strings = address + 256
    words = (1, strings, 0, 0, _AT_PAGESZ, PAGE, _AT_RANDOM, strings, 0, 0)
    return b"".join(word.to_bytes(8, "little") for word in words).ljust(256, b"\0") + b"program\0" * 2


def _call(guest: Guest, name: str, args: Sequence[int]) -> int:
    """Call a function of the C library."""
    guest.uc.reg_write(
        guest.stack_number, STACK_START + STACK_SIZE - CALLER_FRAME - guest.processor.return_address_bytes
    )
    guest.set_return_address(RETURN)
    for register, value in zip(guest.library_convention.integer_registers, args):
        guest.set_register(register, value)
    _emulate(guest, guest.program.library[name].address, RETURN)
    return guest.register(guest.library_convention.return_register)


def _emulate(guest: Guest, start: int, until: int) -> None:
    guest.uc.emu_start(start, until, count=_LIMIT)
    if guest.hook_error:
        raise guest.hook_error
    if guest.end or guest.uc.reg_read(guest.counter_number) != until:
        raise ProcessStartError(f"a function that runs before main ends the program: {_describe_end(guest.end)}")


def _describe_end(end: RunEnd | None) -> str:
    if end is None:
        return f"main is not reached within {_LIMIT:,} instructions"
    if end.outcome == "exit":
        return f"exit code {end.exit_code}"
    return f"{end.fault.description} at {end.fault.pc:#x}" if end.fault else end.outcome
