"""Runs of a guest's code on the processor itself, beside an emulator that has the same memory.

The emulator answers what the candidate asks of the world, as it always does: where a hook watches an address, the
confined process traps there, the emulator takes over its registers, executes that one instruction with the hook, and
gives the registers back. So calls of callbacks, of malloc and of the kernel are answered by the same code for both
engines.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

from pytest_llmcompiler.emulator.arena import ObjectArena
from pytest_llmcompiler.emulator.guest import Guest, RunEnd
from pytest_llmcompiler.emulator.native.faults import PAGE_FAULT, describe_fault
from pytest_llmcompiler.emulator.native.memory_file import (
    MemoryFile,
    PagePool,
    SharedBlock,
    find_block,
    split_region,
)
from pytest_llmcompiler.emulator.native.messages import (
    GENERAL_REGISTERS,
    VECTOR_REGISTERS,
    Event,
    Mapping,
    write_move,
    write_run,
)
from pytest_llmcompiler.emulator.native.process import ConfinedProcess, OutOfTimeError, ProcessEndedError
from pytest_llmcompiler.emulator.observation import GuestFault
from pytest_llmcompiler.emulator.register_batch import RegisterBatch
from pytest_llmcompiler.emulator.stack import STACK_SIZE, STACK_START
from pytest_llmcompiler.emulator.uninitialised import UninitialisedValues
from pytest_llmcompiler.errors import ChildLostError
from pytest_llmcompiler.values.layout import ALIGNED_SLOTS, RETURN, SLOTS, STUBS

_POOL = 0x600000000000
"""Where pages of the pool are in the confined process while no run has them. No guest has memory there."""
_HIDDEN_DISTANCE = 0x50 << 32
"""How far above their address pages are that are hidden. No other slot is there: aligned ones lie at powers of two."""
_TRAP, _WRITABLE, _EXECUTABLE = b"\xcc", 2, 4
_SYSTEM_CALL_BYTES = 2
_CONTROL_REGISTERS = ("mxcsr", "fpcw", "fpsw", "fptag")
_REGISTERS = (*GENERAL_REGISTERS, *VECTOR_REGISTERS, *_CONTROL_REGISTERS)
_REGISTER_BYTES = 16
_COUNTER, _FLAGS = GENERAL_REGISTERS.index("rip"), GENERAL_REGISTERS.index("eflags")
_TRAP_FLAG = 1 << 8
"""The flag with which the processor traps after each instruction, by the exception of this number:"""
_DEBUG_EXCEPTION = 1
_LEAST_SECONDS, _INSTRUCTIONS_PER_SECOND = 0.25, 50_000_000
"""A run may take so many seconds of a processor, and a second more for so many instructions of its limit: a processor
executes more than ten times as many. So only a candidate hangs that takes far longer than its limit allows."""
_UNLIMITED_SECONDS = 10.0
"""The same for a run without a limit."""


class ProcessorExecution:
    """Runs the code of one guest, all of which is loaded.

    Memory is shared with a confined process at the first run, and again where a child of this process, which has
    inherited the guest, runs for the first time: each process has its own guest. `further_bytes` are those of memory
    that runs may map beside the heap's objects, in whole pages.
    """

    def __init__(
        self, guest: Guest, arena: ObjectArena, uninitialised: UninitialisedValues, further_bytes: int = 0
    ) -> None:
        self._guest, self._arena, self._uninitialised = guest, arena, uninitialised
        guest.stack.open_all_parts()
        arena.open_all_slots()
        self._batch = RegisterBatch([(guest.numbers[name], 0) for name in _REGISTERS])
        self._pool = PagePool(further_bytes)
        self._mapped: dict[int, int] = {}
        """Where pages of the pool that a run has lie in the pool, by their address."""
        self._shared_as: tuple[int, int] | None = None
        """The process that has shared the guest's memory, and how much of its code was watched then."""
        self._file: MemoryFile | None = None
        self._mappings: list[Mapping] = []
        self._process: ConfinedProcess | None = None
        self.on_step: Callable[[int], bool] | None = None
        """Is called with the address before each instruction, and says whether to go on. It makes code run in steps."""
        guest.pages.mirror = self

    def close(self) -> None:
        """End the confined process."""
        if self._shared_as and self._shared_as[0] == os.getpid():
            self._end_process()
        self._file = None

    def run(self, begin: int, limit: int) -> None:
        """Run from an address until the return address, with the emulator's registers and memory.

        What ends the run otherwise is in `guest.end`. Raises what a hook raises, EngineError, OSError, and
        ChildLostError where the machine did not let the code run to its end.
        """
        self._share_memory()
        seconds = _LEAST_SECONDS + limit / _INSTRUCTIONS_PER_SECOND if limit else _UNLIMITED_SECONDS
        if self._process is None:
            assert self._file is not None
            thread_pointer = self._guest.register(self._guest.processor.thread_pointer)
            self._process = ConfinedProcess(self._file.descriptor, self._mappings, thread_pointer)
        self._guest.uc.reg_write(self._guest.counter_number, begin)
        try:
            runs = self._resume(self._uninitialised.upper_half, is_fresh=True)
            while runs:
                runs = self._handle(self._process.wait(seconds))
        except OutOfTimeError:
            self._process = None
            self._guest.stop(RunEnd("limit", GuestFault(f"{seconds:.2g} s of processor time", begin)))
        except ProcessEndedError as error:
            self._process = None
            self._guest.stop(RunEnd("fault", GuestFault(f"the process is ended: {error}", begin)))
        except ChildLostError:
            self._process = None
            raise

    # -- memory

    def _share_memory(self) -> None:
        """Put the guest's memory into a file of this process, if it is not there with all traps. Raises OSError."""
        state = os.getpid(), len(self._guest.watched)
        if self._shared_as == state:
            return
        if self._shared_as and self._shared_as[0] == state[0]:
            self._end_process()
        self._process = None  # that of a parent is the parent's
        self._shared_as, self._file = state, MemoryFile()
        pool = Mapping(_POOL, self._pool.size, self._pool.share(self._file), 3)
        self._mappings = [*self._map_guest(self._file), pool]

    def _map_guest(self, file: MemoryFile) -> Iterator[Mapping]:
        """The mappings of all memory of the guest. Hooks' addresses get traps, in a copy of the code."""
        guest, arena = self._guest, self._arena
        blocks = [SharedBlock(start, memory.size, memory, 0) for start, memory in (*guest.writable, *guest.read_only)]
        blocks.append(SharedBlock(STACK_START, STACK_SIZE, guest.stack.memory, 0))
        blocks += [SharedBlock(slot.address, slot.size, arena.memory, slot.host) for slot in (*SLOTS, *ALIGNED_SLOTS)]
        for first, last, protection in guest.uc.mem_regions():
            for start, end in split_region(first, last + 1, blocks):
                block = find_block(blocks, start)
                if block:
                    offset = file.add_block(block.memory) + block.start + start - block.address
                else:
                    data = bytes(guest.uc.mem_read(start, end - start))
                    offset = file.add_copy(self._set_traps(start, data) if protection & _EXECUTABLE else data)
                yield Mapping(start, end - start, offset, protection)

    def _set_traps(self, start: int, code: bytes) -> bytes:
        """A copy of code with traps at all addresses that hooks watch, and wherever a stub may be entered."""
        trapped = bytearray(code)
        if start == STUBS:
            return _TRAP * len(code)
        for first, last in self._guest.watched:
            if first == last and start <= first < start + len(code):
                trapped[first - start : first - start + 1] = _TRAP
        return bytes(trapped)

    def map(self, address: int, size: int) -> int:
        """Give both engines pages at an address. Raises EngineError."""
        start = self._pool.take(size)
        self._mapped[address] = start
        self._move(_POOL + start, address, size)
        return self._pool.pointer(start)

    def unmap(self, address: int, size: int) -> None:
        """Take pages away."""
        start = self._mapped.pop(address)
        self._pool.give_back(start)
        self._move(address, _POOL + start, size)

    def show(self, address: int, size: int) -> None:
        """Map hidden pages again."""
        self._move(address + _HIDDEN_DISTANCE, address, size)

    def hide(self, address: int, size: int) -> None:
        """Let each access to pages fault."""
        self._move(address, address + _HIDDEN_DISTANCE, size)

    def _move(self, source: int, target: int, size: int) -> None:
        """Move pages in the confined process. A new one has all pages where no run has them."""
        if self._process and self._shared_as and self._shared_as[0] == os.getpid():
            try:
                self._process.order(write_move(source, target, size))
            except ProcessEndedError:
                self._process = None

    def _end_process(self) -> None:
        if self._process:
            self._process.close()
            self._process = None

    # -- events

    def _resume(self, fill: int | None, *, is_fresh: bool = False) -> bool:
        """Run with the emulator's registers. Returns whether the code runs."""
        assert self._process is not None
        values = self._batch.read(self._guest.uc)
        general, rest = values[: len(GENERAL_REGISTERS)], values[len(GENERAL_REGISTERS) :]
        if self.on_step:
            if not self.on_step(general[_COUNTER]):
                self._guest.stop(RunEnd("limit"))
                return False
            general[_FLAGS] |= _TRAP_FLAG
        vectors = b"".join(value.to_bytes(_REGISTER_BYTES, "little") for value in rest[: len(VECTOR_REGISTERS)])
        vectors = self._guest.uppers.widen(vectors, fill or 0)
        mxcsr, fpcw = rest[len(VECTOR_REGISTERS) : len(VECTOR_REGISTERS) + 2]
        self._process.order(write_run(general, vectors, mxcsr, fpcw, fill, is_fresh=is_fresh))
        return True

    def _take_over(self, event: Event) -> None:
        """Give the emulator the registers of an event."""
        values = (*event.registers.values(), event.mxcsr, event.fpcw, event.fpsw, event.fptag)
        words = [value.to_bytes(_REGISTER_BYTES, "little") for value in values]
        count = len(GENERAL_REGISTERS)
        self._batch.write_bytes(self._guest.uc, b"".join((*words[:count], event.vectors, *words[count:])))
        self._guest.uppers.observe(event.uppers)

    def _handle(self, event: Event) -> bool:
        """Answer an event. Returns whether the code runs on."""
        guest = self._guest
        is_step = event.trap == _DEBUG_EXCEPTION and self.on_step is not None
        if event.signal == signal.SIGTRAP and not is_step:
            event.registers["rip"] -= len(_TRAP)
        event.registers["eflags"] &= ~_TRAP_FLAG
        pc = event.registers["rip"]
        self._take_over(event)
        if event.signal == signal.SIGTRAP:
            return self._resume(None) if is_step else self._handle_trap(pc)
        if event.signal == signal.SIGSYS:
            return self._handle_system_call(pc - _SYSTEM_CALL_BYTES)
        is_page_fault = event.signal == signal.SIGSEGV and event.trap == PAGE_FAULT
        if is_page_fault and event.address != pc and guest.stack.can_grow_to(event.address):
            guest.stack.grow(self._uninitialised.stack_bytes(guest.stack.max_growth))
            return self._resume(None)
        guest.stop(describe_fault(guest, event))
        return False

    def _handle_trap(self, pc: int) -> bool:
        if pc == RETURN:
            return False
        if any(first <= pc <= last for first, last in self._guest.watched):
            return self._step(pc)
        self._guest.stop(RunEnd("fault", GuestFault(self._guest.processor.exception_names[3], pc)))
        return False

    def _handle_system_call(self, pc: int) -> bool:
        """A system call of the C library is the emulated kernel's to answer; any other code must not make one."""
        guest = self._guest
        segments = guest.program.segments
        if any(part.is_executable and 0 <= pc - part.address < len(part.data) for part in segments):
            return self._step(pc)
        guest.stop(RunEnd("forbidden", GuestFault("`syscall` in user code", pc)))
        return False

    def _step(self, pc: int) -> bool:
        """Have the emulator execute one instruction, with its hooks, and run on."""
        guest = self._guest
        clobbers = guest.clobbers
        guest.uc.emu_start(pc, RETURN, count=1)
        if guest.hook_error or guest.end:
            return False
        if guest.registers.read(guest.counter_number) == RETURN:
            return False
        return self._resume(self._uninitialised.upper_half if guest.clobbers != clobbers else None)
