"""Writes pytest_llmcompiler/program/glibc_names.txt: every name that glibc exports, and what the judge has for it.

    python benchmarks/list_glibc_names.py [--check]

The names are those of glibc's own lists of its interface (the `abilist` files of its source), which the bundled
compiler carries in one file for all versions, and those of this machine's glibc where it has one (what `nm -D
--defined-only` shows). Names that only glibc itself may use (`GLIBC_PRIVATE`) are left out. With `--check`, nothing is
written: the exit status says whether the file is up to date.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import ziglang
from elftools.elf.elffile import ELFFile

from pytest_llmcompiler.program.c_library import list_library_names
from pytest_llmcompiler.program.image import read_defined_names
from pytest_llmcompiler.program.runtime_objects import compile_glibc
from pytest_llmcompiler.targets import get_target

LIST = Path(__file__).parents[1] / "pytest_llmcompiler" / "program" / "glibc_names.txt"
_TARGETS = {"x86_64-linux": "x86_64-linux-gnu", "aarch64-linux": "aarch64-linux-gnu"}
"""Our targets, by the names of the bundled compiler's list."""
_LIBRARIES = ("c", "m", "pthread", "dl", "rt", "util", "resolv", "crypt", "anl", "mvec")
_HEADER = """# Every name that glibc exports. benchmarks/list_glibc_names.py writes this file.
# NAME          the bundled C library or glibc.c has it
# NAME = OTHER  the same function is called OTHER there
# NAME ?        it is not there
"""

_SAME = re.compile(
    r"""
    (?:__|__isoc23_)?(?P<number>(?:str|wcs)to\w+)_l    # the C library has one locale only
    | __isoc(?:99|23)_(?P<isoc>\w+)                # the functions of a C standard
    | __libc_(?P<libc>malloc|calloc|realloc|free|memalign|valloc|pvalloc)
    | _IO_(?P<stdio>fclose|fdopen|feof|ferror|fflush|fgetpos|fgetpos64|fgets|flockfile|fopen|fprintf|fputs|fread
        |fsetpos|fsetpos64|ftell|ftrylockfile|funlockfile|fwrite|gets|popen|printf|puts|setbuffer|setvbuf|sprintf
        |sscanf|ungetc|vfprintf|vfscanf|vsprintf)
    | _(?P<case>toupper|tolower)
    | (?P<gamma>__(?:gamma|lgamma)(?P<gamma_suffix>[fl]?)_r_finite)
    | __(?P<finite>\w+)_finite                    # -ffinite-math-only
    | (?P<double>\w+)f(?:64|32x)(?P<double_tail>_r|_l)? | (?P<single>\w+)f32(?P<single_tail>_r|_l)?
    | (?P<extended>\w+)f64x(?P<extended_tail>_r|_l)?
    | (?P<large>\w+)64(?P<large_tail>_r)?             # files above 2 GiB
    | __(?P<plain>\w+?)(?P<internal>_internal)?     # the name for glibc's own use
    """,
    re.VERBOSE,
)
_SPECIAL = {
    "__longjmp_chk": "longjmp",
    "__memcmpeq": "memcmp",
    **{f"is{kind}{suffix}": f"__is{kind}{suffix}" for kind in ("inf", "nan") for suffix in ("", "f", "l")},
}
_OTHER_MEANING = frozenset({"__assert", "__bsd_getpgrp", "__sigpause", "__strerror_r", "__xpg_sigpause"})
"""Names of functions that do something else than those without the underscores."""
_NUMBER_SUFFIXES = {"": "d", "f": "f", "l": "ld"}
"""The ends of strtod, strtof and strtold, by the suffix of the same type in <math.h>."""


def read_abilists() -> dict[str, set[str]]:
    """The names of every version of glibc, by the bundled compiler's target."""
    reader = _AbiReader((Path(ziglang.__file__).parent / "lib" / "libc" / "glibc" / "abilists").read_bytes())
    return reader.read()


class _AbiReader:
    """Reads the bundled compiler's list: libraries, versions, targets, then functions, variables, and variables of
    threads, each with the targets, the library and the versions that have it."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self) -> dict[str, set[str]]:
        for _ in range(self._byte()):
            self._text()
        versions = self._byte()
        self._at += 3 * versions
        targets = [self._text() for _ in range(self._byte())]
        names: dict[str, set[str]] = {target: set() for target in targets}
        for has_size in (False, True, True):
            count = self._byte() | self._byte() << 8
            name = ""
            for _ in range(count):
                name = name or self._text()
                mask = self._number()
                if has_size:
                    self._number()
                is_last = self._byte() & 128
                while not self._byte() & 128:
                    pass
                for index, target in enumerate(targets):
                    if mask >> index & 1:
                        names[target].add(name)
                name = "" if is_last else name
        return names

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _text(self) -> str:
        start, self._at = self._at, self._data.index(0, self._at) + 1
        return self._data[start : self._at - 1].decode()

    def _number(self) -> int:
        """A number in LEB128."""
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                return value


def read_machine() -> set[str]:
    """The names of the dynamic symbols of this machine's glibc; none where it has another C library."""
    names: set[str] = set()
    for library in _LIBRARIES:
        for folder in ("/lib/x86_64-linux-gnu", "/lib64"):
            for path in Path(folder).glob(f"lib{library}.so.[0-9]*"):
                names |= _dynamic_names(path.read_bytes())
    return names


def _dynamic_names(data: bytes) -> set[str]:
    elf = ELFFile(io.BytesIO(data))
    versions = {
        auxiliary["vna_other"] if "vna_other" in auxiliary.entry else definition["vd_ndx"]: auxiliary.name
        for definition, auxiliaries in elf.get_section_by_name(".gnu.version_d").iter_versions()
        for auxiliary in list(auxiliaries)[:1]
    }
    numbers = elf.get_section_by_name(".gnu.version")
    names = set()
    for index, symbol in enumerate(elf.get_section_by_name(".dynsym").iter_symbols()):
        number = numbers.get_symbol(index)["ndx"]
        version = versions.get(number & 0x7FFF if isinstance(number, int) else number, "")
        is_name = symbol["st_shndx"] not in ("SHN_UNDEF", "SHN_ABS") and version != "GLIBC_PRIVATE"
        if symbol.name and is_name:
            names.add(symbol.name)
    return names


def read_available(target_name: str) -> set[str]:
    """The names that the bundled C library and `glibc.c` define."""
    target = get_target(target_name)
    return {*read_defined_names(compile_glibc(target)), *list_library_names(target)}


def find_alias(name: str, available: set[str]) -> str | None:
    """The name under which the bundled C library has a function of glibc; None where it has none."""
    if name in _SPECIAL:
        return _SPECIAL[name]
    match = None if name in _OTHER_MEANING else _SAME.fullmatch(name)
    return next((other for other in _other_names(match) if other in available), None) if match else None


def _other_names(match: re.Match[str]) -> Iterator[str]:
    """What a function may be called in the bundled C library, the likeliest first."""
    groups = {key: value or "" for key, value in match.groupdict().items()}
    for key in ("isoc", "libc", "stdio", "case", "number"):
        if groups[key]:
            yield groups[key]
    if groups["gamma"]:
        yield f"lgamma{groups['gamma_suffix']}_r"
    for key, suffix in (("finite", ""), ("double", ""), ("single", "f"), ("extended", "l")):
        base, tail = groups[key], groups.get(f"{key}_tail", "")
        if base:
            yield base + (_NUMBER_SUFFIXES[suffix] if base in ("strto", "wcsto") else suffix) + tail
    if groups["large"]:
        yield groups["large"] + groups["large_tail"]
        yield groups["large"].removeprefix("__") + groups["large_tail"]
    if groups["plain"]:
        yield groups["plain"]


def build_list() -> str:
    """The text of the file."""
    by_target = read_abilists()
    names = set.union(read_machine(), *(by_target[known] for known in _TARGETS.values()))
    available = set.intersection(*map(read_available, _TARGETS))
    lines = []
    for name in sorted(names):
        alias = None if name in available else find_alias(name, available)
        lines.append(name if name in available else f"{name} = {alias}" if alias else f"{name} ?")
    return _HEADER + "\n".join(lines) + "\n"


def main() -> int:
    """Write the list, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the file is not up to date")
    text = build_list()
    if parser.parse_args().check:
        return int(text != LIST.read_text(encoding="ascii"))
    LIST.write_text(text, encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
