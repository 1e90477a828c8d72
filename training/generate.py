"""Generate pairs of short IR and expected answers from random programs, in files of a fixed number of programs.

    python training/generate.py FOLDER --files 40

An existing file is not generated again. `cases.jsonl` holds the functions of `cases/`, which are never trained on.
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
from expected import UnfitError, build_expected_answer

from pytest_llmcompiler.program import short
from pytest_llmcompiler.program.case import SUFFIXES, read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.ir_extract import extract
from pytest_llmcompiler.program.reference import Reference

PROGRAMS_PER_FILE, PROGRAMS_PER_CALL = 2400, 24
"""The number of programs of a file of pairs, and of one call of clang."""
PROGRAMS_PER_HELD_OUT_FILE = 720
"""The number of programs of a file for evaluation: enough for some 650 functions."""
SHORT_FILES = 22
"""The number of files with short programs. Training begins with them; later files have longer programs."""
HELD_OUT, HELD_OUT_LONGER = 1_000_000, 1_000_001
"""The numbers of the files for evaluation, one with short and one with longer programs. The seeds of their programs
are never used for training."""
CASES = Path(__file__).resolve().parents[1] / "cases"


def generate_pairs(texts: list[str]) -> Iterator[dict[str, str]]:
    """A record for each function (named f0, f1, …): its C source, its short IR and the expected answer.

    Functions that the form of answers has no room for are left out.
    """
    with tempfile.TemporaryDirectory(prefix="llmc-") as folder:
        path = Path(folder) / "programs.c"
        path.write_text(programs.PRELUDE + "\n".join(texts), encoding="utf-8")
        text = Toolchain().emit_ir(path)
    for number, source in enumerate(texts):
        canonical = short.shorten(extract(text, f"f{number}"), f"f{number}")
        try:
            answer = build_expected_answer(canonical.module)
        except UnfitError:
            continue
        yield {"source": source, "function": f"f{number}", "prompt": canonical.text, "answer": answer}


def generate_sources(start: int, *, longer: bool) -> list[str]:
    """The programs of one call of clang, with the seeds from `start` on."""
    return [programs.Program(start + n, longer=longer).write(f"f{n}") for n in range(PROGRAMS_PER_CALL)]


def is_longer(number: int) -> bool:
    """Whether the file with this number has longer programs."""
    return number >= SHORT_FILES and number != HELD_OUT


def write_file(folder: Path, number: int) -> Path:
    """Generate the file of pairs with this number, unless it exists. Returns its path."""
    path = folder / f"pairs-{number}.jsonl"
    if not path.exists():
        count = PROGRAMS_PER_FILE if number < HELD_OUT else PROGRAMS_PER_HELD_OUT_FILE
        starts = range(number * PROGRAMS_PER_FILE, number * PROGRAMS_PER_FILE + count, PROGRAMS_PER_CALL)
        programs_of_calls = (generate_sources(start, longer=is_longer(number)) for start in starts)
        _write_records(path, (pair for texts in programs_of_calls for pair in generate_pairs(texts)))
    return path


def list_case_functions() -> Iterator[dict[str, str]]:
    """The functions of this repository's cases with their short IR."""
    for path in sorted(path for path in CASES.iterdir() if path.suffix in SUFFIXES):
        reference = Reference(read_case(path), Toolchain())
        for function in reference.functions:
            yield {"case": path.name, "function": function, "prompt": reference.texts.short_ir(function).text}


def _write_records(path: Path, records: Iterable[dict[str, str]]) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    with unfinished.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    unfinished.rename(path)


def main() -> None:
    """Generate the files that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=40, help="number of files, of about 2,300 pairs each")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    _write_records(options.folder / "cases.jsonl", list_case_functions())
    numbers = [HELD_OUT, HELD_OUT_LONGER, *range(options.files)]
    with ProcessPoolExecutor(options.processes) as pool:
        for path in pool.map(write_file, [options.folder] * len(numbers), numbers):
            print(path, flush=True)


if __name__ == "__main__":
    main()
