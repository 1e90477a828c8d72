"""Object files for a native linker: what they define, and the debug information that they carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

DEBUG_FILE_NAME = "candidate.s"
"""The name of the source file in the debug information."""
LINE_SECTION = "llmc_lines"
"""The section in which a linkable object holds its own lines, if asked to: pairs of 64-bit words, address and line."""
TRAP_BYTES = 16
"""Bytes of traps behind each executable section of a linkable object: more than the longest instruction, so that code
that runs past its end stops there and not in the code that a linker puts behind it."""
_DWARF = """\
.section .debug_line,"",@progbits
.L{tag}line:
.section .debug_abbrev,"",@progbits
.L{tag}abbrev:
.uleb128 1
.uleb128 0x11 # DW_TAG_compile_unit
.byte 0
.uleb128 0x10 # DW_AT_stmt_list
.uleb128 0x17
.uleb128 0x03 # DW_AT_name
.uleb128 0x08
.uleb128 0x13 # DW_AT_language
.uleb128 0x05
.uleb128 0x11 # DW_AT_low_pc
.uleb128 0x01
.uleb128 0x55 # DW_AT_ranges
.uleb128 0x17
.byte 0, 0, 0
.section .debug_info,"",@progbits
.long .L{tag}end-.L{tag}start
.L{tag}start:
.short 4
.long .L{tag}abbrev
.byte 8
.uleb128 1
.long .L{tag}line
.asciz "{source}"
.short 0x8001 # assembler
.quad 0
.long .L{tag}ranges
.L{tag}end:
.section .debug_ranges,"",@progbits
.L{tag}ranges:"""
"""A compilation unit for the line table that `.loc` makes (DWARF 4, sections 3.1.1 and 7.5). The ranges follow."""


@dataclass(frozen=True)
class Linkage:
    """How a text is to be linked into a program by a native linker."""

    function: str
    """The one name that the object defines for other objects."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Name in the text -> name in the program, where the two differ."""
    has_line_section: bool = False
    """Whether the object gets a `LINE_SECTION`, by which the program itself can find the line of an address."""


def format_debug_information(tag: str, ranges: Sequence[tuple[str, str]]) -> list[str]:
    """The lines of assembly for the debug information of code between pairs of labels.

    `tag` is part of all labels that are defined; no other label of the text may begin with `.L` and the tag.
    """
    quads = [f".quad {start}, {end}" for start, end in ranges]
    return [*_DWARF.format(tag=tag, source=DEBUG_FILE_NAME).splitlines(), *quads, ".quad 0, 0"]
