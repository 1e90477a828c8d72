"""Listings: a candidate's code as a machine sees it, block by block, so that two texts for one function can be compared
however they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pytest_llmcompiler.machine.assembled import Assembled
from pytest_llmcompiler.machine.decoder import Instruction, decode

MOST = 1500
"""Instructions of a listing: what is longer has none. Who compares two of them takes time with the square of that."""
_HEX = re.compile(r"0x[0-9a-f]+")
_RELATIVE = re.compile(r"(-?0x[0-9a-f]+|-?\d+)?\(%rip\)")
_TARGET = re.compile(r"0x[0-9a-f]+$")


class Line(NamedTuple):
    """An instruction of a listing."""

    number: int
    """1-based, of the line of the text that it comes from."""
    words: str
    """In AT&T syntax, with names for addresses: `.2` is the second block, counted from 1."""


Listing = list[list[Line]]
"""The basic blocks of a text, each with its instructions."""


def listing(candidate: Assembled, names: Mapping[int, str]) -> Listing | None:
    """The code of a candidate in blocks; None where it is longer than MOST instructions. `names` are the addresses
    of the program that it is put into."""
    code = dict(_instructions(candidate))
    if len(code) > MOST:
        return None
    starts = _leaders(code, set(candidate.symbols.values()))
    blocks = {address: number for number, address in enumerate(starts, 1)}
    own = {address: name for name, address in candidate.symbols.items() if not name.startswith(".L")}
    known = {**names, **own, **{address: f".{number}" for address, number in blocks.items()}}
    made: Listing = []
    for address, instruction in code.items():
        if address in blocks:
            made.append([])
        made[-1].append(Line(candidate.lines[address], _words(address, instruction, known)))
    return made


def _instructions(candidate: Assembled) -> Iterator[tuple[int, Instruction]]:
    for address, mnemonic in sorted(candidate.mnemonics.items()):
        if not mnemonic.startswith("."):
            yield address, decode(candidate.code_at(address), address, att=True)


def _leaders(code: Mapping[int, Instruction], entries: set[int]) -> Sequence[int]:
    """Where blocks begin: the first instruction, what is jumped to or named, and what follows a jump or a return."""
    found = {next(iter(code), 0), *(address for address in entries if address in code)}
    ends = False
    for address, instruction in code.items():
        if ends:
            found.add(address)
        target = _target(instruction)
        ends = instruction.mnemonic.startswith(("j", "ret", "loop", "ud2"))
        if target is not None and ends:
            found.add(target)
    return sorted(address for address in found if address in code)


def _target(instruction: Instruction) -> int | None:
    match = _TARGET.match(instruction.operands)
    return int(match[0], 16) if match else None


def _words(address: int, instruction: Instruction, known: Mapping[int, str]) -> str:
    def relative(match: re.Match[str]) -> str:
        at = address + instruction.size + int(match[1] or "0", 0)
        return f"{known.get(at, 'data')}(%rip)"

    operands = _RELATIVE.sub(relative, instruction.operands)
    if instruction.mnemonic.startswith(("j", "call", "loop")) or "$" in operands:
        operands = _HEX.sub(lambda match: known.get(int(match[0], 16), match[0]), operands)
    return f"{instruction.mnemonic} {operands}".rstrip()
