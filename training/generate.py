"""Make pairs of short IR and expected answers from random programs: files of a fixed size that can be made one by one.

    python training/generate.py FOLDER --files 40

A file that is there is not made again. `cases.jsonl` holds the functions of `cases/`, which are never trained on.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import programs
from expected import UnfitError, expected

from pytest_llmcompiler.program import short
from pytest_llmcompiler.program.case import SUFFIXES, read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.ir_extract import extract
from pytest_llmcompiler.program.reference import Reference

EACH, TOGETHER = 2400, 24
"""Programs for a file of pairs, and for one call of clang."""
EACH_HELD_OUT = 720
SHORT = 22
"""How many files have short programs: a training begins with them. Those of all later files are longer."""
HELD_OUT, HELD_OUT_LONGER = 1_000_000, 1_000_001
"""The numbers of the files for evaluation, whose programs have other seeds than those for training."""
CASES = Path(__file__).resolve().parents[1] / "cases"


def pairs(texts: list[str]) -> Iterator[dict[str, str]]:
    """A record for each function (named f0, f1, …): its C text, its short IR and the expected answer.

    Functions that the answer's form has no room for are left out.
    """
    with tempfile.TemporaryDirectory(prefix="llmc-") as folder:
        path = Path(folder) / "programs.c"
        path.write_text(programs.PRELUDE + "\n".join(texts), encoding="utf-8")
        text = Toolchain().emit_ir(path)
    for number, source in enumerate(texts):
        made = short.shorten(extract(text, f"f{number}"), f"f{number}")
        try:
            answer = expected(made.module)
        except UnfitError:
            continue
        yield {"source": source, "function": f"f{number}", "prompt": made.text, "answer": answer}


def sources(start: int, *, longer: bool) -> list[str]:
    """The programs for one call of clang, from a seed on."""
    return [programs.Program(start + n, longer=longer).text(f"f{n}") for n in range(TOGETHER)]


def is_longer(number: int) -> bool:
    """Whether a file has longer programs."""
    return number >= SHORT and number != HELD_OUT


def write_file(folder: Path, number: int) -> Path:
    """Make the file of pairs with this number, unless it is there."""
    path = folder / f"pairs-{number}.jsonl"
    if not path.exists():
        count = EACH if number < HELD_OUT else EACH_HELD_OUT
        first = range(number * EACH, number * EACH + count, TOGETHER)
        _write(path, (pair for start in first for pair in pairs(sources(start, longer=is_longer(number)))))
    return path


def cases() -> Iterator[dict[str, str]]:
    """The functions of this repository's cases: their short IR."""
    for path in sorted(path for path in CASES.iterdir() if path.suffix in SUFFIXES):
        reference = Reference(read_case(path), Toolchain())
        for function in reference.functions:
            yield {"case": path.name, "function": function, "prompt": reference.texts.short_ir(function).text}


def _write(path: Path, records: Iterable[dict[str, str]]) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    with unfinished.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    unfinished.rename(path)


def main() -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=40, help="how many, of about 2,300 pairs each")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    _write(options.folder / "cases.jsonl", cases())
    numbers = [HELD_OUT, HELD_OUT_LONGER, *range(options.files)]
    with ProcessPoolExecutor(options.processes) as pool:
        for path in pool.map(write_file, [options.folder] * len(numbers), numbers):
            print(path, flush=True)


if __name__ == "__main__":
    main()
