"""A process that gives up files, TCP connections and signals to others, by the kernel's Landlock.

Landlock (https://docs.kernel.org/userspace-api/landlock.html) is in Linux since 5.13. It takes no rights of an
administrator, holds for all that the process starts later, and can't be undone. What a process has open stays open.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pytest_llmcompiler.files import cache_folder

_LIBRARY = ctypes.CDLL(None, use_errno=True)
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""The numbers of the system calls, the same on every processor."""
_VERSION_FLAG, _PATH_BENEATH, _NO_NEW_PRIVILEGES = 1, 1, 38
"""From <linux/landlock.h> and <linux/prctl.h>."""
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_FOLDER = 1 << 4
_TRUNCATE = 1 << 14
READABLE = _EXECUTE | _READ | _LIST
"""The rights to read and to run programs."""
EVERYTHING = (1 << 16) - 1
_FILE_RIGHTS = _EXECUTE | _WRITE | _READ | _TRUNCATE | 1 << 15
"""The rights that a rule for a file, and not for a folder, can have. The last is for the ioctl of devices."""
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights about files a version of Landlock knows. Later versions know 16."""
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6
"""The versions that can forbid TCP, and signals and abstract sockets to processes outside."""
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/proc", "/sys/devices/system/cpu", "/sys/fs/cgroup")
_SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/dev/urandom", "/dev/random", "/dev/zero")


@functools.cache
def find_version() -> int:
    """The version of the kernel's Landlock. Raises OSError where it has none."""
    version = int(_LIBRARY.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG))
    if version < 1:
        raise OSError(ctypes.get_errno(), f"this kernel has no Landlock ({os.strerror(ctypes.get_errno())})")
    return version


def find_missing_reason() -> str | None:
    """Why this machine has no Landlock; None where it has."""
    try:
        find_version()
    except OSError as error:
        return str(error.strerror)
    return None


def restrict(rules: Iterable[tuple[Path, int]]) -> str | None:
    """Let this process, its later threads and its later children have these rights below these folders, and none
    elsewhere; open no TCP connection and listen on no further port; and signal no process outside.

    Threads that there are already keep their rights. Returns None, or the reason why the kernel can't.
    """
    reason = find_missing_reason()
    if reason:
        return reason
    version = find_version()
    handled = (1 << _RIGHTS.get(version, 16)) - 1
    network = 3 if version >= _NETWORK_SINCE else 0
    scopes = 3 if version >= _SCOPES_SINCE else 0
    attributes = struct.pack("=QQQ", handled, network, scopes)
    size = 24 if scopes else 16 if network else 8  # an old kernel refuses fields that it does not know
    ruleset = _LIBRARY.syscall(_CREATE_RULESET, attributes, size, 0)
    if ruleset < 0:
        return f"Landlock: {os.strerror(ctypes.get_errno())}"
    try:
        for path, rights in rules:
            _allow(ruleset, path, handled & rights)
        if _LIBRARY.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or _LIBRARY.syscall(_RESTRICT_SELF, ruleset, 0):
            return f"Landlock: {os.strerror(ctypes.get_errno())}"
    finally:
        os.close(ruleset)
    return None


def list_installed() -> tuple[Path, ...]:
    """What Python and the compiler are read from. The current folder is left out: it is the user's."""
    return _find_installed(tuple(sys.path), Path.cwd())


@functools.lru_cache(maxsize=4)
def _find_installed(imports: Sequence[str], folder: Path) -> tuple[Path, ...]:
    """The same for places of imports and a current folder."""
    import ziglang

    imported = [Path(entry) for entry in imports if entry and Path(entry).resolve() != folder]
    prefixes = map(Path, (sys.prefix, sys.base_prefix, sys.exec_prefix))
    return (
        *map(Path, (*_SYSTEM, *_SYSTEM_FILES)),
        *prefixes,
        *imported,
        Path(sys.executable).resolve().parent,
        Path(ziglang.__file__).parent,
        Path(__file__).parents[1],
    )


def allow_programs(programs: Sequence[Path] = ()) -> list[tuple[Path, int]]:
    """The rules for a process that starts these programs and those of the toolchain and of the cache, and writes no
    file."""
    readable = (*list_installed(), cache_folder(), *programs)
    return [(path, READABLE) for path in readable] + [(Path("/dev/null"), EVERYTHING)]


def _allow(ruleset: int, path: Path, rights: int) -> None:
    """Allow what lies below a folder, or one file. What does not exist is left out."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights &= rights if path.is_dir() else _FILE_RIGHTS
        rule = struct.pack("=Qi", rights, descriptor)
        _LIBRARY.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)
