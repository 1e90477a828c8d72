"""Listings of disassemblers as assembly: objdump's, gdb's, and the listings of assemblers.

    0000000000000000 <f>:                           f:
       0:   85 ff                test   %edi,%edi   test   %edi,%edi
       2:   74 05                je     9 <f+0x9>   je     .Lat_9
       4:   e8 00 00 00 00       call   9 <f+0x9>   call   g
                        5: R_X86_64_PLT32 g-0x4
       9:   c3                   ret                .Lat_9: ret

The target of a branch is an address; where an instruction of the listing is there, it gets a label. Relocations and
objdump's comments (`# 404010 <counter>`) name all other symbols.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmcompiler.letters import name_part

_HEADER = re.compile(r"[ \t]*(?:[0-9a-fA-F]{1,16}[ \t]+)?" rf"<({name_part('.$@')}+)>:[ \t]*$")
_GDB_HEADER = re.compile(rf"[ \t]*Dump of assembler code for function ({name_part('.$')}+):")
_NOISE = re.compile(
    r"[ \t]*(?:Disassembly of section .*|.*:[ \t]+file format .*|End of assembler dump\.|\.\.\.|-+[ \t]*)$"
)
_ADDRESS = re.compile(
    rf"\n(?:(?:=>)?[ \t]*(?:0x)?[0-9a-fA-F]+(?:(?:[ \t]+<{name_part('.$@+')}*>)?:"
    r"|[ \t]+[0-9a-fA-F]{4,16}[ \t]|[ \t]+<)"
    rf"|[ \t]*(?:<{name_part('.$@')}+>:|Dump of))"
)
"""The end of a line, and what some line of every listing begins with. A pattern with `^` is searched ten times as
slowly."""
_INSTRUCTION = re.compile(
    r"(?:=>)?[ \t]*(?:0x)?([0-9a-fA-F]{1,16})"
    rf"(?:[ \t]+<({name_part('.$@')}*)(\+\w+)?>)?"
    r":[ \t]*((?:[0-9a-fA-F]{2}[ \t]+)*)(.*)$"
)
"""Address, symbol and distance from it, bytes, instruction."""
_BYTES_ONLY = re.compile(r"[ \t]*(?:0x)?[0-9a-fA-F]{1,16}:[ \t]*(?:[0-9a-fA-F]{2}[ \t]*){1,16}$")
_RELOCATION = re.compile(
    r"[ \t]*[0-9a-fA-F]{1,16}:[ \t]*(R_X86_64_\w+)[ \t]+"
    rf"({name_part('.$')}+)(?:@\w+)?([+-]0x[0-9a-f]+)?[ \t]*$"
)
_BRANCH = re.compile(
    r"((?:(?:bnd|notrack|rep\w*)[ \t]+)?(?:j\w+|call\w*|loop\w*|xbegin)[ \t]+)(?:0x)?([0-9a-fA-F]{1,16})"
    rf"(?:[ \t]+<({name_part('.$')}+)(@\w+)?([+-]\w+)?>)?[ \t]*$"
)
_RIP_COMMENT = re.compile(
    rf"#[ \t]*(?:0x)?[0-9a-fA-F]+[ \t]*<({name_part('.$')}+)(?:@{{1,2}}[\w.]+)?(\+0x[0-9a-f]+|\+\d+)?>[ \t]*$"
)
_RIP_ATT = re.compile(r"-?0x[0-9a-fA-F]+\(%rip\)")
_RIP_INTEL = re.compile(r"\[rip[ \t]*[+-][ \t]*0x[0-9a-fA-F]+\]", re.IGNORECASE)
_ZERO = re.compile(r"\b0x0\b")
_ASSEMBLER_LISTING = re.compile(r"[ \t]*\d{1,6}[ \t]+[0-9A-Fa-f]{4,16}[ \t]+[0-9A-F]{2,40}[-\[\]()]*[ \t]+(\S.*)$")
_NUMBER = re.compile(r"[ \t]*\d{1,6}(?:[ \t]+<\d+>)?(?:[ \t]|$)")
_RUNTIME = re.compile(
    r"_init|_fini|\.plt[\w.]*|_start|(?:de)?register_tm_clones|__do_global_dtors_aux|frame_dummy|_dl_relocate_static_pie|.*@.*"
)
"""Symbols of the C library's start-up code, and of stubs that call other objects."""
_FEWEST_LINES = 2
"""Lines of this form that make a text a listing."""


@dataclass
class _ListedInstruction:
    """An instruction of a listing."""

    line: int
    """Index of its line."""
    address: int
    text: str


def convert_listing(text: str) -> str:
    """The assembly that a listing shows, line by line; any other text unchanged."""
    if not _ADDRESS.search(f"\n{text}"):
        return text
    lines = text.split("\n")
    if sum(_ASSEMBLER_LISTING.match(line) is not None for line in lines) >= _FEWEST_LINES:
        return "\n".join(map(_strip_assembler_columns, lines))
    if not _is_disassembly(lines):
        return text
    return "\n".join(_Disassembly(lines).convert())


def _strip_assembler_columns(line: str) -> str:
    """A line of an assembler's listing without its number, address and bytes."""
    match = _ASSEMBLER_LISTING.match(line)
    return match[1] if match else _NUMBER.sub("", line)


def _is_disassembly(lines: Sequence[str]) -> bool:
    """Whether lines begin with addresses, and a header, bytes or distances from symbols show that these are some."""
    matches = [match for line in lines if (match := _INSTRUCTION.match(line))]
    marked = sum(bool(match[2] is not None or match[4]) for match in matches)
    if len(matches) >= _FEWEST_LINES and marked >= _FEWEST_LINES:
        return True
    return bool(matches) and any(_HEADER.match(line) or _GDB_HEADER.match(line) for line in lines)


class _Disassembly:
    """The listing of a disassembler."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = list(lines)
        self._instructions: list[_ListedInstruction] = []
        self._targets: set[int] = set()
        """Addresses that branches go to."""
        self._symbol = ""
        """The symbol whose code the last lines show."""

    def convert(self) -> list[str]:
        """The lines as assembly."""
        for number, line in enumerate(self._lines):
            self._lines[number] = self._read_line(number, line)
        addresses = {instruction.address for instruction in self._instructions}
        for instruction in self._instructions:
            instruction.text = self._convert_operands(instruction.text, addresses)
        for instruction in self._instructions:
            label = f".Lat_{instruction.address:x}: " if instruction.address in self._targets else ""
            self._lines[instruction.line] += f"{label}{instruction.text}"
        return self._lines

    def _read_line(self, number: int, line: str) -> str:
        """What stays of a line: a label, nothing for one that shows an instruction, all for one that is none."""
        header = _HEADER.match(line) or _GDB_HEADER.match(line)
        if header:
            self._symbol = header[1]
            return "" if _RUNTIME.fullmatch(header[1]) else f"{header[1]}:"
        relocation = _RELOCATION.match(line)
        if relocation:
            self._apply_relocation(*relocation.groups())
            return ""
        match = _INSTRUCTION.match(line)
        if match is None:
            return "" if _NOISE.match(line) else line
        if not match[5] or _BYTES_ONLY.match(line) or _RUNTIME.fullmatch(self._symbol):
            return ""
        self._instructions.append(_ListedInstruction(number, int(match[1], 16), match[5]))
        if match[2] and not match[3] and match[2] != self._symbol:
            self._symbol = match[2]
            return f"{match[2]}: "
        return ""

    def _apply_relocation(self, kind: str, symbol: str, addend: str | None) -> None:
        """Put the symbol of a relocation into the instruction in front of it."""
        if not self._instructions:
            return
        instruction = self._instructions[-1]
        is_relative = kind in ("R_X86_64_PLT32", "R_X86_64_PC32", "R_X86_64_GOTPCREL", "R_X86_64_REX_GOTPCRELX")
        distance = int(addend or "0", 16) + (4 if is_relative else 0)
        name = f"{symbol}@GOTPCREL" if "GOTPCREL" in kind else symbol
        name += f"{distance:+d}" if distance else ""
        branch = _BRANCH.match(instruction.text)
        if branch:
            instruction.text = f"{branch[1]}{name}"
        else:
            text = _RIP_COMMENT.sub("", instruction.text).rstrip()
            text = _RIP_ATT.sub(f"{name}(%rip)", text, count=1)
            text = _RIP_INTEL.sub(f"[rip + {name}]", text, count=1)
            instruction.text = text if name in text else _ZERO.sub(name, text, count=1)

    def _convert_operands(self, text: str, addresses: set[int]) -> str:
        branch = _BRANCH.match(text)
        if branch:
            start, address, name, _, distance = branch.groups()
            if name and not distance:
                return f"{start}{name}"
            if int(address, 16) in addresses:
                self._targets.add(int(address, 16))
                return f"{start}.Lat_{int(address, 16):x}"
            return text
        comment = _RIP_COMMENT.search(text) if "#" in text else None
        if comment:
            name = comment[1] + (comment[2] or "")
            text = text[: comment.start()].rstrip()
            text = _RIP_ATT.sub(f"{name}(%rip)", text, count=1)
            text = _RIP_INTEL.sub(f"[rip + {name}]", text, count=1)
        return text
