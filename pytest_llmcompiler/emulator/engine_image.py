"""Images of the engine: a program after its start, and candidates, as bytes that `engine/*.c` reads.

Numbers are little-endian, of 32 or 64 bits; bytes and lists have their length before them (see `engine/machine.c`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, get_args

from pytest_llmcompiler.emulator.environment import OUTPUT_FAILURE, has_no_memory, initial_errno, standard_input
from pytest_llmcompiler.emulator.kernel import choose_clock, choose_process_number
from pytest_llmcompiler.emulator.stack import MAX_CANDIDATE_GROWTH, STACK_SIZE, STACK_START
from pytest_llmcompiler.emulator.uninitialised import UninitialisedFill
from pytest_llmcompiler.program.image import ProgramImage, Symbol
from pytest_llmcompiler.program.ir_rewrites import PADDING_BYTES
from pytest_llmcompiler.values.layout import ALIGNED_SLOTS, ARENA, GARBAGE, PAGE, RETURN, SLOTS, STUB_SIZE, STUBS

if TYPE_CHECKING:
    from pytest_llmcompiler.emulator.machine import Machine

_MAGIC = int.from_bytes(b"QENGINE1", "big")
_VALUE_BYTES = 16
_U64 = (1 << 64) - 1
NO_REGISTER = 0xFFFFFFFF
"""Stands for a register that there is not (-1 in C)."""
NO_GUARD = (NO_REGISTER, NO_REGISTER, NO_REGISTER, 0, 0, 0, 0)
"""The guard of a hook of another kind."""

HOOK_KINDS = (
    "leave",
    "abort",
    "assert",
    "malloc",
    "calloc",
    "realloc",
    "free",
    "aligned_alloc",
    "call",
    "own call",
    "callback",
    "detour",
    "external",
    "stubs",
    "guard",
)
"""The kinds of hooks, in the order of `HookKind` in `engine.h`."""
_KIND_NUMBERS = {kind: number for number, kind in enumerate(HOOK_KINDS)}
_HOOK_START, _HOOK_END = struct.Struct("<I2Q2I"), struct.Struct("<6IQ")
"""A hook before and behind the numbers of its registers."""
_HOST_FUNCTIONS = {
    "malloc": "malloc",
    "calloc": "calloc",
    "realloc": "realloc",
    "free": "free",
    "aligned_alloc": "aligned_alloc",
    "memalign": "aligned_alloc",
    "abort": "abort",
    "__assert_fail": "assert",
    "__assert": "assert",
    "__stack_chk_fail": "leave",
    "__chk_fail": "leave",
}
"""The functions of the C library that the host does, with the hook for each."""
_SHORTAGES = ((False, False), (True, True), (True, False), (False, True))
"""Whether there is no memory for sizes that are not multiples of 8, and for those that are: see `Environment` in
`engine.h`."""
SYSTEM_CALL_KINDS = (
    ("leave", ("futex", "getrandom", "kill", "tkill", "tgkill", "rt_sigaction")),
    ("read", ("read",)),
    ("write", ("write",)),
    ("readv", ("readv",)),
    ("writev", ("writev",)),
    ("close", ("close",)),
    ("lseek", ("lseek",)),
    ("sleep", ("nanosleep", "clock_nanosleep")),
    ("get number", ("getpid", "gettid")),
    ("refused", ()),  # all that are not named here
    ("exit", ("exit", "exit_group")),
    ("gettimeofday", ("gettimeofday",)),
    ("arch_prctl", ("arch_prctl",)),
    ("time", ("time",)),
    ("set_tid_address", ("set_tid_address",)),
    ("clock_gettime", ("clock_gettime",)),
    ("open", ("open",)),
    ("openat", ("openat",)),
    ("path", ("path", "access", "faccessat", "stat", "newfstatat")),
    ("file", ("file", "fstat")),
    ("fcntl", ("fcntl",)),
    ("ioctl", ("ioctl",)),
    ("query", ("query",)),
)
"""The kinds of system calls, in the order of `SystemCallKind` in `engine.h`, with the names that the processor has."""


class ImageWriter:
    """Collects the bytes of an image."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def u32(self, *numbers: int) -> None:
        """Numbers of 32 bits."""
        self._parts += [struct.pack("<I", number & 0xFFFFFFFF) for number in numbers]

    def u64(self, *numbers: int) -> None:
        """Numbers of 64 bits."""
        self._parts += [struct.pack("<Q", number & _U64) for number in numbers]

    def span(self, data: bytes) -> None:
        """Bytes, with their length before them."""
        self.u32(len(data))
        self._parts.append(data)

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self._parts.append(data)

    def registers(self, values: Iterable[tuple[int, int]]) -> None:
        """Registers, by unicorn's numbers, with their values."""
        items = list(values)
        self.u32(len(items))
        for number, value in items:
            self.u32(number)
            self.raw(value.to_bytes(_VALUE_BYTES, "little"))

    def expected_registers(self, values: Iterable[tuple[int, int, int]]) -> None:
        """Registers with a mask and the value that they must have under it."""
        items = list(values)
        self.u32(len(items))
        for number, mask, value in items:
            self.u32(number)
            self.raw(mask.to_bytes(_VALUE_BYTES, "little") + (value & mask).to_bytes(_VALUE_BYTES, "little"))

    def hook(
        self,
        kind: str,
        first: int,
        last: int | None = None,
        *,
        number: int = 0,
        registers: Iterable[int] = (),
        results: Iterable[int] = (),
        guard: tuple[int, int, int, int, int, int, int] = NO_GUARD,
    ) -> None:
        """A hook on addresses. `results` are the registers in which a function may return.

        A guard is base, index, segment, scale, bits, alignment and offset of an operand.
        """
        numbers, kept = tuple(registers), tuple(results)
        self._parts += (
            _HOOK_START.pack(_KIND_NUMBERS[kind], first, first if last is None else last, number, len(numbers)),
            struct.pack(f"<{len(numbers) + 1 + len(kept)}I", *numbers, len(kept), *kept),
            _HOOK_END.pack(*guard[:6], guard[6] & _U64),
        )

    def getvalue(self) -> bytes:
        """The image."""
        return b"".join(self._parts)


def write_program(writer: ImageWriter, machine: Machine) -> None:
    """Write the program of a machine that has no candidate and has not run yet."""
    writer.u64(_MAGIC)
    _write_target(writer, machine)
    _write_system_calls(writer, machine)
    _write_addresses(writer, machine)
    _write_regions(writer, machine)
    _write_variables(writer, machine)
    for fill in get_args(UninitialisedFill):
        _write_fill(writer, machine, fill)
    _write_slots(writer)
    _write_hooks(writer, machine)


def write_environment(writer: ImageWriter, seed: int, text: bytes | None = None) -> None:
    """Write what an environment seed chooses; `text` is standard input where an input has one."""
    shortages = has_no_memory(seed, 1), has_no_memory(seed, 8)
    writer.u32(initial_errno(seed), _SHORTAGES.index(shortages), seed == OUTPUT_FAILURE)
    writer.span(standard_input(seed) if text is None else text)
    writer.u64(*choose_clock(seed), choose_process_number(seed))


def _write_target(writer: ImageWriter, machine: Machine) -> None:
    guest, processor, convention = machine.guest, machine.processor, machine.convention
    numbers, library = guest.numbers, guest.library_convention
    link = numbers[processor.link_register] if processor.link_register else NO_REGISTER
    writer.u32(guest.uc._arch, guest.uc._mode, guest.stack_number, guest.counter_number, link)
    writer.u32(numbers[convention.return_register], numbers[library.return_register])
    writer.u32(len(library.integer_registers), *(numbers[name] for name in library.integer_registers))
    writer.u32(convention.shadow_space, convention.red_zone)
    halves = convention.half_preserved_vectors
    writer.u32(len(halves))
    for whole, half in halves.items():
        writer.u32(numbers[whole], numbers[half])
    writer.expected_registers((numbers[name], mask, value) for name, (mask, value) in processor.control_state.items())


def _write_system_calls(writer: ImageWriter, machine: Machine) -> None:
    processor = machine.processor
    kinds = {name: kind for kind, (_, names) in enumerate(SYSTEM_CALL_KINDS) for name in names}
    writer.u32(*(processor.register_number(name) for name in processor.system_call_registers))
    known = [(number, kinds[name]) for number, name in processor.system_call_names.items() if name in kinds]
    writer.u32(len(known))  # the engine refuses all others
    for number, kind in known:
        writer.u64(number)
        writer.u32(kind)


def encode_replacement(program: ProgramImage, original: Symbol, target: int) -> bytes:
    """What replaces a function of a program: a jump to an address, and traps in the place of the rest."""
    processor = program.target.processor
    jump = processor.encode_jump(original.address, target)
    return jump + processor.trap_code * ((original.size - len(jump)) // len(processor.trap_code))


def _write_addresses(writer: ImageWriter, machine: Machine) -> None:
    library = machine.program.library
    writer.u64(machine.function.address, RETURN, STUBS, machine.errno_address)
    writer.u64(machine.guest.streams[0] if "__stdin_FILE" in library else 0)
    writer.u64(STACK_START, STACK_SIZE, MAX_CANDIDATE_GROWTH)
    load_address = machine.program.target.load_address
    writer.u64(load_address)
    writer.span(encode_replacement(machine.program, machine.function, load_address))


def _write_regions(writer: ImageWriter, machine: Machine) -> None:
    guest = machine.guest
    own = {slot.address for slot in (*SLOTS, *ALIGNED_SLOTS)}
    constants = {address: len(data) for address, data in machine.addresses.constants.pieces}
    regions = [
        (start, end + 1 - start, permissions)
        for start, end, permissions in sorted(guest.uc.mem_regions())
        if start not in own and not STACK_START <= start < STACK_START + STACK_SIZE
    ]
    writer.u32(len(regions))
    for start, size, permissions in regions:
        is_restored = any(at < start + size and start < at + memory.size for at, memory in guest.writable)
        data = bytes(guest.uc.mem_read(start, size))
        data = data[: constants[start]] if start in constants else data
        writer.u64(start, size)
        writer.u32(permissions, start in constants, is_restored)
        writer.span(data)


def _write_variables(writer: ImageWriter, machine: Machine) -> None:
    symbols = [machine.program.symbols[name] for name in machine.program.globals]
    writer.u32(len(symbols))
    for symbol in symbols:
        writer.u64(symbol.address, symbol.size)
    writer.u32(len(machine.program.paddings), PADDING_BYTES)
    writer.u64(*machine.program.paddings)


def _write_fill(writer: ImageWriter, machine: Machine, fill: UninitialisedFill) -> None:
    values, numbers = machine.fill_values(fill), machine.guest.numbers
    writer.raw(values.pattern)
    writer.span(values.stack_page)
    writer.u64(values.frame_offset, values.narrow_result, values.upper_half)
    writer.u64(numbers[machine.processor.flags_register], *values.flags)
    for registers in (values.state, values.scratch, values.callee_saved):
        writer.registers((numbers[name], value) for name, value in registers.items())


def _write_slots(writer: ImageWriter) -> None:
    writer.u32(ARENA)
    writer.raw(GARBAGE[0])
    slots = (*SLOTS, *ALIGNED_SLOTS)
    writer.u32(len(slots))
    for slot in slots:
        writer.u64(slot.address)
        writer.u32(slot.size, slot.host)


def _write_hooks(writer: ImageWriter, machine: Machine) -> None:
    program = machine.program
    functions: Mapping[str, str] = {name: kind for name, kind in _HOST_FUNCTIONS.items() if name in program.library}
    writer.u32(len(functions) + len(program.stubs) + 1)
    for name, kind in functions.items():
        writer.hook(kind, program.library[name].address)
    for number, name in enumerate(program.stubs):
        writer.hook("external", program.symbols[name].address, number=number)
    writer.hook("stubs", STUBS, STUBS + PAGE - STUB_SIZE - 1)
