"""Mutants: faults that are seeded into clang's own assembly of a function, to learn what its suite would miss.

All mutants of a text are in one text, which is assembled once. Each has its code behind the function, and a NOP of five
bytes at its place in the function. A mutant is switched on where the NOP is overwritten by a jump to its code.

Example: `wrong at one value` after `movl %edi, %eax`, for the value 7.

        movl %edi, %eax                     .Lmutant0:
        nopl 8(%rax,%rax)   ← jmp .Lmutant0      leaq -128(%rsp), %rsp   # keeps the red zone
    .Lback0:                                    pushfq                  # keeps the flags
                                                cmpl $7, %eax
                                                jne .Lend0
                                                xorl $1, %eax
                                            .Lend0:
                                                popfq
                                                leaq 128(%rsp), %rsp
                                                jmp .Lback0

The kinds here are none of those by which `benchmarks/judge_quality.py` measures the judge (`KINDS` in
`benchmarks/quality/faults.py`). A kind is in one of the two places only: otherwise the figure would say no more than
that suites notice what they were chosen by.
"""

from __future__ import annotations

import itertools
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pytest_llmcompiler.judge.att_listing import AttInstruction, AttListing, AttRegister, find_register, read_listing
from pytest_llmcompiler.targets.code import AssembledCode

MutantKind = Literal[
    "stuck value", "wrong at one value", "saturated value", "sign lost", "stuck bit", "rounded value",
    "branch at one value", "block left out",
]  # fmt: skip

COUNTED_KINDS: frozenset[MutantKind] = frozenset(("stuck value", "stuck bit", "block left out"))
"""The kinds that adequacy counts. A fault of any other kind shows only at some values, and often at none that can
occur: the suite is chosen by such faults too, but that none of its inputs shows one says little."""

_NOP = "\tnopl\t8(%rax,%rax)"
"""It has five bytes, as many as a jump."""
_JUMP_BYTES = 5
_MAX_IMMEDIATE = 1 << 31
"""Above every constant that an instruction can have with an operand of 64 bits."""
_NUMBER = re.compile(r"\$(-?\d+)")
_SAVE, _RESTORE = ("\tleaq\t-128(%rsp), %rsp", "\tpushfq"), ("\tpopfq", "\tleaq\t128(%rsp), %rsp")
"""Around code that changes the flags. The red zone of 128 bytes below the stack pointer is the function's own."""
_VALUES = (0, 1, -1)
_FLOAT_SUFFIXES = ("ss", "sd")


@dataclass(frozen=True)
class _Site:
    """A place for a mutant: before an instruction, or behind one."""

    kind: MutantKind
    instruction: AttInstruction
    code: tuple[str, ...]
    """What is done there. The text goes on behind it, where it does not jump."""
    is_before: bool = False
    passed: AttInstruction | None = None
    """The instruction behind which the label `.Lpassed@` is."""


@dataclass(frozen=True)
class Mutant:
    """A mutant in the text that has all of them."""

    kind: MutantKind
    line: int
    """The line of clang's text at which it is, counted from 1."""
    switch_line: int
    """The line of the NOP in the text of all mutants, counted from 1."""
    code_line: int
    """The line where its code begins."""

    def switch_on(self, code: AssembledCode) -> AssembledCode:
        """The code of the text of all mutants with this one alone."""
        addresses = {line: address for address, line in code.lines.items()}
        at, target = addresses[self.switch_line], addresses[self.code_line]
        jump = b"\xe9" + (target - at - _JUMP_BYTES).to_bytes(4, "little", signed=True)
        segments = []
        for segment in code.segments:
            start = at - segment.address
            if segment.is_executable and 0 <= start < len(segment.data):
                data = segment.data[:start] + jump + segment.data[start + _JUMP_BYTES :]
                segment = replace(segment, data=data)
            segments.append(segment)
        return replace(code, segments=tuple(segments))


@dataclass(frozen=True)
class MutatedText:
    """A text with all its mutants, each switched off."""

    text: str
    mutants: tuple[Mutant, ...]


def seed_mutants(text: str, function: str, wanted: int, seed: str) -> MutatedText:
    """Seed up to `wanted` mutants into clang's text of a function. They are spread over its blocks and over the kinds,
    and are the same for the same seed."""
    listing = read_listing(text, function)
    rng = random.Random(seed)
    sites = list(itertools.islice(_draw(listing, rng), wanted)) if listing.end else []
    return _write(listing, sites)


def _draw(listing: AttListing, rng: random.Random) -> Iterator[_Site]:
    """All places in a random order, in which blocks and kinds take turns."""
    constants = [value for value in _find_constants(listing) if value not in _VALUES]
    queues: dict[tuple[int, MutantKind], list[_Site]] = defaultdict(list)
    for block in listing.blocks:
        for kind, generate in _KINDS.items():
            places = list(generate(block, rng, constants))
            rng.shuffle(places)
            queues[block[0].line, kind] = places
    while any(queues.values()):
        for kind in rng.sample(list(_KINDS), len(_KINDS)):
            blocks = [key for key, places in queues.items() if places and key[1] == kind]
            for key in rng.sample(blocks, -(-len(blocks) // 2)):  # the other half comes in the next round
                yield queues[key].pop()


def _find_constants(listing: AttListing) -> list[int]:
    """The numbers in the function's instructions."""
    operands = (operand for insn in listing.code for operand in insn.operands)
    numbers = (int(match[1]) for operand in operands if (match := _NUMBER.fullmatch(operand)))
    return sorted({number for number in numbers if -_MAX_IMMEDIATE <= number < _MAX_IMMEDIATE})


def _write(listing: AttListing, sites: Sequence[_Site]) -> MutatedText:
    """The text with the sites' code in it."""
    by_line: dict[int, list[int]] = defaultdict(list)
    labels: dict[int, list[str]] = defaultdict(list)
    for number, site in enumerate(sites):
        by_line[site.instruction.line + (not site.is_before)].append(number)
        if site.passed is not None:
            labels[site.passed.line + 1].append(f".Lpassed{number}:")
    lines: list[str] = []
    switches, codes = {}, {}
    for at, line in enumerate(listing.lines):
        lines += labels.get(at, ())
        for number in by_line.get(at, ()):
            lines += [_NOP, f".Lback{number}:"]
            switches[number] = len(lines) - 1
        if at == listing.end:
            for number, site in enumerate(sites):
                lines.append(f".Lmutant{number}:")
                codes[number] = len(lines) + 1
                lines += [part.replace("@", str(number)) for part in (*site.code, "\tjmp\t.Lback@")]
        lines.append(line)
    mutants = (
        Mutant(site.kind, site.instruction.line + 1, switches[number], codes[number])
        for number, site in enumerate(sites)
    )
    return MutatedText("\n".join(lines), tuple(mutants))


# -- the kinds

_Block = Sequence[AttInstruction]


def _find_results(block: _Block) -> Iterator[tuple[AttInstruction, AttRegister]]:
    """The instructions of a block that write a general register, and the register."""
    for insn in block:
        register = insn.find_result()
        if register is not None:
            yield insn, register


def _replace_values(block: _Block, rng: random.Random, constants: Sequence[int]) -> Iterator[_Site]:
    for insn, register in _find_results(block):
        own = 0 if insn.mnemonic.startswith("xor") and insn.is_constant else None
        values = [value for value in (*_VALUES, *constants) if value != own and f"${value}" not in insn.operands]
        yield _Site(
            "stuck value", insn, (f"\tmov{register.suffix}\t{_number(rng.choice(values), register)}, {register}",)
        )
    for insn in block:
        if insn.is_float:
            yield _Site("stuck value", insn, (f"\txorps\t{insn.operands[-1]}, {insn.operands[-1]}",))


def _change_at_values(block: _Block, rng: random.Random, constants: Sequence[int]) -> Iterator[_Site]:
    for insn, register, greatest in _find_changing(block):
        values = [value for value in (*_VALUES, *constants) if value % (1 << 8 * register.size) <= greatest]
        if values:
            value = _number(rng.choice(values), register)
            suffix = register.suffix
            test = (f"\tcmp{suffix}\t{value}, {register}", "\tjne\t.Lend@", f"\txor{suffix}\t$1, {register}", ".Lend@:")
            yield _Site("wrong at one value", insn, (*_SAVE, *test, *_RESTORE))


def _find_changing(block: _Block) -> Iterator[tuple[AttInstruction, AttRegister, int]]:
    """The instructions whose result is not always the same, with the register and the greatest value without sign."""
    for insn, register in _find_results(block):
        if not insn.is_constant:
            yield insn, register, min(insn.greatest_result, (1 << 8 * register.size) - 1)


def _saturate(block: _Block, rng: random.Random, _: Sequence[int]) -> Iterator[_Site]:
    for insn, register, greatest in _find_changing(block):
        limits = [limit for limit in (127, 255, 32_767, 65_535) if limit < greatest]
        if limits and register.size > 1:
            limit, suffix = f"${rng.choice(limits)}", register.suffix
            test = (
                f"\tcmp{suffix}\t{limit}, {register}",
                "\tjbe\t.Lend@",
                f"\tmov{suffix}\t{limit}, {register}",
                ".Lend@:",
            )
            yield _Site("saturated value", insn, (*_SAVE, *test, *_RESTORE))


def _lose_signs(block: _Block, _rng: random.Random, _: Sequence[int]) -> Iterator[_Site]:
    for insn, register, greatest in _find_changing(block):
        if greatest >> 8 * register.size - 1:
            suffix = register.suffix
            test = (f"\ttest{suffix}\t{register}, {register}", "\tjns\t.Lend@", f"\tneg{suffix}\t{register}", ".Lend@:")
            yield _Site("sign lost", insn, (*_SAVE, *test, *_RESTORE))
    for insn in block:
        if insn.is_float:
            suffix = "q" if insn.mnemonic.endswith("d") else "d"
            shifts = (f"\tps{way}l{suffix}\t$1, {insn.operands[-1]}" for way in "lr")
            yield _Site("sign lost", insn, tuple(shifts))


def _fix_bits(block: _Block, rng: random.Random, _: Sequence[int]) -> Iterator[_Site]:
    """A bit is always set, one in the lower half of a register: the upper one is mostly zero."""
    for insn, register, greatest in _find_changing(block):
        bit = 1 << rng.randrange(max(1, min(greatest.bit_length(), 4 * min(register.size, 4))))
        yield _Site("stuck bit", insn, (*_SAVE, f"\tor{register.suffix}\t${bit}, {register}", *_RESTORE))


def _round(block: _Block, _rng: random.Random, _: Sequence[int]) -> Iterator[_Site]:
    for insn in block:
        if insn.is_float and insn.mnemonic.endswith("sd"):
            target = insn.operands[-1]
            yield _Site("rounded value", insn, (f"\tcvtsd2ss\t{target}, {target}", f"\tcvtss2sd\t{target}, {target}"))


def _turn_branches(block: _Block, rng: random.Random, constants: Sequence[int]) -> Iterator[_Site]:
    """The last jump of a block goes the other way where an operand of its comparison has one value: none that the
    comparison itself mentions, or one next to that."""
    comparisons = [insn for insn in block if insn.is_comparison]
    jump = block[-1]
    if (
        not comparisons
        or not jump.is_conditional_jump
        or any(i.find_result() for i in block if i.line > comparisons[-1].line)
    ):
        return
    mentioned = {int(match[1]) for operand in comparisons[-1].operands if (match := _NUMBER.fullmatch(operand))}
    near = {number + step for number in mentioned for step in (-1, 0, 1)}
    values = [value for value in (*_VALUES, *constants, 2, 3, 4, 8, 15, 16, 17, 32) if value not in near]
    for operand in dict.fromkeys(comparisons[-1].operands):
        register = find_register(operand)
        if register and values:
            test = f"\tcmp{register.suffix}\t{_number(rng.choice(values), register)}, {register}"
            turned = (*_RESTORE, f"\t{jump.mnemonic}\t.Lpassed@", f"\tjmp\t{jump.operands[0]}")
            code = (*_SAVE, test, "\tjne\t.Lother@", *turned, ".Lother@:", *_RESTORE)
            yield _Site("branch at one value", jump, code, is_before=True, passed=jump)


def _omit_blocks(block: _Block, _rng: random.Random, _: Sequence[int]) -> Iterator[_Site]:
    """Nothing of a block is done but what its last jump depends on."""
    if any(insn.moves_stack or insn.is_return for insn in block) or len(block) < 2:
        return
    end = len(block) - 1
    if block[-1].is_conditional_jump:
        end = next((at for at in range(len(block) - 1, -1, -1) if block[at].is_comparison), 0)
    elif not block[-1].is_jump:
        end = len(block)
    if end > 1:
        yield _Site("block left out", block[0], ("\tjmp\t.Lpassed@",), is_before=True, passed=block[end - 1])


def _number(value: int, register: AttRegister) -> str:
    """A constant in the width of a register, which instructions take as signed."""
    bits = 8 * min(register.size, 4)
    half = 1 << bits - 1
    return f"${(value + half) % (2 * half) - half}"


_KINDS: dict[MutantKind, Callable[[_Block, random.Random, Sequence[int]], Iterator[_Site]]] = {
    "stuck value": _replace_values,
    "wrong at one value": _change_at_values,
    "saturated value": _saturate,
    "sign lost": _lose_signs,
    "stuck bit": _fix_bits,
    "rounded value": _round,
    "branch at one value": _turn_branches,
    "block left out": _omit_blocks,
}
