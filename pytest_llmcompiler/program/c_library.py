"""The bundled C library: where its files are, the names in them, and what is linked of them alone.

The library is what zig's front end builds where it links a program with musl. Building it takes a minute on two cores.
So it comes ready with this package, for each processor: `benchmarks/build_c_library.py` writes the folder, and says
there which release of ziglang built it. It is linked whichever release is installed: the linker takes any archive, and
the interface of musl 1.2 stays. A test compares it with the sources in the installed release, and fails where they
differ: then the folder is to be written anew.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

from pytest_llmcompiler.program.clang import linker_command
from pytest_llmcompiler.program.tool_run import name_descriptor, open_in_memory, run_tool
from pytest_llmcompiler.targets.target import Target

FOLDER = Path(__file__).with_name("c_libraries")
"""A folder for each of zig's targets. Its files are named below."""
START = "crt1.o"
"""The object with the start-up code."""
ARCHIVES = ("libc.a", "libzigc.a", "libcompiler_rt.a")
"""musl, the functions of the C library that zig defines instead of musl, and the compiler's runtime library, in the
order of linking. The latter two are one object each."""
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


def find_start(target: Target) -> str:
    """The path of the object with the start-up code."""
    return str(FOLDER / target.zig_target / START)


def find_archives(target: Target) -> list[str]:
    """The paths of the archives of the C library and of the compiler's runtime library, in the order of linking."""
    return [str(FOLDER / target.zig_target / name) for name in ARCHIVES]


@functools.cache
def list_library_names(target: Target) -> frozenset[str]:
    """The names that the archives define."""
    return frozenset(name for path in find_archives(target) for name in _read_archive_names(Path(path)))


def _read_archive_names(path: Path) -> list[str]:
    """The names in the symbol table of an archive: its first member, a count, so many offsets, and the names."""
    data = path.read_bytes()
    start = _ARMAP_START + _HEADER_BYTES
    size = int(data[_ARMAP_START:start][_SIZE_FIELD])
    count = int.from_bytes(data[start : start + _WORD], "big")
    return data[start + _WORD * (count + 1) : start + size].decode().split("\0")[:count]
