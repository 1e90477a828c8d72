"""The archives of the bundled C library: where they are, the names in them, and what is linked of them alone."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pytest_llmcompiler.errors import ClangError
from pytest_llmcompiler.program.clang import linker_command
from pytest_llmcompiler.program.static_link import find_link_command
from pytest_llmcompiler.program.tool_run import name_descriptor, open_in_memory, run_tool
from pytest_llmcompiler.targets.target import Target

_ARCHIVE = re.compile(r"/.*/lib(?:c|zigc|compiler_rt)\.a")
_ARMAP_START, _HEADER_BYTES, _WORD = 8, 60, 4
"""The symbol table of an archive: where it begins, the bytes of a member's header, and of a number."""
_SIZE_FIELD = slice(48, 58)
"""The decimal size of a member in its header (ar.h)."""


def link_beside(objects: Sequence[bytes], names: Iterable[str], address: int, target: Target) -> bytes:
    """Link ELF objects and what they and `names` need of the bundled C library at an address, without start-up code.

    Raises ClangError with the linker's message.
    """
    wanted = "".join(f"--undefined={name}\n" for name in names).encode()
    flags = ("-static", "-no-pie", f"--image-base={address}", "--entry=0", "--strip-debug", "--discard-all")
    with open_in_memory([wanted, *objects]) as descriptors:
        response, *files = map(name_descriptor, descriptors)
        command = [*linker_command(), *flags, "-o", "-", f"@{response}", *files, *find_archives(target)]
        return run_tool(command, descriptors=descriptors).stdout


@functools.cache
def find_archives(target: Target) -> tuple[str, ...]:
    """The archives of the bundled C library and of the compiler's runtime library, in the order of linking.

    zig builds and keeps them.
    """
    command = find_link_command(target.host)
    archives = tuple(path for path in command.after if _ARCHIVE.fullmatch(path)) if command else ()
    if not any(archive.endswith("/libc.a") for archive in archives):
        raise ClangError("the bundled compiler does not tell where its C library is")
    return archives


def read_archive_names(path: Path) -> list[str]:
    """The names in the symbol table of an archive: its first member, a count, so many offsets, and the names."""
    data = path.read_bytes()
    start = _ARMAP_START + _HEADER_BYTES
    size = int(data[_ARMAP_START:start][_SIZE_FIELD])
    count = int.from_bytes(data[start : start + _WORD], "big")
    return data[start + _WORD * (count + 1) : start + size].decode().split("\0")[:count]
