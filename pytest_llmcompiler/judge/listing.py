"""Listings: a candidate's code as the processor sees it, in basic blocks, so that two texts for one function can be
compared whatever their syntax, labels and comments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.targets.processor import Instruction, Processor

MAX_INSTRUCTIONS = 1500
"""Longer code has no listing: the report page aligns two listings in time that grows with the square of their length.
"""


class ListingLine(NamedTuple):
    """An instruction of a listing."""

    number: int
    """The line of the text that the instruction comes from, counted from 1."""
    text: str
    """The instruction, on x86-64 in AT&T syntax, with names for addresses: `.2` is the second block, counted from 1."""


Listing = list[list[ListingLine]]
"""The basic blocks of a text, each with its instructions."""


def list_code(candidate: AssembledCode, names: Mapping[int, str], processor: Processor) -> Listing | None:
    """The code of a candidate in basic blocks; None where it is longer than MAX_INSTRUCTIONS. `names` are the symbols
    of the program that the candidate is loaded into, by address."""
    code = dict(_decode(candidate, processor))
    if len(code) > MAX_INSTRUCTIONS:
        return None
    starts = _find_block_starts(code, set(candidate.symbols.values()), processor)
    blocks = {address: f".{number}" for number, address in enumerate(starts, 1)}
    own_symbols = {address: name for name, address in candidate.symbols.items() if not name.startswith(".L")}
    labels = {**names, **own_symbols, **blocks}
    listing: Listing = []
    for address, instruction in code.items():
        if address in blocks:
            listing.append([])
        text = f"{instruction.mnemonic} {processor.format_listing_operands(instruction, address, labels)}".rstrip()
        listing[-1].append(ListingLine(candidate.lines[address], text))
    return listing


def _decode(candidate: AssembledCode, processor: Processor) -> Iterator[tuple[int, Instruction]]:
    """The instructions of a candidate by address, in that order, without data."""
    for address, mnemonic in sorted(candidate.mnemonics.items()):
        if not mnemonic.startswith("."):
            yield address, processor.decode(candidate.read_code(address), address, listing=True)


def _find_block_starts(code: Mapping[int, Instruction], symbols: set[int], processor: Processor) -> Sequence[int]:
    """The addresses at which basic blocks begin: the first instruction, symbols, targets of jumps, and the instructions
    behind jumps and returns."""
    starts = {next(iter(code), 0), *symbols}
    ends_block = False
    for address, instruction in code.items():
        if ends_block:
            starts.add(address)
        ends_block = processor.ends_block(instruction)
        target = processor.find_jump_target(instruction) if ends_block else None
        if target is not None:
            starts.add(target)
    return sorted(address for address in starts if address in code)
