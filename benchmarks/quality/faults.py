"""Seeded faults: mistakes that compilers and language models make, put into correct assembly."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from quality.listing import (
    ARGUMENTS,
    CALLEE_SAVED,
    Instruction,
    Listing,
    read,
    register,
    register_name,
)

Change = tuple[int, int, tuple[str, ...]]
"""Index of the first line that is removed, the number of removed lines, and the lines that replace them."""
Changes = tuple[Change, ...]
"""The changes of one fault, in the order of the lines."""

_INVERSE = {"e": "ne", "l": "ge", "le": "g", "b": "ae", "be": "a", "s": "ns", "p": "np", "o": "no"}
_INVERSE |= {inverse: condition for condition, inverse in _INVERSE.items()}
_NEIGHBOURS = {
    "l": ("le", "b"),
    "le": ("l", "be"),
    "g": ("ge", "a"),
    "ge": ("g", "ae"),
    "b": ("be", "l"),
    "be": ("b", "le"),
    "a": ("ae", "g"),
    "ae": ("a", "ge"),
    "e": ("le", "be"),
    "ne": ("g", "b"),
    "s": ("l", "ne"),
    "ns": ("ge", "e"),
}
_EXCHANGED = (
    *(("add", "sub"), ("and", "or"), ("xor", "or"), ("imul", "add"), ("shl", "shr"), ("sal", "shr"), ("inc", "dec")),
    *(("neg", "not"), ("rol", "ror"), ("adc", "sbb"), ("cmp", "test"), ("bsf", "bsr")),
)
_EXCHANGED_SSE = (
    *(("add", "sub"), ("mul", "div"), ("min", "max")),
    *(("padd", "psub"), ("pand", "por"), ("pxor", "pand"), ("pmaxs", "pmins"), ("punpckl", "punpckh")),
    *(("psrl", "psll"), ("andp", "orp"), ("xorp", "andp"), ("pcmpgt", "pcmpeq")),
)
_SIGNS = (
    *(("movzbl", "movsbl"), ("movzwl", "movswl"), ("movzbw", "movsbw"), ("movzbq", "movsbq"), ("movzwq", "movswq")),
    *((f"sar{size}", f"shr{size}") for size in "bwlq"),
    *((f"idiv{size}", f"div{size}") for size in "bwlq"),
)
_SIZED = frozenset(
    ("mov", "add", "sub", "cmp", "and", "or", "xor", "test", "inc", "dec", "neg", "not", "imul", "adc", "sbb")
)
_SHIFTS = frozenset(("shl", "sar", "shr", "sal"))
_WIDTH = {"b": 1, "w": 2, "l": 4, "q": 8}
_MEMORY = re.compile(r"(?P<displacement>[^()]*)\((?P<base>%\w+)?(?:,(?P<index>%\w+)(?:,(?P<scale>\d))?)?\)")
_NUMBER = re.compile(r"\$(-?\d+)")
_NO_LINE = 1 << 30
"""Past the last line of any text."""


@dataclass(frozen=True)
class Fault:
    """One seeded fault."""

    kind: str
    line: int
    """The 1-based line of the correct text."""
    before: str
    after: str
    text: str
    """The whole text with the fault in it."""
    changes: Changes


def generate_faults(text: str, function: str, seed: str, accept: Callable[[str], bool], wanted: int) -> Iterator[Fault]:
    """Choose faults: at least one of every possible kind, and `wanted` in total where there are as many.

    `accept` says whether a text counts: it assembles, and to other machine code than every text before.
    """
    listing = read(text, function)
    rng = random.Random(seed)
    left = {kind: list(dict.fromkeys(make(listing, rng))) for kind, make in KINDS.items()}
    yield from choose(text, left, rng, accept, wanted)


def choose(
    text: str, left: dict[str, list[Changes]], rng: random.Random, accept: Callable[[str], bool], wanted: int
) -> Iterator[Fault]:
    """Choose among all possible changes, `left`, which are grouped by kind and are used up in turn."""
    lines = tuple(text.split("\n"))
    for changes in left.values():
        rng.shuffle(changes)
    count = 0
    first = True
    while any(left.values()) and (first or count < wanted):
        for kind, changes in left.items():
            while changes and (first or count < wanted):
                fault = _apply(kind, lines, changes.pop())
                if accept(fault.text):
                    count += 1
                    yield fault
                    break
        first = False


def _apply(kind: str, correct: tuple[str, ...], changes: Changes) -> Fault:
    lines = list(correct)
    for start, removed, new in reversed(changes):
        lines[start : start + removed] = new
    before = "; ".join(_join_lines(correct[start : start + removed]) for start, removed, _ in changes)
    after = "; ".join(_join_lines(new) for _, _, new in changes)
    return Fault(kind, changes[0][0] + 1, before or "(nothing)", after or "(nothing)", "\n".join(lines), changes)


def _join_lines(lines: tuple[str, ...]) -> str:
    return "; ".join(" ".join(re.split(r"\s#+\s|//", line)[0].split()) for line in lines)


def _replace(insn: Instruction, mnemonic: str, *operands: str) -> Changes:
    return ((insn.line, 1, (str(Instruction(insn.line, mnemonic, operands)),)),)


def _replace_operand(insn: Instruction, place: int, operand: str) -> Changes:
    return _replace(insn, insn.mnemonic, *insn.operands[:place], operand, *insn.operands[place + 1 :])


# -- conditions and branches


def _split_condition(mnemonic: str) -> tuple[str, str, str] | None:
    """Stem, condition and suffix of a conditional instruction; None for any other."""
    match = re.fullmatch(r"(j|set|cmov)(n?[elgabsopc]e?)([wlq]?)", mnemonic)
    if not match:
        return None
    stem, condition, suffix = match.groups()
    return (stem, condition, suffix) if condition in _INVERSE else None


def _invert_conditions(listing: Listing, _: random.Random) -> Iterator[Changes]:
    for insn in listing.code:
        parts = _split_condition(insn.mnemonic)
        if parts:
            stem, condition, suffix = parts
            yield _replace(insn, f"{stem}{_INVERSE[condition]}{suffix}", *insn.operands)


def _shift_conditions(listing: Listing, _: random.Random) -> Iterator[Changes]:
    for insn in listing.code:
        parts = _split_condition(insn.mnemonic)
        if parts:
            stem, condition, suffix = parts
            for other in _NEIGHBOURS.get(condition, ()):
                yield _replace(insn, f"{stem}{other}{suffix}", *insn.operands)


def _change_branch_targets(listing: Listing, rng: random.Random) -> Iterator[Changes]:
    for insn in listing.code:
        others = [label for label in listing.labels.values() if (label,) != insn.operands]
        if insn.is_jump and others:
            yield _replace(insn, insn.mnemonic, rng.choice(others))


def _insert_returns(listing: Listing, _: random.Random) -> Iterator[Changes]:
    if not listing.code:
        return
    yield ((listing.code[0].line, 0, ("\tretq",)),)
    epilogue = _find_epilogue(listing)
    start = _find_body(listing)
    for insn, following in zip(listing.code, listing.code[1:]):
        if insn.line >= start and not insn.is_return and not following.is_return and following.mnemonic != "popq":
            yield ((following.line, 0, epilogue),)


def _find_epilogue(listing: Listing) -> tuple[str, ...]:
    """The last instructions of the function, which remove the frame and return."""
    instructions: list[str] = []
    for insn in reversed(listing.code):
        moves_stack = insn.mnemonic in ("addq", "leaq", "movq") and insn.operands[-1:] == ("%rsp",)
        if insn.is_return if not instructions else insn.mnemonic == "popq" or moves_stack:
            instructions.append(str(insn))
        elif instructions:
            break
    return tuple(reversed(instructions)) or ("\tretq",)


def _find_body(listing: Listing) -> int:
    """The line of the first instruction after those that set up the frame."""
    for insn in listing.code:
        if insn.mnemonic != "pushq" and insn.operands[-1:] not in (("%rsp",), ("%rbp",)):
            return insn.line
    return len(listing.lines)


# -- operands


def _change_constants(listing: Listing, rng: random.Random) -> Iterator[Changes]:
    for insn in listing.code:
        for place, operand in enumerate(insn.operands):
            match = _NUMBER.fullmatch(operand)
            if match:
                value = int(match[1])
                width = 8 * _WIDTH.get(insn.mnemonic[-1], 4)
                for other in (value + 1, value - 1, -value, value ^ 1 << rng.randrange(min(width, 31))):
                    if other != value:
                        yield _replace_operand(insn, place, f"${other}")


def _find_memory_operands(insn: Instruction) -> Iterator[tuple[int, re.Match[str]]]:
    for place, operand in enumerate(insn.operands):
        match = _MEMORY.fullmatch(operand.removeprefix("*"))
        if match and not operand.startswith("*"):
            yield place, match


def _change_offsets(listing: Listing, rng: random.Random) -> Iterator[Changes]:
    for insn in listing.code:
        for place, match in _find_memory_operands(insn):
            rest = match[0][len(match["displacement"]) :]
            displacement = match["displacement"]
            for step in rng.sample((1, -1, 4, -4, 8, -8), 2):
                if re.fullmatch(r"-?\d*", displacement):
                    moved = int(displacement or 0) + step
                    yield _replace_operand(insn, place, f"{moved or ''}{rest}")
                else:
                    yield _replace_operand(insn, place, f"{displacement}{step:+d}{rest}")


def _change_scales(listing: Listing, rng: random.Random) -> Iterator[Changes]:
    for insn in listing.code:
        for place, match in _find_memory_operands(insn):
            if match["index"]:
                head = f"{match['displacement']}({match['base'] or ''}"
                scale = int(match["scale"] or 1)
                other = rng.choice([size for size in (1, 2, 4, 8) if size != scale])
                yield _replace_operand(insn, place, f"{head},{match['index']},{other})")
                if match["base"]:
                    yield _replace_operand(insn, place, f"{head})")


def _change_data(listing: Listing, rng: random.Random) -> Iterator[Changes]:
    for number, line in enumerate(listing.lines):
        match = re.fullmatch(r"\t\.(byte|short|long|quad)\t(0x[0-9a-f]+|-?\d+)\s*(?:#.*)?", line)
        if match:
            width = {"byte": 8, "short": 16, "long": 32, "quad": 64}[match[1]]
            other = (int(match[2], 0) & (1 << width) - 1) ^ 1 << rng.randrange(width)
            yield ((number, 1, (f"\t.{match[1]}\t{other:#x}",)),)
    yield from _change_symbols(listing, rng)


def _change_symbols(listing: Listing, rng: random.Random) -> Iterator[Changes]:
    """Another string of the file, or an offset into the same string."""
    pattern = re.compile(r"\.L\.?str[\w.]*")
    names = sorted({name for insn in listing.code for operand in insn.operands for name in pattern.findall(operand)})
    for insn in listing.code:
        for place, operand in enumerate(insn.operands):
            match = pattern.search(operand)
            if match:
                others = [f"{match[0]}+1", *(name for name in names if name != match[0])]
                yield _replace_operand(insn, place, operand.replace(match[0], rng.choice(others)))


def _change_registers(listing: Listing, rng: random.Random) -> Iterator[Changes]:
    used = sorted({known[0] for insn in listing.code for name in insn.operands if (known := register(name))} - {4, 5})
    for insn in listing.code:
        for place, operand in enumerate(insn.operands):
            known = register(operand)
            others = [number for number in used if known and number != known[0]]
            if known and others and known[0] not in (4, 5) and insn.mnemonic not in ("pushq", "popq"):
                yield _replace_operand(insn, place, register_name(rng.choice(others), known[1]))
            elif operand.startswith("%xmm"):
                number = int(operand.removeprefix("%xmm"))
                yield _replace_operand(insn, place, f"%xmm{rng.choice([n for n in range(4) if n != number])}")


def _exchange_operands(listing: Listing, _: random.Random) -> Iterator[Changes]:
    for insn in listing.code:
        if len(insn.operands) == 2 and all(name.startswith("%") for name in insn.operands):
            first, second = insn.operands
            yield _replace(insn, insn.mnemonic, second, first)


def _exchange_arguments(listing: Listing, _: random.Random) -> Iterator[Changes]:
    writers: dict[str, Instruction] = {}
    for insn in listing.code:
        if insn.is_call:
            pairs = [(a, b) for a in writers for b in writers if a < b and a[0] == b[0]]
            for first, second in pairs:
                yield tuple(sorted((*_redirect(writers[first], second), *_redirect(writers[second], first))))
        last = max((writer.line for writer in writers.values()), default=_NO_LINE)
        if insn.is_call or insn.is_jump or any(last < label < insn.line for label in listing.labels):
            writers = {}
        elif insn.operands and insn.mnemonic[:3] in ("mov", "lea", "xor"):
            destination = register(insn.operands[-1])
            if destination and destination[0] in ARGUMENTS:
                writers[f"i{ARGUMENTS.index(destination[0])}"] = insn
            elif insn.operands[-1] in ("%xmm0", "%xmm1", "%xmm2", "%xmm3"):
                writers[f"x{insn.operands[-1][-1]}"] = insn


def _redirect(insn: Instruction, argument: str) -> Changes:
    """The instruction with the register of another argument as its destination."""
    destination = register(insn.operands[-1])
    index = int(argument[1:])
    name = register_name(ARGUMENTS[index], destination[1]) if destination else f"%xmm{index}"
    operands = [name if operand == insn.operands[-1] else operand for operand in insn.operands]
    return _replace(insn, insn.mnemonic, *operands)


# -- operations


def _change_widths(listing: Listing, _: random.Random) -> Iterator[Changes]:
    for insn in listing.code:
        stem, suffix = insn.mnemonic[:-1], insn.mnemonic[-1:]
        if stem in _SIZED | _SHIFTS and suffix in _WIDTH and insn.operands:
            for other, size in _WIDTH.items():
                if other != suffix:
                    operands = [_resize(operand, size, insn, place) for place, operand in enumerate(insn.operands)]
                    yield _replace(insn, stem + other, *operands)
        elif insn.mnemonic in ("movsd", "movss"):
            yield _replace(insn, "movss" if insn.mnemonic == "movsd" else "movsd", *insn.operands)


def _resize(operand: str, size: int, insn: Instruction, place: int) -> str:
    known = register(operand)
    is_count = insn.mnemonic[:3] in _SHIFTS and place == 0 and len(insn.operands) == 2
    return register_name(known[0], size) if known and not is_count else operand


def _change_extensions(listing: Listing, _: random.Random) -> Iterator[Changes]:
    exchange = dict(_SIGNS) | {second: first for first, second in _SIGNS}
    for insn in listing.code:
        mnemonic = insn.mnemonic
        if mnemonic in exchange:
            yield _replace(insn, exchange[mnemonic], *insn.operands)
        elif mnemonic in ("cltq", "cwtl", "cbtw"):
            register_of = {"cltq": "%eax", "cwtl": "%ax", "cbtw": "%al"}[mnemonic]
            yield ((insn.line, 1, ()),)
            yield ((insn.line, 1, ("\tmovl\t%eax, %eax" if mnemonic == "cltq" else f"\tmovzwl\t{register_of}, %eax",)),)
        elif mnemonic in ("cltd", "cqto"):
            yield _replace(insn, "xorl", "%edx", "%edx")
        elif mnemonic == "movslq":
            known = register(insn.operands[1])
            assert known is not None
            yield _replace(insn, "movl", insn.operands[0], register_name(known[0], 4))
        elif mnemonic == "movl" and register(insn.operands[1]):
            known = register(insn.operands[1])
            assert known is not None
            if not insn.operands[0].startswith("$"):
                yield _replace(insn, "movslq", insn.operands[0], register_name(known[0], 8))
        elif mnemonic in ("cvtsi2sd", "cvtsi2ss") and (known := register(insn.operands[0])):
            yield _replace_operand(insn, 0, register_name(known[0], 12 - known[1]))


def _exchange_lea_and_mov(listing: Listing, _: random.Random) -> Iterator[Changes]:
    for insn in listing.code:
        if insn.mnemonic in ("leaq", "leal"):
            yield _replace(insn, f"mov{insn.mnemonic[-1]}", *insn.operands)
        elif insn.mnemonic in ("movq", "movl") and "(" in insn.operands[0] and register(insn.operands[1]):
            yield _replace(insn, f"lea{insn.mnemonic[-1]}", *insn.operands)


def _change_operators(listing: Listing, _: random.Random) -> Iterator[Changes]:
    for insn in listing.code:
        vector = any("%xmm" in operand for operand in insn.operands)
        ends = r"(ss|sd|ps|pd|b|w|d|q|[bwdq]{2}|)" if vector else "([bwlq])"
        for pair in _EXCHANGED_SSE if vector else _EXCHANGED:
            for old, new in (pair, pair[::-1]):
                match = re.fullmatch(old + ends, insn.mnemonic)
                if match and len(insn.operands) < 3:
                    yield _replace(insn, new + match[1], *insn.operands)


# -- whole instructions


def _omit_instructions(listing: Listing, _: random.Random) -> Iterator[Changes]:
    for insn in listing.code:
        if not insn.is_call and insn.mnemonic not in ("pushq", "popq", "nop", "ud2"):
            yield ((insn.line, 1, ()),)


def _omit_calls(listing: Listing, _: random.Random) -> Iterator[Changes]:
    for insn in listing.code:
        if insn.is_call:
            yield ((insn.line, 1, ()),)


def _clobber_saved_registers(listing: Listing, _: random.Random) -> Iterator[Changes]:
    saved = {known[0] for insn in listing.code if insn.mnemonic == "pushq" and (known := register(insn.operands[0]))}
    for number in CALLEE_SAVED:
        name = register_name(number, 8)
        if number not in saved and listing.code:
            yield ((listing.code[0].line, 0, (f"\tmovl\t$1, {register_name(number, 4)}",)),)
        elif number in saved:
            pushes = [insn for insn in listing.code if insn.mnemonic == "pushq" and insn.operands == (name,)]
            pops = [insn for insn in listing.code if insn.mnemonic == "popq" and insn.operands == (name,)]
            down = [(insn.line, 1, ("\tleaq\t-8(%rsp), %rsp",)) for insn in pushes]
            up = [(insn.line, 1, ("\tleaq\t8(%rsp), %rsp",)) for insn in pops]
            yield tuple(sorted((*down, *up)))
            for change in up:
                yield (change,)


KINDS: dict[str, Callable[[Listing, random.Random], Iterator[Changes]]] = {
    "condition turned": _invert_conditions,
    "condition off": _shift_conditions,
    "branch target": _change_branch_targets,
    "constant": _change_constants,
    "memory offset": _change_offsets,
    "scale or index": _change_scales,
    "operand width": _change_widths,
    "extension": _change_extensions,
    "lea/mov": _exchange_lea_and_mov,
    "operator": _change_operators,
    "register": _change_registers,
    "operands exchanged": _exchange_operands,
    "arguments exchanged": _exchange_arguments,
    "instruction left out": _omit_instructions,
    "call left out": _omit_calls,
    "callee-saved register": _clobber_saved_registers,
    "early return": _insert_returns,
    "data": _change_data,
}
"""Each kind of fault, and the function that yields its changes at all places of a text.

These kinds measure. The suites of the judge are chosen by other kinds (`MutantKind` in
`pytest_llmcompiler/judge/mutants.py`), so that the measured share is not the one that the suites were made for.
"""
