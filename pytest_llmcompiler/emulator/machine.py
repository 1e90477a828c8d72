"""One emulated machine (unicorn): a program loaded whole, and a candidate in the place of a function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import unicorn

from pytest_llmcompiler.emulator import process_start as system
from pytest_llmcompiler.emulator.external_calls import ExternalCalls, mix
from pytest_llmcompiler.emulator.heap import Heap, is_heap
from pytest_llmcompiler.emulator.kernel import GuestExitError, GuestTrapError, Kernel
from pytest_llmcompiler.emulator.libc_preconditions import build_checks
from pytest_llmcompiler.emulator.memory import HostMemory
from pytest_llmcompiler.emulator.observation import (
    ELSEWHERE,
    AbiBreach,
    Constants,
    ExternalCall,
    GuestFault,
    Observation,
    Reply,
    UninitialisedFill,
    initial_errno,
)
from pytest_llmcompiler.program.image import ProgramImage, ProgramSegment
from pytest_llmcompiler.program.ir_rewrites import PADDING_BYTES
from pytest_llmcompiler.program.reference import ERRNO_LOCATION
from pytest_llmcompiler.targets import abi
from pytest_llmcompiler.targets.code import AssembledCode, CodeSegment
from pytest_llmcompiler.targets.processor import AlignmentGuard, Outcome
from pytest_llmcompiler.values.c_types import Function, Type
from pytest_llmcompiler.values.layout import (
    ALIGNED_SLOTS,
    ARENA,
    GARBAGE,
    PAGE,
    RETURN,
    SLOTS,
    STUB_SIZE,
    STUBS,
    Layout,
)

STACK_START, STACK_SIZE = 0x7FFD12340000, 64 * PAGE
DEEP = 256 * PAGE
"""Bytes below the stack that a run of a candidate gets if it reaches for them, and half as many that a reference gets:
a correct candidate may need more. Few do, and each run starts on a fresh stack."""
START, START_SIZE = 0x7FFE00000000, 4 * PAGE
"""The stack on which the program starts up."""
FRAME = 2 * PAGE
"""Bytes at the top of the stack that belong to the caller of the function under test."""
BLANK_TOP = 0x30010
"""Bytes of the stack below the caller's frame in a run on zeros: there the stack pointer crosses a multiple of
64 KiB, so that what counts it down in 16 bits goes wrong."""
MAX_ARGUMENT_BYTES = PAGE
"""Bytes that the argument area on the stack may have."""

NARROW = RETURN + STUB_SIZE // 2
"""Where library functions return to whose results have an undefined half: on the way to the candidate, that is filled
with garbage."""
_MOST_NARROW = 20
"""Calls of them in a run for which this is done: it takes longer than most of them."""
MAX_EXTERNAL_CALLS = 1_000
"""Calls out that a run may make; a reference makes far fewer on any input."""

Region = Literal["stack", "own", "data", "constant", "object", "heap", "none"]

_ACCESS = {
    unicorn.UC_MEM_READ_UNMAPPED: "read",
    unicorn.UC_MEM_WRITE_UNMAPPED: "write",
    unicorn.UC_MEM_FETCH_UNMAPPED: "jump",
    unicorn.UC_MEM_WRITE_PROT: "write",
    unicorn.UC_MEM_READ_PROT: "read",
    unicorn.UC_MEM_FETCH_PROT: "jump",
}
_INVERSE: dict[UninitialisedFill, UninitialisedFill] = {"garbage": "inverse", "inverse": "garbage", "zeros": "zeros"}

_DATA: tuple[Outcome, str] = "vex", "raw bytes are executed as code"
"""What a data directive is to the processor: it is no instruction that anybody wrote."""
_NO_INPUT = Layout((), (), (), (), 0, None)


@dataclass(frozen=True)
class _Start:
    """What a run finds in the registers and on the stack that nobody gave a value."""

    context: Any
    """unicorn's copy of the registers."""
    saved: dict[str, int]
    """The callee-saved registers."""
    stack: bytes
    top: int
    """Bytes of the stack below the caller's frame."""


class Machine:
    """A program ready to run one of its functions again and again, each time from the same state.

    With a candidate, the function's own code is replaced by a jump to it. `garbage_pattern` chooses the garbage in
    memory and registers that nobody initialised. With `counting`, runs report their length, at the cost of speed. A
    `strict`
    machine traps where a library function is called in a way that C leaves undefined.
    """

    def __init__(
        self,
        program: ProgramImage,
        function: str,
        signature: Function,
        *,
        candidate: AssembledCode | None = None,
        externals: dict[str, Function] | None = None,
        garbage_pattern: int = 0,
        counting: bool = False,
        strict: bool = False,
    ) -> None:
        self.program, self.function, self.signature = program, function, signature
        self.candidate, self.garbage_pattern = candidate, garbage_pattern
        self.processor, self.convention = program.target.processor, program.target.convention
        self._library = program.target.host.convention
        """How functions of the C library are called."""
        self._numbers = self.processor.register_numbers
        self._stack_number, self._counter_number = (
            self._numbers[name] for name in (self.processor.stack_pointer, self.processor.program_counter)
        )
        self._externals = externals or {}
        self._uc = self.processor.create_emulator()
        self._arena = HostMemory(ARENA)
        self._heap = Heap(self._uc, program.target, GARBAGE[garbage_pattern], self._arena.pointer)
        self._external_calls = ExternalCalls(self, self._heap)
        self._kernel = Kernel(self._uc, self.processor)
        self._data: list[tuple[int, HostMemory]] = []
        self._fixed: list[tuple[int, HostMemory]] = []
        """The program's constants."""
        self._padded: UninitialisedFill | None = None
        """What the pads around them are filled with now."""
        self._calls: list[ExternalCall] = []
        self.replies: list[Reply] = []
        """How the calls out of the last run were answered."""
        self._abi: list[AbiBreach] = []
        self._end: tuple[Outcome, GuestFault | None, int] | None = None
        self._length = 0
        self._edges: set[tuple[int, int]] = set()
        self._clobbered: dict[UninitialisedFill, list[tuple[int, int]]] = {}
        """What a call leaves in the registers that it may change."""
        self._shown = (*self.convention.callee_saved, self.processor.stack_pointer, self.processor.program_counter)
        self._shown += (*self.processor.control_registers, *self.convention.locate_result(signature).registers)
        """What a run shows."""
        self._callers: dict[int, int] = {}
        """Where calls came from that return by way of `NARROW`, by the place on the stack."""
        self._narrow_left = 0
        self._layout: Layout | None = None
        self._raised: Exception | None = None
        self._depth = DEEP if candidate else DEEP // 2
        self._is_deep = False
        self._load_program()
        self._load_surroundings()
        self._hook(counting)
        if strict:
            self._watch_preconditions()
        self._boot()
        if candidate is not None:
            self._load_candidate(candidate)
        self._freeze()

    @property
    def entry(self) -> int:
        """The address of the function under test."""
        return self.program.symbols[self.function].address

    # -- building

    def _load_program(self) -> None:
        for segment in self.program.segments:
            start = segment.address // PAGE * PAGE
            size = -(-(segment.address + len(segment.data) - start) // PAGE) * PAGE
            if segment.is_executable:
                self._uc.mem_map(start, size, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
                self._uc.mem_write(segment.address, segment.data)
            else:
                writes = unicorn.UC_PROT_WRITE if segment.is_writable else 0
                region = self._map(start, size, unicorn.UC_PROT_READ | writes)
                region.write(segment.data, segment.address - start)
                (self._data if segment.is_writable else self._fixed).append((start, region))

    def _map(self, address: int, size: int, rights: int = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE) -> HostMemory:
        region = HostMemory(size)
        self._uc.mem_map_ptr(address, size, rights, region.pointer)
        return region

    def _load_surroundings(self) -> None:
        self._uc.mem_map(STUBS, PAGE, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
        self._uc.mem_write(STUBS, self.processor.return_code * (PAGE // len(self.processor.return_code)))
        self._stack = self._map(STACK_START, STACK_SIZE)
        for slot in (*SLOTS, *ALIGNED_SLOTS):
            rights = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE
            self._uc.mem_map_ptr(slot.address, slot.size, rights, self._arena.pointer + slot.host)

    def _hook(self, counting: bool) -> None:
        uc = self._uc
        uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_access)
        uc.hook_add(unicorn.UC_HOOK_INSN_INVALID, self._on_invalid)
        uc.hook_add(unicorn.UC_HOOK_INTR, self._on_interrupt)
        self.processor.hook_system_calls(uc, self._on_syscall)
        self.watch(STUBS, STUBS + PAGE - STUB_SIZE - 1, self._on_callback)
        for name, action in (*self._heap.functions.items(), ("abort", self._on_abort)):
            if name in self.program.library:
                self._replace(self.program.library[name].address, action)
        for name in self.program.stubs:
            self._replace(self.program.symbols[name].address, functools.partial(self._on_external, name))
        if counting:
            self._last_byte = self.entry + self.program.symbols[self.function].size
            uc.hook_add(unicorn.UC_HOOK_BLOCK, self._on_block)

    def _watch_preconditions(self) -> None:
        for name, check in build_checks(self).items():
            if name in self.program.library:
                address = self.program.library[name].address
                self.watch(address, address, check)

    def watch(self, first: int, last: int, action: Callable[[int], None]) -> None:
        """Call `action` with the address before each instruction from `first` to `last` is executed."""

        def on_code(uc: Any, address: int, size: int, data: Any) -> None:
            self._guarded(action, address)

        self._uc.hook_add(unicorn.UC_HOOK_CODE, on_code, None, first, last)

    def _replace(self, address: int, action: Callable[[], None]) -> None:
        """Let a function be done by the host: it returns at once, and the host sets its result."""
        self._uc.mem_write(address, self.processor.return_code)
        self.watch(address, address, lambda _: action())

    def _guarded(self, action: Callable[..., None], *args: int) -> None:
        """Stop the run where a hook ends it or fails; what it raised reaches the caller of `run`."""
        try:
            action(*args)
        except GuestExitError as end:
            self._stop("exit", None, end.code)
        except GuestTrapError as trap:
            self._stop("fault", GuestFault(str(trap), self._caller(), trap.address, size=trap.size))
        except unicorn.UcError as error:
            self._stop("fault", GuestFault(f"the host can't do what was asked of it: {error}", self._caller()))
        except Exception as error:
            self._raised = error
            self._uc.emu_stop()

    def _boot(self) -> None:
        """Run the C library's start-up code up to `main`, and make standard output unbuffered."""
        # Apart from the stack of the runs: the library keeps pointers to the environment and what follows it.
        uc, stack = self._uc, START + START_SIZE - PAGE
        uc.mem_map(START, START_SIZE, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        self.processor.initialise(uc)
        uc.mem_write(stack, system.initial(stack))
        uc.reg_write(self._stack_number, stack)
        self._emulate(self.program.entry, self.program.symbols["main"].address)
        uc.mem_protect(START, START_SIZE, unicorn.UC_PROT_READ)
        self._arguments = self.argument(0), self.argument(1)
        library = self.program.library
        system.settle(self._call, self.read, library)
        self._errno = self._call(ERRNO_LOCATION, ()) if ERRNO_LOCATION in library else 0
        self._heap.errno = self._errno

    def _call(self, name: str, args: tuple[int, ...]) -> int:
        self._uc.reg_write(self._stack_number, STACK_START + STACK_SIZE - FRAME - self.processor.return_address_bytes)
        self._return_to(RETURN)
        for register, value in zip(self._library.integer_registers, args):
            self._uc.reg_write(self._numbers[register], value)
        self._emulate(self.program.library[name].address, RETURN)
        return self.register(self._library.return_register)

    def _return_to(self, address: int) -> None:
        """Let the function that is entered now return to an address."""
        if self.processor.link_register:
            self._uc.reg_write(self._numbers[self.processor.link_register], address)
        else:
            self._uc.mem_write(self._uc.reg_read(self._stack_number), address.to_bytes(8, "little"))

    def _emulate(self, start: int, until: int) -> None:
        self._uc.emu_start(start, until, count=1_000_000)
        if self._raised:
            raise self._raised
        if self._end or self._uc.reg_read(self._counter_number) != until:
            raise RuntimeError(f"the program of the case did not start: {self._end}")

    def _load_candidate(self, candidate: AssembledCode) -> None:
        for segment in candidate.segments:
            size = max(PAGE, -(-len(segment.data) // PAGE) * PAGE)
            if segment.is_writable:
                region = self._map(segment.address, size)
                region.write(segment.data)
                self._data.append((segment.address, region))
            else:
                rights = unicorn.UC_PROT_READ | (unicorn.UC_PROT_EXEC if segment.is_executable else 0)
                self._uc.mem_map(segment.address, size, rights)
                self._uc.mem_write(segment.address, segment.data)
        jump = self.processor.encode_jump(self.entry, candidate.symbols[self.function])
        # Nothing of the original is left, so that a candidate can't run it by its address.
        rest = (self.program.symbols[self.function].size - len(jump)) // len(self.processor.trap_code)
        self._uc.mem_write(self.entry, jump + self.processor.trap_code * rest)
        # Compilers may call the local functions of a file as they like, and gcc does not align the stack for them.
        for name in (
            (candidate.external_symbols | self.program.functions)
            - self.program.local
            - self.convention.exempt_functions
        ):
            if name in self.program.addresses and name != self.function:
                action = self._on_narrow_call if name in self.program.narrow else self._on_call
                self.watch(self.program.addresses[name], self.program.addresses[name], action)
        self.watch(NARROW, NARROW, self._on_narrow_return)
        for address, mnemonic in candidate.mnemonics.items():
            found = (
                _DATA
                if mnemonic.startswith(".")
                else self.processor.find_hazard(mnemonic, candidate.read_code(address))
            )
            if found:
                self.watch(address, address, functools.partial(self._on_hazard, *found))
        for address, guard in self.processor.find_guards(candidate):
            self.watch(address, address, functools.partial(self._on_guarded, guard))

    def _freeze(self) -> None:
        """Remember the state from which every run starts."""
        self._starts = {uninitialised: self._state(uninitialised) for uninitialised in get_args(UninitialisedFill)}
        own = self.candidate.segments if self.candidate else ()
        parts: tuple[ProgramSegment | CodeSegment, ...] = (*self.program.segments, *own)
        self._constants = Constants(
            tuple((part.address, part.data) for part in parts if not part.is_writable and not part.is_executable)
        )
        self._initial = [(region, region.read()) for _, region in self._data]
        self._fresh_arena = HostMemory(ARENA)
        for arena in (self._arena, self._fresh_arena):
            arena.write(GARBAGE[self.garbage_pattern] * (ARENA // 4))

    def _state(self, uninitialised: UninitialisedFill) -> _Start:
        self._uninitialised = uninitialised
        saved = {name: self._garbage_in(name, index) for index, name in enumerate(self.convention.callee_saved)}
        for name, value in saved.items():
            self._uc.reg_write(self._numbers[name], value)
        self._clobber()
        self.processor.reset_flags(self._uc)
        top = BLANK_TOP if uninitialised == "zeros" else STACK_SIZE - FRAME
        return _Start(self._uc.context_save(), saved, self._garbage_of(STACK_SIZE), top)

    def _garbage(self, index: int) -> int:
        """64 bits for a register that holds no value: they look like nothing, or are zero."""
        number = mix((int.from_bytes(GARBAGE[0], "little"), index))
        return {"garbage": number, "inverse": ~number & (1 << 64) - 1, "zeros": 0}[self._held]

    def _garbage_in(self, name: str, index: int) -> int:
        """The same for a register of 8 bytes or 16."""
        return self._garbage(index) * ((1 << 64) + 1 if name in self.convention.wide_registers else 1)

    def _garbage_of(self, size: int) -> bytes:
        """As many bytes for a stack that holds no values."""
        words = {"garbage": GARBAGE[0], "inverse": GARBAGE[1], "zeros": bytes(4)}
        return words[self._held] * (size // 4)

    @property
    def _held(self) -> UninitialisedFill:
        """What unused registers hold in this run: the garbage of one fill is the inverse of the other's."""
        return _INVERSE[self._uninitialised] if self.garbage_pattern else self._uninitialised

    # -- running

    def run(
        self,
        layout: Layout,
        call: abi.CallSetup,
        limit: int,
        *,
        uninitialised: UninitialisedFill = "garbage",
        brief: bool = False,
    ) -> Observation:
        """Run the function on an input, for at most `limit` instructions.

        `uninitialised` chooses what the unused stack and registers and the memory around constants hold.
        A `brief` run shows how it ended, and nothing else.
        """
        self._reset(layout, uninitialised)
        return self._run(self.entry, call.inverse if uninitialised == "inverse" else call, limit, brief)

    def preset(self, address: int, data: bytes) -> None:
        """Let every further run find these bytes in the program's writable memory."""
        for index, (start, region) in enumerate(self._data):
            if start <= address < start + region.size:
                initial = bytearray(self._initial[index][1])
                initial[address - start : address - start + len(data)] = data
                self._initial[index] = region, bytes(initial)

    def run_main(self, limit: int) -> Observation:
        """Run the whole program from `main` on; a return from there is an exit."""
        self._reset(_NO_INPUT, "garbage")
        registers = dict(zip(self.convention.integer_registers, self._arguments))
        run = self._run(self.program.symbols["main"].address, abi.CallSetup(registers, b""), limit)
        code = self.register(self.convention.return_register) & 0xFF
        return replace(run, outcome="exit", exit_code=code) if run.outcome == "return" else run

    def read_entry_registers(
        self, layout: Layout, call: abi.CallSetup, uninitialised: UninitialisedFill
    ) -> dict[str, int]:
        """The registers that a run starts with."""
        self._reset(layout, uninitialised)
        self._enter(call.inverse if uninitialised == "inverse" else call)
        return {name: self.register(name) for name in (*self.processor.registers, self.processor.stack_pointer)}

    def _enter(self, call: abi.CallSetup) -> None:
        area = STACK_START + self._start.top
        pushed = b"" if self.processor.link_register else RETURN.to_bytes(8, "little")
        self._stack.write(pushed + call.stack, self._start.top - len(pushed))
        self._uc.reg_write(self._stack_number, area - len(pushed))
        if self.processor.link_register:
            self._uc.reg_write(self._numbers[self.processor.link_register], RETURN)
        for name, value in call.registers.items():
            self._uc.reg_write(self._numbers[name], value)
        for copy in call.copies:
            if isinstance(copy.pointer, str):
                self._uc.reg_write(self._numbers[copy.pointer], area + copy.offset)
            else:
                self._stack.write((area + copy.offset).to_bytes(8, "little"), self._start.top + copy.pointer)

    def _run(self, start: int, call: abi.CallSetup, limit: int, brief: bool = False) -> Observation:
        self._enter(call)
        try:
            self._uc.emu_start(start, RETURN, count=limit)
        except unicorn.UcError as error:
            self._failed(error)
        if self._raised:
            raise self._raised
        return self._ended() if brief else self._observed(call)

    def register(self, name: str) -> int:
        """The value of a register now."""
        return int(self._uc.reg_read(self._numbers[name]))

    def argument(self, index: int) -> int:
        """The value of an integer argument, one of the first, where a function of the library is entered."""
        return self.register(self._library.integer_registers[index])

    def arguments(self, types: Sequence[Type], *, in_memory: bool = False) -> list[bytes]:
        """The bytes of the arguments where a function is entered whose result may be `in_memory`."""
        area = self.register(self.processor.stack_pointer) + self.processor.return_address_bytes
        return self.convention.read_arguments(
            types, self.register, lambda offset, size: self.read(area + offset, size), self.read, in_memory=in_memory
        )

    def read(self, address: int, size: int) -> bytes:
        """Memory as it is now; as much of it as is mapped."""
        for start, region in ((STACK_START, self._stack), *self._data):
            if start <= address < start + region.size:
                return region.read(address - start, min(size, start + region.size - address))
        for part in (size, min(size, PAGE - address % PAGE)):
            try:
                return bytes(self._uc.mem_read(address, part))
            except unicorn.UcError:
                continue
        return b""

    def write(self, address: int, data: bytes) -> None:
        """Write to the guest's memory, whatever the rights of its pages."""
        self._uc.mem_write(address, data)

    def region_of(self, address: int) -> Region:
        """What kind of memory an address belongs to; one past the end of constants counts too."""
        if STACK_START - self._depth <= address < STACK_START + STACK_SIZE:
            return "stack"
        if self.in_own_data(address):
            return "own"
        if any(start <= address < start + region.size for start, region in self._data):
            return "data"
        if any(start <= address <= start + len(data) for start, data in self._constants.pieces):
            return "constant"
        if self.candidate and self.in_candidate(address) and address != self.candidate.symbols[self.function]:
            return "constant"  # data among the code
        if SLOTS[0].address <= address <= ALIGNED_SLOTS[-1].address + ALIGNED_SLOTS[-1].size:
            return "object"
        return "heap" if is_heap(address) else "none"

    def in_program(self, address: int) -> bool:
        """Whether an address lies in the program's own memory."""
        return any(part.address <= address < part.address + len(part.data) for part in self.program.segments)

    def shared_address(self, address: int) -> int:
        """An address as other runs have it: a candidate's code is in the place of the function."""
        if self.candidate is not None and address == self.candidate.symbols[self.function]:
            return self.entry
        return ELSEWHERE if self.in_candidate(address) else address

    def extent(self, address: int) -> int:
        """How many bytes there are from an address to the end of the global, heap object or stack that holds it."""
        for symbol in self.program.symbols.values():
            if symbol.address <= address < symbol.address + symbol.size:
                return symbol.address + symbol.size - address
        if STACK_START <= address < STACK_START + STACK_SIZE:
            return STACK_START + STACK_SIZE - FRAME - address
        return self._heap.extent(address)

    def _reset(self, layout: Layout, uninitialised: UninitialisedFill) -> None:
        self._uninitialised, self._start = uninitialised, self._starts[uninitialised]
        self._uc.context_restore(self._start.context)
        self._fill_pads()
        for region, data in self._initial:
            region.write(data)
        for name, data in layout.globals:
            region, offset, _ = self._variables[name]
            region.write(data, offset)
        if self._errno:
            self.write(self._errno, initial_errno(layout.environment_seed).to_bytes(4, "little"))
        self._stack.write(self._start.stack)
        if self._is_deep:
            self._uc.mem_unmap(STACK_START - self._depth, self._depth)
            self._is_deep = False
        self._fill_arena(layout)
        self._heap.reset(layout)
        self._kernel.reset(layout.environment_seed)
        self._layout, self._end, self._raised, self._length = layout, None, None, 0
        self._edges, self._block = set(), 0
        self._calls, self._abi, self.replies = [], [], []
        self._callers, self._narrow_left = {}, _MOST_NARROW

    def _fill_pads(self) -> None:
        """Let what lies around constants differ where the unused stack does."""
        if self._padded == self._uninitialised:
            return
        self._padded, data = self._uninitialised, self._garbage_of(PADDING_BYTES)
        for pad in self.program.paddings:
            for start, region in self._fixed:
                if start <= pad < start + region.size:
                    region.write(data, pad - start)
            self.preset(pad, data)

    def _fill_arena(self, layout: Layout) -> None:
        """Put the objects into their slots; only slots that the last run used have to be cleaned."""
        for old in self._layout.objects if self._layout else ():
            self._arena.write(self._fresh_arena.read(0, old.slot.size), old.slot.host)
        for target in layout.objects:
            self._arena.write(layout.initial(target, self.garbage_pattern), target.slot.host)

    def _has_strayed(self, layout: Layout) -> bool:
        """Whether unused slots were written; if so they are cleaned."""
        hosts = sorted((target.slot.host, target.slot.size) for target in layout.objects)
        ends = [0, *(host + size for host, size in hosts)]
        starts = [*(host for host, _ in hosts), ARENA]
        changed = any(
            self._arena.differs(self._fresh_arena, end, start) for end, start in zip(ends, starts, strict=True)
        )
        if changed:
            self._arena.write(self._fresh_arena.read())
        return changed

    def _stop(self, outcome: Outcome, fault: GuestFault | None = None, code: int = 0) -> None:
        if self._end is None:
            self._end = (outcome, fault, code)
        self._uc.emu_stop()

    def _failed(self, error: unicorn.UcError) -> None:
        if self._end is None:
            pc = self._uc.reg_read(self._counter_number)
            words = "illegal instruction" if error.errno == unicorn.UC_ERR_INSN_INVALID else str(error)
            self._end = ("fault", GuestFault(words, pc), 0)

    @property
    def cost(self) -> int:
        """What the host did for the last run, in calls out: an object of the heap takes as long as four of them."""
        return 4 * self._heap.made + len(self._calls) + len(self._layout.objects if self._layout else ())

    def _ended(self) -> Observation:
        assert self._layout is not None
        self._has_strayed(self._layout)
        normal: Outcome = "return" if self.register(self.processor.program_counter) == RETURN else "limit"
        outcome, fault, code = self._end or (normal, None, 0)
        return Observation(outcome, self.garbage_pattern, fault=fault, exit_code=code)

    def _observed(self, call: abi.CallSetup) -> Observation:
        values = self._uc.reg_read_batch([self._numbers[name] for name in self._shown])
        registers = dict(zip(self._shown, values, strict=True))
        normal: Outcome = "return" if registers[self.processor.program_counter] == RETURN else "limit"
        outcome, fault, code = self._end or (normal, None, 0)
        run = Observation(
            outcome,
            self.garbage_pattern,
            self._constants,
            fault,
            code,
            registers,
            calls=tuple(self._calls),
            executed_bytes=self._length,
            edges=frozenset(self._edges),
            out_of_memory=self._heap.out_of_memory,
        )
        assert self._layout is not None
        layout = self._layout
        slots = tuple(self._arena.read(target.slot.host, target.slot.size) for target in layout.objects)
        run.has_stray_write = self._has_strayed(layout)
        if outcome in ("fault", "limit", "forbidden", "vex"):
            return run
        if outcome == "return":
            run.result = self.convention.read_result(self.signature, registers)
            run.abi_breaches = (*self._abi, *self._breaches(registers, call))
        run.slots = slots
        run.globals = tuple(self.variable(name) for name in self.program.globals)
        run.heap, run.freed_blocks, run.freed_objects = (
            self._heap.blocks(),
            self._heap.freed_blocks,
            self._heap.freed_objects,
        )
        run.errno = int.from_bytes(self.read(self._errno, 4), "little") if self._errno else 0
        run.output = {number: bytes(data) for number, data in self._kernel.output.items()}
        return run

    def variable(self, name: str) -> bytes:
        """The bytes of a writable global variable now."""
        region, offset, size = self._variables[name]
        return region.read(offset, size)

    @functools.cached_property
    def _variables(self) -> dict[str, tuple[HostMemory, int, int]]:
        """For each global variable of the case: the memory that holds it, its place in that, its size."""
        found = {}
        for name in self.program.globals:
            symbol = self.program.symbols[name]
            start, region = next((at, region) for at, region in self._data if 0 <= symbol.address - at < region.size)
            found[name] = region, symbol.address - start, symbol.size
        return found

    def _breaches(self, registers: dict[str, int], call: abi.CallSetup) -> Iterator[AbiBreach]:
        for name, value in self._start.saved.items():
            if registers[name] != value:
                yield AbiBreach(f"callee-saved register {self.processor.register_prefix}{name} is not restored", name)
        top = STACK_START + self._start.top
        if registers[self.processor.stack_pointer] != top:
            yield AbiBreach(f"the stack pointer returns {registers[self.processor.stack_pointer] - top:+d} bytes off")
        yield from map(AbiBreach, self.processor.find_breaches(registers))
        frame = top - STACK_START + len(call.stack)
        if self._stack.read(frame) != self._start.stack[frame:]:
            yield AbiBreach("the caller's stack frame is written")

    # -- hooks

    def _on_access(self, uc: Any, access: int, address: int, size: int, value: int, data: Any) -> bool:
        words = _ACCESS[access]
        pc = uc.reg_read(self._counter_number)
        if words == "jump":
            pc = self._caller()
        address &= (1 << 64) - 1
        if words != "jump" and STACK_START - self._depth <= address < STACK_START and not self._is_deep:
            self._deepen()
            return True
        self._stop("fault", GuestFault(f"bad {words}", pc, address, words, size))
        return False

    def _deepen(self) -> None:
        """Map the memory below the stack, until the next run."""
        size = self._depth
        self._uc.mem_map(STACK_START - size, size, unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE)
        self._uc.mem_write(STACK_START - size, self._garbage_of(size))
        self._is_deep = True

    def _on_invalid(self, uc: Any, data: Any) -> bool:
        self._stop("fault", GuestFault("illegal instruction", uc.reg_read(self._counter_number)))
        return False

    def _on_interrupt(self, uc: Any, number: int, data: Any) -> None:
        if number == self.processor.system_call_exception:
            self._guarded(self._kernel.syscall)
            return
        words = self.processor.exception_names.get(number, f"processor exception {number}")
        self._stop("fault", GuestFault(words, uc.reg_read(self._counter_number)))

    def _on_syscall(self, uc: Any, data: Any) -> None:
        self._guarded(self._kernel.syscall)

    def _on_abort(self) -> None:
        self._stop("abort")

    def _on_block(self, uc: Any, address: int, size: int, data: Any) -> None:
        self._length += size
        if self.entry <= address < self._last_byte:
            self._edges.add((self._block, address))
            self._block = address

    def _on_call(self, address: int) -> None:
        """The candidate calls the program: the stack must be aligned then."""
        stack = self._uc.reg_read(self._stack_number) + self.processor.return_address_bytes
        if stack % 16 and self.in_candidate(self._caller()):
            callee = self.name_of(address)
            self._abi.append(AbiBreach(f"the stack is not aligned to 16 bytes at the call of {callee}"))
        if (
            self.convention.shadow_space
            and STACK_START - self._depth <= stack < STACK_START + STACK_SIZE - self.convention.shadow_space
        ):
            self.write(stack, self._garbage_of(self.convention.shadow_space))  # it belongs to who is called

    def _on_narrow_call(self, address: int) -> None:
        self._on_call(address)
        caller, stack = self._caller(), self.register(self.processor.stack_pointer)
        if self._narrow_left and self.in_candidate(caller):
            self._narrow_left -= 1
            self._callers[stack] = caller
            self._return_to(NARROW)

    def _on_narrow_return(self, _: int) -> None:
        stack = self.register(self.processor.stack_pointer) - self.processor.return_address_bytes
        if stack not in self._callers:
            raise GuestTrapError("a jump into no function")
        self._uc.reg_write(self._stack_number, stack)
        self._return_to(self._callers.pop(stack))
        scalar = self.convention.return_register
        result = self.register(scalar).to_bytes(8, "little")[:4]
        self._uc.reg_write(self._numbers[scalar], self._garbage(16))
        self._return(scalar, result)

    def _on_hazard(self, outcome: Outcome, words: str, pc: int) -> None:
        """An instruction that the emulator would run and a process may not, or that it computes wrongly."""
        self._stop(outcome, GuestFault(words, pc))

    def _on_guarded(self, guard: AlignmentGuard, pc: int) -> None:
        refused = guard(lambda name: int(self._uc.reg_read(self.processor.register_number(name))))
        if refused:
            self._stop("fault", GuestFault("misaligned access", pc, refused.address, "misaligned", refused.size))

    def _on_callback(self, address: int) -> None:
        number = (address - STUBS) // STUB_SIZE
        if self._layout is None or number >= len(self._layout.callbacks):
            raise GuestTrapError("a jump into no function")
        callback = self._layout.callbacks[number]
        self._on_call(address)
        self._call_out(f"callback {callback.number}", callback.type, number)

    def _on_external(self, name: str) -> None:
        self._call_out(name, self._externals[name], name)

    def _call_out(self, name: str, type: Function, callee: str | int) -> None:
        """Record a call and give it a result that depends on its arguments; every other register is lost."""
        assert self._layout is not None
        if len(self._calls) == MAX_EXTERNAL_CALLS:
            self._stop("limit")
            return
        passed = {register: self.register(register) for register in self.convention.integer_registers}
        call, result = self._external_calls.called(name, type, self._layout, len(self._calls))
        self._calls.append(call)
        self.replies.append(Reply(callee, passed, result, tuple(self._external_calls.effects)))
        self._clobber()
        for register, data in result.items():
            self._return(register, data)

    def _return(self, register: str, data: bytes) -> None:
        """Return a value; the bits that its type leaves undefined stay garbage."""
        mask = (1 << 8 * len(data)) - 1
        number = self._numbers[register]
        self._uc.reg_write(number, self._uc.reg_read(number) & ~mask | int.from_bytes(data, "little"))

    def _clobber(self) -> None:
        """Put garbage into every register that a call may change."""
        if self._uninitialised not in self._clobbered:
            general, vectors = (
                enumerate(self.convention.caller_saved, 16),
                enumerate(self.convention.vector_registers, 32),
            )
            clobbered = [(self._numbers[name], self._garbage_in(name, index)) for index, name in (*general, *vectors)]
            self._clobbered[self._uninitialised] = clobbered
        self._uc.reg_write_batch(self._clobbered[self._uninitialised])
        for whole, half in self.convention.half_preserved_vectors.items():
            self._uc.reg_write(self._numbers[whole], self._garbage(15) << 64 | self.register(half))

    def _caller(self) -> int:
        """Where a function that was just entered came from."""
        if self.processor.link_register:
            return self.register(self.processor.link_register)
        try:
            return int.from_bytes(self._uc.mem_read(self._uc.reg_read(self._stack_number), 8), "little")
        except unicorn.UcError:
            return 0

    @contextmanager
    def hooked(self, kind: int, action: Callable[..., None], first: int = 1, last: int = 0) -> Iterator[None]:
        """While this is entered, unicorn calls `action` for what happens from one address to another, or anywhere."""
        hook = self._uc.hook_add(kind, action, None, first, last)
        self._uc.ctl_flush_tb()  # code that ran before may have no place for the hook
        try:
            yield
        finally:
            self._uc.hook_del(hook)

    # -- explaining

    def in_candidate(self, address: int) -> bool:
        """Whether an address lies in the candidate's code."""
        segments = self.candidate.segments if self.candidate else ()
        return any(s.is_executable and s.address <= address <= s.address + len(s.data) for s in segments)

    def in_own_data(self, address: int) -> bool:
        """Whether an address lies in the candidate's own writable memory."""
        segments = self.candidate.segments if self.candidate else ()
        return any(s.is_writable and s.address <= address <= s.address + len(s.data) for s in segments)

    def line_of(self, fault: GuestFault) -> int | None:
        """The line of the assembly that a fault goes back to: where it happened, or the call that led there."""
        if self.candidate is None:
            return None
        for address in (fault.pc, *self._return_addresses()):
            if self.in_candidate(address):
                starts = [start for start in self.candidate.lines if start <= address]
                if starts:
                    exact = address if address == fault.pc and address in self.candidate.lines else None
                    return self.candidate.lines[exact if exact is not None else max(s for s in starts if s < address)]
        return None

    def _return_addresses(self) -> Iterator[int]:
        if self.processor.link_register:
            yield self.register(self.processor.link_register)
        stack = self._uc.reg_read(self._stack_number)
        if STACK_START <= stack < STACK_START + STACK_SIZE - 8:
            words = self._stack.read(stack - STACK_START, min(2048, STACK_SIZE - (stack - STACK_START)) // 8 * 8)
            for start in range(0, len(words), 8):
                yield self._callers.get(stack + start) or int.from_bytes(words[start : start + 8], "little")

    def name_of(self, address: int) -> str:
        """The symbol of the program that an address belongs to, or the address itself."""
        if STUBS <= address < RETURN and self._layout:
            return f"callback {self._layout.callbacks[(address - STUBS) // STUB_SIZE].number}"
        held = [
            name
            for name, symbol in (*self.program.symbols.items(), *self.program.library.items())
            if symbol.address <= address < symbol.address + max(symbol.size, 1)
        ]
        # Of several names the plain one: memcmp, not compiler_rt.memcmp.
        return min(held, key=lambda name: ("." in name, name.startswith("_"), len(name)), default=hex(address))
