"""What a difference between two runs is about: bytes of memory, a value, an external call, the ending of the run.

Locations are data: they are compared, hashed and matched by type. Only `format_location` makes text of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_llmcompiler.emulator.kernel import REFUSED_CALLS
from pytest_llmcompiler.values.c_types import Type
from pytest_llmcompiler.values.layout import PAGE, Layout, format_path

# -- regions of memory


@dataclass(frozen=True)
class InputObject:
    """An object of the input, or the buffer for a result that is returned in memory."""

    number: int
    """Its index in `Layout.objects`."""
    label: str = field(default="", compare=False)
    """The C expression for the pointer to it: `buf`, `list->next`."""


@dataclass(frozen=True)
class GlobalVariable:
    """A writable global variable of the case."""

    name: str


@dataclass(frozen=True)
class HeapObject:
    """A live object of the heap."""

    number: int
    """Its index in the canonical heap (see `canonical_heap`)."""
    size: int
    """In bytes, as it was asked for."""


@dataclass(frozen=True)
class CallArgument:
    """What a pointer argument of an external call points to. All numbers count from 0."""

    call: int
    argument: int
    pointee: int | None = None
    """Of a struct that is passed by value: the number of what it leads to, as in `PointerArgument.pointees`."""


MemoryRegion = InputObject | GlobalVariable | HeapObject | CallArgument


@dataclass(frozen=True)
class TypedExpression:
    """A C expression for a region, with its type."""

    text: str
    type: Type
    """The type of the value or, where `is_pointer`, of each element that the value points to."""
    is_pointer: bool


@dataclass(frozen=True)
class ByteRange:
    """Some bytes of a region."""

    region: MemoryRegion
    offset: int
    """From the start of the region, in bytes; negative for what lies before it on the page of a heap object."""
    size: int
    expression: TypedExpression | None = field(default=None, compare=False)
    """How C names the region, where the types are known."""


@dataclass(frozen=True)
class MemoryAround:
    """Mapped memory next to an object, which no code may write."""

    region: InputObject | HeapObject
    distance: int
    """-1 is the last byte before the object, 1 the first byte past its end."""
    label: str = field(default="", compare=False)


# -- other places


@dataclass(frozen=True)
class UnusedMemory:
    """Mapped memory that belongs to no object of the input."""


@dataclass(frozen=True)
class AccessedAddress:
    """The address of a bad memory access, with the variable or the nearest object of the input where one is near."""

    address: int
    label: str = ""
    """The C expression for the pointer to the nearest object, or the variable's name; empty where there is none."""
    offset: int = 0
    """The distance from the start of that object, in bytes."""
    size: int = 0
    """The size of that object, in bytes."""
    is_half_pointer: bool = False
    """Whether the address is the lower 32 bits of a pointer to an object."""


@dataclass(frozen=True)
class ReturnValue:
    """The value that the function returns in registers."""


@dataclass(frozen=True)
class ResultPointer:
    """The address that a function returns whose result is in memory."""


@dataclass(frozen=True)
class CallNumber:
    """An external call: its index among those of the run."""

    index: int


@dataclass(frozen=True)
class OutputStream:
    """What the run writes to a file descriptor, 1 or 2, from a byte on; or the text of its refused calls."""

    descriptor: int
    offset: int = 0


@dataclass(frozen=True)
class OutputLine:
    """A line that a program writes to a file descriptor, 1 or 2, counted from 1; or of its refused calls."""

    descriptor: int
    line: int


@dataclass(frozen=True)
class Errno:
    """The C library's error number after the run."""


@dataclass(frozen=True)
class FreedObjects:
    """Which objects of the input the run frees."""


@dataclass(frozen=True)
class LiveHeapObjects:
    """How many objects of which sizes are live on the heap after the run."""


@dataclass(frozen=True)
class LeakedHeapObjects:
    """The live objects of the heap to which no pointer leads."""


@dataclass(frozen=True)
class RunEnding:
    """How the run ends: by a return, an exit with a code, an abort."""


@dataclass(frozen=True)
class Register:
    """A register, named as the processor's manual does."""

    name: str


@dataclass(frozen=True)
class Stack:
    """The stack below the memory that the function may use."""


Location = (
    MemoryRegion
    | ByteRange
    | MemoryAround
    | UnusedMemory
    | AccessedAddress
    | ReturnValue
    | ResultPointer
    | CallNumber
    | OutputStream
    | OutputLine
    | Errno
    | FreedObjects
    | LiveHeapObjects
    | LeakedHeapObjects
    | RunEnding
    | Register
    | Stack
)

_FIXED_TEXTS: dict[type, str] = {
    UnusedMemory: "memory that belongs to no object",
    ReturnValue: "return value",
    ResultPointer: "result pointer",
    Errno: "errno",
    FreedObjects: "freed objects",
    LiveHeapObjects: "live heap objects (sizes)",
    LeakedHeapObjects: "leaked heap objects",
    RunEnding: "ends with",
    Stack: "the stack",
}
_STREAMS = {0: "stdin", 1: "stdout", 2: "stderr", REFUSED_CALLS: "system calls"}


def locate_address(address: int, layout: Layout | None) -> AccessedAddress:
    """An address with the first object of the input that holds it or is less than a page away."""
    objects = layout.objects if layout else ()
    for target in objects:
        offset = address - target.address
        if address >= PAGE and -PAGE <= offset < target.size + PAGE:
            return AccessedAddress(address, target.label, offset, target.size)
    is_half_pointer = any(target.address & 0xFFFFFFFF == address for target in objects)
    return AccessedAddress(address, is_half_pointer=is_half_pointer)


def format_location(location: Location) -> str:
    """A location in words, in C terms as far as the types are known."""
    if isinstance(location, ByteRange):
        return _format_bytes_of(location)
    if isinstance(location, MemoryAround):
        return _format_around(location)
    if isinstance(location, AccessedAddress):
        return _format_address(location)
    if isinstance(location, CallNumber):
        return f"external call {location.index + 1}"
    if isinstance(location, OutputStream):
        name = _STREAMS.get(location.descriptor, f"file descriptor {location.descriptor}")
        return f"{name} from byte {location.offset}" if location.offset else name
    if isinstance(location, OutputLine):
        return f"{_STREAMS[location.descriptor]} line {location.line}"
    if isinstance(location, Register):
        return f"register {location.name}"
    if isinstance(location, (InputObject, GlobalVariable, HeapObject, CallArgument)):
        return _format_region(location)
    return _FIXED_TEXTS[type(location)]


def _format_region(region: MemoryRegion) -> str:
    if isinstance(region, InputObject):
        return region.label or f"object {region.number}"
    if isinstance(region, GlobalVariable):
        return f"global {region.name}"
    if isinstance(region, HeapObject):
        return f"heap object {region.number} ({region.size} bytes)"
    return f"argument {region.argument + 1} of external call {region.call + 1}"


def _format_bytes_of(range: ByteRange) -> str:
    known = range.expression
    if known is None:
        return f"{_format_region(range.region)} from byte {range.offset}"
    text = format_path(known.type, known.text, range.offset, at_pointer=known.is_pointer)
    prefix = "global " if isinstance(range.region, GlobalVariable) else ""
    several = " onwards" if known.type.size <= 1 < range.size else ""
    return f"{prefix}{text}{several}"


def _format_around(around: MemoryAround) -> str:
    label = around.label or _format_region(around.region)
    side = "before" if around.distance < 0 else "past the end of"
    return f"memory {abs(around.distance)} bytes {side} {label}"


def _format_address(place: AccessedAddress) -> str:
    if place.address < PAGE:
        return f"{place.address:#x} (a null pointer)"
    if place.is_half_pointer:
        return f"{place.address:#x} (the lower half of a pointer)"
    if not place.label:
        return hex(place.address)
    if place.offset < 0:
        return f"{place.label} - {-place.offset} (before its start)"
    if place.offset < place.size:
        return f"{place.label} + {place.offset} (of {place.size} bytes)"
    return f"{place.label} + {place.offset} ({place.offset - place.size} bytes past its end)"
