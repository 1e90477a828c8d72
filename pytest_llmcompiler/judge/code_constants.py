"""The constants in a candidate's code: numbers at which its behaviour may change.

`cmpl $98, %edi` makes 97, 98 and 99 interesting; `shll $5, %eax` makes 5, and 32, at which a bit is first shifted out
of the lowest five. Constants that the reference has too were interesting when the suite was made, so they come last.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence, Set
from typing import NamedTuple

from pytest_llmcompiler.targets.code import AssembledCode, CodeSegment
from pytest_llmcompiler.targets.processor import Processor

MAX_CONSTANTS = 64
"""Constants of a candidate with their neighbours. Each is tried in the place of several numbers of an input."""
_MAX_CODE_BYTES, _MAX_INSTRUCTIONS = 4_096, 400
"""Code that is looked at, from the start of the function on. Decoding takes about a microsecond an instruction."""
_ADDRESSES = 1 << 32, (1 << 32) + (1 << 16)
"""Two addresses, on different pages."""
_NO_VALUES = re.compile(r"j|call|b\.|bl?$|[ct]bn?z|nop|push|ret|adrp?$|str|stp|ldp|endbr|int")
"""Mnemonics whose numbers are addresses, or places in the stack frame."""
_COMPARISONS = re.compile(r"cmp|cmn|ccm|test|tst|sub|and|bt")
_SHIFTS = re.compile(r"sh[lr]|sal|sar|ls[lr]|asr|ro[lr]")
_FRAME = re.compile(r"(?:rsp|sp), ")
"""Operands of an instruction that makes or leaves a stack frame."""
_NUMBER = re.compile(r"\[(?:rsp|rbp|rip|sp|x29)\b[^\]]*\]|(?<![\w.])(-?(?:0x[0-9a-f]+|\d+))\b")
"""An operand in the stack frame or beside the code, whose numbers are no values; or a number."""
_PART = re.compile(r"(\w+), #(-?(?:0x)?[0-9a-f]+)(?:, lsl #(\d+))?")
"""The operands of AArch64's `mov` and `movk`, which set 16 bits of a register."""
_LOADED = re.compile(r"(\w+) ptr \[rip ([+-]) (0x[0-9a-f]+|\d+)\]")
"""An operand in memory beside x86-64's code: its width, and its distance from the end of the instruction."""
_WIDTHS = {"byte": 1, "word": 2, "dword": 4, "qword": 8, "xmmword": 16, "ymmword": 32, "zmmword": 64}
"""In bytes."""
_PAGE_OF = re.compile(r"(x\d+), #(0x[0-9a-f]+|\d+)")
"""The operands of AArch64's `adrp`, which puts the address of a page into a register."""
_ADDED = re.compile(r"(x\d+), (x\d+), #(0x[0-9a-f]+|\d+)")
_LOADED_BY_REGISTER = re.compile(r"([qdsxw])\d+, \[(x\d+)(?:, #(0x[0-9a-f]+|\d+))?\]")
_REGISTER_WIDTHS = {"q": 16, "d": 8, "s": 4, "x": 8, "w": 4}
_NARROW_BYTES, _ELEMENT_BYTES = (1, 2), (4, 8)
"""Sizes of the elements of a vector that are looked for. Which ones it has its code alone doesn't tell. The narrow ones
count where all elements are equal: different ones would be too many."""


_KEPT_PIECES = 1 << 15
"""Pieces of code that are kept decoded, mostly of one instruction, and operands that are kept read: the answers for a
function share most of theirs. Each takes less than a KiB."""


class _Facts(NamedTuple):
    """What an instruction says by itself of constants."""

    values: tuple[int, ...] = ()
    is_comparison: bool = False
    load: tuple[int, int] | None = None
    """Of x86-64, from beside the code: the distance from the end of the instruction, and the bytes."""


class _Instruction(NamedTuple):
    """An instruction as capstone writes it."""

    size: int
    mnemonic: str
    operands: str
    facts: _Facts


def find_constants(
    code: AssembledCode, function: str, processor: Processor, known: Set[int], *, with_data: bool = False
) -> tuple[int, ...]:
    """The constants of a candidate, each followed by its neighbours; those of its comparisons come first, and `known`
    ones last. `with_data`: also those that its code loads from its own data."""
    start = code.symbols[function]
    segment = next(s for s in code.segments if s.is_executable and s.address <= start < s.address + len(s.data))
    data = segment.data[start - segment.address :][:_MAX_CODE_BYTES]
    index = bisect_right(code.addresses, start)
    instructions = _decode(data, start, processor, code.addresses[index : index + _MAX_INSTRUCTIONS])
    constants = _collect(instructions)
    if with_data:
        constants += _list_loaded(instructions, start, [s for s in code.segments if not s.is_writable])
    ordered = sorted(constants, key=lambda constant: constant in known)
    return tuple(dict.fromkeys(near for value in ordered for near in (value, value - 1, value + 1)))[:MAX_CONSTANTS]


def list_constants(data: bytes, address: int, processor: Processor) -> list[int]:
    """The constants of some code, each once, those of its comparisons first."""
    return _collect(_decode(data, address, processor, ()))


def _decode(data: bytes, address: int, processor: Processor, starts: Sequence[int]) -> list[_Instruction]:
    """The first instructions of some code. Where the `starts` of some are known, those in front of these are decoded
    once for all code in which they occur."""
    instructions: list[_Instruction] = []
    at = 0
    for start in starts:
        piece = _decode_from_branch(processor, data[at : start - address])
        if piece is None or start - address > len(data) or len(instructions) >= _MAX_INSTRUCTIONS:
            break
        instructions += piece
        at = start - address
    left = _MAX_INSTRUCTIONS - len(instructions)
    if left > 0:
        rest = processor.get_decoder().disasm_lite(data[at:], address + at, left)
        instructions += [_describe(size, mnemonic, operands) for _, size, mnemonic, operands in rest]
    return instructions[:_MAX_INSTRUCTIONS]


def _decode_from_branch(processor: Processor, piece: bytes) -> tuple[_Instruction, ...] | None:
    """As `_decode_piece`, for a piece that may begin with a branch. Its target is no constant."""
    branch = processor.split_branch(piece)
    if branch is None:
        return _decode_piece(processor, piece)
    behind = _decode_piece(processor, piece[len(branch[0]) :])
    return None if behind is None else (_decode_branch(processor, branch[0]), *behind)


@functools.lru_cache(maxsize=_KEPT_PIECES)
def _decode_branch(processor: Processor, code: bytes) -> _Instruction:
    """A branch without its target."""
    return _describe(len(code), processor.decode(code, 0).mnemonic, "")


@functools.lru_cache(maxsize=_KEPT_PIECES)
def _decode_piece(processor: Processor, piece: bytes) -> tuple[_Instruction, ...] | None:
    """The instructions that a piece of code consists of; None where it is no whole number of them, or where capstone
    writes another text at another address."""
    first, second = (
        tuple(_describe(*one[1:]) for one in processor.get_decoder().disasm_lite(piece, address))
        for address in _ADDRESSES
    )
    return first if first == second and sum(one.size for one in first) == len(piece) else None


def _describe(size: int, mnemonic: str, operands: str) -> _Instruction:
    return _Instruction(size, mnemonic, operands, _read_facts(mnemonic, operands))


@functools.lru_cache(maxsize=_KEPT_PIECES)
def _read_facts(mnemonic: str, operands: str) -> _Facts:
    values: list[int] = []
    if not _NO_VALUES.match(mnemonic) and not _FRAME.match(operands):
        values = [int(number, 0) for number in _NUMBER.findall(operands) if number]
        if _SHIFTS.match(mnemonic):
            values += [1 << value for value in values if 0 <= value < 64]
    beside = _LOADED.search(operands)
    load = (int(beside[2] + beside[3], 0), _WIDTHS[beside[1]]) if beside and beside[1] in _WIDTHS else None
    return _Facts(tuple(values), _COMPARISONS.match(mnemonic) is not None, load)


def _collect(instructions: Sequence[_Instruction]) -> list[int]:
    """The constants of instructions, each once, those of comparisons first."""
    comparisons: dict[int, None] = {}
    others: dict[int, None] = {}
    parts: dict[str, int] = {}
    for _, mnemonic, operands, (values, is_comparison, _) in instructions:
        if mnemonic in ("mov", "movk") and "#" in operands:
            others.update(dict.fromkeys(_join_parts(mnemonic, operands, parts)))
        elif values:
            (comparisons if is_comparison else others).update(dict.fromkeys(values))
    return list(comparisons | others)


def _list_loaded(instructions: Sequence[_Instruction], address: int, segments: Sequence[CodeSegment]) -> list[int]:
    """The elements of what some code loads from addresses that are relative to its own, as signed numbers."""
    loaded = [
        segment.data[target - segment.address :][:width]
        for target, width in _find_loads(instructions, address)
        for segment in segments
        if target >= segment.address
    ]
    return list(dict.fromkeys(value for one in loaded for value in _split(one)))


def _find_loads(instructions: Sequence[_Instruction], address: int) -> Iterator[tuple[int, int]]:
    """The addresses beside some code from which it loads, with the bytes of each load."""
    addresses: dict[str, int] = {}
    for size, mnemonic, operands, (_, _, load) in instructions:
        address += size
        if load:
            yield address + load[0], load[1]
        elif mnemonic == "adrp" and (page := _PAGE_OF.fullmatch(operands)):
            addresses[page[1]] = int(page[2], 0)
        elif mnemonic == "add" and (added := _ADDED.fullmatch(operands)) and added[2] in addresses:
            addresses[added[1]] = addresses[added[2]] + int(added[3], 0)
        elif mnemonic == "ldr" and (loaded := _LOADED_BY_REGISTER.fullmatch(operands)) and loaded[2] in addresses:
            yield addresses[loaded[2]] + int(loaded[3] or "0", 0), _REGISTER_WIDTHS[loaded[1]]


def _split(data: bytes) -> Iterator[int]:
    """The elements of a vector: of the least size of which it has one only, or of all sizes but the narrow ones."""
    sizes = [size for size in _ELEMENT_BYTES if len(data) % size == 0]
    narrow, repeated = (
        [size for size in some if data == data[:size] * (len(data) // size)] for some in (_NARROW_BYTES, sizes)
    )
    for size in (*narrow[:1], *(repeated[:1] or sizes)):
        for start in range(0, len(data), size):
            yield int.from_bytes(data[start : start + size], "little", signed=True)


def _join_parts(mnemonic: str, operands: str, parts: dict[str, int]) -> Iterator[int]:
    """The constant of which AArch64's code sets one part. `parts` has what the registers hold so far."""
    part = _PART.fullmatch(operands)
    if part is None:
        return
    register, value, shift = part[1], int(part[2], 0), int(part[3] or 0)
    if mnemonic == "movk":
        value = parts.get(register, 0) & ~(0xFFFF << shift) | value << shift
    parts[register] = value
    yield value
