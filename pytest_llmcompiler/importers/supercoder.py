"""SuperCoder's data set: whole programs in C with tests of standard input and output, and gcc's assembly.

The columns are those that its scripts write (github.com/Anjiang-Wei/SuperCoder, src/create_data): `extra_info` with
`index`, `c_code`, `inputs`, `outputs` and `unoptimized_assembly`, and `reward_model.ground_truth`, the assembly at -O3.
Rows with these columns at their top are taken too.
"""

from __future__ import annotations

from pytest_llmcompiler.importers.c_text import list_functions
from pytest_llmcompiler.importers.columns import find_list, find_text, find_value, require_text
from pytest_llmcompiler.importers.imported import ImportedAnswer, ImportedCase, ProgramTest, Row, RowError

_MAX_TESTS, _MAX_TEST_BYTES = 64, 1 << 16
"""Tests of a program that are taken, and the longest text of one: each candidate runs on all of them."""
_ANSWERS = (
    (("extra_info.unoptimized_assembly", "unoptimized_assembly"), "gcc", "O0"),
    (("reward_model.ground_truth", "extra_info.answer", "ground_truth", "answer"), "gcc", "O3"),
    (("generated_assembly", "output", "response"), "model", "O3"),
)
"""The columns of an answer, who wrote it, and the pass list that it was asked for."""


def read_supercoder(row: Row) -> ImportedCase:
    """The program of a row. Raises RowError."""
    data = row.data
    text = require_text(data, "extra_info.c_code", "c_code")
    if "main" not in list_functions(text):
        raise RowError("the C code has no main")
    tests, notes = _read_tests(row)
    number = find_value(data, "extra_info.index", "index")
    answers = (ImportedAnswer(find_text(data, *names), model, passes=passes) for names, model, passes in _ANSWERS)
    return ImportedCase(
        name=f"{number if isinstance(number, int) and number >= 0 else row.number:06d}_program",
        text=text,
        is_program=True,
        program_tests=tests,
        answers=tuple(answer for answer in answers if answer.text.strip()),
        notes=notes,
    )


def _read_tests(row: Row) -> tuple[tuple[ProgramTest, ...], tuple[str, ...]]:
    inputs = find_list(row.data, "extra_info.inputs", "inputs")
    outputs = find_list(row.data, "extra_info.outputs", "outputs")
    if outputs and len(outputs) != len(inputs):
        raise RowError("inputs and outputs have different lengths")
    pairs = zip(inputs, outputs or [None] * len(inputs))
    tests = [ProgramTest(stdin, stdout) for stdin, stdout in pairs if _is_usable(stdin) and _is_usable(stdout or "")]
    left_out = len(inputs) - min(len(tests), _MAX_TESTS)
    notes = (f"{left_out} of {len(inputs)} tests are left out: too many, too long, or no text",) if left_out else ()
    return tuple(tests[:_MAX_TESTS]), notes


def _is_usable(text: object) -> bool:
    if not isinstance(text, str) or len(text) > _MAX_TEST_BYTES:
        return False
    try:
        return len(text.encode()) <= _MAX_TEST_BYTES
    except UnicodeEncodeError:
        return False
