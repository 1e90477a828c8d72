"""An import: from the files of a data set to a folder of cases, with a line of the manifest for each row.

Rows are handled in groups. Those of a group are written, then clang looks for errors in all of their files at once, and
what does not compile is removed again.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pytest_llmcompiler.errors import DatasetError
from pytest_llmcompiler.importers.c_text import list_functions
from pytest_llmcompiler.importers.case_folder import CaseFolder, WrittenCase
from pytest_llmcompiler.importers.exebench import read_exebench
from pytest_llmcompiler.importers.imported import ImportedCase, Row, RowError
from pytest_llmcompiler.importers.llm4decompile import read_decompile_bench, read_decompile_eval
from pytest_llmcompiler.importers.row_files import BadRow, is_row_file, read_rows, read_texts
from pytest_llmcompiler.importers.screening import screen_c, screen_ir
from pytest_llmcompiler.importers.supercoder import read_supercoder
from pytest_llmcompiler.importers.table import read_with_columns
from pytest_llmcompiler.importers.texts import read_angha, read_ir
from pytest_llmcompiler.judge.verdict import harmless
from pytest_llmcompiler.letters import name_part, name_start
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.ir_names import spell_plainly
from pytest_llmcompiler.program.syntax_check import CompileFault, find_uncompilable

_GROUP = 512
"""Rows that are handled together."""
_SHOWN_PLACES = 3
"""Rows that are named for each fault."""
_SYMBOL = re.compile(rf"{name_start('$.')}{name_part('$.')}*")
_IR_FUNCTION = re.compile(rf'^define\b[^@\n]*@"?({_SYMBOL.pattern})"?\(', re.M)

FORMATS: dict[str, Callable[[Row], ImportedCase]] = {
    "exebench": read_exebench,
    "llm4decompile": read_decompile_eval,
    "decompile-bench": read_decompile_bench,
    "supercoder": read_supercoder,
    "anghabench": read_angha,
    "ir": read_ir,
}
"""The importers by the names of their formats. `jsonl` has one that `--columns` describes."""
JSONL = "jsonl"


@dataclass
class ImportSummary:
    """What became of the rows."""

    rows: int = 0
    taken: int = 0
    cases: int = 0
    tested: Counter[str] = field(default_factory=Counter)
    """Cases with published tests, by kind."""
    program_tests: int = 0
    answers: int = 0
    command: str = ""
    """The command that judges the answers."""
    refused: ReasonCounts = field(default_factory=lambda: ReasonCounts())
    """Why rows are not taken."""
    left_out: ReasonCounts = field(default_factory=lambda: ReasonCounts())
    """Why a part of rows is left out that are taken."""


class ReasonCounts:
    """How many rows have each fault, with the places of the first ones."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._places: dict[str, list[str]] = defaultdict(list)

    def add(self, reason: str, place: str) -> None:
        """Count a row. Rows with the same fault have the same text before the first colon."""
        kind = reason.partition(":")[0]
        self._counts[kind] += 1
        if len(self._places[kind]) < _SHOWN_PLACES:
            self._places[kind].append(place)

    def lines(self) -> Iterator[str]:
        """A line for each fault, the most frequent first."""
        for reason, count in sorted(self._counts.items(), key=lambda pair: (-pair[1], pair[0])):
            places = self._places[reason]
            more = f" and {count - len(places):,} more" if count > len(places) else ""
            yield harmless(f"  {count:,} x {reason}: {', '.join(places)}{more}")


class _PlacedRow(NamedTuple):
    """A row that is written, as long as its files compile."""

    row: Row
    case: ImportedCase
    written: WrittenCase
    is_first: bool


def import_dataset(format: str, source: Path, target: Path, columns: Mapping[str, str] | None = None) -> ImportSummary:
    """Import a data set into a new folder.

    `columns` are those of the format `jsonl`. Raises DatasetError where the files can't be read, or the folder can't be
    written; ClangError where clang can't be run.
    """
    if not source.exists():
        raise DatasetError(f"{source}: there is no such file or folder")
    read = FORMATS[format] if columns is None else read_with_columns(columns)
    folder, summary = CaseFolder(target), ImportSummary()
    try:
        rows = _read_rows(format, source)
        while group := list(itertools.islice(rows, _GROUP)):
            _import_group(group, read, folder, summary)
        summary.cases, summary.command = len(folder), folder.suggest_command()
        folder.close()
    except OSError as error:
        raise DatasetError(f"{target}: can't be written: {error.strerror or error}") from error
    if not summary.rows:
        raise DatasetError(f"{source}: no rows are found")
    return summary


def _read_rows(format: str, source: Path) -> Iterator[Row | BadRow]:
    if format == "anghabench":
        return read_texts(source, ".c")
    if format == "ir" and not is_row_file(source):
        return read_texts(source, ".ll")
    return read_rows(source)


def _import_group(
    rows: Iterable[Row | BadRow], read: Callable[[Row], ImportedCase], folder: CaseFolder, summary: ImportSummary
) -> None:
    read_rows = [_place(row, read, folder) for row in rows]
    faults = _check(one for one in read_rows if isinstance(one, _PlacedRow))
    for one in read_rows:
        summary.rows += 1
        if isinstance(one, BadRow):
            _refuse(folder, summary, one.place, one.reason)
        else:
            _settle(one, faults, folder, summary)


def _place(row: Row | BadRow, read: Callable[[Row], ImportedCase], folder: CaseFolder) -> _PlacedRow | BadRow:
    """Write the files of a row, if it can be taken."""
    if isinstance(row, BadRow):
        return row
    try:
        case = read(row)
        _screen(case)
    except RowError as error:
        return BadRow(row.place, str(error))
    except RecursionError:
        return BadRow(row.place, "its values are nested too deeply")
    written = folder.find(case)
    return _PlacedRow(row, case, written or folder.add(case, row.place), written is None)


def _screen(case: ImportedCase) -> None:
    """Raise RowError where a text of a case must not be written."""
    if not all(map(_SYMBOL.fullmatch, case.functions)):
        raise RowError("the name of the function is no name in C")
    if case.suffix == ".ll":
        screen_ir(case.text)
    else:
        screen_c(case.text)
    if case.tests:
        screen_c(case.tests.text)


def _check(placed: Iterable[_PlacedRow]) -> dict[Path, CompileFault]:
    files = [path for one in placed if one.is_first for path in one.written.files]
    return find_uncompilable(files, Toolchain(), len(os.sched_getaffinity(0))) if files else {}


def _settle(one: _PlacedRow, faults: Mapping[Path, CompileFault], folder: CaseFolder, summary: ImportSummary) -> None:
    """Keep a row whose case compiles, and refuse any other."""
    row, case, written, is_first = one
    fault = faults.get(written.path)
    if fault:
        if is_first:
            folder.drop(written)
        _refuse(folder, summary, row.place, f"does not compile ({fault.kind}): {fault.words}")
        return
    notes = list(case.notes)
    tests_fault = faults.get(written.tests_path) if written.tests_path else None
    if tests_fault:
        folder.drop_tests(written)
        notes.append(f"the tests are left out, which do not compile ({tests_fault.kind}): {tests_fault.words}")
    if is_first:
        summary.tested.update([written.tests_kind] if written.tests_kind else [])
        summary.program_tests += len(case.program_tests)
    else:
        folder.add_passes(written, case.passes)
    line: dict[str, Any] = {"row": row.place, "taken": True, "case": written.path.name}
    if not is_first:
        line["same_as"] = written.first_row
    answers = _record_answers(one, folder, notes)
    summary.taken, summary.answers = summary.taken + 1, summary.answers + answers
    line |= {"tests": written.tests_kind} if written.tests_kind else {}
    line |= {"inputs": len(case.program_tests)} if case.program_tests else {}
    line |= {"answers": answers} if answers else {}
    line |= {"left_out": notes} if notes else {}
    for note in notes:
        summary.left_out.add(note, row.place)
    folder.note(line)


def _record_answers(one: _PlacedRow, folder: CaseFolder, notes: list[str]) -> int:
    """Record the answers of a row; returns their number."""
    case = one.case
    if not case.answers:
        return 0
    functions = _list_under_test(case)
    if len(functions) != 1:
        notes.append("the answers are left out: the case has several functions, and the row names none")
        return 0
    for answer in case.answers:
        folder.record_answer(one.written, functions[0], answer.task, answer.passes, answer.text, answer.model)
    return len(case.answers)


def _list_under_test(case: ImportedCase) -> list[str]:
    if case.is_program:
        return ["main"]
    if case.functions:
        return list(case.functions)
    names = _IR_FUNCTION.findall(spell_plainly(case.text)) if case.suffix == ".ll" else list_functions(case.text)
    return [name for name in dict.fromkeys(names) if name != "main"]


def _refuse(folder: CaseFolder, summary: ImportSummary, place: str, reason: str) -> None:
    folder.note({"row": place, "taken": False, "reason": reason})
    summary.refused.add(reason, place)


def describe_summary(summary: ImportSummary) -> Iterator[str]:
    """The table of an import, line by line."""
    yield f"{'rows':<12}{summary.rows:>9,}"
    yield f"{'  taken':<12}{summary.taken:>9,}"
    yield f"{'  not taken':<12}{summary.rows - summary.taken:>9,}"
    yield f"{'cases':<12}{summary.cases:>9,}"
    for kind, count in sorted(summary.tested.items()):
        yield f"{f'  {kind}':<12}{count:>9,}"
    if summary.program_tests:
        yield f"{'inputs':<12}{summary.program_tests:>9,}"
    yield f"{'answers':<12}{summary.answers:>9,}"
    for title, counts in (("not taken:", summary.refused), ("left out of rows that are taken:", summary.left_out)):
        lines = list(counts.lines())
        yield from (title, *lines) if lines else ()
    if summary.cases:
        yield f"judge: {summary.command}"
