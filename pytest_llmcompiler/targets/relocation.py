"""Relocations: which fields of machine code hold addresses, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class BitField(NamedTuple):
    """Some bits of a value in an instruction."""

    value_bit: int
    """The lowest of them, in the value."""
    width: int
    word_bit: int
    """Where that is in the instruction."""


class Relocation(NamedTuple):
    """A kind of relocation: which sum, and the field it must fit."""

    name: str
    width: int
    """Bytes of the field."""
    is_pc_relative: bool
    """The field's own address is subtracted."""
    is_signed: bool | None
    """None: the field may be read either way, only bits must not be lost (8 and 16 bit fields)."""
    uses_got: bool = False
    """S is the address of the symbol's slot in the global offset table."""
    bit_fields: tuple[BitField, ...] = ()
    """Where the value goes in an instruction; empty where it is the whole field."""
    value_bits: int = 0
    """For an instruction: bits that the value may have; 0: as many as it likes."""
    alignment: int = 1
    """What the value must be a multiple of."""
    is_page_relative: bool = False
    """The sum is the distance of the page (4 KiB) of S + A from that of P."""


class Relocations(NamedTuple):
    """The relocations of a target's object files."""

    machine: str
    """Whose objects they are, as pyelftools names it."""
    none_type: int
    """The ELF type number of the one that does nothing."""
    supported: Mapping[int, Relocation]
    """By ELF type number."""
    unsupported_names: Mapping[int, str]
    """The names of others, by number."""
    import_prefix: str = ""
    """What a name begins with that means the slot of the rest of it in the global offset table."""
