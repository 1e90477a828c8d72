"""What strace saw of a run: which files were opened, which programs started, which sockets made, and by whom.

Each file must be of one of the kinds below. The first process of the trace, the campaign itself, looks at the canary and
listens for connections; no other may.
"""

from __future__ import annotations

import re
import site
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import ziglang

from pytest_llmcompiler.files import cache_folder
from pytest_llmcompiler.landlock import list_installed

CALLS = "open,openat,openat2,creat,socket,connect,execve"
"""The system calls that are traced."""
_CALL = re.compile(r"(?P<process>\d+)\s+(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+)(?:<(?P<path>[^>]*)>)?")
_NAMED = re.compile(r'"([^"]*)"')
_SYSTEM_FILES = (
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/debian_version", "/etc/lsb-release", "/etc/os-release"),
    *(
        "/etc/redhat-release",
        "/usr/lib",
        "/usr/lib64",
        "/usr/share/locale",
        "/lib",
        "/lib64",
        "/sys/devices/system/cpu",
    ),
    *("/sys/fs/cgroup", "/usr/share/zoneinfo", "/etc/locale.alias", "/etc/ssl/openssl.cnf"),
)
"""What the dynamic linker, Python and the compiler look at in the system."""


@dataclass
class Trace:
    """What was seen, and what of it must not be."""

    opened: Counter[str] = field(default_factory=Counter)
    """Files that were opened, by kind."""
    started: Counter[str] = field(default_factory=Counter)
    """Programs that were started."""
    unexpected: Counter[str] = field(default_factory=Counter)
    """Calls that no process may make."""


def read_trace(lines: Iterable[str], package: Path, canary: str) -> Trace:
    """Sort the calls of a trace that strace wrote with -y. `canary` is a part of the name of the canary's folder."""
    trace, kinds, campaign = Trace(), dict(_list_kinds(package)), ""
    rules = {str(rule.resolve()) for rule in list_installed()}
    for line in lines:
        call = _CALL.match(line)
        if call is None:
            continue
        campaign = campaign or call["process"]
        named = _NAMED.search(call["arguments"])
        path = call["path"] or (named[1] if named else "")
        if call["process"] == campaign and (canary in path or call["name"] == "socket"):
            continue
        if canary in line and call["name"] != "execve":
            trace.unexpected[f"{call['name']} {path}"] += 1
        elif call["name"] in ("socket", "connect"):
            trace.unexpected[f"{call['name']} {call['arguments'][:60]}"] += 1
        elif int(call["result"]) < 0:
            continue
        elif call["name"] == "execve":
            trace.started[Path(path).name] += 1
        else:
            kind = "folders that rules of Landlock name" if path in rules else find_kind(path, kinds)
            (trace.opened if kind else trace.unexpected)[kind or f"{call['name']} {path}"] += 1
    return trace


def find_kind(path: str, kinds: dict[str, tuple[str, ...]]) -> str | None:
    """The kind of an opened file: the one that names a folder above it, or itself."""
    for kind, places in kinds.items():
        if any(path == place or path.startswith(place.rstrip("/") + "/") for place in places):
            return kind
    return None


def _list_kinds(package: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    temporary = tempfile.gettempdir()
    prefixes = {
        sys.prefix,
        sys.base_prefix,
        sys.exec_prefix,
        *site.getsitepackages(),
        str(Path(ziglang.__file__).parent),
    }
    yield "installed packages and Python", tuple(prefixes)
    yield "this package", (str(package), *(entry for entry in sys.path if entry))
    yield "the system's libraries and descriptions", _SYSTEM_FILES
    yield "devices: null, zero, random numbers", ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
    yield "the kernel's files about processes", ("/proc",)
    yield "caches of the judge and of the compiler", (str(cache_folder()), str(Path.home() / ".cache" / "zig"))
    yield "temporary files", (temporary, "/memfd:sandbox-output", "/memfd:tool-output", "/memfd:tool-input")
