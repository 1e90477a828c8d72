"""Processors: what the emulator needs to know of the one that it emulates, beside the calling convention."""

from __future__ import annotations

import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pytest_llmcompiler.targets.code import AssembledCode

Outcome = Literal["return", "fault", "limit", "exit", "abort", "forbidden", "vex"]
"""How a run ended.

- `return`: the function returned.
- `fault`: an access to memory or an instruction raised an exception of the processor.
- `limit`: too many instructions.
- `exit`, `abort`: the program ended itself with an exit code or by a signal, or by `abort()`.
- `forbidden`: an instruction that user code may not execute.
- `vex`: an instruction that the emulator computes wrongly, or whose result differs between machines or runs, or a call
  of the system that the emulated one lacks.
"""

ReadRegister = Callable[[str], int]
"""Returns the present value of a register, by its name."""


class MisalignedAccess(NamedTuple):
    """An access to memory that hardware refuses because of its address."""

    address: int
    size: int
    """In bytes."""


@dataclass(frozen=True)
class AlignedOperand:
    """An operand in memory that hardware refuses at some addresses: segment base + base + index * scale + offset."""

    base: str | None
    index: str | None = None
    scale: int = 1
    offset: int = 0
    """In bytes. For an operand relative to the program counter, an absolute address."""
    segment: str | None = None
    """The register that holds the segment base; None for the segments whose base is 0."""
    bits: int = 64
    """The width of the address before the segment base is added: 32 or 64."""
    alignment: int = 16
    """What the address must be a multiple of, in bytes: as many as the operand has."""

    @property
    def is_always_aligned(self) -> bool:
        """Whether the address depends on no register, and is a multiple of what it must be."""
        is_fixed = not (self.base or self.index or self.segment)
        return is_fixed and self.offset % self.alignment == 0

    def address(self, register: ReadRegister) -> int:
        """The address that the operand has now."""
        base = register(self.base) if self.base else 0
        index = register(self.index) if self.index else 0
        effective = base + index * self.scale + self.offset & (1 << self.bits) - 1
        return effective + (register(self.segment) if self.segment else 0) & (1 << 64) - 1

    def find_misalignment(self, register: ReadRegister) -> MisalignedAccess | None:
        """The access that hardware would refuse, before the instruction is executed."""
        address = self.address(register)
        return MisalignedAccess(address, self.alignment) if address % self.alignment else None


class Instruction(NamedTuple):
    """One decoded instruction, in the decoder's syntax."""

    size: int
    """In bytes; 0 where the bytes are no instruction."""
    mnemonic: str
    operands: str


class Processor(ABC):
    """A processor, as unicorn emulates it and capstone decodes it.

    Registers go by their names in assembly, in lower case.
    """

    stack_pointer: str
    program_counter: str
    link_register: str | None
    """The register with the return address; None where the return address is on the stack."""
    return_address_bytes: int
    """Bytes that a call pushes on the stack."""
    control_registers: tuple[str, ...]
    """Control registers and flags that a function must preserve, or leave in a certain state."""
    registers: tuple[str, ...]
    """General and vector registers, without the stack pointer and the program counter."""
    state_registers: tuple[str, ...]
    """All registers that a function finds set at its entry, beside the stack pointer and the program counter."""
    thread_pointer: str
    """The register from which code reaches thread-local variables."""
    flags_register: str
    """The register that has the condition flags."""
    condition_flags: tuple[int, int]
    """The condition flags, which have no defined value at the entry of a function or after a call: two masks, which
    together have all of them. Setting the first, the second, or none gives each condition both of its truth values."""
    control_state: Mapping[str, tuple[int, int]]
    """The control registers at a function's return: name -> the bits that count, and the value that they must have."""
    longest_instruction: int
    """In bytes; more than an instruction can have does no harm."""
    hazardous_code: re.Pattern[bytes]
    """Matches in each instruction whose bytes may make it a hazard."""
    fused_mnemonics: tuple[str, ...]
    """The starts of the mnemonics of instructions that add a product without rounding it."""
    fused_features: str = ""
    """LLVM's features of processors with these instructions, where the target's oldest one has none: `+fma,`."""
    register_prefix: str = ""
    """The text in front of a register's name, in messages."""
    return_code: bytes
    """The machine code of a return from a function."""
    trap_code: bytes
    """The machine code of a trap, which fills memory that must not be executed."""
    exception_names: Mapping[int, str]
    """unicorn's number of an exception -> its description for messages."""
    system_call_exception: int | None = None
    """The number of the exception that is a system call; None where unicorn has a hook for system calls instead."""
    system_call_names: Mapping[int, str]
    """Number of a system call -> the name by which the emulated kernel knows it. Only those of the C library are
    here."""
    system_call_registers: tuple[str, ...]
    """The registers for the number of a system call, for its three arguments, and for its result."""

    @abstractmethod
    def create_emulator(self) -> Any:
        """A new `unicorn.Uc`."""

    @abstractmethod
    def register_number(self, name: str) -> int:
        """unicorn's number of a register."""

    @abstractmethod
    def initialise(self, uc: Any) -> None:
        """Put an emulator into the state in which Linux starts a process."""

    @abstractmethod
    def hook_system_calls(self, uc: Any, action: Callable[..., None]) -> None:
        """Have unicorn call `action` for each system call. Does nothing where system calls are exceptions."""

    def set_thread_pointer(self, uc: Any, address: int) -> None:
        """Set the register that thread-local variables are relative to, where a system call does that."""
        raise NotImplementedError

    @abstractmethod
    def reset_flags(self, uc: Any) -> None:
        """Set the flags to their state at the entry of a function."""

    @abstractmethod
    def find_breaches(self, values: Mapping[str, int]) -> Iterator[str]:
        """Describe each wrong state in which a function leaves `control_registers`, whose values are given."""

    @abstractmethod
    def encode_jump(self, source: int, target: int) -> bytes:
        """The machine code of a direct jump between two addresses, which must be near enough for it."""

    def find_hazards(self, candidate: AssembledCode) -> Iterator[tuple[int, tuple[Outcome, str]]]:
        """The address of each instruction that the emulator must not execute, with the outcome of the run and a
        message."""
        mnemonics = candidate.mnemonics
        named = {name for name in set(mnemonics.values()) if self.find_hazard_by_name(name)}
        suspects = set(candidate.find_instructions(self.hazardous_code))
        if named:
            suspects |= {address for address, mnemonic in mnemonics.items() if mnemonic in named}
        for address in sorted(suspects):
            mnemonic = mnemonics[address]
            hazard = self.find_hazard_by_name(mnemonic) or self.find_hazard(mnemonic, candidate.read_code(address))
            if hazard:
                yield address, hazard

    @abstractmethod
    def find_hazard_by_name(self, mnemonic: str) -> tuple[Outcome, str] | None:
        """The hazard of all instructions with a mnemonic."""

    @abstractmethod
    def find_hazard(self, mnemonic: str, code: bytes) -> tuple[Outcome, str] | None:
        """The hazard of an instruction at the start of `code`, by its bytes."""

    def needs_hardware(self, code: bytes) -> bool:
        """Whether the instruction at the start of some code is one that only a real processor executes rightly."""
        return False

    @abstractmethod
    def find_guards(self, candidate: AssembledCode) -> Iterator[tuple[int, AlignedOperand]]:
        """Address and operand of each instruction that hardware may refuse while the emulator executes it."""

    @abstractmethod
    def moves_stack_pointer_first(self, code: bytes, address: int, *, is_store: bool) -> bool:
        """Whether an instruction moves the stack pointer down before it stores or loads, as a push does: it accesses
        the memory at the new value."""

    @abstractmethod
    def get_decoder(self, *, detail: bool = False, listing: bool = False) -> Any:
        """capstone for this processor.

        With `detail` it gives the parts of each operand, and is slower. With `listing` it writes the syntax of
        listings.
        """

    @abstractmethod
    def whole_register(self, name: str) -> str:
        """The register, as `registers` names it, that a register of capstone's is a part of; the same name for any
        other register."""

    @abstractmethod
    def ends_block(self, instruction: Instruction) -> bool:
        """Whether an instruction is the last of its basic block: a jump, a return or a trap."""

    @abstractmethod
    def find_jump_target(self, instruction: Instruction) -> int | None:
        """The address to which a direct jump goes; None for any other instruction."""

    def split_branch(self, code: bytes) -> tuple[bytes, int] | None:
        """The direct jump or call at the start of some code, with a distance of 0 in it, and its target, in bytes from
        its start; None where there is none, or where such an instruction is not told from others by its first bytes.
        Branches that go to different places so have the same bytes."""
        return None

    @abstractmethod
    def format_absolute_operands(self, instruction: Instruction, address: int) -> str:
        """The operands of an instruction at an address, with absolute addresses in the place of relative ones."""

    @abstractmethod
    def format_listing_operands(self, instruction: Instruction, address: int, names: Mapping[int, str]) -> str:
        """The operands of an instruction at an address in the syntax of listings, with names in the place of
        addresses."""

    @functools.cached_property
    def register_numbers(self) -> dict[str, int]:
        """Name -> unicorn's number, for all registers that this class names."""
        special = (self.stack_pointer, self.program_counter)
        names = (*self.registers, *self.control_registers, *self.state_registers, *special, *self.system_call_registers)
        return {name: self.register_number(name) for name in names}

    def decode(self, code: bytes, address: int, *, listing: bool = False) -> Instruction:
        """The first instruction of some bytes at an address. Its size is 0 where the bytes are no instruction."""
        instructions = self.get_decoder(listing=listing).disasm_lite(code, address, 1)
        _, size, mnemonic, operands = next(instructions, (address, 0, "", ""))
        return Instruction(size, mnemonic, operands)
