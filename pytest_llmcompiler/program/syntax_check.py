"""Which of many C and IR files do not compile: clang reads them one after the other in few processes.

Reading a short file takes about 3 ms so, a seventh of what compiling it alone takes. The files may be hostile: a
process has limits of time and memory, and where one ends early its files are read in smaller groups.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from pytest_llmcompiler.errors import ClangError
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.compile_errors import classify_error

_GROUP = 32
"""Files that one process reads."""
_GROUP_SECONDS, _FILE_SECONDS = 60, 10
"""Time limits of a process that reads a group, and of one that reads a single file."""
_KILOBYTES = 8 << 20
"""Address space of a process, in KiB."""
_ERROR = re.compile(r"(?:fatal )?error: (?P<words>.*)$")
_IR_FLAGS = ("-emit-llvm-only", "-Wno-everything", "-x", "ir")


class CompileFault(NamedTuple):
    """Why a file does not compile."""

    kind: str
    """As that of `CompileError`."""
    words: str
    """clang's first error, without the place."""


def find_uncompilable(paths: Sequence[Path], toolchain: Toolchain, processes: int) -> dict[Path, CompileFault]:
    """The files that do not compile, with so many processes side by side. Raises ClangError where clang can't be run.

    What only code generation refuses, such as inline assembly with an error, is not found.
    """
    c_command = toolchain.find_front_end()
    ir_command = [*c_command[:2], "-triple", toolchain.target.triple, *_IR_FLAGS]
    groups = []
    for command, suffix in ((c_command, ".c"), (ir_command, ".ll")):
        files = [path for path in paths if path.suffix == suffix]
        groups += [(command, files[start : start + _GROUP]) for start in range(0, len(files), _GROUP)]
    with ThreadPoolExecutor(max(1, processes)) as pool:
        results = pool.map(lambda group: dict(_check_group(*group)), groups)
        return {path: fault for found in results for path, fault in found.items()}


def _check_group(command: Sequence[str], paths: Sequence[Path]) -> Iterator[tuple[Path, CompileFault]]:
    """The files of a group that do not compile."""
    seconds = _GROUP_SECONDS if len(paths) > 1 else _FILE_SECONDS
    status, text = _run([*command, *map(str, paths)], seconds)
    if status == 0:
        return
    faults = dict(_read_errors(text, paths)) if status == 1 else {}
    if faults:
        yield from faults.items()
    elif len(paths) > 1:
        middle = len(paths) // 2
        yield from _check_group(command, paths[:middle])
        yield from _check_group(command, paths[middle:])
    else:
        words = f"clang takes more than {seconds} s" if status is None else f"clang ends with status {status}"
        yield paths[0], CompileFault("other", words)


def _run(command: Sequence[str], seconds: float) -> tuple[int | None, str]:
    """The exit status of a command, None where it takes too long, and what it writes to standard error."""
    limited = ["/bin/sh", "-c", f'ulimit -v {_KILOBYTES}; ulimit -c 0; exec "$@"', "sh", *command]
    try:
        done = subprocess.run(
            limited, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return None, ""
    except OSError as error:
        raise ClangError(f"clang can't be run: {error}") from error
    return done.returncode, os.fsdecode(done.stderr)


def _read_errors(text: str, paths: Sequence[Path]) -> Iterator[tuple[Path, CompileFault]]:
    """The first error of each file in clang's text. An error in a header is that of the file that includes it."""
    named = {str(path): path for path in paths}
    current: Path | None = None
    seen: set[Path] = set()
    for line in text.splitlines():
        start = line.removeprefix("In file included from ")
        current = named.get(re.split(r":\d+", start, maxsplit=1)[0], current)
        error = _ERROR.search(line) if re.match(r".*?:\d+(?::\d+)?: (?:fatal )?error: ", line) else None
        if error and current is not None and current not in seen:
            seen.add(current)
            yield current, CompileFault(classify_error(error["words"]), error["words"])
