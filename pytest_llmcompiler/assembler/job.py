"""An assembly job: everything that an assembler needs to turn one text into machine code at addresses."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from pytest_llmcompiler.assembler.bindings import Binding
from pytest_llmcompiler.assembler.reach import TextReach
from pytest_llmcompiler.assembler.statements import ParsedAssembly
from pytest_llmcompiler.assembler.thread_storage import ThreadStorage
from pytest_llmcompiler.targets.target import Target


@dataclass(frozen=True)
class AssemblerLimits:
    """The time and memory that one attempt of an assembler may take."""

    keystone_seconds: int = 2
    """CPU time. A usual answer takes milliseconds. Some texts make keystone loop for ever: then LLVM is asked."""
    llvm_seconds: int = 4
    """CPU time of a short text. A usual answer takes milliseconds."""
    llvm_seconds_per_mebibyte: int = 4
    """CPU time on top, for each MiB of a text. The longest one that is accepted, of 8 MiB, took 9 s."""
    megabytes: int = 512
    """Memory of the child process on top of the calling process's, in MiB."""


Encoder = Callable[[str, int, AssemblerLimits], bytes]
"""Has keystone encode a text at an address. Raises KeystoneRefusalError for every failure."""


@dataclass(frozen=True)
class AssemblyJob:
    """One text to assemble, and the program that its code is loaded into."""

    parsed: ParsedAssembly
    function: str
    """The name of the function under test, which the text must define."""
    binding: Binding
    """What the names that the text defines mean."""
    reach: TextReach
    """What the function can reach."""
    base: int
    """The page-aligned address of the first section."""
    program_symbols: Mapping[str, int]
    """Name -> address, for all symbols of the program, and for the names that the binding adds to them."""
    limits: AssemblerLimits
    encode: Encoder
    """Keystone, in a process that may die."""
    target: Target
    threads: ThreadStorage | None = None
    """Thread-local variables; None where there can be none."""
    is_program: bool = False
    """Whether the text is a whole program: then all names that it refers to have to be defined."""

    @property
    def unneeded_names(self) -> Container[str]:
        """All names but those that the function can reach. They may be missing."""
        return frozenset() if self.is_program else _Unneeded(self)


class _Unneeded(Container[str]):
    """The names that a job does not need. What is reached is found out at the first question."""

    def __init__(self, job: AssemblyJob) -> None:
        self._job = job

    def __contains__(self, name: object) -> bool:
        return name not in self._job.reach.names
