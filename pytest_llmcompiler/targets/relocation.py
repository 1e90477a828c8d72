"""Relocations: the fields of machine code that hold addresses.

A relocation's value is `S + A`, or `S + A - P`: S is the address of the symbol, A the addend, P the address of the
field. The linker (`assembler.linker`) computes it with an example in its description.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

ThreadUse = Literal["offset", "module_offset", "pair", "module", "descriptor"]
"""How code gets at a thread-local variable (Drepper, "ELF Handling For Thread-Local Storage"): by its distance from the
thread pointer, or from the start of its module's variables; or by two words in memory. These are a module and the
variable's place in it, or the module and the start of its variables, for `__tls_get_addr`; or a function and its
argument."""


class BitField(NamedTuple):
    """A run of bits that is copied from a value into an instruction."""

    value_bit: int
    """The lowest of the bits in the value, counted from 0."""
    width: int
    """The number of bits."""
    word_bit: int
    """The lowest of the bits in the instruction word, counted from 0."""


class Relocation(NamedTuple):
    """A kind of relocation: how its value is computed, and the field that holds it."""

    name: str
    field_bytes: int
    """The size of the field, or of the instruction that contains it."""
    is_pc_relative: bool
    """Whether P is subtracted."""
    is_signed: bool | None
    """Whether the field is read as a signed number. None where either reading is right, as for data of 8 and 16 bits:
    then a value fits if it does so signed or unsigned."""
    uses_got: bool = False
    """Whether S is the address of the symbol's slot in the global offset table."""
    bit_fields: tuple[BitField, ...] = ()
    """The bits of an instruction that hold the value; empty where the value is the whole field."""
    value_bits: int = 0
    """For an instruction: the bits that the value may have; 0 where upper bits may be lost."""
    alignment: int = 1
    """The value must be a multiple of this."""
    is_page_relative: bool = False
    """Whether the value is the distance between two pages of 4 KiB: that of S + A, and that of P."""
    thread_use: ThreadUse | None = None
    """For thread-local variables; None for all others."""
    subtraction_bit: int = 0
    """The bit of the word that makes a subtraction of an addition, for a negative value; 0 where there is none."""


class Relocations(NamedTuple):
    """The relocations in the object files of a target."""

    machine: str
    """pyelftools' name of the machine, like `EM_X86_64`."""
    none_type: int
    """The ELF type number of the relocation that does nothing."""
    supported: Mapping[int, Relocation]
    """By ELF type number."""
    unsupported_names: Mapping[int, str]
    """The names of other relocations by ELF type number, for messages."""
    descriptor_function: bytes = b""
    """Code of the function in a descriptor of a thread-local variable: it returns its argument, which the word behind
    its own address holds. All other registers keep their values."""
    import_prefix: str = ""
    """The prefix of a name that stands for the rest of the name's slot in the global offset table; empty for none."""
