"""The System V calling convention of x86-64.

Source: System V Application Binary Interface, AMD64 Architecture Processor Supplement, section 3.2.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pytest_llmcompiler.program.types import Array, Float, Function, Int, Pointer, Struct, Type

Class = Literal["INTEGER", "SSE"]

INTEGER_REGISTERS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
SSE_REGISTERS = tuple(f"xmm{number}" for number in range(8))
CALLEE_SAVED = ("rbx", "rbp", "r12", "r13", "r14", "r15")
CALLER_SAVED = ("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11")


@dataclass(frozen=True)
class Call:
    """Where the arguments of one call go."""

    registers: dict[str, int]
    stack: bytes
    """The argument area, whose first byte lies just above the return address; a multiple of 16 bytes."""
    other: Call | None = None
    """The same with every bit inverted that the convention leaves undefined, where there are such."""

    @property
    def inverted(self) -> Call:
        """The same call, and where it has undefined bits, the other values of these."""
        return self.other or self


@dataclass(frozen=True)
class Result:
    """Where a result is found."""

    registers: tuple[str, ...]
    """One register for each eightbyte; for a result in memory, rax with the address of the caller's buffer."""
    in_memory: bool


def classify(type: Type) -> tuple[Class, ...]:
    """The class of each eightbyte of a type; empty for one that is passed in memory (or has no bytes)."""
    if isinstance(type, Int) and type.size == 16:
        return ("INTEGER", "INTEGER")
    if isinstance(type, Int):
        return ("INTEGER",)
    if isinstance(type, Pointer):
        return ("INTEGER",)
    if isinstance(type, Float):
        return ("SSE",)
    if type.size > 16 or type.size == 0:
        return ()
    classes: list[Class | None] = [None] * ((type.size + 7) // 8)
    return tuple(kind or "SSE" for kind in classes) if _merge(type, 0, classes) else ()


def _merge(type: Type, offset: int, classes: list[Class | None]) -> bool:
    """Merge a type at an offset into the classes of its eightbytes. False where it is unaligned, hence all MEMORY."""
    if isinstance(type, Struct):
        return all(
            _merge(field.type, offset + field.offset, classes)
            if field.bits is None
            else _merge_bits(8 * offset + field.bits[0], field.bits[1], classes)
            for field in type.fields
        )
    if isinstance(type, Array):
        starts = range(offset, offset + type.size, max(type.element.size, 1))
        return all(_merge(type.element, start, classes) for start in starts)
    if offset % type.align:
        return False
    for index, kind in enumerate(classify(type)):
        place = offset // 8 + index
        classes[place] = "INTEGER" if "INTEGER" in (kind, classes[place]) else kind
    return True


def _merge_bits(first: int, width: int, classes: list[Class | None]) -> bool:
    for place in range(first // 64, (first + width - 1) // 64 + 1):
        classes[place] = "INTEGER"
    return True


def result(function: Function) -> Result:
    """Where the result of a function is found."""
    if function.result is None or function.result.size == 0:
        return Result((), False)
    classes = classify(function.result)
    if not classes:
        return Result(("rax",), True)
    integers, vectors = iter(("rax", "rdx")), iter(("xmm0", "xmm1"))
    return Result(tuple(next(integers if kind == "INTEGER" else vectors) for kind in classes), False)


@dataclass(frozen=True)
class Place:
    """Where one argument goes: a register for each eightbyte, or an offset in the argument area."""

    registers: tuple[str, ...] = ()
    offset: int = 0


def places(types: Sequence[Type]) -> list[Place]:
    """Where arguments of these types go. A hidden result pointer is an ordinary first argument here."""
    integers, vectors = list(INTEGER_REGISTERS), list(SSE_REGISTERS)
    found, offset = [], 0
    for type in types:
        classes = classify(type)
        if classes and classes.count("INTEGER") <= len(integers) and classes.count("SSE") <= len(vectors):
            names = tuple((integers if kind == "INTEGER" else vectors).pop(0) for kind in classes)
            found.append(Place(names))
        else:
            align = 16 if type.align == 16 else 8
            offset = -(-offset // align) * align
            found.append(Place(offset=offset))
            offset += -(-type.size // 8) * 8
    return found


def call(types: Sequence[Type], images: Sequence[bytes], *, variadic: bool = False) -> Call:
    """Distribute arguments over registers and stack. `images` are the bytes of each argument as it lies in memory.

    Integers narrower than 32 bits are extended to 32, which callers made by clang do and callees made by clang rely on.
    """
    made, other = (_call(types, images, variadic, garbage) for garbage in (_UNDEFINED, _INVERTED))
    return made if made == other else replace(made, other=other)


def _call(types: Sequence[Type], images: Sequence[bytes], variadic: bool, garbage: bytes) -> Call:
    registers: dict[str, int] = {}
    stack = bytearray()
    for type, image, place in zip(types, images, places(types), strict=True):
        words = _words(type, image, garbage)
        if place.registers:
            registers.update(zip(place.registers, words, strict=True))
        else:
            stack.extend(bytes(place.offset - len(stack)))
            stack += b"".join(word.to_bytes(8, "little") for word in words)
    if variadic:
        registers["rax"] = sum(name.startswith("xmm") for name in registers)
    return Call(registers, bytes(stack) + bytes(-len(stack) % 16))


def arguments(types: Sequence[Type], register: Callable[[str], int], stack: Callable[[int, int], bytes]) -> list[bytes]:
    """The bytes of each argument at a function's entry: the inverse of `call`.

    `register` reads a register, `stack` a number of bytes at an offset in the argument area.
    """
    images = []
    for type, place in zip(types, places(types), strict=True):
        words = (register(name) & (1 << 64) - 1 for name in place.registers)
        image = b"".join(word.to_bytes(8, "little") for word in words)
        images.append(image[: type.size] if place.registers else stack(place.offset, type.size))
    return images


_UNDEFINED = b"\xb7\x8d\xa1\xc9\x95\xe3\xd5"
"""What fills the bits that the convention leaves undefined: a callee that looks at them goes wrong."""
_INVERTED = bytes(byte ^ 0xFF for byte in _UNDEFINED)


def _words(type: Type, image: bytes, garbage: bytes) -> list[int]:
    if isinstance(type, Int) and type.size < 4:
        image = (int.from_bytes(image, "little", signed=type.signed) & 0xFFFFFFFF).to_bytes(4, "little")
    image += garbage[: -len(image) % 8]
    return [int.from_bytes(image[start : start + 8], "little") for start in range(0, len(image), 8)]


def result_bytes(function: Function, registers: dict[str, int]) -> bytes:
    """The bytes of a result that was returned in registers (a value for each register that `result` names)."""
    if function.result is None:
        return b""
    words = (registers[name] & (1 << 64) - 1 for name in result(function).registers)
    return b"".join(word.to_bytes(8, "little") for word in words)[: function.result.size]
