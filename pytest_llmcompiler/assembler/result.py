"""What every assembler here keeps to: what it may take, what it gives, and how it declines."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from pytest_llmcompiler.assembler.gas import Unit
from pytest_llmcompiler.assembler.linker import Segment

Engine = Literal["keystone", "llvm"]


@dataclass(frozen=True)
class Limits:
    """What one attempt of an assembler may take."""

    keystone_seconds: float = 2.0
    """Wall clock; then LLVM is asked."""
    llvm_seconds: float = 20.0
    megabytes: int = 512
    """Memory on top of what the calling process has."""


@dataclass(frozen=True)
class Assembled:
    """Machine code, ready for memory, and what is known of it."""

    engine: Engine
    segments: tuple[Segment, ...]
    """In the order of their addresses. Addresses are page-aligned, sizes are not."""
    symbols: dict[str, int]
    """What the text defines, absolute addresses."""
    lines: dict[int, int]
    """Address of each instruction, and of data in executable sections -> 1-based line of the text."""
    mnemonics: dict[int, str]
    """The same addresses -> mnemonic in lower case, prefixes stripped; the directive for data."""
    calls: frozenset[str]
    """Symbols of the program that the text refers to."""
    fallback: str | None
    """Why keystone's output was not used, where the engine is LLVM and keystone was asked first."""

    def code_at(self, address: int) -> bytes:
        """The bytes from an address on: as many as an instruction can have, and less where they end."""
        segment = next(s for s in self.segments if s.address <= address <= s.address + len(s.data))
        return segment.data[address - segment.address :][:16]


Attempt = Callable[[Unit, str, frozenset[str], int, Mapping[str, int], Limits], Assembled]
"""What an assembler makes of a text that defines a function: the names in it that mean the program's, where it is
placed, and the program's symbols. Raises RefusalError for what it leaves to others."""


class RefusalError(Exception):
    """Keystone can't or shall not assemble this; the message says why."""


def open_no_more() -> None:
    """The same for a process that is to be: it has its standard streams, and opens nothing else."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def open_no_files() -> None:
    """Whatever a text makes an assembler try, the kernel gives this process no further file."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
