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


_PROGRAM_NAME = b"program"
"""The name of the program, `argv[0]`."""
_RANDOM_BYTES = bytes(range(16))


@dataclass(frozen=True)
class ProcessStart:
    """What the start-up code leaves behind."""

    main_arguments: tuple[int, int]
    """argc and argv."""
    errno_address: int
    """The address of the C library's error number; 0 where the program does not use it."""


def start_process(guest: Guest, *, buffers_output: bool = False) -> ProcessStart:
    """Make standard output unbuffered, save the memory, and run the C library's start-up code up to `main`.

    With `buffers_output`, standard output keeps its buffer, as in a process whose output goes to a file. Raises
    ProcessStartError where the program does not get as far as `main`: its functions that run before may end it.
    """
    stack = _STARTUP_STACK + _STARTUP_SIZE - PAGE
    guest.uc.mem_map(_STARTUP_STACK, _STARTUP_SIZE, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
    guest.processor.initialise(guest.uc)
    library = guest.program.library
    # Unbuffered from the very first function on: nothing printed waits in a buffer when `main` begins or ends.
    if not buffers_output:
        stdout = int.from_bytes(guest.read(library["stdout"].address, 8), "little")
        _call(guest, "setvbuf", (stdout, 0, _IONBF, 0))
    guest.save_loaded_memory()
    guest.uc.mem_write(stack, _initial_stack(stack))
    guest.uc.reg_write(guest.stack_number, stack)
    _emulate(guest, guest.program.entry, guest.program.symbols["main"].address)
    guest.uc.mem_protect(_STARTUP_STACK, _STARTUP_SIZE, unicorn.UC_PROT_READ)
    main_arguments = guest.library_argument(0), guest.library_argument(1)
    return ProcessStart(main_arguments, _call(guest, ERRNO_LOCATION, ()) if ERRNO_LOCATION in library else 0)


def place_process_stack(guest: Guest, frame_offset: int, arguments: Sequence[bytes] = ()) -> None:
    """Write what a new process finds on its stack below the frame at `frame_offset`, and set the stack pointer."""
    offset, contents = process_stack(frame_offset, arguments)
    guest.stack.memory.write(contents, offset)
    guest.uc.reg_write(guest.stack_number, STACK_START + offset)


def process_stack(frame_offset: int, arguments: Sequence[bytes] = ()) -> tuple[int, bytes]:
    """What a new process finds on its stack below the frame at `frame_offset`: the offset in the stack of where the
    stack pointer leads, and what is there. `arguments` are those behind the name of the program."""
    offset = frame_offset - len(_initial_stack(0, arguments))
    return offset, _initial_stack(STACK_START + offset, arguments)


def _initial_stack(address: int, arguments: Sequence[bytes] = ()) -> bytes:
    """The contents of the stack of a new process: argc, argv, envp and the auxiliary vector, each ended by a zero. They
    are a multiple of 16 bytes.

    AT_RANDOM must point to 16 bytes; musl's allocator reads AT_PAGESZ.
    """
    texts = [_PROGRAM_NAME, *arguments]
    word_bytes = -(-8 * (len(texts) + 9) // 16) * 16
    starts = [address + word_bytes + len(_RANDOM_BYTES)]
    for text in texts:
        starts.append(starts[-1] + len(text) + 1)
    auxiliary = (_AT_PAGESZ, PAGE, _AT_RANDOM, address + word_bytes, 0, 0)
    words = (len(texts), *starts[:-1], 0, 0, *auxiliary)
    data = b"".join(word.to_bytes(8, "little") for word in words).ljust(word_bytes, b"\0")
    data += _RANDOM_BYTES + b"".join(text + b"\0" for text in texts)
    return data.ljust(-(-len(data) // 16) * 16, b"\0")


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
