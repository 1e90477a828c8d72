"""A reproducer: all that a native program needs to show a failure again, as data.

A reproducer is JSON (numbers, text, and bytes in hexadecimal), because it is captured in a process that hostile code
may have taken over. Whoever reads it must expect any value in it. Addresses are those of the emulator; sizes and
offsets are in bytes.
"""

from __future__ import annotations

from typing import NamedTuple, TypedDict

from pytest_llmcompiler.judge.verdict import Verdict


class Breakpoint(TypedDict):
    """Where a debugger is to stop."""

    line: int
    """The line of the candidate's text, counted from 1."""
    ignored_hits: int
    """How often the line is reached before the debugger is to stop there."""


class ArgumentPart(TypedDict):
    """An argument of an external call, or the result of the function: its location, and the bits that are compared."""

    kind: str
    """`number`, `address`, `text` (a pointer to a string) or `data` (a pointer to `pointee` bytes)."""
    registers: list[str]
    """The registers that hold the value; empty where it is on the stack."""
    register_bytes: int
    """Bytes in each register; the last one may hold fewer."""
    offset: int
    """The offset in the argument area of the stack, where the value is in no register."""
    size: int
    pointee: int
    """How many of the bytes that it points to are compared; 0 unless the kind is `data`."""
    mask: str
    """The bits that are compared, of the pointee where the kind is `data`; empty for all bits."""


class ExternalFunctionPart(TypedDict):
    """A function that the case does not define."""

    name: str
    arguments: list[ArgumentPart]


class EffectPart(TypedDict):
    """A write to memory by an external call."""

    symbol: str
    """The global variable that `address` counts from; empty where `address` is absolute."""
    address: int
    data: str
    allocates: bool
    """Whether the call allocated the memory as a new object of the heap."""


class ResultPart(TypedDict):
    """The value that an external call leaves in one register."""

    register: str
    value: int
    size: int
    same_as: str
    """The argument register that holds the same value; empty where there is none."""


class ReplyPart(TypedDict):
    """The answer to an external call."""

    callee: str | int
    """The name of the external function, or the number of the callback."""
    results: list[ResultPart]
    effects: list[EffectPart]


class ObjectPart(TypedDict):
    """An object of the input."""

    label: str
    address: int
    size: int
    slot: list[int]
    """Address and size of the mapped memory that the object lies in."""
    data: str | None
    """The initial bytes; None where they are not set and hold garbage."""
    mask: str
    """The bits that are compared after the run; empty for all bits."""


class SymbolPart(TypedDict):
    """A pointer to a symbol of the program."""

    at: int
    """Bytes from the start of the variable that holds the pointer."""
    symbol: str
    offset: int
    """Bytes from the start of the symbol."""


class GlobalPart(TypedDict):
    """A global variable."""

    name: str
    size: int
    data: str | None
    """The bytes at the start of the run; None for the initial value in the program."""
    mask: str
    """The bits that are compared after the run; empty for all bits."""
    pointers: list[SymbolPart]
    """The pointers in `data` that lead to symbols of the program."""


class Reproducer(TypedDict, total=False):
    """The reproducer of one failure. For a failure of the whole program there are only `whole_program`,
    `input_lines`, `breakpoint` and `notes`."""

    fault: str
    """Why there is no reproducer: a traceback of the judge's process. Nothing else is there then."""
    whole_program: bool
    """Whether the whole program was run, as a process does."""
    input_lines: list[str]
    """The input as C, in lines."""
    breakpoint: Breakpoint
    notes: list[str]
    """What can't be reproduced natively, in words."""
    entry_registers: dict[str, int]
    """The registers at the start."""
    clobbered_registers: dict[str, int]
    """What an external call leaves in the registers that it may change."""
    vector_fill: int
    """The 64 bits that fill the parts of vector registers which the emulator does not have, in both cases."""
    stack: str
    """The arguments on the stack."""
    garbage: str
    """The pattern of 4 bytes that fills the memory around the objects."""
    uninitialised: str
    """The pattern of 4 bytes that fills the unused stack."""
    objects: list[ObjectPart]
    globals: list[GlobalPart]
    callbacks: list[ExternalFunctionPart]
    externals: list[ExternalFunctionPart]
    replies: dict[str, list[ReplyPart]]
    """The answers to the external calls of the `reference` and of the `candidate`, in the order of the calls."""
    result: ArgumentPart | None
    result_signed: bool
    result_float_bytes: int
    """Bytes of each floating-point number, where the result is one or a vector of them; else 0."""
    aligned_objects: bool
    """Whether objects begin at multiples of 4 GiB, instead of ending at the edge of mapped memory."""
    standard_input: str
    """What can be read from standard input."""
    shortage: int
    """When malloc finds no memory: 0 never, 1 always, 2 for sizes that are no multiple of 8, 3 for multiples of 8."""
    errno: list[int]
    """The error number before the run, and whether it is compared afterwards (1) or not (0)."""


class ReproducibleVerdict(NamedTuple):
    """A verdict, and the reproducer of the failure."""

    verdict: Verdict
    reproducer: Reproducer | None = None
    """None where the code did not run, did not fail, or where no reproducer was asked for."""
