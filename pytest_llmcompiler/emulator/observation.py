"""The observation of one run: everything by which two runs are compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pytest_llmcompiler.targets.processor import Outcome
from pytest_llmcompiler.values.c_types import Int, Type
from pytest_llmcompiler.values.layout import PAGE

AccessKind = Literal["read", "write", "jump", "misaligned", "load", "store"]
"""How a faulting instruction used its address. `load` and `store` are accesses below the red zone."""


ENDINGS: tuple[Outcome, ...] = ("return", "exit", "abort")
"""The outcomes of a run that comes to its end: it shows its effects. They are in the order of `End` in `engine.h`."""


@dataclass(frozen=True)
class GuestFault:
    """An instruction that ends a run before the function returns."""

    description: str
    """In words, without an address: `bad read`, `integer division fault`."""
    pc: int
    """The address of the instruction; for a jump to a bad address, the return address that the jump left."""
    address: int | None = None
    """The address of the memory access, where the fault is one."""
    access: AccessKind | None = None
    """None where the fault is no memory access, or one of a library function."""
    size: int = 0
    """Bytes of the memory access."""


@dataclass(frozen=True)
class AbiBreach:
    """A rule of the calling convention that a run breaks."""

    message: str
    register: str | None = None
    """The callee-saved register that is not restored, as the processor names it; None for any other rule."""


@dataclass(frozen=True)
class MemoryWrite:
    """A write to memory by one instruction."""

    pc: int
    """The address of the instruction."""
    address: int
    size: int
    """Bytes, at most 8."""
    value: int
    """The bytes that are written, as a little-endian number."""
    before: bytes
    """The bytes that are overwritten."""

    def bytes(self) -> Iterator[tuple[int, int]]:
        """The address and the new value of each byte."""
        return enumerate(self.value.to_bytes(self.size, "little"), self.address)


ELSEWHERE = 1
"""Stands in an observation for an address that may differ in a correct candidate's run: of the stack, of a constant, of
a candidate's own data. No object lies at address 1."""


@dataclass(frozen=True)
class PointerArgument:
    """A pointer that is passed to an external call, and the contents of what it points to; or a struct with pointers in
    it that is passed by value."""

    address: int
    """`ELSEWHERE` for the stack and for constants."""
    data: bytes = b""
    element: Type | None = None
    """The type of each element of the data, where it is known."""
    name: str = ""
    """The global variable that it points into."""
    offset: int = 0
    """Bytes from the start of that variable."""
    is_possible_end: bool = False
    """Whether it may point past the end of another argument's object: then nothing of its own need lie there."""
    is_value: bool = False
    """Whether the data is the argument itself."""
    pointees: tuple[PointerArgument, ...] = ()
    """Of a struct: what those of its members point to that lead to the stack."""


Argument = int | PointerArgument
"""An argument of an external call."""


@dataclass(frozen=True)
class ExternalCall:
    """A call of a callback, or of a function that the program declares and does not define."""

    name: str
    """`callback N`, or the function's name."""
    args: tuple[Argument, ...]
    types: tuple[Type, ...] = field(default=(), compare=False)
    """The types of the arguments."""


class Effect(NamedTuple):
    """A write to memory by an external call."""

    address: int
    data: bytes
    is_allocation: bool = False
    """Whether the address is a new object of the heap, whose size is that of the data."""
    argument: int | None = None
    """The number of the argument that is the address."""


class Reply(NamedTuple):
    """The answer to an external call."""

    callee: str | int
    """The name of a function that is only declared, or the number of a callback among those of the input."""
    passed: dict[str, int]
    """The integer argument registers at the call."""
    result: dict[str, bytes]
    """The result registers; bytes of them that are missing are undefined."""
    effects: tuple[Effect, ...]


@dataclass(frozen=True)
class HeapBlock:
    """A live object of the heap at the end of a run."""

    address: int
    size: int
    """The bytes that the program asked for."""
    pages: bytes
    """The contents of all pages that are mapped for the object."""

    @property
    def data(self) -> bytes:
        """The contents of the object itself."""
        start = self.address % PAGE
        return self.pages[start : start + self.size]


class FreedBlock(NamedTuple):
    """An object of the heap that was allocated and freed during a run."""

    address: int
    size: int


@dataclass(frozen=True)
class Constants:
    """The read-only data of a machine, with a candidate's own writable data."""

    pieces: tuple[tuple[int, bytes], ...] = ()
    """The address and the bytes of each segment."""

    def at(self, address: int, element: Type | None) -> bytes | None:
        """The constant at an address: a string with its zero if `element` is a character, else one element.

        None where the address belongs to no constant, or where the type of the element is not known.
        """
        for start, data in self.pieces:
            if start <= address < start + len(data):
                rest = data[address - start :]
                if isinstance(element, Int) and element.character:
                    return rest[: rest.find(b"\0") + 1]
                return rest[: element.size] if element else None
        return None


@dataclass
class Observation:
    """Everything by which a run is compared with another, and its coverage.

    A run that does not end with a return, an exit or an abort shows only its outcome, its fault and its calls.
    """

    outcome: Outcome
    garbage_pattern: int = 0
    """Index in `layout.GARBAGE` of the pattern that filled uninitialised memory."""
    constants: Constants = Constants()
    fault: GuestFault | None = None
    exit_code: int = 0
    """For the outcome `exit`: from 0 to 255, or `SIGNAL_CODE` and the number of the signal that ended the program."""
    assertion: str | None = None
    """For the outcome `abort`: the expression of the assertion that failed, if one did."""
    registers: dict[str, int] = field(default_factory=dict)
    """The result registers, the callee-saved ones, and those of the processor's state, at the end."""
    result: bytes = b""
    """The result in registers; for a result in memory, the address that was returned."""
    slots: tuple[bytes, ...] = ()
    """The contents of each object's slot, the memory around the object included, in the order of the layout."""
    has_stray_write: bool = False
    """Whether a slot was written in which no object lies."""
    globals: tuple[bytes, ...] = ()
    """The contents of the case's writable global variables, in the order of `ProgramImage.globals`."""
    heap: tuple[HeapBlock, ...] = ()
    """The live heap objects, in the order of their addresses."""
    freed_blocks: tuple[FreedBlock, ...] = ()
    """The heap objects that were allocated and freed."""
    out_of_memory: bool = False
    """Whether malloc returned NULL because the environment seed says so."""
    freed_objects: tuple[int, ...] = ()
    """The numbers of the input's objects that were freed, in the order of the layout."""
    errno: int = 0
    """The C library's error number at the end."""
    output: dict[int, bytes] = field(default_factory=dict)
    """What was written to each file descriptor."""
    calls: tuple[ExternalCall, ...] = ()
    abi_breaches: tuple[AbiBreach, ...] = ()
    """Breaches of the calling convention: those of calls first, then those that show at the return."""
    executed_bytes: int = 0
    """Bytes of all executed blocks, if the machine counts them: an upper bound of the number of instructions."""
    edges: frozenset[tuple[int, int]] = frozenset()
    """The edges between blocks of the function that were taken, if the machine counts: addresses of the blocks."""
    canonical: Observation | None = field(default=None, repr=False, compare=False)
    """The same observation with canonical heap addresses, once somebody asked for it."""
    reachable_blocks: int = 0
    """In a canonical observation: how many heap objects a pointer leads to. These come first in `heap`."""

    def has_same_effects(self, other: Observation) -> bool:
        """Whether another run on the same input and garbage shows exactly the same, registers and coverage aside."""
        return self._effects() == other._effects()

    def _effects(self) -> tuple[object, ...]:
        return (
            self.outcome,
            self.exit_code,
            self.assertion,
            self.fault,
            self.result,
            self.slots,
            self.has_stray_write,
            self.globals,
            self.heap,
            self.freed_blocks,
            self.freed_objects,
            self.errno,
            self.output,
            self.calls,
            self.abi_breaches,
        )
