"""What a proof may assume about calls: where arguments and results are, from IR, DWARF and the calling convention."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

import z3

from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.values.c_types import Int, Pointer, Type
from quality.equivalence import Entry
from quality.liveness import GRANULES, Interface, Parts, register_parts, vector_parts

_CONVENTION = get_target().convention
_NUMBERS = {"rdi": 7, "rsi": 6, "rdx": 2, "rcx": 1, "r8": 8, "r9": 9, "rax": 0}
_ARGUMENTS = tuple(_NUMBERS[name] for name in _CONVENTION.integer_registers)
_UNKNOWN = frozenset().union(
    *(register_parts(number) for number in (*_ARGUMENTS, 0, 10)), *(vector_parts(number) for number in range(8))
)
"""The parts that an unknown callee may read."""
_ADDED = {
    "memcpy": ("ptr", "ptr", "i64"),
    "memmove": ("ptr", "ptr", "i64"),
    "memset": ("ptr", "i32", "i64"),
    "memcmp": ("ptr", "ptr", "i64"),
    "bcmp": ("ptr", "ptr", "i64"),
    "strlen": ("ptr",),
    "strcpy": ("ptr", "ptr"),
    "stpcpy": ("ptr", "ptr"),
    "puts": ("ptr",),
    "putchar": ("i32",),
}
"""Functions that compilers call without a call in the source, with the IR types of their arguments."""
_CHARACTER_SECOND = ("memset", "memchr", "strchr", "strrchr", "memrchr", "strchrnul")
"""Library functions whose second argument is an int that is converted to a character."""


@functools.lru_cache(maxsize=2)
def find_entry(reference: Reference, function: str) -> Entry:
    """What holds at the entry of a function, and the interfaces of the functions that it calls."""
    arguments = {name: _find_argument_parts(types) for name, types in _ADDED.items()}
    pointers = {name for name, types in _ADDED.items() if name in ("memcpy", "memmove", "memset", "strcpy", "stpcpy")}
    defined, variadic = set(), set()
    for value in reference.module.functions:
        if not value.is_declaration:
            defined.add(value.name)
        types = [(str(argument.type), b" ".join(argument.attributes).decode()) for argument in value.arguments]
        kind = str(value.global_value_type)
        if "..." in kind:
            variadic.add(value.name)
            arguments[value.name] = (_UNKNOWN - register_parts(0) - register_parts(10) | register_parts(0, 8), True)
        if "..." in kind or any("byval" in attributes for _, attributes in types):
            continue
        arguments[value.name] = _find_argument_parts([type for type, _ in types])
        if kind.startswith("ptr "):
            pointers.add(value.name)
    for name in _CHARACTER_SECOND:
        if name in arguments and name not in defined:
            parts, stack = arguments[name]
            arguments[name] = (parts - register_parts(6) | register_parts(6, 8), stack)
    look_up = functools.partial(_look_up_arguments, arguments)
    interface = Interface(look_up, _find_result_parts(reference, function), variadic=frozenset(variadic))
    return Entry(interface, _find_preconditions(reference, function), frozenset(pointers), _constant_reader(reference))


def _constant_reader(reference: Reference) -> Callable[[int], int | None]:
    segments = [one for one in reference.golden.segments if not one.is_writable]

    def constant(address: int) -> int | None:
        found = (one for one in segments if one.address <= address < one.address + len(one.data))
        return next((one.data[address - one.address] for one in found), None)

    return constant


def _look_up_arguments(known: dict[str, tuple[Parts, bool]], name: str | None) -> tuple[Parts, bool]:
    return known.get(name or "", (_UNKNOWN, True))


def _find_argument_parts(types: Sequence[str]) -> tuple[Parts, bool]:
    """The parts that hold arguments of these IR types, and whether the stack holds some."""
    integers, vectors = list(_ARGUMENTS), list(range(8))
    parts: Parts = frozenset()
    for type in types:
        width = re.fullmatch(r"i(\d+)", type)
        bits = int(width[1]) if width else 64
        if type in ("float", "double", "<2 x float>") and vectors:
            parts |= vector_parts(vectors.pop(0), 32 if type == "float" else 64)
        elif (width or type == "ptr") and len(integers) >= -(-bits // 64):
            while bits > 0:
                parts |= register_parts(integers.pop(0), 32 if bits <= 32 else 64)
                bits -= 64
        else:
            return _UNKNOWN, True
    return parts, False


def _find_result_parts(reference: Reference, function: str) -> Parts:
    signature = reference.signatures[function]
    parts: Parts = frozenset()
    if signature.result is None:
        return parts
    place = _CONVENTION.locate_result(signature)
    left = 64 if place.is_in_memory else 8 * signature.result.size
    for name in place.registers:
        bits = min(64, left)
        parts |= vector_parts(int(name[3:]), bits) if name.startswith("xmm") else register_parts(_NUMBERS[name], bits)
        left -= 64
    return parts


def _find_preconditions(reference: Reference, function: str) -> tuple[z3.BoolRef, ...]:
    """Narrow integers are extended to 32 bits, and pointers of user space are below 2^47."""
    signature = reference.signatures[function]
    types: list[Type] = [param.type for param in signature.params]
    if _CONVENTION.locate_result(signature).is_in_memory:
        types.insert(0, Pointer(None))
    facts: list[z3.BoolRef] = []
    for type, place in zip(types, _CONVENTION.locate_arguments(types)):
        if len(place.registers) != 1 or place.registers[0] not in _NUMBERS:
            continue
        parts = [
            z3.BitVec(f"r{_NUMBERS[place.registers[0]]}.{n}", high - low) for n, (low, high) in enumerate(GRANULES)
        ]
        whole = z3.Concat(*reversed(parts))
        if isinstance(type, Pointer):
            facts.append(z3.ULT(whole, 1 << 47))
        elif isinstance(type, Int) and type.size < 4:
            low = z3.Extract(8 * type.size - 1, 0, whole)
            extend = z3.SignExt if type.signed else z3.ZeroExt
            facts.append(z3.Extract(31, 0, whole) == extend(32 - 8 * type.size, low))
            facts += [z3.ULE(low, 1)] if type.boolean else []
    return tuple(facts)
