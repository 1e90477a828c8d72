"""gcc's assembly of every C case, as a file of records that `replay:` reads.

    python tests/gcc_answers.py cases -o answers.jsonl [--intel] [-O2] [--passes O0] [--gcc gcc]

What gcc writes is right by another compiler's account, so each verdict on it that isn't `pass` is a false alarm.
An answer is gcc's text of the whole file: so the function comes with all that it needs of the text itself (constants,
jump tables, clones), and a name that the case's program has too means the program's.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain, header_folders
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.targets import get_target

PLAIN = (
    *("-S", "-x", "c", "-w", "-march=x86-64", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"),
    # Every static function is a question of its own.
    "-fkeep-static-functions",
    # gcc may know which registers its own callees leave alone, and that they need no aligned stack. Here the callees
    # are another compiler's, so these two, and no other optimisation, would break the calling convention.
    *("-fno-ipa-ra", "-fno-ipa-stack-alignment"),
)
_STATIC_LOCAL = re.compile(r"(?<![\w.$])([A-Za-z_]\w*)\.(\d+)(?![\w.$])")
_FUNCTION = re.compile(r"^\t\.type\t([\w.$]+), @function\n(.*?)^\t\.size\t\1,", re.MULTILINE | re.DOTALL)


class GccError(Exception):
    """gcc refuses the file, or its text can't be brought together with clang's; the message says which and why."""


def assembly(path: Path, names: Sequence[str], *, gcc: str = "gcc", level: str = "O2", intel: bool = False) -> str:
    """gcc's text of the whole file. `names` are the symbols of clang's program.

    Writable static locals, `counter.0` to gcc, are renamed to what clang calls them, `function.counter`.
    """
    headers = [f"-isystem{folder}" for folder in header_folders(get_target())]
    syntax = ["-masm=intel"] if intel else ["-masm=att"]
    command = [gcc, *PLAIN, f"-{level}", *syntax, "-nostdinc", *headers, str(path), "-o", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise GccError(done.stderr.strip())
    return _renamed(done.stdout, names)


def _renamed(text: str, names: Sequence[str]) -> str:
    mapping = {found[0]: _clang_name(text, *found.groups(), names) for found in _STATIC_LOCAL.finditer(text)}
    return _STATIC_LOCAL.sub(lambda found: mapping[found[0]] or found[0], text)


def _clang_name(text: str, local: str, number: str, names: Sequence[str]) -> str | None:
    """What clang calls the static local; None for what clang has no symbol for."""
    owners = [name for name in names if name.endswith(f".{local}") and name.count(".") == 1]
    if len(owners) > 1:
        # Inlining takes a variable to other functions too, but never out of its own.
        users = {name for name, body in _FUNCTION.findall(text) if re.search(rf"\b{local}\.{number}\b", body)}
        owners = [name for name in owners if name.partition(".")[0] in users]
    if len(owners) > 1:
        raise GccError(f"{local}.{number} may be any of {', '.join(owners)}")
    return owners[0] if owners else None


def records(
    folder: Path, *, gcc: str = "gcc", level: str = "O2", intel: bool = False, passes: Sequence[str] = ("O0",)
) -> Iterator[dict[str, Any]]:
    """A record for each function and pass list of the C files in a folder, as pytest would ask for them."""
    for path in sorted(folder.rglob("*.c")):
        reference = Reference(read_case(path, path.relative_to(folder).as_posix()), Toolchain())
        text = assembly(path, reference.golden.globals, gcc=gcc, level=level, intel=intel)
        for function in reference.functions:
            for asked in reference.case.passes or passes:
                question = {"case": reference.case.name, "function": function, "task": "asm", "passes": asked}
                yield {**question, "sample": 0, "answer": text}


def write(path: Path, made: Iterator[dict[str, Any]]) -> int:
    """Write records as JSON lines; how many there are."""
    lines = [json.dumps(record) for record in made]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write gcc's assembly of the C cases in a folder as records.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--intel", action="store_true", help="Intel syntax in place of AT&T")
    parser.add_argument("-O", dest="level", default="2", help="gcc's optimisation level (default 2)")
    parser.add_argument("--passes", default="O0", help="pass lists of the questions, parted by commas (default O0)")
    parser.add_argument("--gcc", default="gcc")
    given = parser.parse_args()
    made = records(
        given.folder, gcc=given.gcc, level=f"O{given.level}", intel=given.intel, passes=given.passes.split(",")
    )
    print(f"{write(given.output, made)} answers in {given.output}")


if __name__ == "__main__":
    main()
