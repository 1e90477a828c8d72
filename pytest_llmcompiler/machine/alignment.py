"""Instructions whose memory operand must be aligned to 16 bytes: hardware faults otherwise, the emulator does not.

Source: Intel Software Developer's Manual, volume 1, section 4.1.1, and volume 2, section 2.4 (exception classes of SSE
instructions).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_llmcompiler.machine.decoder import decoder

ALIGNMENT = 16
_FORGIVING = ("movup", "movdqu", "lddqu", "pcmpestr", "pcmpistr", "sha", "bnd", "comisd")
"""How those begin that take an operand of 16 bytes from anywhere. (capstone says so of comisd, which takes 8.)"""
_OPCODE = 0x0F
_PREFIXES = b"\x66\xf0\xf2\xf3\x2e\x36\x3e\x26\x64\x65\x67"
_REX = range(0x40, 0x50)


@dataclass(frozen=True)
class Operand:
    """Where in memory an instruction reads or writes."""

    base: str | None
    index: str | None
    scale: int
    offset: int
    """Of an operand relative to the instruction pointer, with that added."""
    segment: str | None
    bits: int
    """Of the address."""

    def address(self, register: Callable[[str], int]) -> int:
        """The address; `register` gives the value of one."""
        base = register(self.base) if self.base else 0
        index = register(self.index) if self.index else 0
        near = base + index * self.scale + self.offset & (1 << self.bits) - 1
        return near + (register(f"{self.segment}_base") if self.segment else 0) & (1 << 64) - 1


def aligned_operand(code: bytes, address: int) -> Operand | None:
    """The memory operand of the first instruction in `code` at `address` that must be aligned; None where none must."""
    plain = code.lstrip(_PREFIXES)
    if plain[:1] and plain[0] in _REX:
        plain = plain[1:]
    if plain[:1] != bytes([_OPCODE]):
        return None
    instruction = next(decoder(detail=True).disasm(code, address, 1), None)
    if instruction is None or instruction.mnemonic.split()[-1].startswith(_FORGIVING):
        return None
    return next((_operand(instruction, part) for part in instruction.operands if _is_wide(part)), None)


def _is_wide(operand: Any) -> bool:
    from capstone import x86

    return bool(operand.type == x86.X86_OP_MEM and operand.size == ALIGNMENT)


def _operand(instruction: Any, part: Any) -> Operand:
    base, index, segment = (
        instruction.reg_name(number) if number else None for number in (part.mem.base, part.mem.index, part.mem.segment)
    )
    offset = part.mem.disp
    if base in ("rip", "eip"):
        base, offset = None, offset + instruction.address + instruction.size
    return Operand(
        base,
        None if index in ("riz", "eiz") else index,
        part.mem.scale,
        offset,
        segment if segment in ("fs", "gs") else None,
        8 * instruction.addr_size,
    )
