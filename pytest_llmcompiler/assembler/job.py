"""An assembly job: everything that an assembler needs to turn one text into machine code at addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_llmcompiler.assembler.statements import ParsedAssembly
from pytest_llmcompiler.targets.target import Target


@dataclass(frozen=True)
class AssemblerLimits:
    """The time and memory that one attempt of an assembler may take."""

    keystone_seconds: float = 2.0
    """Wall clock. Keystone needs milliseconds unless a text makes it loop for ever; LLVM is asked after that."""
    llvm_seconds: float = 20.0
    """Wall clock. LLVM takes about a second for the longest text that is accepted; the rest is for a busy machine."""
    megabytes: int = 512
    """Memory of the child process on top of the calling process's, in MiB."""


@dataclass(frozen=True)
class AssemblyJob:
    """One text to assemble, and the program that its code is loaded into."""

    parsed: ParsedAssembly
    function: str
    """The name of the function under test, which the text must define."""
    shared_names: frozenset[str]
    """Names that the text and the program both define. They mean the program's definition."""
    base: int
    """The page-aligned address of the first section."""
    program_symbols: Mapping[str, int]
    """Name -> address, for all symbols of the program."""
    limits: AssemblerLimits
    target: Target
