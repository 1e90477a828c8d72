"""Where the address of a local variable goes: the loads and stores through it, or that it escapes.

static struct { int mode; int table[8]; } s;      the address `s`, offset 0
s.mode = 5;                                       a store of 5, 4 bytes at offset 0
s.table[i] = 1;                                   a store of 1, 4 bytes at one of the offsets 4, 8, 12, ...
reset(&s.mode);                                   goes on in `reset`, if the module defines it
*out = &s;                                        escapes: any code may read and write the variable
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.letters import name_part
from pytest_llmcompiler.program.ir_instructions import FunctionBody, IrInstruction
from pytest_llmcompiler.program.type_sizes import TypeSizes

_CONSTANT_ADDRESS = re.compile(
    rf"getelementptr (?:inbounds |nuw |nusw )*\(i8, ptr (@{name_part('-$.')}+), i64 (-?\d+)\)"
)
_MAX_VALUES = 2000
"""Values that may be addresses of one variable. Above it, the variable counts as escaped."""
_HARMLESS = ("icmp",)
"""Instructions that may have an address as an operand without an effect on the variable."""
_IGNORED_CALLS = ("@llvm.lifetime.", "@llvm.assume", "@llvm.dbg.", "@llvm.experimental.noalias")


class Place(NamedTuple):
    """The offsets in a variable that an address may have, in bytes: `start`, or all that differ from it by a multiple
    of `stride`, if that is not 0."""

    start: int
    stride: int = 0

    def moved(self, offset: int, stride: int = 0) -> Place:
        """The place after a constant offset, and after any multiple of `stride`."""
        both = math.gcd(self.stride, stride)
        start = self.start + offset
        return Place(start % both if both else start, both)

    def joined(self, other: Place) -> Place:
        """A place that has the offsets of both."""
        return self.moved(0, math.gcd(other.stride, self.start - other.start))

    def offsets(self, size: int, end: int) -> range:
        """The offsets at which an access of `size` bytes lies inside of a variable of `end` bytes."""
        last = end - size + 1
        if self.stride:
            return range(self.start % self.stride, max(last, 0), self.stride)
        return range(self.start, self.start + 1) if 0 <= self.start < last else range(0)


@dataclass(frozen=True)
class Store:
    """Bytes that are written to a variable."""

    place: Place
    size: int
    function: str
    value: str
    """The operand that is stored, or the byte that fills the place if `is_fill`."""
    type: str
    is_fill: bool = False


@dataclass(frozen=True)
class Copy:
    """Bytes that are copied to a variable from an address, which may be one of a variable."""

    place: Place
    size: int
    function: str
    source: str
    """The operand that is the source's address."""


@dataclass
class Accesses:
    """What the module does with a variable whose address it keeps to itself."""

    stores: list[Store] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    is_read: bool = False
    """Whether anything loads from the variable, or copies from it."""

    @property
    def writes(self) -> list[Store | Copy]:
        """All stores and copies."""
        return [*self.stores, *self.copies]

    def overrun(self, size: int) -> bool:
        """Whether anything is written that begins inside of a variable of `size` bytes and ends behind it."""
        return any(
            not write.place.stride and 0 <= write.place.start < size < write.place.start + write.size
            for write in self.writes
        )


class _EscapeError(LLMCompilerError):
    """The address goes where nothing is known of it."""


def constant_address(operand: str) -> tuple[str, int] | None:
    """The symbol and the offset of an operand that is a constant address; None for any other operand."""
    if operand.startswith("@"):
        return operand, 0
    match = _CONSTANT_ADDRESS.fullmatch(operand)
    return (match[1], int(match[2])) if match else None


def find_place(operand: str, body: FunctionBody, sizes: TypeSizes) -> tuple[str, Place] | None:
    """The variable and the place in it that an operand is the address of; None where that is not known."""
    steps: list[tuple[str, int]] = []
    while not (address := constant_address(operand)):
        step = body.definitions.get(operand)
        size = sizes(step.type) if step and step.opcode == "getelementptr" and len(step.operands) == 2 else None
        if step is None or size is None or len(steps) > _MAX_VALUES:
            return None
        steps.append((step.operands[1], size))
        operand = step.operands[0]
    place = Place(address[1])
    for index, size in reversed(steps):
        place = _moved(place, index, size)
    return address[0], place


def _moved(place: Place, index: str, size: int) -> Place:
    if re.fullmatch(r"-?\d+", index):
        return place.moved(int(index) * size)
    return place.moved(0, size) if size else place


def find_accesses(
    symbol: str,
    functions: Mapping[str, FunctionBody],
    initialisers: str,
    sizes: TypeSizes,
) -> Accesses | None:
    """What the functions do with a local variable; None where its address escapes.

    `initialisers` is the text of the module's variables and aliases.
    """
    if re.search(rf"= .*{re.escape(symbol)}(?!{name_part('-$.')})", initialisers):
        return None
    flow = _AddressFlow(functions, sizes)
    try:
        for body in functions.values():
            for instruction in body.users.get(symbol, ()):
                flow.follow_symbol(symbol, body, instruction)
        flow.follow_values()
    except _EscapeError:
        return None
    return flow.accesses


class _AddressFlow:
    """Follows the address of one variable through the functions."""

    def __init__(self, functions: Mapping[str, FunctionBody], sizes: TypeSizes) -> None:
        self._functions, self._sizes = functions, sizes
        self.accesses = Accesses()
        self._places: dict[tuple[str, str], Place] = {}
        """The places that values may be the address of, by function and name."""
        self._pending: list[tuple[FunctionBody, str]] = []
        """The values whose users are to be followed."""

    def follow_symbol(self, symbol: str, body: FunctionBody, instruction: IrInstruction) -> None:
        """Record what an instruction does with the addresses of a variable that it mentions."""
        pattern = rf"{re.escape(symbol)}(?!{name_part('-$.')})"
        known = 0
        for operand in instruction.operands:
            address = constant_address(operand)
            if address and address[0] == symbol:
                known += 1
                self._follow(operand, Place(address[1]), body, instruction)
        if len(re.findall(pattern, instruction.text)) != known:
            raise _EscapeError

    def follow_values(self) -> None:
        """Record what is done with all values that may be an address of the variable."""
        while self._pending:
            body, value = self._pending.pop()
            if len(self._places) > _MAX_VALUES:
                raise _EscapeError
            for user in body.users.get(value, ()):
                if value not in user.operands:
                    raise _EscapeError
                self._follow(value, self._places[body.name, value], body, user)

    def _follow(self, operand: str, place: Place, body: FunctionBody, instruction: IrInstruction) -> None:
        """Record what an instruction does with an operand that is an address of the variable."""
        operands = instruction.operands
        match instruction.opcode:
            case "load":
                if not instruction.type:  # volatile or atomic
                    raise _EscapeError
                self.accesses.is_read = True
            case "store" if operands[0] != operand and len(operands) == 2 and instruction.type:
                size = self._sizes.stored(instruction.type)
                if size is None:
                    raise _EscapeError
                self.accesses.stores.append(Store(place, size, body.name, operands[0], instruction.type))
            case "getelementptr" if operands[0] == operand and operand not in operands[1:]:
                self._follow_users(instruction.result, self._move(place, instruction), body)
            case "phi" | "select" | "freeze":
                self._follow_users(instruction.result, place, body)
            case "call":
                self._follow_call(operand, place, body, instruction)
            case opcode if opcode not in _HARMLESS:
                raise _EscapeError

    def _follow_users(self, value: str, place: Place, body: FunctionBody) -> None:
        """Note that a value may be an address of the variable. Around a loop its place becomes wider, until all fit."""
        before = self._places.get((body.name, value))
        after = place if before is None else before.joined(place)
        if after != before:
            self._places[body.name, value] = after
            self._pending.append((body, value))

    def _move(self, place: Place, instruction: IrInstruction) -> Place:
        size = self._sizes(instruction.type)
        if size is None or len(instruction.operands) != 2:
            raise _EscapeError
        return _moved(place, instruction.operands[1], size)

    def _follow_call(self, operand: str, place: Place, body: FunctionBody, instruction: IrInstruction) -> None:
        callee, *args = instruction.operands
        if operand == callee:
            raise _EscapeError
        if callee.startswith(_IGNORED_CALLS):
            return
        if callee.startswith(("@llvm.memset.", "@llvm.memcpy.", "@llvm.memmove.")):
            self._follow_block(operand, place, body, args, is_fill=callee.startswith("@llvm.memset."))
            return
        target = self._functions.get(callee[1:]) if callee.startswith("@") else None
        if target is None:
            raise _EscapeError
        for position, arg in enumerate(args):
            if arg == operand:
                if position >= len(target.params) or target.is_variadic:
                    raise _EscapeError
                self._follow_users(target.params[position], place, target)

    def _follow_block(self, operand: str, place: Place, body: FunctionBody, args: list[str], *, is_fill: bool) -> None:
        """Record a fill or copy of the variable, or a copy from it."""
        if args[0] != operand:
            self.accesses.is_read = True
            return
        if not args[2].isdigit() or args[3] != "false" or (not is_fill and args[1] == operand):
            raise _EscapeError
        if is_fill:
            self.accesses.stores.append(Store(place, int(args[2]), body.name, args[1], "i8", is_fill=True))
        else:
            self.accesses.copies.append(Copy(place, int(args[2]), body.name, args[1]))
