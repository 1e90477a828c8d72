"""Linking with the bundled C library into a static executable.

zig's front end knows where the C library is, and builds it first where it must. It takes longer than the linker that it
calls. So its linker's command is learned from the first link for a target, and later links call the linker themselves.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pytest_llmcompiler.errors import ClangError
from pytest_llmcompiler.program.clang import Toolchain, linker_command
from pytest_llmcompiler.program.tool_run import name_descriptor, open_in_memory, run_tool
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.target import Target

_OUTPUT = "program"
_OBJECT_NAMES = r"(?: \d+\.o)+"
"""What the files of a link are called in its folder: zig writes paths below the present folder relative to it."""
_COMMAND = re.compile(rf"ld\.lld (?P<flags>.*) -o {_OUTPUT} (?P<start>/.*?){_OBJECT_NAMES} (?P<archives>.*)")
_NEXT_PATH = re.compile(r" (?=[-/])")
"""A blank between two paths or flags. A path may hold other blanks."""


class LinkCommand(NamedTuple):
    """The words of the linker's command for a target."""

    before: tuple[str, ...]
    """Those before the objects of the program: flags, and the object with the start-up code."""
    after: tuple[str, ...]
    """Those behind them: the archives of the C library."""


_COMMANDS: dict[Target, LinkCommand | None] = {}
"""The commands that were learned; None for one that could not be read."""


def link(objects: Sequence[bytes], *flags: str, target: Target | None = None) -> bytes:
    """Link ELF objects with the bundled musl into a static, position-dependent executable.

    The executable has no debug information unless a flag asks for it. Raises ClangError with the linker's message. The
    first call on a machine builds musl, which takes a minute or two; zig keeps the result in its own cache.
    """
    host = (target or get_target()).host
    linked = None if flags else _link_directly(objects, host)
    return linked if linked is not None else _link_by_front_end(objects, flags or ("-g0",), host)


def undefined_symbols(error: ClangError) -> list[str]:
    """The symbols that a failed `link` missed, in the order of the linker's message."""
    return list(dict.fromkeys(re.findall(r"undefined symbol: (\S+)", str(error))))


def find_link_command(host: Target) -> LinkCommand | None:
    """The linker's command for a target; None where the front end does not show it in a known form."""
    if host not in _COMMANDS:
        link([_compile_empty(host)], target=host)
    return _COMMANDS[host]


def _compile_empty(host: Target) -> bytes:
    with tempfile.TemporaryDirectory(prefix="llmc-") as folder:
        source = Path(folder) / "empty.c"
        source.write_text("int main(void) { return 0; }\n", encoding="utf-8")
        return Toolchain(target=host).compile_file(source, "-c")


def _link_directly(objects: Sequence[bytes], host: Target) -> bytes | None:
    """Link objects by the learned command. None where there is none, or none that works now."""
    command = _COMMANDS.get(host)
    if command is None:
        return None
    try:
        with open_in_memory(objects) as files:
            words = [*linker_command(), *command.before, *map(name_descriptor, files), *command.after, "-o", "-"]
            return run_tool(words, descriptors=files).stdout
    except ClangError as error:
        if undefined_symbols(error):
            raise
        del _COMMANDS[host]  # the front end knows better: it may have to build the C library again
        return None


def _link_by_front_end(objects: Sequence[bytes], flags: Sequence[str], host: Target) -> bytes:
    with tempfile.TemporaryDirectory(prefix="llmc-") as folder:
        names = [f"{number}.o" for number in range(len(objects))]
        for name, data in zip(names, objects, strict=True):
            (Path(folder) / name).write_bytes(data)
        command = [*Toolchain(target=host).command, "-static", "-no-pie", *flags, "-o", _OUTPUT, *names]
        shown = run_tool(command, variables={"ZIG_VERBOSE_LINK": "1"}, folder=folder).stderr
        if tuple(flags) == ("-g0",):
            _COMMANDS[host] = _read_command(shown.decode(errors="replace"))
        return (Path(folder) / _OUTPUT).read_bytes()


def _read_command(shown: str) -> LinkCommand | None:
    """The last linker's command in the output of the front end. Files that are not there would show a misread one."""
    found = list(_COMMAND.finditer(shown))
    if not found:
        return None
    start, archives = (_NEXT_PATH.split(found[-1][part].strip()) for part in ("start", "archives"))
    if not all(Path(word).is_file() for word in (*start, *archives) if word.startswith("/")):
        return None
    return LinkCommand((*found[-1]["flags"].split(), *start), tuple(archives))
