"""Seeded faults: the mistakes that compilers written by people and by training make, put into correct assembly."""

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
"""The first line that goes (its index), how many go, and what comes in their place."""
Changes = tuple[Change, ...]
"""What one fault changes, in the order of the lines."""

_INVERSE = {"e": "ne", "l": "ge", "le": "g", "b": "ae", "be": "a", "s": "ns", "p": "np", "o": "no"}
_INVERSE |= {other: one for one, other in _INVERSE.items()}
_OFF = {
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


def faults(text: str, function: str, seed: str, accept: Callable[[str], bool], wanted: int) -> Iterator[Fault]:
    """Choose faults: at least one of every kind that is possible, and `wanted` in all where there are as many.

    `accept` says whether a text is of use: it assembles, to other code than any before.
    """
    listing = read(text, function)
    rng = random.Random(seed)
    left = {kind: list(dict.fromkeys(make(listing, rng))) for kind, make in KINDS.items()}
    yield from chosen(text, left, rng, accept, wanted)


def chosen(
    text: str, left: dict[str, list[Changes]], rng: random.Random, accept: Callable[[str], bool], wanted: int
) -> Iterator[Fault]:
    """Choose of all changes that are possible, by their kinds."""
    lines = tuple(text.split("\n"))
    for changes in left.values():
        rng.shuffle(changes)
    made = 0
    first = True
    while any(left.values()) and (first or made < wanted):
        for kind, changes in left.items():
            while changes and (first or made < wanted):
                fault = _fault(kind, lines, changes.pop())
                if accept(fault.text):
                    made += 1
                    yield fault
                    break
        first = False


def _fault(kind: str, correct: tuple[str, ...], changes: Changes) -> Fault:
    lines = list(correct)
    for start, removed, new in reversed(changes):
        lines[start : start + removed] = new
    before = "; ".join(_words(correct[start : start + removed]) for start, removed, _ in changes)
    after = "; ".join(_words(new) for _, _, new in changes)
    return Fault(kind, changes[0][0] + 1, before or "(nothing)", after or "(nothing)", "\n".join(lines), changes)


def _words(lines: tuple[str, ...]) -> str:
    return "; ".join(" ".join(re.split(r"\s#+\s|//", line)[0].split()) for line in lines)


def _replaced(one: Instruction, mnemonic: str, *operands: str) -> Changes:
    return ((one.line, 1, (str(Instruction(one.line, mnemonic, operands)),)),)


def _with_operand(one: Instruction, place: int, operand: str) -> Changes:
    return _replaced(one, one.mnemonic, *one.operands[:place], operand, *one.operands[place + 1 :])


# -- conditions and branches


def _condition(mnemonic: str) -> tuple[str, str, str] | None:
    """A conditional instruction's stem, condition and suffix."""
    found = re.fullmatch(r"(j|set|cmov)(n?[elgabsopc]e?)([wlq]?)", mnemonic)
    if not found:
        return None
    stem, condition, suffix = found.groups()
    return (stem, condition, suffix) if condition in _INVERSE else None


def _turned(listing: Listing, _: random.Random) -> Iterator[Changes]:
    for one in listing.code:
        parts = _condition(one.mnemonic)
        if parts:
            stem, condition, suffix = parts
            yield _replaced(one, f"{stem}{_INVERSE[condition]}{suffix}", *one.operands)


def _condition_off(listing: Listing, _: random.Random) -> Iterator[Changes]:
    for one in listing.code:
        parts = _condition(one.mnemonic)
        if parts:
            stem, condition, suffix = parts
            for other in _OFF.get(condition, ()):
                yield _replaced(one, f"{stem}{other}{suffix}", *one.operands)


def _target(listing: Listing, rng: random.Random) -> Iterator[Changes]:
    for one in listing.code:
        others = [label for label in listing.labels.values() if (label,) != one.operands]
        if one.is_jump and others:
            yield _replaced(one, one.mnemonic, rng.choice(others))


def _early_return(listing: Listing, _: random.Random) -> Iterator[Changes]:
    if not listing.code:
        return
    yield ((listing.code[0].line, 0, ("\tretq",)),)
    epilogue = _epilogue(listing)
    start = _after_prologue(listing)
    for one, following in zip(listing.code, listing.code[1:]):
        if one.line >= start and not one.is_return and not following.is_return and following.mnemonic != "popq":
            yield ((following.line, 0, epilogue),)


def _epilogue(listing: Listing) -> tuple[str, ...]:
    """The last instructions of the function: they take down the frame and return."""
    found: list[str] = []
    for one in reversed(listing.code):
        moves_stack = one.mnemonic in ("addq", "leaq", "movq") and one.operands[-1:] == ("%rsp",)
        if one.is_return if not found else one.mnemonic == "popq" or moves_stack:
            found.append(str(one))
        elif found:
            break
    return tuple(reversed(found)) or ("\tretq",)


def _after_prologue(listing: Listing) -> int:
    """The line of the first instruction after those that make the frame."""
    for one in listing.code:
        if one.mnemonic != "pushq" and one.operands[-1:] not in (("%rsp",), ("%rbp",)):
            return one.line
    return len(listing.lines)


# -- operands


def _constant(listing: Listing, rng: random.Random) -> Iterator[Changes]:
    for one in listing.code:
        for place, operand in enumerate(one.operands):
            found = _NUMBER.fullmatch(operand)
            if found:
                value = int(found[1])
                width = 8 * _WIDTH.get(one.mnemonic[-1], 4)
                for other in (value + 1, value - 1, -value, value ^ 1 << rng.randrange(min(width, 31))):
                    if other != value:
                        yield _with_operand(one, place, f"${other}")


def _memory(one: Instruction) -> Iterator[tuple[int, re.Match[str]]]:
    for place, operand in enumerate(one.operands):
        found = _MEMORY.fullmatch(operand.removeprefix("*"))
        if found and not operand.startswith("*"):
            yield place, found


def _offset(listing: Listing, rng: random.Random) -> Iterator[Changes]:
    for one in listing.code:
        for place, found in _memory(one):
            rest = found[0][len(found["displacement"]) :]
            displacement = found["displacement"]
            for step in rng.sample((1, -1, 4, -4, 8, -8), 2):
                if re.fullmatch(r"-?\d*", displacement):
                    moved = int(displacement or 0) + step
                    yield _with_operand(one, place, f"{moved or ''}{rest}")
                else:
                    yield _with_operand(one, place, f"{displacement}{step:+d}{rest}")


def _scale(listing: Listing, rng: random.Random) -> Iterator[Changes]:
    for one in listing.code:
        for place, found in _memory(one):
            if found["index"]:
                head = f"{found['displacement']}({found['base'] or ''}"
                scale = int(found["scale"] or 1)
                other = rng.choice([size for size in (1, 2, 4, 8) if size != scale])
                yield _with_operand(one, place, f"{head},{found['index']},{other})")
                if found["base"]:
                    yield _with_operand(one, place, f"{head})")


def _data(listing: Listing, rng: random.Random) -> Iterator[Changes]:
    for number, line in enumerate(listing.lines):
        found = re.fullmatch(r"\t\.(byte|short|long|quad)\t(0x[0-9a-f]+|-?\d+)\s*(?:#.*)?", line)
        if found:
            width = {"byte": 8, "short": 16, "long": 32, "quad": 64}[found[1]]
            other = (int(found[2], 0) & (1 << width) - 1) ^ 1 << rng.randrange(width)
            yield ((number, 1, (f"\t.{found[1]}\t{other:#x}",)),)
    yield from _other_symbols(listing, rng)


def _other_symbols(listing: Listing, rng: random.Random) -> Iterator[Changes]:
    """Another string of the file, or a wrong place in the same."""
    pattern = re.compile(r"\.L\.?str[\w.]*")
    names = sorted({name for one in listing.code for operand in one.operands for name in pattern.findall(operand)})
    for one in listing.code:
        for place, operand in enumerate(one.operands):
            found = pattern.search(operand)
            if found:
                others = [f"{found[0]}+1", *(name for name in names if name != found[0])]
                yield _with_operand(one, place, operand.replace(found[0], rng.choice(others)))


def _other_register(listing: Listing, rng: random.Random) -> Iterator[Changes]:
    used = sorted({found[0] for one in listing.code for name in one.operands if (found := register(name))} - {4, 5})
    for one in listing.code:
        for place, operand in enumerate(one.operands):
            found = register(operand)
            others = [number for number in used if found and number != found[0]]
            if found and others and found[0] not in (4, 5) and one.mnemonic not in ("pushq", "popq"):
                yield _with_operand(one, place, register_name(rng.choice(others), found[1]))
            elif operand.startswith("%xmm"):
                number = int(operand.removeprefix("%xmm"))
                yield _with_operand(one, place, f"%xmm{rng.choice([n for n in range(4) if n != number])}")


def _operands_exchanged(listing: Listing, _: random.Random) -> Iterator[Changes]:
    for one in listing.code:
        if len(one.operands) == 2 and all(name.startswith("%") for name in one.operands):
            first, second = one.operands
            yield _replaced(one, one.mnemonic, second, first)


def _arguments(listing: Listing, _: random.Random) -> Iterator[Changes]:
    writers: dict[str, Instruction] = {}
    for one in listing.code:
        if one.is_call:
            pairs = [(a, b) for a in writers for b in writers if a < b and a[0] == b[0]]
            for first, second in pairs:
                yield tuple(sorted((*_into(writers[first], second), *_into(writers[second], first))))
        if one.is_call or one.is_jump or any(label < one.line for label in listing.labels if label > _last(writers)):
            writers = {}
        elif one.operands and one.mnemonic[:3] in ("mov", "lea", "xor"):
            found = register(one.operands[-1])
            if found and found[0] in ARGUMENTS:
                writers[f"i{ARGUMENTS.index(found[0])}"] = one
            elif one.operands[-1] in ("%xmm0", "%xmm1", "%xmm2", "%xmm3"):
                writers[f"x{one.operands[-1][-1]}"] = one


def _last(writers: dict[str, Instruction]) -> int:
    return max((one.line for one in writers.values()), default=1 << 30)


def _into(one: Instruction, argument: str) -> Changes:
    """The instruction with an argument register of another position as its destination."""
    found = register(one.operands[-1])
    index = int(argument[1:])
    name = register_name(ARGUMENTS[index], found[1]) if found else f"%xmm{index}"
    operands = [name if operand == one.operands[-1] else operand for operand in one.operands]
    return _replaced(one, one.mnemonic, *operands)


# -- operations


def _width(listing: Listing, _: random.Random) -> Iterator[Changes]:
    for one in listing.code:
        stem, suffix = one.mnemonic[:-1], one.mnemonic[-1:]
        if stem in _SIZED | _SHIFTS and suffix in _WIDTH and one.operands:
            for other, size in _WIDTH.items():
                if other != suffix:
                    operands = [_resized(operand, size, one, place) for place, operand in enumerate(one.operands)]
                    yield _replaced(one, stem + other, *operands)
        elif one.mnemonic in ("movsd", "movss"):
            yield _replaced(one, "movss" if one.mnemonic == "movsd" else "movsd", *one.operands)


def _resized(operand: str, size: int, one: Instruction, place: int) -> str:
    found = register(operand)
    is_count = one.mnemonic[:3] in _SHIFTS and place == 0 and len(one.operands) == 2
    return register_name(found[0], size) if found and not is_count else operand


def _extension(listing: Listing, _: random.Random) -> Iterator[Changes]:
    exchange = dict(_SIGNS) | {other: one for one, other in _SIGNS}
    for one in listing.code:
        mnemonic = one.mnemonic
        if mnemonic in exchange:
            yield _replaced(one, exchange[mnemonic], *one.operands)
        elif mnemonic in ("cltq", "cwtl", "cbtw"):
            register_of = {"cltq": "%eax", "cwtl": "%ax", "cbtw": "%al"}[mnemonic]
            yield ((one.line, 1, ()),)
            yield ((one.line, 1, ("\tmovl\t%eax, %eax" if mnemonic == "cltq" else f"\tmovzwl\t{register_of}, %eax",)),)
        elif mnemonic in ("cltd", "cqto"):
            yield _replaced(one, "xorl", "%edx", "%edx")
        elif mnemonic == "movslq":
            found = register(one.operands[1])
            assert found is not None
            yield _replaced(one, "movl", one.operands[0], register_name(found[0], 4))
        elif mnemonic == "movl" and register(one.operands[1]):
            number = register(one.operands[1])
            assert number is not None
            if not one.operands[0].startswith("$"):
                yield _replaced(one, "movslq", one.operands[0], register_name(number[0], 8))
        elif mnemonic in ("cvtsi2sd", "cvtsi2ss") and (found := register(one.operands[0])):
            yield _with_operand(one, 0, register_name(found[0], 12 - found[1]))


def _lea(listing: Listing, _: random.Random) -> Iterator[Changes]:
    for one in listing.code:
        if one.mnemonic in ("leaq", "leal"):
            yield _replaced(one, f"mov{one.mnemonic[-1]}", *one.operands)
        elif one.mnemonic in ("movq", "movl") and "(" in one.operands[0] and register(one.operands[1]):
            yield _replaced(one, f"lea{one.mnemonic[-1]}", *one.operands)


def _operator(listing: Listing, _: random.Random) -> Iterator[Changes]:
    for one in listing.code:
        vector = any("%xmm" in operand for operand in one.operands)
        ends = r"(ss|sd|ps|pd|b|w|d|q|[bwdq]{2}|)" if vector else "([bwlq])"
        for pair in _EXCHANGED_SSE if vector else _EXCHANGED:
            for old, new in (pair, pair[::-1]):
                found = re.fullmatch(old + ends, one.mnemonic)
                if found and len(one.operands) < 3:
                    yield _replaced(one, new + found[1], *one.operands)


# -- whole instructions


def _left_out(listing: Listing, _: random.Random) -> Iterator[Changes]:
    for one in listing.code:
        if not one.is_call and one.mnemonic not in ("pushq", "popq", "nop", "ud2"):
            yield ((one.line, 1, ()),)


def _call_left_out(listing: Listing, _: random.Random) -> Iterator[Changes]:
    for one in listing.code:
        if one.is_call:
            yield ((one.line, 1, ()),)


def _clobbered(listing: Listing, _: random.Random) -> Iterator[Changes]:
    saved = {found[0] for one in listing.code if one.mnemonic == "pushq" and (found := register(one.operands[0]))}
    for number in CALLEE_SAVED:
        name = register_name(number, 8)
        if number not in saved and listing.code:
            yield ((listing.code[0].line, 0, (f"\tmovl\t$1, {register_name(number, 4)}",)),)
        elif number in saved:
            pushes = [one for one in listing.code if one.mnemonic == "pushq" and one.operands == (name,)]
            pops = [one for one in listing.code if one.mnemonic == "popq" and one.operands == (name,)]
            down = [(one.line, 1, ("\tleaq\t-8(%rsp), %rsp",)) for one in pushes]
            up = [(one.line, 1, ("\tleaq\t8(%rsp), %rsp",)) for one in pops]
            yield tuple(sorted((*down, *up)))
            for change in up:
                yield (change,)


KINDS: dict[str, Callable[[Listing, random.Random], Iterator[Changes]]] = {
    "condition turned": _turned,
    "condition off": _condition_off,
    "branch target": _target,
    "constant": _constant,
    "memory offset": _offset,
    "scale or index": _scale,
    "operand width": _width,
    "extension": _extension,
    "lea/mov": _lea,
    "operator": _operator,
    "register": _other_register,
    "operands exchanged": _operands_exchanged,
    "arguments exchanged": _arguments,
    "instruction left out": _left_out,
    "call left out": _call_left_out,
    "callee-saved register": _clobbered,
    "early return": _early_return,
    "data": _data,
}
"""Every kind of fault, and what finds all its places in a text."""
