"""Linking with the bundled C library into a static executable."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pytest_llmcompiler.errors import ClangError
from pytest_llmcompiler.program.c_library import find_archives, find_start
from pytest_llmcompiler.program.clang import linker_command
from pytest_llmcompiler.program.tool_run import name_descriptor, open_in_memory, run_tool
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.target import Target

_FLAGS = (
    *("-static", "-no-pie", "--image-base=16777216", "-znow", "-z", "stack-size=16777216", "--eh-frame-hdr"),
    *("--build-id=none", "--error-limit=0"),
)
"""What zig's front end tells the linker of such a program. Without the last flag, no more than 20 undefined symbols
would be named."""


def link(objects: Sequence[bytes], *flags: str, target: Target | None = None) -> bytes:
    """Link ELF objects with the bundled musl into a static, position-dependent executable, by more flags of the linker.

    Raises ClangError with the linker's message.
    """
    host = (target or get_target()).host
    with open_in_memory(objects) as files:
        words = [*_FLAGS, *flags, find_start(host), *map(name_descriptor, files), *find_archives(host)]
        return run_tool([*linker_command(), *words, "-o", "-"], descriptors=files).stdout


def undefined_symbols(error: ClangError) -> list[str]:
    """The symbols that a failed `link` missed, in the order of the linker's message."""
    return list(dict.fromkeys(re.findall(r"undefined symbol: (\S+)", str(error))))
