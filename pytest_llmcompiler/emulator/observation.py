"""What one run of a function shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pytest_llmcompiler.targets.processor import Outcome
from pytest_llmcompiler.values.c_types import Int, Type
from pytest_llmcompiler.values.layout import PAGE


@dataclass(frozen=True)
class GuestFault:
    """Why a run ended before its return."""

    description: str
    """In words, without addresses of the harness."""
    pc: int
    """The address of the instruction."""
    address: int | None = None
    """The address that it used, for a memory access."""
    access: str | None = None
    size: int = 0


@dataclass(frozen=True)
class AbiBreach:
    """A rule of the calling convention that a run breaks."""

    message: str
    register: str | None = None
    """The callee-saved register that is not restored, as the processor names it; None for any other rule."""


@dataclass(frozen=True)
class MemoryWrite:
    """A write to memory."""

    pc: int
    address: int
    size: int
    value: int
    before: bytes
    """What it overwrote."""

    def bytes(self) -> Iterator[tuple[int, int]]:
        """Each byte that was written, with its address."""
        return enumerate(self.value.to_bytes(self.size, "little"), self.address)


def initial_errno(environment_seed: int) -> int:
    """The C library's error number before a run: half of the inputs find one that no function here sets."""
    return 131 * (environment_seed & 1)


MEMORY_SHORTAGES = {
    21: "finds no memory",
    22: "finds no memory for sizes that are no multiples of 8",
    23: "finds no memory for sizes that are multiples of 8",
}
"""What malloc does with these salts, which are an eighth of those for functions that ask for memory."""


def has_no_memory(environment_seed: int, size: int) -> bool:
    """Whether malloc finds no memory. The size alone decides: programs may ask for the same in another order."""
    is_short = environment_seed in MEMORY_SHORTAGES
    return is_short and (environment_seed == 21 or (size % 8 == 0) == (environment_seed == 23))


UninitialisedFill = Literal["garbage", "inverse", "zeros"]
"""What the unused stack and registers hold, and what lies around constants: the garbage of a machine, the same with
every bit inverted, or zeros."""

ELSEWHERE = 1
"""Stands for the address of what may lie elsewhere in another run: the stack, constants, a candidate's own data."""


@dataclass(frozen=True)
class PointerArgument:
    """A pointer that is passed to a call, and what it points to at that time."""

    address: int
    """ELSEWHERE for the stack and for constants."""
    data: bytes = b""
    element: Type | None = None
    """The type of each element of the data, where that is known."""
    name: str = ""
    """The global variable that it points into."""
    offset: int = 0
    """How many bytes into that variable."""
    is_possible_end: bool = False
    """Whether it may be the end of what another argument points to, so that nothing needs to lie there."""


Argument = int | PointerArgument
"""An argument of a call."""


@dataclass(frozen=True)
class ExternalCall:
    """A call of a callback or of a function that the program only declares."""

    name: str
    args: tuple[Argument, ...]


class Effect(NamedTuple):
    """What a call out of the function wrote to memory."""

    address: int
    data: bytes
    is_allocation: bool = False
    """Whether it is a new object of the heap, of just this size."""


class Reply(NamedTuple):
    """What a call out of the function found, and how it was answered."""

    callee: str | int
    """The function that is only declared, or the number of the callback among those of the input."""
    passed: dict[str, int]
    """The integer registers for arguments."""
    result: dict[str, bytes]
    """The registers of the result; what is missing of them is undefined."""
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
    """The read-only data of a machine: (address, bytes) of each piece."""

    pieces: tuple[tuple[int, bytes], ...] = ()

    def at(self, address: int, element: Type | None) -> bytes | None:
        """The string, or the element of another type, at an address; None where no constant is."""
        for start, data in self.pieces:
            if start <= address < start + len(data):
                rest = data[address - start :]
                if isinstance(element, Int) and element.character:
                    return rest[: rest.find(b"\0") + 1]
                return rest[: element.size] if element else None
        return None


@dataclass
class Observation:
    """All that one run shows."""

    outcome: Outcome
    garbage_pattern: int = 0
    """The garbage that the run was made on."""
    constants: Constants = Constants()
    fault: GuestFault | None = None
    exit_code: int = 0
    """The exit code, for the outcome `exit`."""
    registers: dict[str, int] = field(default_factory=dict)
    result: bytes = b""
    """The result in registers; for a result in memory, the address that was returned."""
    slots: tuple[bytes, ...] = ()
    """The memory around each object, in the order of the placed objects."""
    has_stray_write: bool = False
    """Whether memory that belongs to no object was written."""
    globals: tuple[bytes, ...] = ()
    heap: tuple[HeapBlock, ...] = ()
    """The live heap objects in the order of their addresses."""
    freed_blocks: tuple[FreedBlock, ...] = ()
    """The heap objects that were allocated and freed."""
    out_of_memory: bool = False
    """Whether the input has too little memory, and some was asked for in vain."""
    freed_objects: tuple[int, ...] = ()
    """The numbers of the placed objects that were freed."""
    errno: int = 0
    """The C library's error number at the end."""
    output: dict[int, bytes] = field(default_factory=dict)
    """What was written, by file descriptor."""
    calls: tuple[ExternalCall, ...] = ()
    abi_breaches: tuple[AbiBreach, ...] = ()
    """Breaches of the calling convention: those of calls first, then those that show at the return."""
    executed_bytes: int = 0
    """Bytes of code executed, where the machine counts: an upper bound of the number of instructions."""
    reachable_blocks: int = 0
    """How many objects of the heap something leads to: the first ones, where they are named by that."""
    canonical: Observation | None = field(default=None, repr=False, compare=False)
    """The same with heap objects named by how they are reached, once that was asked for."""
    edges: frozenset[tuple[int, int]] = frozenset()
    """The ways from block to block of the function's code that were taken, where the machine counts."""

    def has_same_effects(self, other: Observation) -> bool:
        """Whether another run on the same input and garbage shows the very same."""
        return _shown(self) == _shown(other)


def _shown(run: Observation) -> tuple[object, ...]:
    memory = run.slots, run.has_stray_write, run.globals, run.heap, run.freed_blocks, run.freed_objects, run.errno
    return run.outcome, run.exit_code, run.fault, run.result, memory, run.output, run.calls, run.abi_breaches


Feature = tuple[str, int, int]
"""("edge", its number, how often), ("relation", the comparison, which one), ("index", the place, which one), ("near",
the comparison, how near), ("path", a hash of all edges, 0), ("text", how two of them differ, 0) or ("letter", one that
was sought in a text and found, in which way)."""
Features = frozenset[Feature]


class ComparedOperands(NamedTuple):
    """The two sides of a comparison, unsigned, which differ; `size` in bytes."""

    first: int
    second: int
    size: int


@dataclass(frozen=True)
class Comparisons:
    """What one run compared, and found different."""

    comparisons: tuple[ComparedOperands, ...] = ()
    """Some of those that differed, in a fixed order."""
    texts: tuple[tuple[bytes, bytes], ...] = ()
    """What it gave to the library's functions that compare strings or memory."""
