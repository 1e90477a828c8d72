"""Writes pytest_llmcompiler/program/c_libraries: the C library of the programs of cases, for each processor.

    python benchmarks/build_c_library.py [--check]

zig's front end builds musl, its own part of the C library and the compiler's runtime library where it links a program.
What it builds is put into archives anew, without debug information and without the names of its folders, so that the
files are the same wherever this runs. That takes a minute for each processor, and `llvm-ar` and `llvm-strip` (Debian's
package `llvm`). With `--check`, nothing is written: the exit status says whether the files are what is built now.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import ziglang

from pytest_llmcompiler.program.c_library import ARCHIVES, FOLDER, START
from pytest_llmcompiler.targets import get_target, list_target_names

_ZIG = Path(ziglang.__file__).parent
_LICENCES = (_ZIG / "LICENSE", _ZIG / "lib" / "libc" / "musl" / "COPYRIGHT")


def build(zig_target: str) -> dict[str, bytes]:
    """The files of the C library for a target of zig's, by name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "empty.c").write_text("int main(void) { return 0; }\n", encoding="ascii")
        command = [_ZIG / "zig", "cc", "-target", zig_target, "-static", "-no-pie", "-g0", "empty.c", "-o", "empty"]
        places = dict.fromkeys(("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"), "cache")
        variables = {**os.environ, **places, "ZIG_VERBOSE_LINK": "1"}
        run = subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True, text=True)
        files = list(_collect(folder, run.stderr.splitlines()))
        subprocess.run(["llvm-strip", "--strip-debug", "--enable-deterministic-archives", *files], check=True)
        return {file.name: file.read_bytes() for file in files}


def _collect(folder: Path, commands: list[str]) -> Iterator[Path]:
    """Make the files of the objects that zig's commands name: those for archives, and the last one, for the program."""
    start = next(word for word in commands[-1].split() if word.endswith(f"/{START}"))
    yield Path(shutil.copy(folder / start, folder))
    for words in map(str.split, commands):
        if words[:2] == ["ar", "rcs"] and Path(words[2]).name in ARCHIVES:
            archive = folder / Path(words[2]).name
            subprocess.run(["llvm-ar", "qcsD", archive, *words[3:]], cwd=folder, check=True)
            yield archive


def build_all() -> dict[Path, bytes]:
    """The contents of every file in the folder."""
    names = {get_target(name).zig_target for name in list_target_names()}
    files = {FOLDER / target / name: data for target in sorted(names) for name, data in build(target).items()}
    licences = "\n".join(f"{path.relative_to(_ZIG)}:\n\n{path.read_text(encoding='utf-8')}" for path in _LICENCES)
    built_by = f"ziglang {version('ziglang')}\n"
    return files | {FOLDER / "LICENSE": licences.encode(), FOLDER / "VERSION": built_by.encode()}


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    only_check = parser.parse_args().check
    differing = {path: data for path, data in build_all().items() if not path.is_file() or path.read_bytes() != data}
    for path, data in differing.items():
        print(f"{path.relative_to(FOLDER)} differs" if only_check else f"{path.relative_to(FOLDER)} written")
        if not only_check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return int(only_check and bool(differing))


if __name__ == "__main__":
    sys.exit(main())
