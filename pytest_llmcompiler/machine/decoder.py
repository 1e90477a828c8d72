"""Machine code back to instructions, by capstone."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple


class Instruction(NamedTuple):
    """One decoded instruction, in capstone's Intel syntax."""

    size: int
    mnemonic: str
    operands: str


def decode(code: bytes, address: int) -> Instruction:
    """The first instruction of some bytes that lie at an address; without size and text where there is none."""
    _, size, mnemonic, operands = next(decoder().disasm_lite(code, address, 1), (address, 0, "", ""))
    return Instruction(size, mnemonic, operands)


@functools.cache
def decoder(*, detail: bool = False) -> Any:
    """capstone for 64-bit code; with `detail` it says what operands are made of, and is slower."""
    import capstone

    made = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    made.detail = detail
    return made
