"""The archives of the bundled C library: where they are, the names in them, and what is linked of them alone."""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from pytest_llmcompiler.errors import ClangError
from pytest_llmcompiler.program.clang import Toolchain, linker_command, run_tool
from pytest_llmcompiler.targets.target import Target

_ARCHIVE = re.compile(r"(/.*/lib(?:c|zigc|compiler_rt)\.a)(?: |$)", re.MULTILINE)
_ARMAP_START, _HEADER_BYTES, _WORD = 8, 60, 4
"""The symbol table of an archive: where it begins, the bytes of a member's header, and of a number."""
_SIZE_FIELD = slice(48, 58)
"""The decimal size of a member in its header (ar.h)."""


def link_beside(objects: Sequence[bytes], names: Iterable[str], address: int, target: Target) -> bytes:
    """Link ELF objects and what they and `names` need of the bundled C library at an address, without start-up code.

    Raises ClangError with the linker's message.
    """
    with tempfile.TemporaryDirectory(prefix="llmc-") as folder:
        paths = [Path(folder) / f"{number}.o" for number in range(len(objects))]
        for path, data in zip(paths, objects, strict=True):
            path.write_bytes(data)
        wanted, output = Path(folder) / "wanted", Path(folder) / "image"
        wanted.write_text("".join(f"--undefined={name}\n" for name in names), encoding="utf-8")
        flags = ("-static", "-no-pie", f"--image-base={address}", "--entry=0", "--strip-debug", "--discard-all")
        files = [f"@{wanted}", *map(str, paths), *find_archives(target)]
        run_tool([*linker_command(), *flags, "-o", str(output), *files])
        return output.read_bytes()


@functools.cache
def find_archives(target: Target) -> tuple[str, ...]:
    """The archives of the bundled C library and of the compiler's runtime library, in the order of linking.

    zig builds and keeps them. It names them when it shows the linker's command.
    """
    with tempfile.TemporaryDirectory(prefix="llmc-") as folder:
        source = Path(folder) / "empty.c"
        source.write_text("int main(void) { return 0; }\n", encoding="utf-8")
        command = [*Toolchain(target=target.host).command, "-static", "-o", str(Path(folder) / "empty"), str(source)]
        # zig writes paths below the present folder relative to it: in an empty folder there are none.
        shown = run_tool(command, {"ZIG_VERBOSE_LINK": "1"}, folder).stderr.decode(errors="replace").strip()
    # A path may hold spaces, but each begins with a slash.
    paths = (_ARCHIVE.match(word) for word in re.split(r" (?=/)", shown))
    archives = tuple(path[1] for path in paths if path)
    if not any(archive.endswith("/libc.a") for archive in archives):
        raise ClangError(f"the bundled compiler does not tell where its C library is: {shown}")
    return archives


def read_archive_names(path: Path) -> list[str]:
    """The names in the symbol table of an archive: its first member, a count, so many offsets, and the names."""
    data = path.read_bytes()
    start = _ARMAP_START + _HEADER_BYTES
    size = int(data[_ARMAP_START:start][_SIZE_FIELD])
    count = int.from_bytes(data[start : start + _WORD], "big")
    return data[start + _WORD * (count + 1) : start + size].decode().split("\0")[:count]
