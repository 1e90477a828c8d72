"""LLM4Decompile's evaluation sets, and Decompile-Bench.

Two shapes are published (github.com/albertan017/LLM4Decompile):

- Decompile-Eval, a JSON list: `task_id`, `type` (O0 to O3), `c_func`, `c_test` (a `main` with asserts), and
  `input_asm_prompt`, which is what models are shown. There are four rows for each function, one for each level.
- Decompile-Bench-Eval, JSON or Arrow: `index`, `func_name`, `func_dep` (what the function needs, or for code from
  GitHub the path of its file), `func`, `test` (empty for code from GitHub), `opt`, `language` (c or cpp), and `asm`.

Decompile-Bench itself has `name` (demangled), `code`, `asm` and `file`, and no tests.
"""

from __future__ import annotations

import re

from pytest_llmcompiler.importers.c_text import declare_for_tests, find_identifiers, list_functions
from pytest_llmcompiler.importers.columns import find_text, find_value, require_text
from pytest_llmcompiler.importers.imported import ImportedCase, ImportedTests, Row, RowError

_LEVEL = re.compile(r"O[0-3sz]")
_CPP_SUFFIXES = (".cc", ".cpp", ".cxx", ".c++", ".hpp", ".hh", ".hxx", ".h++", ".ipp", ".inl", ".tcc", ".C", ".H")
_PATH = re.compile(r"[\w./+@%~ -]+\.[A-Za-z+]{1,4}")
"""A `func_dep` that is the path of a file."""


def read_decompile_eval(row: Row) -> ImportedCase:
    """The case of a row of an evaluation set. Raises RowError."""
    data = row.data
    if find_text(data, "language").lower() in ("cpp", "c++"):
        raise RowError("C++")
    function = require_text(data, "c_func", "func")
    needs = find_text(data, "func_dep")
    if _PATH.fullmatch(needs.strip()):
        needs = ""
    tests = find_text(data, "c_test", "test")
    level = find_text(data, "type", "opt").lstrip("-")
    own = find_text(data, "func_name").partition("(")[0]
    return build_tested_case(
        name=_name(row, own or next(iter(list_functions(function)), "")),
        text=f"{needs.rstrip()}\n\n{function}" if needs.strip() else function,
        tests=tests,
        under_test=_choose_functions(function, tests, own),
        passes=(level,) if _LEVEL.fullmatch(level) else (),
    )


def read_decompile_bench(row: Row) -> ImportedCase:
    """The case of a row of Decompile-Bench, or of its evaluation set. Raises RowError."""
    if "code" not in row.data:
        return read_decompile_eval(row)
    file, name = find_text(row.data, "file"), find_text(row.data, "name")
    if file.endswith(_CPP_SUFFIXES) or "::" in name or "~" in name:
        raise RowError("C++")
    function = name.partition("(")[0].split()[-1:]
    text = require_text(row.data, "code")
    known = [one for one in function if one in list_functions(text)]
    return ImportedCase(name="_".join((f"{row.number:06d}", *function)), text=text, functions=tuple(known))


def build_tested_case(
    *, name: str, text: str, tests: str, under_test: tuple[str, ...], passes: tuple[str, ...] = ()
) -> ImportedCase:
    """A case with asserts. Tests that define what the case defines, or have no `main`, are left out."""
    imported: ImportedTests | None = None
    notes: tuple[str, ...] = ()
    if tests.strip():
        reason = _find_fault_in_tests(text, tests)
        if reason:
            notes = (f"the tests are left out: {reason}",)
        else:
            imported = ImportedTests(f"{declare_for_tests(text, tests)}\n\n{tests}", "asserts")
    return ImportedCase(name=name, text=text, functions=under_test, passes=passes, tests=imported, notes=notes)


def _find_fault_in_tests(text: str, tests: str) -> str:
    own, defined = list_functions(text), list_functions(tests)
    if "main" in own:
        return "the case has a main of its own"
    if "main" not in defined:
        return "they define no main"
    twice = next((name for name in defined if name in own), "")
    return f"they define a function of the case: {twice}" if twice else ""


def _choose_functions(function: str, tests: str, own: str) -> tuple[str, ...]:
    """The functions that are under test: the row's own, or those that the tests call, or all."""
    defined = list_functions(function)
    if own in defined:
        return (own,)
    called = find_identifiers(tests) if tests else set()
    chosen = tuple(name for name in defined if name in called and name != "main")
    return chosen if len(chosen) < len(defined) else ()


def _name(row: Row, function: str) -> str:
    number = find_value(row.data, "task_id", "index")
    label = (
        f"{number:04d}" if isinstance(number, int) and number >= 0 else str(row.number if number is None else number)
    )
    return f"{label}_{function}" if function else label
