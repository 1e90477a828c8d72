"""Listings: a candidate's code as a machine sees it, block by block, so that two texts for one function can be compared
however they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.processor import Instruction, Processor

MOST = 1500
"""Instructions of a listing: what is longer has none. Who compares two of them takes time with the square of that."""


class ListingLine(NamedTuple):
    """An instruction of a listing."""

    number: int
    """1-based, of the line of the text that it comes from."""
    words: str
    """In AT&T syntax where there are two, with names for addresses: `.2` is the second block, counted from 1."""


Listing = list[list[ListingLine]]
"""The basic blocks of a text, each with its instructions."""


def list_code(candidate: AssembledCode, names: Mapping[int, str], processor: Processor) -> Listing | None:
    """The code of a candidate in blocks; None where it is longer than MOST instructions. `names` are the addresses
    of the program that it is put into."""
    code = dict(_instructions(candidate, processor))
    if len(code) > MOST:
        return None
    starts = _leaders(code, set(candidate.symbols.values()), processor)
    blocks = {address: number for number, address in enumerate(starts, 1)}
    own = {address: name for name, address in candidate.symbols.items() if not name.startswith(".L")}
    known = {**names, **own, **{address: f".{number}" for address, number in blocks.items()}}
    made: Listing = []
    for address, instruction in code.items():
        if address in blocks:
            made.append([])
        words = f"{instruction.mnemonic} {processor.format_listing_operands(instruction, address, known)}".rstrip()
        made[-1].append(ListingLine(candidate.lines[address], words))
    return made


def _instructions(candidate: AssembledCode, processor: Processor) -> Iterator[tuple[int, Instruction]]:
    for address, mnemonic in sorted(candidate.mnemonics.items()):
        if not mnemonic.startswith("."):
            yield address, processor.decode(candidate.read_code(address), address, listing=True)


def _leaders(code: Mapping[int, Instruction], entries: set[int], processor: Processor) -> Sequence[int]:
    """Where blocks begin: the first instruction, what is jumped to or named, and what follows a jump or a return."""
    found = {next(iter(code), 0), *(address for address in entries if address in code)}
    ends = False
    for address, instruction in code.items():
        if ends:
            found.add(address)
        ends = processor.ends_block(instruction)
        destination = processor.find_jump_target(instruction) if ends else None
        if destination is not None:
            found.add(destination)
    return sorted(address for address in found if address in code)
