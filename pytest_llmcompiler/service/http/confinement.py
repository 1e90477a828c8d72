"""The server's processes confined by the kernel: which files they may open, and that they connect to nobody.

It is Landlock (https://docs.kernel.org/userspace-api/landlock.html), which Linux has since 5.13. It takes no rights of
an administrator, holds for all children, and can't be undone.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

from pytest_llmcompiler.files import cache_folder

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""The numbers of the system calls, the same on every processor."""
_VERSION_FLAG, _PATH_BENEATH, _NO_NEW_PRIVILEGES = 1, 1, 38
"""From <linux/landlock.h> and <linux/prctl.h>."""
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_FOLDER, _TRUNCATE = 1 << 4, 1 << 14
_FILE_RIGHTS = _EXECUTE | _WRITE | _READ | _TRUNCATE | 1 << 15
"""The rights that a rule for a file, and not for a folder, can have. The last is for the ioctl of devices."""
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights about files a version of Landlock knows. Later versions know 16."""
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6
"""The versions that can forbid TCP, and signals and abstract sockets to processes outside."""

_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/proc", "/sys/devices/system/cpu", "/sys/fs/cgroup")
_SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/dev/urandom", "/dev/random", "/dev/zero")


def confine(temporary: Path) -> str | None:
    """Confine this process, its later threads and its later children. To be called before there are any.

    They may read the installed programs and packages, write into the cache and into `temporary`, open no TCP connection
    and listen on no further port, and signal no process outside. Returns None, or the reason why the kernel can't.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    if version < 1:
        return f"this kernel has no Landlock ({os.strerror(ctypes.get_errno())})"
    handled = (1 << _RIGHTS.get(version, 16)) - 1
    network = 3 if version >= _NETWORK_SINCE else 0
    scopes = 3 if version >= _SCOPES_SINCE else 0
    attributes = struct.pack("=QQQ", handled, network, scopes)
    size = 24 if scopes else 16 if network else 8  # an old kernel refuses fields that it does not know
    ruleset = libc.syscall(_CREATE_RULESET, attributes, size, 0)
    if ruleset < 0:
        return f"Landlock: {os.strerror(ctypes.get_errno())}"
    try:
        for path in _readable():
            _allow(libc, ruleset, path, handled & (_EXECUTE | _READ | _LIST))
        for path in _writable(temporary):
            _allow(libc, ruleset, path, handled)
        _allow(libc, ruleset, temporary.parent, _REMOVE_FOLDER)  # so that `temporary` itself can be removed
        if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.syscall(_RESTRICT_SELF, ruleset, 0):
            return f"Landlock: {os.strerror(ctypes.get_errno())}"
    finally:
        os.close(ruleset)
    return None


def _readable() -> Iterable[Path]:
    """What Python and the compiler are read from. The current folder is left out: it is the user's."""
    import ziglang

    package = Path(__file__).parents[3]
    imported = [Path(entry) for entry in sys.path if entry and Path(entry).resolve() != Path.cwd()]
    prefixes = map(Path, (sys.prefix, sys.base_prefix, sys.exec_prefix))
    return [
        *map(Path, (*_SYSTEM, *_SYSTEM_FILES)),
        *prefixes,
        *imported,
        Path(sys.executable).resolve().parent,
        Path(ziglang.__file__).parent,
        package,
    ]


def _writable(temporary: Path) -> Iterable[Path]:
    """The folders in which files are made: those of the judge and of the bundled compiler."""
    zig = os.environ.get("ZIG_GLOBAL_CACHE_DIR")
    shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folders = (cache_folder(), Path(zig) if zig else shared / "zig")
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    return (*folders, temporary, Path("/dev/null"))


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    """Allow what lies below a folder, or one file. What does not exist is left out."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights &= rights if path.is_dir() else _FILE_RIGHTS
        rule = struct.pack("=Qi", rights, descriptor)
        libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)
