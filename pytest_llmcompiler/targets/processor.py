"""Processors: what the emulator has to know of the one that it emulates, beside the calling convention."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from pytest_llmcompiler.targets.code import AssembledCode

Outcome = Literal["return", "fault", "limit", "exit", "abort", "forbidden", "vex"]
"""How a run ended: `limit` is too many instructions, `forbidden` an instruction that no process may execute, `vex` one
that the emulator computes wrongly or that no two machines agree on."""

ReadRegister = Callable[[str], int]
"""The value of a register now, by its name."""
AlignmentGuard = Callable[[ReadRegister], "MisalignedAccess | None"]
"""What to ask before an instruction is executed: whether hardware would refuse its access to memory."""


class MisalignedAccess(NamedTuple):
    """An access to memory that hardware refuses."""

    address: int
    size: int


class Instruction(NamedTuple):
    """One decoded instruction, in the decoder's syntax."""

    size: int
    mnemonic: str
    operands: str


class Processor(ABC):
    """A processor as unicorn emulates it and capstone reads its code."""

    stack_pointer: str
    """The stack pointer."""
    program_counter: str
    """The program counter."""
    link_register: str | None
    """The register with the address to return to; None where that is on the stack."""
    return_address_bytes: int
    """Bytes that a call leaves on the stack."""
    control_registers: tuple[str, ...]
    """Control registers and flags that the calling convention minds."""
    registers: tuple[str, ...]
    """General and vector registers that hold arguments, results and what else programs put there."""
    longest_instruction: int
    """Bytes of the longest instruction."""
    register_prefix: str = ""
    """What is written before the name of a register."""
    return_code: bytes
    """The code of a return from a function."""
    trap_code: bytes
    """Code that fills what must not be executed."""
    exception_names: Mapping[int, str]
    """What unicorn's numbers of exceptions mean, in words."""
    system_call_exception: int | None = None
    """The exception that is a system call, where it is one; else `on_system_call` is for it."""
    system_call_names: Mapping[int, str]
    """The system calls that the C library makes, by number: their names for `libc.Kernel`."""
    system_call_registers: tuple[str, ...]
    """The number of a system call, its arguments, and last its result."""

    @abstractmethod
    def create_emulator(self) -> Any:
        """A new emulator."""

    @abstractmethod
    def register_number(self, name: str) -> int:
        """unicorn's number of a register."""

    @abstractmethod
    def initialise(self, uc: Any) -> None:
        """Put an emulator into the state in which the kernel starts a process."""

    @abstractmethod
    def hook_system_calls(self, uc: Any, action: Callable[..., None]) -> None:
        """Have `action` called for each system call, where it is no exception."""

    def set_thread_pointer(self, uc: Any, address: int) -> None:
        """Set the register by which thread-local variables are found, where the kernel has to."""
        raise NotImplementedError

    @abstractmethod
    def reset_flags(self, uc: Any) -> None:
        """Set the flags as a function finds them."""

    @abstractmethod
    def find_breaches(self, values: Mapping[str, int]) -> Iterator[str]:
        """What a function leaves wrong of the `state`, in words."""

    @abstractmethod
    def encode_jump(self, source: int, target: int) -> bytes:
        """The code of a jump from one address to another, which is near."""

    @abstractmethod
    def find_hazard(self, mnemonic: str, code: bytes) -> tuple[Outcome, str] | None:
        """What to stop with, and why, where an instruction can't be left to the emulator.

        `code` are the bytes from its first on (`longest` are enough, and less where they end).
        """

    @abstractmethod
    def find_guards(self, candidate: AssembledCode) -> Iterator[tuple[int, AlignmentGuard]]:
        """The instructions of a candidate that hardware may refuse where the emulator does not."""

    @abstractmethod
    def accesses_below_stack_pointer(self, code: bytes, address: int) -> bool:
        """Whether an instruction itself moves the stack pointer to below what it writes or reads."""

    @abstractmethod
    def get_decoder(self, *, detail: bool = False, listing: bool = False) -> Any:
        """capstone for its code; with `detail` it says what operands are made of, and is slower; in the syntax of
        listings if asked for."""

    @abstractmethod
    def ends_block(self, instruction: Instruction) -> bool:
        """Whether what follows an instruction is a block of its own: it jumps, returns or traps."""

    @abstractmethod
    def find_jump_target(self, instruction: Instruction) -> int | None:
        """Where a direct jump leads."""

    @abstractmethod
    def format_absolute_operands(self, instruction: Instruction, address: int) -> str:
        """The operands of an instruction, with addresses where they are relative to it."""

    @abstractmethod
    def format_listing_operands(self, instruction: Instruction, address: int, names: Mapping[int, str]) -> str:
        """The operands of an instruction in the syntax of listings, with names for addresses."""

    @functools.cached_property
    def register_numbers(self) -> dict[str, int]:
        """unicorn's numbers of all registers that are read by name again and again."""
        names = (
            *self.registers,
            *self.control_registers,
            self.stack_pointer,
            self.program_counter,
            *self.system_call_registers,
        )
        return {name: self.register_number(name) for name in names}

    def decode(self, code: bytes, address: int, *, listing: bool = False) -> Instruction:
        """The first instruction of some bytes that lie at an address; without size and text where there is none."""
        found = self.get_decoder(listing=listing).disasm_lite(code, address, 1)
        _, size, mnemonic, operands = next(found, (address, 0, "", ""))
        return Instruction(size, mnemonic, operands)
