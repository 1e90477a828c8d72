"""A target: the processor, calling convention and system that code is judged for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_llmcompiler.targets.abi import CallingConvention
from pytest_llmcompiler.targets.dialect import Dialect
from pytest_llmcompiler.targets.processor import Processor
from pytest_llmcompiler.targets.relocation import Relocations

DEFAULT = "x86_64-linux"
LINUX_SYSTEMS = r"linux(?:-(?:gnu|musl|elf)(?!x32|_ilp32)\w*)?"
"""The pattern of Linux in triples, but for variants with pointers of 32 bits."""


@dataclass(frozen=True, eq=False)
class ForeignSystem:
    """What is needed to run code for one system in a process of another system.

    The C library of the process has another calling convention than the code. A *library wrapper*, compiled into the
    program, has a function for each function of the library: it is called by the code's convention, and calls the
    library.
    """

    host: Target
    """The target of the process."""
    object_triple: str
    """LLVM's triple for the code as ELF objects, which the host's linker accepts."""
    header_folder: Path
    """A folder of headers that comes before the library's in the search path."""
    library_wrapper: Path
    """The C file of the library wrapper, compiled for the host."""
    symbol_prefix: str
    """The start of the linker's names for all functions of the code and of the library wrapper."""
    implicit_functions: tuple[str, ...]
    """Functions of the library wrapper that LLVM's code generators call although the IR does not."""
    linker_symbols: Mapping[str, int]
    """Symbols that the system's linker defines, with the addresses that they have here."""
    unwrapped_functions: frozenset[str]
    """Functions of the library that can't be wrapped. Code that calls one is not judged."""


@dataclass(frozen=True, eq=False)
class Target:
    """All that is particular to code for one processor and system."""

    name: str
    """The name in flags and records."""
    triple: str
    """LLVM's triple, in prompts and for its code generator and assembler."""
    accepted_triples: re.Pattern[str]
    """Matches the triples, as a whole, of IR that may run on this target."""
    cpu: str
    """LLVM's name of the oldest processor that code may be for."""
    feature_attribute: str
    """The value of the IR attribute `target-features` that clang gives functions for that processor."""
    zig_target: str
    """The bundled compiler's name for the target, with the C library that cases are linked with."""
    header_folders: tuple[str, ...]
    """The bundled compiler's folders of the C library's headers, the most particular first."""
    runtime_functions: tuple[str, ...]
    """Functions of the compiler's runtime library that its code may call, beside those of every target."""
    load_address: int
    """The address of candidates: near enough to the program for jumps and displacements."""
    is_native: bool
    """Whether native programs are made of its failing code: those of x86-64 Linux. Machines of other processors judge
    its code as well, and can't run these programs."""
    convention: CallingConvention
    processor: Processor
    dialect: Dialect
    relocations: Relocations
    is_instruction: Callable[[str], bool]
    """Tells a line that is an instruction from prose and from LLVM IR."""
    has_keystone: bool
    """Whether keystone may assemble its code."""
    tuning: tuple[str, ...] = ()
    """LLVM's features, each with its sign, by which zig's front end tunes functions that name no features."""
    foreign_system: ForeignSystem | None = None
    """For code that runs in a process of another system; None where it runs in a process of its own system."""

    @property
    def host(self) -> Target:
        """The target of the process in which the code runs: this one, unless it has a `foreign_system`."""
        return self.foreign_system.host if self.foreign_system else self

    @property
    def symbol_prefix(self) -> str:
        """The start of the linker's names for functions of the code."""
        return self.foreign_system.symbol_prefix if self.foreign_system else ""

    @property
    def object_triple(self) -> str:
        """LLVM's triple for object files that are to run."""
        return self.foreign_system.object_triple if self.foreign_system else self.triple

    def label_task(self, task: str) -> str:
        """The name of a task on this target, in items and records: `TASK`, or `TASK@TARGET` for other targets."""
        return task if self.name == DEFAULT else f"{task}@{self.name}"


def compile_triple_pattern(processors: str, systemless: str, systems: str) -> re.Pattern[str]:
    """The pattern of the triples that mean a target. All arguments are patterns.

    It matches a triple of one of the processors, any vendor and one of the systems; a triple of a processor and up to
    two words of `systemless`, which name no system; and an empty triple.
    """
    return re.compile(rf"(?:(?:{processors})(?:(?:-(?:{systemless})){{0,2}}|(?:-\w+)?-(?:{systems})))?")
