"""What every assembler here keeps to: what it may take, what it gives, and how it declines."""

from __future__ import annotations

import resource
from dataclasses import dataclass


@dataclass(frozen=True)
class AssemblerLimits:
    """What one attempt of an assembler may take."""

    keystone_seconds: float = 2.0
    """Wall clock; then LLVM is asked."""
    llvm_seconds: float = 20.0
    megabytes: int = 512
    """Memory on top of what the calling process has."""


def open_no_more() -> None:
    """The same for a process that is to be: it has its standard streams, and opens nothing else."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def open_no_files() -> None:
    """Whatever a text makes an assembler try, the kernel gives this process no further file."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
