"""gcc's assembly of every C case, as a file of records that `replay:` reads.

    python tests/gcc_answers.py cases -o answers.jsonl [--intel] [-O2] [--passes O0] [--gcc gcc]

What gcc writes is right by another compiler's account, so each verdict on it that isn't `pass` is a false alarm.
An answer is gcc's text of the whole file: so the function comes with all that it needs of the text itself (constants,
jump tables, clones), and a name that the case's program has too means the program's.
"""

from __future__ import annotations

import argparse
import json
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
)


class GccError(Exception):
    """gcc refuses the file; the message is gcc's."""


def assembly(path: Path, *, gcc: str = "gcc", level: str = "O2", intel: bool = False) -> str:
    """gcc's text of the whole file."""
    headers = [f"-isystem{folder}" for folder in header_folders(get_target())]
    syntax = ["-masm=intel"] if intel else ["-masm=att"]
    command = [gcc, *PLAIN, f"-{level}", *syntax, "-nostdinc", *headers, str(path), "-o", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise GccError(done.stderr.strip())
    return done.stdout


def records(
    folder: Path, *, gcc: str = "gcc", level: str = "O2", intel: bool = False, passes: Sequence[str] = ("O0",)
) -> Iterator[dict[str, Any]]:
    """A record for each function and pass list of the C files in a folder, as pytest would ask for them."""
    for path in sorted(folder.rglob("*.c")):
        reference = Reference(read_case(path, path.relative_to(folder).as_posix()), Toolchain())
        text = assembly(path, gcc=gcc, level=level, intel=intel)
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
