"""What is collected as an item, and what a fault in a case file does to its items."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from sessions import (
    CASE,
    assert_no_traceback,
    put,
    records,
    run,
    text_of,
)

HEAVY = ("llvmlite", "unicorn", "keystone", "llama_cpp", "ziglang", "hypothesis", "elftools", "numpy")


def test_c_files_of_other_projects_are_left_alone(pytester: pytest.Pytester) -> None:
    put(pytester, "src/a.c", "this is not even C")
    put(pytester, "src/b.ll", "nor is this IR")
    pytester.makepyfile("def test_it(): pass")
    result = run(pytester)
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*llmc:*")
    result.stdout.no_fnmatch_line("*a.c*")


def test_the_plugin_imports_nothing_heavy(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    pytester.makeconftest(
        f"""
        import sys

        def pytest_unconfigure():
            print("heavy:", sorted(set({HEAVY!r}) & set(sys.modules)))
        """
    )
    # hypothesis brings a plugin of its own, which imports it.
    result = run(pytester, "-p", "no:hypothesispytest")
    assert "heavy: []" in text_of(result)
    code = (
        f"import sys, pytest_llmcompiler, pytest_llmcompiler.plugin; sys.exit(str(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "set()"


def test_the_ids_of_items(project: pytest.Pytester) -> None:
    put(project, "cases/deep/er/b.c", "// LLMC: passes O1, module(default<Oz>)\nint f(void) { return 1; }\n")
    result = run(project, "--collect-only", "-q", "--llmc-passes=O0, O2")
    assert result.outlines[:6] == [
        "cases/a.c::twice[asm-O0]",
        "cases/a.c::twice[asm-O2]",
        "cases/a.c::low[asm-O0]",
        "cases/a.c::low[asm-O2]",
        "cases/deep/er/b.c::f[asm-O1]",
        "cases/deep/er/b.c::f[asm-module(default<Oz>)]",
    ]
    asked = "cases/deep/er/b.c::f[asm-module(default<Oz>)]"
    record = project.path / "out.jsonl"
    run(project, asked, "--llmc-model=reference", f"--llmc-record={record}").assert_outcomes(passed=1)
    [line] = records(record)
    assert (line["case"], line["function"], line["passes"]) == ("deep/er/b.c", "f", "module(default<Oz>)")


def test_pass_lists_with_commas_in_brackets_are_one(project: pytest.Pytester) -> None:
    result = run(project, "--collect-only", "-q", "-k", "twice", "--llmc-passes=O0,function(sroa,instcombine)")
    assert result.outlines[:2] == ["cases/a.c::twice[asm-O0]", "cases/a.c::twice[asm-function(sroa,instcombine)]"]


def test_two_folders_of_cases(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nllmc_cases = cases more/cases\n")
    put(project, "more/cases/a.c", "int other(void) { return 7; }\n")
    record = project.path / "out.jsonl"
    run(project, "--llmc-model=reference", f"--llmc-record={record}").assert_outcomes(passed=3)
    assert {(line["case"], line["function"]) for line in records(record)} == {
        ("a.c", "twice"),
        ("a.c", "low"),
        ("a.c", "other"),
    }


def test_a_folder_of_cases_behind_a_link(project: pytest.Pytester) -> None:
    (project.path / "linked").symlink_to(project.path / "cases")
    project.makeini("[pytest]\nllmc_cases = linked\n")
    result = run(project, "--collect-only", "-q", "linked")
    assert result.outlines[:1] == ["linked/a.c::twice[asm-O0]"]


def test_a_project_behind_a_link(project: pytest.Pytester) -> None:
    link = project.path / "away"
    (project.path / "real" / "cases").mkdir(parents=True)
    put(project, "real/cases/a.c", CASE)
    put(project, "real/pytest.ini", "[pytest]\nllmc_cases = cases\n")
    link.symlink_to(project.path / "real")
    result = run(project, "--collect-only", "-q", f"--rootdir={link}", f"-c{link}/pytest.ini", link / "cases")
    assert "cases/a.c::twice[asm-O0]" in text_of(result)


def test_from_another_directory(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.path / "elsewhere").mkdir()
    monkeypatch.chdir(project.path / "elsewhere")
    result = run(project, "../cases/a.c::twice", "--llmc-model=reference", "--llmc-record=out.jsonl", "-v")
    result.stdout.fnmatch_lines(["../cases/a.c::twice[[]asm-O0[]] PASSED*"])
    assert [line["case"] for line in records(project.path / "elsewhere" / "out.jsonl")] == ["a.c"]


def test_files_without_a_function_under_test(project: pytest.Pytester) -> None:
    (project.path / "cases/a.c").unlink()
    put(project, "cases/empty.c", "")
    put(project, "cases/blank.ll", "\n")
    put(project, "cases/helpers.c", "static inline int one(void) { return 1; }\nint main(void) { return one() - 1; }\n")
    result = run(project, "--llmc-model=reference")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert_no_traceback(result)


def test_a_helper_is_a_case_where_a_directive_asks_for_it(project: pytest.Pytester) -> None:
    put(
        project,
        "cases/helpers.c",
        "// LLMC: functions one\nstatic inline int one(void) { return 1; }\nint two(void) { return one() + 1; }\n",
    )
    result = run(project, "cases/helpers.c", "--llmc-model=reference", "-v")
    result.stdout.fnmatch_lines(["cases/helpers.c::one[[]asm-O0[]] PASSED*"])
    result.assert_outcomes(passed=1)


def test_functions_of_headers_are_no_cases(project: pytest.Pytester) -> None:
    put(project, "cases/own.h", "static inline int one(void) { return 1; }\nstatic int two(void) { return 2; }\n")
    source = '#include <ctype.h>\n#include "own.h"\nint f(int c) { return isspace(c) ? one() : two(); }\n'
    put(project, "cases/a.c", source)
    result = run(project, "--llmc-model=reference", "-v")
    result.stdout.fnmatch_lines(["cases/a.c::f[[]asm-O0[]] PASSED*"])
    result.assert_outcomes(passed=1)


BAD_DIRECTIVES = [
    ("int x;\n// LLMC: function f\nint f(int x) { return x; }\n", 2, "unknown directive.*function f.*functions NAME"),
    ("// LLMC: functions g\nint f(int x) { return x; }\n", 1, "no function 'g'.*f"),
    ("// LLMC: functions g\n// LLMC: functions f\nint f(int x) { return x; }\n", 1, "no function 'g'"),
    ("// LLMC: functions f,\nint f(int x) { return x; }\n", 1, "expected names separated by commas"),
    ("// LLMC: passes O0,,O2\nint f(int x) { return x; }\n", 1, "expected pass lists separated by commas"),
    ("\n/* LLMC: arg f.x range 9..1 */\nint f(int x) { return x; }\n", 2, "range 9..1 is empty"),
    ("// LLMC: arg f.x length\nint f(int x) { return x; }\n", 1, ""),
    ("// LLMC: arg f.y range 1..2\nint f(int x) { return x; }\n", 1, "no parameter 'y'.*x"),
    ("// LLMC: arg f.x range 1..2\n// LLMC: arg f.y range 1..2\nint f(int x) { return x; }\n", 2, "no parameter 'y'"),
    ("// LLMC: arg f.x cstring\nint f(int x) { return x; }\n", 1, "x"),
    ("// LLMC: arg f.x range 1..2\nint f(char *x) { return *x; }\n", 1, "x"),
    ("// LLMC: arg f.n length x\nint f(int x, int n) { return x + n; }\n", 1, "x"),
    ("/*\n * LLMC: pases O0\n */\nint f(int x) { return x; }\n", 2, "unknown directive"),
    ("// llmc: functions f\nint f(int x) { return x; }\n", 1, "LLMC"),
]


def test_a_file_whose_directives_have_a_fault_is_one_item_that_names_the_line(project: pytest.Pytester) -> None:
    (project.path / "cases/a.c").unlink()
    for number, (source, _, _) in enumerate(BAD_DIRECTIVES):
        put(project, f"cases/bad{number}.c", source)
    result = run(project, "--llmc-model=reference")
    text = text_of(result)
    wrong = [
        source
        for number, (source, line, words) in enumerate(BAD_DIRECTIVES)
        if not re.search(rf"^FAILED .*bad{number}\.c::compile( - .*)?$", text, re.MULTILINE)
        or not re.search(rf"bad{number}\.c:{line}: .*{words}", text)
    ]
    assert wrong == []
    assert_no_traceback(result)


def test_a_fault_in_one_file_leaves_the_others(project: pytest.Pytester) -> None:
    put(project, "cases/bad.c", "int f(int x) { return y; }\n")
    put(project, "cases/worse.ll", "define i32 @f() {\n  ret i64 0\n}\n")
    (project.path / "cases/bytes.c").write_bytes(b"int f(void) { return '\xff'; }\n")
    put(project, "cases/old.c", '#include "missing.h"\nint f(void) { return 1; }\n')
    result = run(project, "--llmc-model=reference")
    result.assert_outcomes(passed=3, failed=3)
    result.stdout.fnmatch_lines(["*cases/bad.c:1:*undeclared identifier 'y'*"])
    result.stdout.fnmatch_lines(["*worse.ll*", "*value doesn't match function result type*"])
    result.stdout.fnmatch_lines(["*cases/old.c:1:*'missing.h' file not found", "*LLMC: cflags -IFOLDER*"])
    result.stdout.fnmatch_lines(["3 files could not be compiled:", "  1 x missing header: cases/old.c"])
    result.stdout.fnmatch_lines(["FAILED cases/bad.c::compile - *", "FAILED cases/worse.ll::compile - *"])
    assert_no_traceback(result)


def test_code_that_needs_a_library_that_is_not_there(project: pytest.Pytester) -> None:
    put(project, "cases/b.c", "int other(int);\nint f(int x) { return other(x) + 1; }\n")
    run(project, "cases/b.c", "--llmc-model=reference").assert_outcomes(passed=1)


def test_an_unsupported_type_is_inconclusive(project: pytest.Pytester) -> None:
    put(project, "cases/b.c", "long double half(long double x) { return x / 2; }\n")
    result = run(project, "cases/b.c", "--llmc-model=reference", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*inconclusive*long double*", "*1 inconclusive, counted neither*"][:1])
    result.stdout.fnmatch_lines(["*1 inconclusive, counted neither as passed nor as failed:", "*long double*"])


def test_a_function_that_no_input_suits_is_inconclusive(project: pytest.Pytester) -> None:
    put(project, "cases/b.c", "int f(int x) { return *(volatile int *)16 + x; }\n")
    result = run(project, "cases/b.c", "--llmc-model=reference", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*inconclusive: no input found on which f is defined*bad memory access*"])


def test_a_function_of_a_file_that_does_not_compile_is_asked_for(project: pytest.Pytester) -> None:
    put(project, "cases/bad.c", "int f(int x) { return y; }\n")
    result = run(project, "cases/bad.c::f", "--llmc-model=reference")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*cases/bad.c:1:*undeclared identifier 'y'*"])
    run(project, "cases/bad.c::compile", "--llmc-model=reference").assert_outcomes(failed=1)


def test_a_file_that_does_not_compile_is_an_item_without_a_model_too(project: pytest.Pytester) -> None:
    put(project, "cases/bad.c", "int f(int x) { return y; }\n")
    run(project).assert_outcomes(skipped=2, failed=1)
    assert "cases/bad.c::compile" in text_of(run(project, "--collect-only", "-q"))
