"""What a proof may assume about calls: where arguments and results are, from IR, DWARF and the calling convention."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pytest_llmcompiler.errors import UnmodelledError
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.values.c_types import Int, Pointer, Type

REGISTER_NUMBERS = {"rdi": 7, "rsi": 6, "rdx": 2, "rcx": 1, "r8": 8, "r9": 9, "rax": 0}
"""The numbers of the registers that hold arguments and results."""


class Part(NamedTuple):
    """The lowest bits of a register."""

    is_vector: bool
    number: int
    bits: int


@dataclass(frozen=True)
class Callee:
    """A function of the program that is called."""

    name: str
    arguments: tuple[Part, ...]
    returns: bool
    """Whether a call may return."""


@dataclass(frozen=True)
class Narrow:
    """An integer argument that callers extend to 32 bits."""

    number: int
    bits: int
    is_signed: bool
    is_boolean: bool


@dataclass(frozen=True)
class Contract:
    """What the function gets and gives."""

    result: tuple[Part, ...]
    narrow: tuple[Narrow, ...]
    pointers: tuple[int, ...]
    """The registers that hold pointers, which are below 2^47."""
    callees: dict[int, Callee]
    """By address: the functions whose arguments are all in registers."""
    constants: tuple[tuple[int, bytes], ...]
    """Read-only memory of the program: addresses and contents."""


def find_contract(reference: Reference, function: str) -> Contract:
    """What a function gets and gives. Raises UnmodelledError for results elsewhere than in general and vector
    registers."""
    narrow, pointers = _find_preconditions(reference, function)
    segments = (one for one in reference.golden.segments if not one.is_writable and not one.is_executable)
    return Contract(
        result=_find_result(reference, function),
        narrow=narrow,
        pointers=pointers,
        callees=_find_callees(reference),
        constants=tuple((one.address, bytes(one.data)) for one in segments),
    )


def _find_callees(reference: Reference) -> dict[int, Callee]:
    callees: dict[int, Callee] = {}
    for value in reference.module.functions:
        kind, attributes = str(value.global_value_type), b" ".join(value.attributes).decode()
        types = [(str(one.type), b" ".join(one.attributes).decode()) for one in value.arguments]
        address = reference.golden.addresses.get(value.name)
        if address is None or "..." in kind or "returns_twice" in attributes:
            continue
        if any("byval" in words for _, words in types):
            continue
        parts = _find_arguments([type for type, _ in types])
        if parts is not None:
            callees[address] = Callee(value.name, parts, "noreturn" not in attributes)
    return callees


def _find_arguments(types: Sequence[str]) -> tuple[Part, ...] | None:
    """The parts that hold arguments of these IR types; None where the stack holds some, or a type is unknown."""
    integers, vectors = [7, 6, 2, 1, 8, 9], list(range(8))
    parts: list[Part] = []
    for type in types:
        width = re.fullmatch(r"i(\d+)", type)
        bits = int(width[1]) if width else 64
        if type in ("float", "double") and vectors:
            parts.append(Part(True, vectors.pop(0), 32 if type == "float" else 64))
        elif ((width and bits <= 64) or type == "ptr") and integers:
            parts.append(Part(False, integers.pop(0), 32 if bits <= 32 else 64))
        else:
            return None
    return tuple(parts)


def _find_result(reference: Reference, function: str) -> tuple[Part, ...]:
    signature = reference.signatures[function]
    if signature.result is None:
        return ()
    place = reference.target.convention.locate_result(signature)
    left = 64 if place.is_in_memory else 8 * signature.result.size
    parts: list[Part] = []
    for name in place.registers:
        bits = min(64, left)
        if name.startswith("xmm"):
            parts.append(Part(True, int(name[3:]), bits))
        elif name in REGISTER_NUMBERS:
            parts.append(Part(False, REGISTER_NUMBERS[name], bits))
        else:
            raise UnmodelledError(f"a result in {name}")
        left -= 64
    return tuple(parts)


def _find_preconditions(reference: Reference, function: str) -> tuple[tuple[Narrow, ...], tuple[int, ...]]:
    signature, convention = reference.signatures[function], reference.target.convention
    types: list[Type] = [param.type for param in signature.params]
    if convention.locate_result(signature).is_in_memory:
        types.insert(0, Pointer(None))
    narrow: list[Narrow] = []
    pointers: list[int] = []
    for type, place in zip(types, convention.locate_arguments(types)):
        if len(place.registers) != 1 or place.registers[0] not in REGISTER_NUMBERS:
            continue
        number = REGISTER_NUMBERS[place.registers[0]]
        if isinstance(type, Pointer):
            pointers.append(number)
        elif isinstance(type, Int) and type.size < 4:
            narrow.append(Narrow(number, 8 * type.size, type.signed, type.boolean))
    return tuple(narrow), tuple(pointers)
