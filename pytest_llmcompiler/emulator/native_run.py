"""The work around each run of a machine, done in C by one call: `engine/native_run.c`.

Memory is restored, the input is written, registers are set, and the emulator runs. The same is done in Python where the
library can't be built (`Machine._reset`); it takes 0.1 ms longer.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import unicorn

from pytest_llmcompiler.emulator.arena import ObjectArena
from pytest_llmcompiler.emulator.coverage import BlockTrace
from pytest_llmcompiler.emulator.engine_build import library_path
from pytest_llmcompiler.emulator.environment import initial_errno
from pytest_llmcompiler.emulator.guest import Guest
from pytest_llmcompiler.emulator.memory import HostMemory
from pytest_llmcompiler.emulator.stack import STACK_START
from pytest_llmcompiler.emulator.uninitialised import StartState
from pytest_llmcompiler.errors import EngineError
from pytest_llmcompiler.targets.abi import CallSetup
from pytest_llmcompiler.values.layout import RETURN, Layout

_WRITE = struct.Struct("<QQQ")
"""`Write` in `native_run.c`: the target, the source or 0, and the size; `Block` too."""
_PAIR = struct.Struct("<QQ")
"""`Edge` in `native_run.c`."""
_VALUE_BYTES = 16
"""Bytes of the largest register."""
_RestoredKey = tuple[int, tuple[tuple[int, int], ...]]
_POINTER, _U64, _U32 = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32
_FUNCTIONS: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "native_run": (
        ctypes.c_int,
        (_POINTER, _POINTER, _POINTER, _U32, ctypes.c_char_p, _U64, ctypes.c_char_p, _U32, _U64, _U64, _U64),
    ),
    "native_open_trace": (_POINTER, (_POINTER, _U64, _U64, _U64, _U64)),
    "native_reset_trace": (None, (_POINTER,)),
    "native_close_trace": (None, (_POINTER,)),
    "native_keep_address_bits": (ctypes.c_bool, (_POINTER,)),
    "native_open_counter": (_POINTER, (_POINTER, _POINTER, _U32)),
}


@functools.cache
def load_library() -> ctypes.CDLL | None:
    """The functions of `native_run.c`; None where they can't be built."""
    try:
        library = ctypes.CDLL(str(library_path()))
    except (EngineError, OSError):
        return None
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def keep_address_bits(uc: Any) -> None:
    """Have accesses of an emulator fault where only the upper 12 bits of their addresses are wrong; nothing where the
    library can't be built. It is not done for each machine, since the engine, which runs first, looks at all bits."""
    library = load_library()
    if library:
        library.native_keep_address_bits(uc._uch)


class NativeRunner:
    """Starts the runs of one machine. To be built when the machine is ready for its first run."""

    def __init__(
        self, library: ctypes.CDLL, guest: Guest, arena: ObjectArena, errno: tuple[HostMemory, int] | None
    ) -> None:
        self._guest, self._arena, self._errno = guest, arena, errno
        self._run = library.native_run
        self._register_prefixes = {name: number.to_bytes(8, "little") for name, number in guest.numbers.items()}
        """The first bytes of `RegisterWrite` in `native_run.c`, by the name of the register."""
        self._restored: dict[_RestoredKey, tuple[ctypes.Array[ctypes.c_char], bytes]] = {}
        """What each run restores, by the identity of its start state and the parts of the stack: an array of `Block`,
        and the contents of the paddings as `Write`s."""
        self._initial_memory: list[tuple[HostMemory, bytes]] = []
        """The contents of the program's memory for which the arrays were made."""

    @classmethod
    def open(cls, guest: Guest, arena: ObjectArena, errno_address: int) -> NativeRunner | None:
        """A runner for a machine; None where the library can't be built."""
        library = load_library()
        errno = guest.find_writable(errno_address) if errno_address else None
        return cls(library, guest, arena, errno) if library and (errno or not errno_address) else None

    def run(self, last: Layout | None, start: StartState, call: CallSetup, begin: int, limit: int) -> None:
        """Restore memory and registers, write the guest's input, and run from an address.

        `last` is the layout of the run before, `limit` the most instructions. Raises UcError as `Uc.emu_start` does,
        and what a hook raises.
        """
        uc = self._guest.uc
        blocks, pads = self._find_restored(start)
        writes = b"".join((pads, *self._list_writes(last, start, call)))
        registers = self._list_registers(start, call)
        uc._hook_exception = None
        status = self._run(
            *(uc._uch, start.context.context, blocks, len(blocks) // _WRITE.size),
            *(writes, len(writes), b"".join(registers), len(registers), begin, RETURN, limit),
        )
        if status != unicorn.UC_ERR_OK:
            raise unicorn.UcError(status)
        if uc._hook_exception is not None:
            raise uc._hook_exception

    def _find_restored(self, start: StartState) -> tuple[ctypes.Array[ctypes.c_char], bytes]:
        """The memory that a run restores: the program's, the stack, and the paddings."""
        if self._initial_memory != self._guest.initial_memory:  # the identity of the contents is compared first
            self._restored.clear()
            self._initial_memory = list(self._guest.initial_memory)
        key = id(start), self._guest.stack.begin_run(start.stack)
        if key not in self._restored:
            stack = self._guest.stack.memory.pointer
            blocks = [(memory.pointer, _address_of(data), len(data)) for memory, data in self._initial_memory]
            blocks += [(stack + first, _address_of(start.stack) + first, end - first) for first, end in key[1]]
            packed = b"".join(_WRITE.pack(*block) for block in blocks)
            pads = b"".join(_pack_write(memory.pointer + offset, data) for memory, offset, data in start.pads)
            self._restored[key] = ctypes.create_string_buffer(packed, len(packed)), pads
        return self._restored[key]

    def _list_writes(self, last: Layout | None, start: StartState, call: CallSetup) -> Iterator[bytes]:
        """What an input gives to memory."""
        guest, layout = self._guest, self._guest.layout
        assert layout is not None
        for name, data in layout.globals:
            memory, offset, _ = guest.variables[name]
            yield _pack_write(memory.pointer + offset, guest.insert_streams(data))
        for pointer in layout.symbol_pointers:
            memory, offset, data = guest.locate_symbol_pointer(*pointer)
            yield _pack_write(memory.pointer + offset, data)
        if self._errno:
            memory, offset = self._errno
            yield _pack_write(memory.pointer + offset, initial_errno(layout.environment_seed).to_bytes(4, "little"))
        yield from self._list_objects(layout, last)
        yield from self._list_stack(start, call)

    def _list_objects(self, layout: Layout, last: Layout | None) -> Iterator[bytes]:
        self._arena.open_slots(layout)
        memory, untouched = self._arena.memory.pointer, self._arena.untouched.pointer
        slots = {placed.slot.host: placed.slot.size for one in (last, layout) if one for placed in one.objects}
        for host, size in slots.items():
            yield _WRITE.pack(memory + host, untouched + host, size)
        for placed, data in layout.contents:
            address = memory + placed.slot.host + placed.address - placed.slot.address
            yield _pack_write(address, self._guest.insert_streams(data))

    def _list_stack(self, start: StartState, call: CallSetup) -> Iterator[bytes]:
        """The return address and the arguments."""
        guest = self._guest
        frame = guest.stack.memory.pointer + start.frame_offset
        data = guest.insert_streams(call.stack)
        if not guest.processor.link_register:
            frame, data = frame - 8, RETURN.to_bytes(8, "little") + data
        yield _pack_write(frame, data)
        for copy in call.copies:
            if isinstance(copy.pointer, int):
                pointer = (STACK_START + start.frame_offset + copy.offset).to_bytes(8, "little")
                yield _pack_write(guest.stack.memory.pointer + start.frame_offset + copy.pointer, pointer)

    def _list_registers(self, start: StartState, call: CallSetup) -> list[bytes]:
        processor, streams = self._guest.processor, self._guest.stream_addresses
        frame = STACK_START + start.frame_offset
        values = {processor.stack_pointer: frame if processor.link_register else frame - 8}
        if processor.link_register:
            values[processor.link_register] = RETURN
        for name, value in call.registers.items():
            values[name] = streams.get(value, value)
        for copy in call.copies:
            if isinstance(copy.pointer, str):
                values[copy.pointer] = frame + copy.offset
        prefixes = self._register_prefixes
        return [prefixes[name] + value.to_bytes(_VALUE_BYTES, "little") for name, value in values.items()]


def _pack_write(target: int, data: bytes) -> bytes:
    """A `Write` of `native_run.c` with its bytes."""
    return _WRITE.pack(target, 0, len(data)) + data


def _address_of(data: bytes) -> int:
    """Where the bytes lie in the host's memory, as long as the object lives."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


class _TraceFields(ctypes.Structure):
    """The start of `BlockTrace` in `native_run.c`."""

    _fields_ = (
        ("executed_bytes", ctypes.c_uint64),
        ("case_bytes", ctypes.c_uint64),
        ("edge_count", ctypes.c_uint64),
        ("edges", ctypes.c_void_p),
        ("is_full", ctypes.c_bool),
    )


class NativeBlockTrace(BlockTrace):
    """Counts as `BlockTrace` does, without a call of Python for each block."""

    _handle = 0

    def watch(self, uc: Any) -> None:
        """Raises MemoryError."""
        library = load_library()
        if library is None:
            super().watch(uc)
            return
        self._handle = library.native_open_trace(uc._uch, *self.bounds)
        if not self._handle:
            raise MemoryError
        self._reset_native = library.native_reset_trace
        self._fields = _TraceFields.from_address(self._handle)
        weakref.finalize(self, library.native_close_trace, self._handle)

    def reset(self) -> None:
        super().reset()
        if self._handle:
            self._reset_native(self._handle)

    def collect(self) -> None:
        if not self._handle:
            return
        fields = self._fields
        if fields.is_full:
            raise MemoryError
        self.executed_bytes, self.case_bytes = fields.executed_bytes, fields.case_bytes
        edges = ctypes.string_at(fields.edges, fields.edge_count * _PAIR.size)
        self.edges = set(_PAIR.iter_unpack(edges))
