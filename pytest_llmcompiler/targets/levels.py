"""The levels of the x86-64 instruction set, and which of them code needs.

Source: System V ABI, AMD64 supplement, table 3.1.
"""

from __future__ import annotations

from typing import Literal, get_args

from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.processor import Processor

IsaLevel = Literal["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"]
ISA_LEVELS: tuple[IsaLevel, ...] = get_args(IsaLevel)
"""The lowest level first."""
_EVEX = 0x62
"""The first byte of the instructions of AVX-512, those of mask registers aside."""
_MASK_MNEMONICS = ("kmov", "kadd", "kand", "kor", "kxor", "kxnor", "knot", "kshift", "ktest", "kunpck")
"""The starts of the mnemonics of mask registers, which AVX-512 encodes as AVX does its instructions."""


def is_within(level: IsaLevel, limit: IsaLevel) -> bool:
    """Whether a level is the limit or below it."""
    return ISA_LEVELS.index(level) <= ISA_LEVELS.index(limit)


def find_needed_level(code: AssembledCode, processor: Processor) -> IsaLevel:
    """The lowest level that has the instructions of a candidate which the emulator lacks; x86-64 where it has all.

    Extensions that belong to no level count as the level with the same encoding.
    """
    needed: IsaLevel = "x86-64"
    for address in code.find_instructions(processor.hazardous_code):
        data = code.read_code(address)
        if not processor.needs_hardware(data):
            continue
        if data[0] == _EVEX or code.mnemonics[address].startswith(_MASK_MNEMONICS):
            return "x86-64-v4"
        needed = "x86-64-v3"
    return needed
