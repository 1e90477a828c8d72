"""Faults to be seeded into AArch64 assembly as clang writes it: fewer kinds than for x86-64, line by line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from quality.faults import Changes

Lines = Sequence[tuple[int, str, str]]
"""The instructions of the function: the index of the line, mnemonic and operands."""

_INSTRUCTION = re.compile(r"\t([a-z][a-z0-9.]*)(?:[ \t]+([^/\n]*?))?\s*(?://.*)?")
_INVERSE = {
    "eq": "ne",
    "lt": "ge",
    "le": "gt",
    "lo": "hs",
    "ls": "hi",
    "mi": "pl",
    "vs": "vc",
    "ne": "eq",
    "ge": "lt",
    "gt": "le",
    "hs": "lo",
    "hi": "ls",
    "pl": "mi",
    "vc": "vs",
}
_NEIGHBOURS = {
    "lt": ("le", "lo"),
    "le": ("lt", "ls"),
    "gt": ("ge", "hi"),
    "ge": ("gt", "hs"),
    "lo": ("ls", "lt"),
    "ls": ("lo", "le"),
    "hi": ("hs", "gt"),
    "hs": ("hi", "ge"),
    "eq": ("le", "ls"),
    "ne": ("gt", "lo"),
}
_EXCHANGED = {
    "add": "sub",
    "sub": "add",
    "and": "orr",
    "orr": "and",
    "eor": "orr",
    "lsl": "lsr",
    "lsr": "asr",
    "asr": "lsr",
    "mul": "add",
    "udiv": "sdiv",
    "sdiv": "udiv",
    "madd": "msub",
    "msub": "madd",
    "adds": "subs",
    "subs": "adds",
    "fadd": "fsub",
    "fsub": "fadd",
    "fmul": "fdiv",
    "fdiv": "fmul",
    "neg": "mvn",
    "csel": "csinc",
    "csinc": "csel",
    "cbz": "cbnz",
    "cbnz": "cbz",
    "tbz": "tbnz",
    "tbnz": "tbz",
    "smull": "umull",
    "umull": "smull",
}
_EXTENDED = {
    "ldrb": "ldrsb",
    "ldrh": "ldrsh",
    "ldrsb": "ldrb",
    "ldrsh": "ldrh",
    "sxtb": "uxtb",
    "uxtb": "sxtb",
    "sxth": "uxth",
    "uxth": "sxth",
    "sxtw": "mov",
    "strb": "strh",
    "strh": "strb",
    "ldrsw": "ldr",
}
_CONDITION = re.compile(rf"\b({'|'.join(_INVERSE)})$")
_REGISTER = re.compile(r"\b([wx])(\d+)\b")
_NUMBER = re.compile(r"#(-?\d+)\b")
_SAVED = re.compile(r"\b(?:x(?:19|2[0-9])|d(?:8|9|1[0-5]))\b")


def all_faults(text: str, function: str) -> dict[str, list[Changes]]:
    """Every kind of fault, and all its places in a text."""
    lines = list(_read(text, function))
    return {kind: list(dict.fromkeys(make(lines))) for kind, make in KINDS.items()}


def _read(text: str, function: str) -> Iterator[tuple[int, str, str]]:
    inside = False
    for index, line in enumerate(text.split("\n")):
        inside = (inside or line.startswith(f"{function}:")) and not line.startswith(".Lfunc_end")
        match = _INSTRUCTION.fullmatch(line) if inside else None
        if match:
            yield index, match[1], match[2] or ""


def _replace_line(index: int, mnemonic: str, operands: str) -> Changes:
    return ((index, 1, (f"\t{mnemonic}\t{operands}".rstrip(),)),)


def _change_conditions(lines: Lines, others: Callable[[str], Sequence[str]]) -> Iterator[Changes]:
    for index, mnemonic, operands in lines:
        branch = mnemonic.removeprefix("b.") if mnemonic.startswith("b.") else ""
        match = _CONDITION.search(operands) if mnemonic.startswith(("cs", "ccmp", "cinc", "cneg", "fcsel")) else None
        for other in others(branch):
            yield _replace_line(index, f"b.{other}", operands)
        for other in others(match[1]) if match else ():
            yield _replace_line(index, mnemonic, _CONDITION.sub(other, operands))


def _invert_conditions(lines: Lines) -> Iterator[Changes]:
    yield from _change_conditions(lines, lambda condition: [_INVERSE[condition]] if condition in _INVERSE else [])


def _shift_conditions(lines: Lines) -> Iterator[Changes]:
    yield from _change_conditions(lines, lambda condition: _NEIGHBOURS.get(condition, ()))


def _change_numbers(lines: Lines, *, in_memory: bool) -> Iterator[Changes]:
    for index, mnemonic, operands in lines:
        step = 8 if in_memory and re.search(r"\bx\d+, \[|\bd\d+, \[", operands) else 4 if in_memory else 1
        for match in _NUMBER.finditer(operands):
            stack = re.search(r"\bsp\b", operands) and not in_memory
            if ("[" in operands) == in_memory and not stack:
                before, behind = operands[: match.start()], operands[match.end() :]
                for other in (int(match[1]) + step, int(match[1]) - step):
                    yield _replace_line(index, mnemonic, f"{before}#{other}{behind}")


def _change_constants(lines: Lines) -> Iterator[Changes]:
    yield from _change_numbers(lines, in_memory=False)


def _change_offsets(lines: Lines) -> Iterator[Changes]:
    yield from _change_numbers(lines, in_memory=True)


def _change_mnemonics(lines: Lines, others: dict[str, str]) -> Iterator[Changes]:
    for index, mnemonic, operands in lines:
        if mnemonic in others and not re.search(r"\bsp\b", operands.split(", [")[0]):
            yield _replace_line(index, others[mnemonic], operands)


def _change_operators(lines: Lines) -> Iterator[Changes]:
    yield from _change_mnemonics(lines, _EXCHANGED)


def _change_extensions(lines: Lines) -> Iterator[Changes]:
    yield from _change_mnemonics(lines, _EXTENDED)


def _change_widths(lines: Lines) -> Iterator[Changes]:
    """All registers of an instruction with the other width."""
    for index, mnemonic, operands in lines:
        if "[" in operands or not _REGISTER.search(operands):
            continue
        yield _replace_line(index, mnemonic, _REGISTER.sub(lambda one: f"{'wx'['xw'.index(one[1])]}{one[2]}", operands))


def _change_registers(lines: Lines) -> Iterator[Changes]:
    for index, mnemonic, operands in lines:
        for match in _REGISTER.finditer(operands):
            before, behind = operands[: match.start()], operands[match.end() :]
            for other in (int(match[2]) ^ 1, (int(match[2]) + 2) % 16):
                yield _replace_line(index, mnemonic, f"{before}{match[1]}{other}{behind}")


_COMMUTES = re.compile(r"(?:add|and)s?|orr|eor|mul|[su]?m(?:add|sub)l?|[su]mul[lh]|f(?:add|n?mul|n?m(?:add|sub))")
"""Instructions to which it makes no difference which of their sources comes first."""


def _exchange_operands(lines: Lines) -> Iterator[Changes]:
    for index, mnemonic, operands in lines:
        parts = [part.strip() for part in operands.split(",")]
        if len(parts) > 2 and "[" not in operands and not _COMMUTES.fullmatch(mnemonic):
            yield _replace_line(index, mnemonic, ", ".join([parts[0], parts[2], parts[1], *parts[3:]]))


def _omit_instructions(lines: Lines) -> Iterator[Changes]:
    for index, mnemonic, operands in lines:
        if mnemonic not in ("ret", "bl", "blr") and not re.search(r"\bsp\b", operands):
            yield ((index, 1, ()),)


def _omit_calls(lines: Lines) -> Iterator[Changes]:
    yield from (((index, 1, ()),) for index, mnemonic, _ in lines if mnemonic in ("bl", "blr"))


def _clobber_saved_registers(lines: Lines) -> Iterator[Changes]:
    """A saved register that is not restored, or a register that is changed without being saved."""
    used = {name for _, _, operands in lines for name in _SAVED.findall(operands)}
    for index, mnemonic, operands in lines:
        if mnemonic in ("ldp", "ldr") and re.search(r"\[sp", operands) and _SAVED.search(operands):
            name = _SAVED.search(operands)
            assert name is not None
            scratch = "x16" if name[0][0] == "x" else "d16"
            yield _replace_line(index, mnemonic, operands[: name.start()] + scratch + operands[name.end() :])
    if lines:
        for name in sorted({"x19", "x28", "d8", "d15"} - used):
            code = f"\tmov\t{name}, #1" if name[0] == "x" else f"\tfmov\t{name}, xzr"
            yield ((lines[0][0], 0, (code,)),)


KINDS: dict[str, Callable[[Lines], Iterator[Changes]]] = {
    "condition turned": _invert_conditions,
    "condition off": _shift_conditions,
    "constant": _change_constants,
    "memory offset": _change_offsets,
    "operand width": _change_widths,
    "extension": _change_extensions,
    "operator": _change_operators,
    "register": _change_registers,
    "operands exchanged": _exchange_operands,
    "instruction left out": _omit_instructions,
    "call left out": _omit_calls,
    "callee-saved register": _clobber_saved_registers,
}
"""Each kind of fault, and the function that yields its changes at all places of a text."""
