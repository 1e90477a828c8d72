"""A target: what code is judged for. Everything that depends on processor, calling convention or system is here."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_llmcompiler.targets.abi import CallingConvention
from pytest_llmcompiler.targets.dialect import Dialect
from pytest_llmcompiler.targets.processor import Processor
from pytest_llmcompiler.targets.relocation import Relocations

DEFAULT = "x86_64-linux"
LINUX_SYSTEMS = r"linux(?:-(?:gnu|musl|elf)(?!x32|_ilp32)\w*)?"
"""Linux in triples, unless with pointers of 32 bits."""


@dataclass(frozen=True, eq=False)
class ForeignSystem:
    """What lies between code for one system and the process of another in which it runs, C library and all."""

    host: Target
    """Whose process that is."""
    object_triple: str
    """LLVM's triple for the code as ELF objects, which the host's linker takes."""
    header_folder: Path
    """A folder of headers that is looked into before the library's."""
    library_wrapper: Path
    """A C file, compiled for the host: the functions of its library as the code calls them."""
    symbol_prefix: str
    """What the names of all functions of the code, and of the bridge, begin with for the linker."""
    implicit_functions: tuple[str, ...]
    """Functions of the bridge that code generators call on their own account."""
    unwrapped_functions: frozenset[str]
    """Functions of the library that a bridge can't lead to."""


@dataclass(frozen=True, eq=False)
class Target:
    """All that is particular to code for one processor and system."""

    name: str
    """What users call it."""
    triple: str
    """As LLVM has it: in prompts, and for its code generator and assembler."""
    accepted_triples: re.Pattern[str]
    """The triples that mean it, whole, in IR whose functions are to run."""
    cpu: str
    """The oldest processor that code may be for."""
    feature_attribute: str
    """The attribute that clang gives functions for that processor, in IR."""
    zig_target: str
    """What the bundled compiler calls the target with the C library that cases are linked with."""
    header_folders: tuple[str, ...]
    """The bundled folders of that library's headers, the processor's own first."""
    runtime_functions: tuple[str, ...]
    """Functions of the compiler's library that its code may call, beside those that every target has."""
    load_address: int
    """Where candidates are loaded: so near to the program that jumps and displacements reach it."""
    is_native: bool
    """Whether its programs run on the machines that the package is for, and llvmlite assembles for it."""
    convention: CallingConvention
    processor: Processor
    dialect: Dialect
    relocations: Relocations
    is_instruction: Callable[[str], bool]
    """Tells a line that is an instruction from prose and from LLVM IR."""
    has_keystone: bool
    """Whether keystone assembles code for it."""
    foreign_system: ForeignSystem | None = None
    """For code that runs in the process of another system."""

    @property
    def host(self) -> Target:
        """The target whose process the code runs in: for most this one."""
        return self.foreign_system.host if self.foreign_system else self

    @property
    def symbol_prefix(self) -> str:
        """What the names of functions of the code begin with for the linker."""
        return self.foreign_system.symbol_prefix if self.foreign_system else ""

    @property
    def object_triple(self) -> str:
        """LLVM's triple for code that is to run."""
        return self.foreign_system.object_triple if self.foreign_system else self.triple

    def label_task(self, task: str) -> str:
        """What items and records call a task on this target."""
        return task if self.name == DEFAULT else f"{task}@{self.name}"


def compile_triple_pattern(processors: str, systemless: str, systems: str) -> re.Pattern[str]:
    """Triples of these processors (a pattern, as all of these) that name one of the systems, behind any vendor, or no
    more than what says nothing of one; none at all, too."""
    return re.compile(rf"(?:(?:{processors})(?:(?:-(?:{systemless})){{0,2}}|(?:-\w+)?-(?:{systems})))?")
