"""Write answers with seeded faults for the cases of a folder, as a record that `replay:` reads.

    python benchmarks/seeded_answers.py FOLDER -o FILE.jsonl [--faults 4] [--cases 50] [--level O2] [--seed 1]

Sample 0 of each function is clang's own code at a level, the others are this code with one fault each: mistakes that
compilers and language models make. Some faults make no difference. Together with published tests (`llmc import`), the
table of a session over the record tells how many of the faults the tests do not see:

    pytest FOLDER --llmc-model replay:FILE.jsonl --llmc-samples 5
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from quality.faults import generate_faults
from quality.measure import encode

from pytest_llmcompiler.errors import LLMCompilerError
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write answers with seeded faults for the cases of a folder.")
    parser.add_argument("folder", type=Path, help="the folder of cases")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--faults", type=int, default=4, help="for each function (default 4)")
    parser.add_argument("--cases", type=int, help="the first so many cases alone")
    parser.add_argument("--level", default="O2", help="the level of the code that faults are seeded into (default O2)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    paths = sorted(options.folder.rglob("*.c"))[: options.cases]
    with options.output.open("w") as output:
        for path in paths:
            for record in _make_records(path, options.folder, options):
                output.write(json.dumps(record) + "\n")


def _make_records(path: Path, folder: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    name = path.relative_to(folder).as_posix()
    try:
        reference = Reference(read_case(path, name), Toolchain())
        for function in reference.functions:
            texts = list(_make_texts(reference, function, options))
            question = {"case": name, "function": function, "task": "asm", "passes": (*reference.case.passes, "O0")[0]}
            yield from ({**question, "sample": number, "answer": text} for number, text in enumerate(texts))
    except LLMCompilerError as error:
        print(f"{path}: {error}", file=sys.stderr)


def _make_texts(reference: Reference, function: str, options: argparse.Namespace) -> Iterator[str]:
    text = reference.texts.assembly(function, options.level)
    seen = {encode(reference, function, text)}
    yield text

    def accept(mutant: str) -> bool:
        code = encode(reference, function, mutant)
        is_new = code is not None and code not in seen
        seen.add(code)
        return is_new

    seed = f"{options.seed} {reference.case.name} {function}"
    faults = generate_faults(text, function, seed, accept, options.faults)
    yield from (fault.text for _, fault in zip(range(options.faults), faults))


if __name__ == "__main__":
    main()
