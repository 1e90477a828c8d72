"""Machine code back to instructions, by capstone."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple


class Instruction(NamedTuple):
    """One decoded instruction, in the decoder's syntax."""

    size: int
    mnemonic: str
    operands: str


def decode(code: bytes, address: int, *, att: bool = False) -> Instruction:
    """The first instruction of some bytes that lie at an address; without size and text where there is none."""
    found = decoder(att=att).disasm_lite(code, address, 1)
    _, size, mnemonic, operands = next(found, (address, 0, "", ""))
    return Instruction(size, mnemonic, operands)


@functools.cache
def decoder(*, detail: bool = False, att: bool = False) -> Any:
    """capstone for 64-bit code, which writes Intel syntax or, if `att`, AT&T's; with `detail` it says what operands are
    made of, and is slower."""
    import capstone

    made = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    made.detail = detail
    if att:
        made.syntax = capstone.CS_OPT_SYNTAX_ATT
    return made
