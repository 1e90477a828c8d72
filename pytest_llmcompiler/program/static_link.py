"""Linking with the bundled C library into a static executable.

zig's front end knows where the C library is, and builds it first where it must. It takes longer than the linker that it
calls. So its linker's command is learned from the first link for a target, and kept in the cache folder. Later links
call the linker themselves.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pytest_llmcompiler.cache_files import CacheFile, describe_libraries
from pytest_llmcompiler.errors import ClangError
from pytest_llmcompiler.program.clang import Toolchain, linker_command
from pytest_llmcompiler.program.tool_run import name_descriptor, open_in_memory, run_tool
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.target import Target
from pytest_llmcompiler.temporary import temporary_folder

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
"""The commands that are known; None for one that could not be read."""
_VARIABLES = ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR", "XDG_CACHE_HOME", "HOME")
"""The variables of the environment that say where zig keeps what it builds."""


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
    if find_known_command(host) is None and host not in _COMMANDS:
        link([_compile_empty(host)], target=host)
    return _COMMANDS[host]


def find_known_command(host: Target) -> LinkCommand | None:
    """The linker's command for a target, if some link of this or an earlier process showed it."""
    if host not in _COMMANDS:
        saved = _cache_file(host).read()
        words = [part.split("\n") for part in saved.decode(errors="replace").split("\n\n")] if saved else []
        if len(words) == len(LinkCommand._fields) and _are_files(itertools.chain(*words)):
            _COMMANDS[host] = LinkCommand(*map(tuple, words))
    return _COMMANDS.get(host)


def _keep_command(host: Target, command: LinkCommand | None) -> None:
    _COMMANDS[host] = command
    if command:
        _cache_file(host).write("\n\n".join(map("\n".join, command)).encode())


def _cache_file(host: Target) -> CacheFile:
    """A line for each word of the linker's command, and an empty one in the place of the objects."""
    places = (os.environ.get(name, "") for name in _VARIABLES)
    return CacheFile("links", (describe_libraries("ziglang"), linker_command()[0], host.name, *places))


def _compile_empty(host: Target) -> bytes:
    with temporary_folder() as folder:
        source = folder / "empty.c"
        source.write_text("int main(void) { return 0; }\n", encoding="utf-8")
        return Toolchain(target=host).compile_file(source, "-c")


def _link_directly(objects: Sequence[bytes], host: Target) -> bytes | None:
    """Link objects by the learned command. None where there is none, or none that works now."""
    command = find_known_command(host)
    if command is None:
        return None
    try:
        with open_in_memory(objects) as files:
            words = [*linker_command(), *command.before, *map(name_descriptor, files), *command.after, "-o", "-"]
            return run_tool(words, descriptors=files).stdout
    except ClangError as error:
        if undefined_symbols(error):
            raise
        _COMMANDS[host] = None  # the front end knows better: it may have to build the C library again
        return None


def _link_by_front_end(objects: Sequence[bytes], flags: Sequence[str], host: Target) -> bytes:
    with temporary_folder() as folder:
        names = [f"{number}.o" for number in range(len(objects))]
        for name, data in zip(names, objects, strict=True):
            (folder / name).write_bytes(data)
        command = [*Toolchain(target=host).command, "-static", "-no-pie", *flags, "-o", _OUTPUT, *names]
        shown = run_tool(command, variables={"ZIG_VERBOSE_LINK": "1"}, folder=str(folder)).stderr
        if tuple(flags) == ("-g0",):
            _keep_command(host, _read_command(shown.decode(errors="replace")))
        return (folder / _OUTPUT).read_bytes()


def _read_command(shown: str) -> LinkCommand | None:
    """The last linker's command in the output of the front end. Files that are not there would show a misread one."""
    found = list(_COMMAND.finditer(shown))
    if not found:
        return None
    start, archives = (_NEXT_PATH.split(found[-1][part].strip()) for part in ("start", "archives"))
    command = LinkCommand((*found[-1]["flags"].split(), *start), tuple(archives))
    return command if _are_files(itertools.chain(*command)) else None


def _are_files(words: Iterable[str]) -> bool:
    """Whether the words of a command that are paths lead to files."""
    return all(Path(word).is_file() for word in words if word.startswith("/"))
