"""The plugin as its users meet it: pytest in a process of its own, with real compilers and a real judge."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from servers import MODELS, completion, send, serve
from sessions import (
    CASE,
    LOW,
    PROMPT_MODEL,
    TWICE,
    VEX,
    WRONG,
    assert_no_traceback,
    put,
    records,
    replay,
    run,
    run_here,
    text_of,
)

from pytest_llmcompiler.plugin import pytest_html_results_table_html

HEAVY = ("llvmlite", "unicorn", "keystone", "llama_cpp", "ziglang", "hypothesis", "elftools", "numpy")


# -- what is collected, and what it costs those who don't use it


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


def test_a_file_elsewhere_is_a_case_where_it_is_named_and_a_model_given(project: pytest.Pytester) -> None:
    put(project, "src/b.c", CASE)
    result = run(project, "src/b.c", "--llmc-model=reference", "--collect-only", "-q")
    assert result.outlines[:2] == ["src/b.c::twice[asm-O0]", "src/b.c::low[asm-O0]"]
    one = run(project, "src/b.c::low", "--llmc-model=reference", "-v")
    one.stdout.fnmatch_lines(["src/b.c::low[[]asm-O0[]] PASSED*"])
    one.assert_outcomes(passed=1)
    run(project, "src", "--llmc-model=reference").assert_outcomes()
    # Without a model pytest says of such a file what it says of any that no plugin knows.
    assert run(project, "src/b.c").ret != 0


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
    [made] = records(record)
    assert (made["case"], made["function"], made["passes"]) == ("deep/er/b.c", "f", "module(default<Oz>)")


def test_pass_lists_with_commas_in_brackets_are_one(project: pytest.Pytester) -> None:
    result = run(project, "--collect-only", "-q", "-k", "twice", "--llmc-passes=O0,function(sroa,instcombine)")
    assert result.outlines[:2] == ["cases/a.c::twice[asm-O0]", "cases/a.c::twice[asm-function(sroa,instcombine)]"]


def test_two_folders_of_cases(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nllmc_cases = cases more/cases\n")
    put(project, "more/cases/a.c", "int other(void) { return 7; }\n")
    record = project.path / "out.jsonl"
    run(project, "--llmc-model=reference", f"--llmc-record={record}").assert_outcomes(passed=3)
    assert {(one["case"], one["function"]) for one in records(record)} == {
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
    assert [one["case"] for one in records(project.path / "elsewhere" / "out.jsonl")] == ["a.c"]


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


# -- faults of the case


BAD_DIRECTIVES = [
    ("int x;\n// LLMC: function f\nint f(int x) { return x; }\n", 2, "unknown directive.*function f.*functions NAME"),
    ("// LLMC: functions g\nint f(int x) { return x; }\n", 1, "no function 'g'.*f"),
    ("// LLMC: functions g\n// LLMC: functions f\nint f(int x) { return x; }\n", 1, "no function 'g'"),
    ("// LLMC: functions f,\nint f(int x) { return x; }\n", 1, "expected names parted by commas"),
    ("// LLMC: passes O0,,O2\nint f(int x) { return x; }\n", 1, "expected pass lists parted by commas"),
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


def test_a_directive_with_a_fault_is_an_error_that_names_its_line(project: pytest.Pytester) -> None:
    (project.path / "cases/a.c").unlink()
    for number, (source, _, _) in enumerate(BAD_DIRECTIVES):
        put(project, f"cases/bad{number}.c", source)
    result = run(project, "--llmc-model=reference", "--continue-on-collection-errors")
    text = text_of(result)
    wrong = [
        source
        for number, (source, line, words) in enumerate(BAD_DIRECTIVES)
        if not re.search(rf"^ERROR .*bad{number}\.c( - .*)?$", text, re.MULTILINE)
        or not re.search(rf"bad{number}\.c:{line}: .*{words}", text)
    ]
    assert wrong == []
    assert_no_traceback(result)


def test_a_fault_in_one_file_leaves_the_others(project: pytest.Pytester) -> None:
    put(project, "cases/bad.c", "int f(int x) { return y; }\n")
    put(project, "cases/worse.ll", "define i32 @f() {\n  ret i64 0\n}\n")
    (project.path / "cases/bytes.c").write_bytes(b"int f(void) { return '\xff'; }\n")
    result = run(project, "--llmc-model=reference", "--continue-on-collection-errors")
    result.assert_outcomes(passed=2, errors=3)
    result.stdout.fnmatch_lines(["*cases/bad.c:1:*undeclared identifier 'y'*"])
    result.stdout.fnmatch_lines(["*worse.ll*", "*value doesn't match function result type*"])
    result.stdout.fnmatch_lines(["*cases/bytes.c: can't be read:*"])
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


# -- pytest's own options


def test_verbose_select_and_stop(project: pytest.Pytester) -> None:
    model = replay(project, ("twice", WRONG), ("low", LOW))
    result = run(project, model, "-v")
    result.stdout.fnmatch_lines(["cases/a.c::twice[[]asm-O0[]] FAILED*", "cases/a.c::low[[]asm-O0[]] PASSED*"])
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    run(project, model, "-k", "low").assert_outcomes(passed=1, deselected=1)
    run(project, model, "-x").assert_outcomes(failed=1)


def test_last_failed(project: pytest.Pytester) -> None:
    model = replay(project, ("twice", WRONG), ("low", LOW))
    run(project, model).assert_outcomes(passed=1, failed=1)
    run(project, model, "--lf").assert_outcomes(failed=1)
    replay(project, ("twice", TWICE), ("low", LOW))
    run(project, model, "--lf").assert_outcomes(passed=1)


def test_collecting_opens_no_model(project: pytest.Pytester) -> None:
    result = run(project, "--collect-only", "-q", "--llmc-model=http://127.0.0.1:9/v1")
    assert result.ret == 0
    assert result.outlines[:2] == ["cases/a.c::twice[asm-O0]", "cases/a.c::low[asm-O0]"]


def test_junit(project: pytest.Pytester) -> None:
    run(project, replay(project, WRONG, TWICE), "--llmc-samples=2", "--junitxml=out.xml", "-k", "twice")
    [case] = ElementTree.parse(project.path / "out.xml").iter("testcase")
    assert (case.get("classname"), case.get("name")) == ("cases.a.c", "twice[asm-O0]")
    [noted] = [one for one in case.iter("property") if one.get("name") == "llmc_verdicts"]
    assert noted.get("value") == "mismatch,pass"


def test_pytest_html_is_given_the_verdicts() -> None:
    fields: dict[str, Any] = {"nodeid": "a", "location": ("a.c", 0, "f"), "keywords": {}, "when": "call"}
    for properties, shown in (([("llmc_verdicts", "pass,hang")], ["pass,hang\n", "log"]), ([("other", 1)], ["log"])):
        data = ["log"]
        report = pytest.TestReport(**fields, outcome="passed", longrepr=None, user_properties=properties)
        pytest_html_results_table_html(report, data)
        assert data == shown


def test_junit_of_a_failure_holds_the_evidence(project: pytest.Pytester) -> None:
    # XML knows no control characters: those of an answer must not spoil the file.
    run(project, replay(project, WRONG + "# \x01\x1b[31m \ufffe\n"), "--junitxml=out.xml", "-k", "twice")
    [failure] = ElementTree.parse(project.path / "out.xml").iter("failure")
    assert failure.text is not None


def test_quiet(project: pytest.Pytester) -> None:
    result = run(project, replay(project, ("twice", TWICE), ("low", LOW)), "-q")
    assert not any(line.startswith("llmc:") for line in result.outlines)
    assert "INTERNALERROR" not in text_of(result)
    result.assert_outcomes(passed=2)


# -- without a model, with a wrong one, with wrong options


def test_without_a_model_one_line_says_how_to_give_one(project: pytest.Pytester) -> None:
    result = run(project, "-rs")
    result.assert_outcomes(skipped=2)
    lines = [line for line in result.outlines if "--llmc-model" in line]
    assert len(lines) == 1, lines
    assert "reference" in lines[0] and ".gguf" in lines[0]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("gpt", "*unknown model 'gpt'*"),
        ("missing.gguf", "*missing.gguf*"),
        ("broken.gguf", "*broken.gguf*"),
        ("replay:missing.jsonl", "*missing.jsonl*"),
        ("replay:broken.jsonl", "*broken.jsonl:2: not JSON*"),
        ("http://127.0.0.1:9/v1", "*no server listens at http://127.0.0.1:9/v1*"),
    ],
)
def test_a_model_that_is_not_there_is_a_usage_error(project: pytest.Pytester, spec: str, words: str) -> None:
    put(project, "broken.gguf", "no GGUF")
    replay(project, TWICE)
    put(project, "broken.jsonl", (project.path / "answers.jsonl").read_text() + "{\n\n")
    result = (run if spec == "broken.gguf" else run_here)(project, f"--llmc-model={spec}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *--llmc-model*{words}"])
    assert_no_traceback(result)


BAD_VALUES = [
    ("samples", "0"),
    ("samples", "many"),
    ("pass-k", "0"),
    ("pass-k", "1,"),
    ("pass-k", "2"),
    ("fail-under", "0.8"),
    ("fail-under", "pass@1"),
    ("fail-under", "pass@0=0.5"),
    ("fail-under", "pass@1=80"),
    ("fail-under", "pass@1=0.5,"),
    ("fail-under", "pass@2=0.5"),
    ("export", "table.xls"),
    ("require", "most"),
    ("require", "0"),
    ("require", "1.5"),
    ("require", "nan"),
    ("seed", "x"),
    ("temperature", "-1"),
    ("temperature", "nan"),
    ("top-p", "0"),
    ("top-p", "2"),
    ("max-tokens", "0"),
    ("n-ctx", "-5"),
    ("gpu-layers", "all"),
    ("passes", "O0,,O1"),
    ("passes", ","),
    ("assembler", "gas"),
    ("examples", "0"),
    ("examples", "-1"),
]


UNMET = (("pass-k", "2"), ("fail-under", "pass@2=0.5"))
"""Values that only don't go with the number of samples."""


@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_a_bad_value_names_its_flag(project: pytest.Pytester, name: str, value: str) -> None:
    result = run_here(project, "--llmc-model=reference", f"--llmc-{name}={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *--llmc-{name}*{value.removesuffix('=0.5')}*"])
    assert_no_traceback(result)


@pytest.mark.parametrize(("name", "value"), [one for one in BAD_VALUES if one not in UNMET])
def test_a_bad_value_names_its_ini_key(project: pytest.Pytester, name: str, value: str) -> None:
    key = f"llmc_{name.replace('-', '_')}"
    project.makeini(f"[pytest]\nllmc_cases = cases\nllmc_model = reference\n{key} = {value}\n")
    result = run_here(project)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{key}*"])


def test_flags_that_need_another_one(project: pytest.Pytester) -> None:
    for flag, other in (("--llmc-resume", "--llmc-record"), ("--llmc-update-baseline", "--llmc-baseline")):
        result = run_here(project, flag)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: {flag} needs {other} FILE"])
    project.makeini("[pytest]\nllmc_resume = yes\n")
    run_here(project).stderr.fnmatch_lines(["ERROR: ini key llmc_resume: can't use 'yes': expected on or off"])


def test_a_baseline_or_a_table_that_leads_nowhere_is_a_usage_error(project: pytest.Pytester) -> None:
    put(project, "file", "")
    put(project, "b.jsonl", "<<<<<<< HEAD\n")
    for args, words in (
        (["--llmc-baseline=none.jsonl"], "--llmc-baseline: there is no none.jsonl yet: write it with *"),
        (["--llmc-baseline=b.jsonl"], "--llmc-baseline: b.jsonl:1: not JSON*"),
        (["--llmc-baseline=file/b.jsonl", "--llmc-update-baseline"], "--llmc-baseline: can't write file/b.jsonl: *"),
        (["--llmc-export=file/t.csv"], "--llmc-export: can't write file/t.csv: *"),
        (["--llmc-record=b.jsonl", "--llmc-resume"], "--llmc-resume: b.jsonl:1: not JSON*"),
    ):
        result = run_here(project, "--llmc-model=reference", *args)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: {words}"])
        assert_no_traceback(result)


def test_an_empty_value_is_a_bad_value(project: pytest.Pytester) -> None:
    result = run_here(project, "--llmc-samples=")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize("name", ["clang", "prompt", "record"])
def test_a_path_that_leads_nowhere_is_a_usage_error(project: pytest.Pytester, name: str) -> None:
    put(project, "file", "")
    result = run(project, "--llmc-model=reference", f"--llmc-{name}=file/nowhere")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *--llmc-{name}*file*"])
    assert_no_traceback(result)


def test_a_pass_list_that_the_reference_does_not_know(project: pytest.Pytester) -> None:
    result = run(project, "--llmc-model=reference", "--llmc-passes=O9", "-k", "twice")
    result.assert_outcomes(errors=1, deselected=1)
    result.stdout.fnmatch_lines(["*pass list 'O9': unknown pass name 'O9'*"])
    assert_no_traceback(result)


def test_ini_keys_are_flags_and_the_flag_wins(project: pytest.Pytester) -> None:
    replay(project, *[TWICE, WRONG, TWICE])
    project.makeini(
        "[pytest]\nllmc_cases = cases\nllmc_model = replay:answers.jsonl\nllmc_samples = 3\nllmc_pass_k = 1,3\n"
        "llmc_record = out.jsonl\nllmc_require = all\nllmc_assembler = llvm\nllmc_passes = O0\nllmc_prompt = meta\n"
    )
    result = run(project, "-k", "twice")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*pass@1*pass@3*"])
    made = records(project.path / "out.jsonl")
    assert [one["detail"]["assembler"] for one in made] == ["llvm"] * 3
    again = run(project, "-k", "twice", "--llmc-require=any", "--llmc-record=b.jsonl", "--llmc-assembler=keystone")
    again.assert_outcomes(passed=1, deselected=1)
    assert [one["detail"]["assembler"] for one in records(project.path / "b.jsonl")] == ["keystone"] * 3
    one = run(project, "-k", "twice", "--llmc-samples=1", "--llmc-pass-k=1")
    one.assert_outcomes(passed=1, deselected=1)


def test_a_list_of_toml_is_its_values_with_commas_between(project: pytest.Pytester) -> None:
    (project.path / "tox.ini").unlink()
    project.makepyprojecttoml(
        '[tool.pytest.ini_options]\nllmc_cases = ["cases"]\nllmc_model = "reference"\n'
        'llmc_passes = ["O0", "function(sroa,instcombine)"]\nllmc_task = ["asm", "ir"]\nllmc_samples = 2\n'
        "llmc_pass_k = [1, 2]\n"
    )
    result = run_here(project, "--collect-only", "-q", "-k", "twice")
    names = [line.partition("::")[2] for line in result.outlines if "::" in line]
    lists = ("O0", "function(sroa,instcombine)")
    assert names == [f"twice[{task}-{passes}]" for task in ("asm", "ir") for passes in lists]


def test_every_option_is_a_flag_and_an_ini_key(project: pytest.Pytester) -> None:
    text = text_of(run_here(project, "--help"))
    flags = set(re.findall(r"--llmc-([a-z-]+)", text))
    keys = {key.replace("_", "-") for key in re.findall(r"^ *llmc_(\w+)", text, re.MULTILINE)}
    assert keys == flags - {"compare"} | {"cases"}
    assert flags >= set(
        {
            *(
                "model",
                "samples",
                "pass-k",
                "require",
                "seed",
                "temperature",
                "top-p",
                "max-tokens",
                "n-ctx",
                "gpu-layers",
            )
        }
        | {*("passes", "prompt", "assembler", "clang", "examples", "record", "resume", "export")}
        | {*("baseline", "update-baseline", "fail-under")}
    )


# -- hypothesis, which makes the inputs


TELLING = """
from pytest_llmcompiler import plugin

def pytest_sessionstart(session):
    settings = session.config.stash[plugin.EVALUATION].session.settings
    print("seed", settings.seed, "and examples", settings.examples)
"""
FEW = """
from hypothesis import settings
settings.register_profile("few", max_examples=7)
"""


@pytest.mark.parametrize(
    ("conftest", "args", "seed", "examples"),
    [
        ("", [], "1", "100"),
        ("", ["--hypothesis-seed=77"], "77", "100"),
        ("", ["--hypothesis-seed=0"], "0", "100"),
        ("", ["--hypothesis-seed=77", "--llmc-seed=5"], "5", "100"),
        ("", ["--hypothesis-seed=77", "-o", "llmc_seed=6"], "6", "100"),
        ("", ["--hypothesis-seed=a word"], "1360984149", "100"),
        ("", ["-p", "no:hypothesispytest"], "1", "100"),
        (FEW, [], "1", "100"),
        (FEW, ["--hypothesis-profile=few"], "1", "7"),
        (FEW, ["--hypothesis-profile=few", "--llmc-examples=9"], "1", "9"),
        (FEW + 'settings.load_profile("few")\n', [], "1", "7"),
        (FEW + 'settings.load_profile("few")\n', ["--hypothesis-profile=default"], "1", "100"),
    ],
)
def test_seed_and_examples_are_those_of_hypothesis_where_nothing_else_is_said(
    project: pytest.Pytester, conftest: str, args: list[str], seed: str, examples: str
) -> None:
    put(project, "telling.py", TELLING)
    project.makeconftest(conftest)
    result = project.runpytest_subprocess("-p", "telling", "-p", "no:xdist", "--collect-only", "-s", *args)
    result.stdout.fnmatch_lines([f"*seed {seed} and examples {examples}"])


def test_the_profile_of_hypothesis_says_how_many_inputs_there_are(project: pytest.Pytester) -> None:
    project.makeconftest(FEW)
    model = replay(project, TWICE)
    options = {"profile": "--hypothesis-profile=few", "same": "--llmc-examples=7", "seed": "--hypothesis-seed=3"}
    made = {}
    for name, option in options.items():
        record = f"--llmc-record={name}.jsonl"
        result = project.runpytest_subprocess(model, record, option, "-k", "twice", "-p", "no:xdist")
        result.assert_outcomes(passed=1, deselected=1)
        [made[name]] = records(project.path / f"{name}.jsonl")
    assert made["profile"]["detail"] == made["same"]["detail"]
    assert made["profile"]["detail"]["inputs"] < made["seed"]["detail"]["inputs"]


# -- models of the user's own


def test_a_fixture_of_the_user_is_the_model(project: pytest.Pytester) -> None:
    project.makeconftest(
        f"""
        import pytest
        from pytest_llmcompiler.model.answer import Answer

        class Mine:
            def describe(self):
                return {{"backend": "mine", "name": "me"}}

            def answers(self, prompt, samples):
                for sample in range(samples):
                    yield Answer({{"twice": {WRONG!r}, "low": {LOW!r}}}[prompt.function], sample)

            def close(self):
                pass

        @pytest.fixture(scope="session")
        def llmc_model():
            print("one model")
            return Mine()
        """
    )
    result = run(project, "--llmc-record=out.jsonl", "--llmc-samples=2", "--llmc-report=page.html", "-s")
    result.assert_outcomes(passed=1, failed=1)
    assert text_of(result).count("one model") == 1
    assert "2 mismatch" in (project.path / "page.html").read_text()
    assert [one["verdict"] for one in records(project.path / "out.jsonl")] == ["mismatch", "mismatch", "pass", "pass"]
    assert {one["model"]["name"] for one in records(project.path / "out.jsonl")} == {"me"}


def test_a_prompt_template_of_the_user(project: pytest.Pytester) -> None:
    project.makeconftest(PROMPT_MODEL)
    put(project, "mine.txt", "{passes} of {function} {{{ir_count} {bin_size}}}:\n{ir}\n")
    result = run(project, "--llmc-prompt=mine.txt", "-s", "-k", "twice", "--llmc-record=out.jsonl")
    result.assert_outcomes(passed=1, deselected=1)
    [line] = [line for line in result.outlines if "PROMPT" in line]
    assert re.search(r"O0 of twice \{\d+ \d+\}:\\n", line)
    assert "define i32 @twice" in line and "@low" not in line
    assert records(project.path / "out.jsonl")[0]["prompt"] == "mine.txt"


def test_a_prompt_does_not_depend_on_where_the_project_lies(project: pytest.Pytester) -> None:
    project.makeconftest(PROMPT_MODEL)
    [line] = [line for line in run(project, "-s", "-k", "twice").outlines if "PROMPT" in line]
    assert str(project.path) not in line


def test_a_prompt_template_with_a_fault(project: pytest.Pytester) -> None:
    put(project, "mine.txt", "{ir}\nby {author}\n")
    for extra in ([], ["-q"], ["--collect-only"]):
        result = run(project, "--llmc-prompt=mine.txt", "--llmc-model=reference", *extra)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: *mine.txt:2: unknown field {author}*"])
        assert_no_traceback(result)


def test_a_replay_without_an_answer_skips_the_item(project: pytest.Pytester) -> None:
    result = run(project, replay(project, TWICE), "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*answers.jsonl*no answer*low*"])


# -- samples, records and the table


def test_what_is_recorded_replays_to_the_same_verdicts(project: pytest.Pytester) -> None:
    answers = [TWICE, WRONG, "no code at all", "twice:\n\tfrobnicate %eax\n", "twice:\n\tcall nobody\n\tret\n", VEX]
    model = replay(
        project, *answers, f"<code>\n{TWICE}", "twice:\n1:\tjmp 1b\n", "twice:\n\tmovl (%rax), %eax\n\tret\n"
    )
    result = run(project, model, "--llmc-samples=9", "--llmc-record=first.jsonl", "-k", "twice")
    result.assert_outcomes(passed=1, deselected=1)
    first = records(project.path / "first.jsonl")
    assert [one["verdict"] for one in first] == [
        *("pass", "mismatch", "no-answer", "assemble", "link", "inconclusive", "pass", "hang", "crash")
    ]
    run(project, "--llmc-model=replay:first.jsonl", "--llmc-samples=9", "--llmc-record=second.jsonl", "-k", "twice")
    second = records(project.path / "second.jsonl")
    assert [(one["verdict"], one["detail"], one["answer"]) for one in second] == [
        (one["verdict"], one["detail"], one["answer"]) for one in first
    ]
    for one in first:
        assert one["schema"] == 1 and one["case"] == "a.c" and one["task"] == "asm" and one["prompt"] == "meta"


def test_an_answer_that_hit_the_token_limit(project: pytest.Pytester) -> None:
    result = run(project, replay(project, "<code>\ntwice:\n\tleal (%rdi", stop="length"), "-k", "twice")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["truncated: the token limit came before the end of 'twice'*"])


def test_the_table(project: pytest.Pytester) -> None:
    model = replay(project, *[TWICE, WRONG, WRONG, VEX])
    result = run(project, model, "--llmc-samples=4", "--llmc-pass-k=1,3", "-k", "twice")
    assert result.outlines.count("by file") >= 1
    [headline] = [line for line in result.outlines if "pass@1" in line and "samples" in line]
    assert re.search(r"items +samples +pass@1 +pass@3 +assembled +pass +mismatch", headline)
    [first, second] = [line for line in result.outlines if line.startswith("overall")]
    # One of three judged samples is right: 1/3 at one try, certain at three.
    assert re.match(r"overall +1 +4 +33\.3 \(0-100\) +100 \(0-100\) +100 +1 +2$", first)
    assert re.match(r"overall +1$", second)
    result.stdout.fnmatch_lines(["*1 inconclusive, counted neither as passed nor as failed:"])


@pytest.mark.parametrize(
    ("require", "passing"),
    [
        ("any", {"one", "half", "all", "vex", "vexed"}),
        ("all", {"all", "vex"}),
        ("0.5", {"half", "all", "vex", "vexed"}),
    ],
)
def test_how_many_samples_must_pass(project: pytest.Pytester, require: str, passing: set[str]) -> None:
    answers = {
        "none": [WRONG, WRONG, WRONG, WRONG],
        "one": [WRONG, TWICE, WRONG, WRONG],
        "half": [WRONG, TWICE, WRONG, TWICE],
        "all": [TWICE, TWICE, TWICE, TWICE],
        # Inconclusive samples count neither way.
        "vex": [TWICE, VEX, VEX, TWICE],
        "vexed": [TWICE, VEX, VEX, WRONG],
        "lost": [VEX, VEX, VEX, VEX],
    }
    (project.path / "cases/a.c").unlink()
    lines = []
    for name, texts in answers.items():
        put(project, f"cases/{name}.c", CASE)
        replay(project, *texts, case=f"{name}.c")
        lines.append((project.path / "answers.jsonl").read_text())
    put(project, "answers.jsonl", "".join(lines))
    result = run(
        *(project, "--llmc-model=replay:answers.jsonl", "--llmc-samples=4", f"--llmc-require={require}"),
        *("-k", "twice", "-v"),
    )
    outcomes = dict(re.findall(r"^cases/(\w+)\.c::twice\S+ (\w+)", "\n".join(result.outlines), re.MULTILINE))
    assert {name for name, outcome in outcomes.items() if outcome == "PASSED"} == passing
    assert {name for name, outcome in outcomes.items() if outcome == "FAILED"} == {*answers} - passing - {"lost"}
    assert outcomes["lost"] == "SKIPPED"


def test_inconclusive_samples_are_shown_and_counted_apart(project: pytest.Pytester) -> None:
    result = run(project, replay(project, VEX), "-rs", "-k", "twice")
    result.assert_outcomes(skipped=1, deselected=1)
    result.stdout.fnmatch_lines(["SKIPPED*inconclusive: *vpxor*"])
    result.stdout.fnmatch_lines(["*1 inconclusive, counted neither as passed nor as failed:"])
    overall = next(line for line in result.outlines if line.startswith("overall"))
    assert re.match(r"overall +1 +1 +- +- +0 +1", overall)


def test_a_failure_is_worth_reading(project: pytest.Pytester) -> None:
    put(
        project,
        "cases/b.c",
        "#include <stddef.h>\n"
        "int sum(const unsigned char *buf, size_t len)\n"
        "{ int s = 0; for (size_t i = 0; i < len; i++) s += buf[i]; return s; }\n",
    )
    short = "sum:\n\txorl\t%eax, %eax\n\ttestq\t%rsi, %rsi\n\tje\t1f\n\tmovzbl\t(%rdi), %eax\n1:\tretq\n"
    far = "Here it is:\n\n```asm\nsum:\n\txorl\t%eax, %eax\n\tmovl\t0x10(%rax), %eax\n\tretq\n```\n"
    abi = "sum:\n\txorl %eax,%eax\n\txorl %ebx,%ebx\n\ttestq %rsi,%rsi\n\tje 2f\n1:\tmovzbl -1(%rdi,%rsi),%ecx\n"
    abi += "\taddl %ecx,%eax\n\tdecq %rsi\n\tjne 1b\n2:\tretq\n"
    model = replay(project, *[("sum", text) for text in (short, far, abi)], case="b.c")
    lines = (project.path / "answers.jsonl").read_text().splitlines()
    numbered = [json.dumps(json.loads(line) | {"sample": number}) for number, line in enumerate(lines)]
    put(project, "answers.jsonl", "\n".join(numbered) + "\n")
    result = run(project, model, "cases/b.c", "--llmc-samples=3")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*sum[[]asm-O0[]]*",
            "0 of 3 samples pass (*1 mismatch*)",
            "sample 0:",
            "mismatch: return value: expected 1, observed 0",
            "  input     buf = *len = 2*",
            "*expected  observed",
            "  return value  1 *0",
            "sample 1:",
            "crash: bad read of 4 bytes at 0x10 (a null pointer) in line 6",
            "  input     *",
            "  at        line 6: movl 0x10(%rax), %eax",
            "  expected  a return; observed: *",
            "sample 2:",
            "abi: *%rbx is not restored",
        ]
    )
    assert_no_traceback(result)


def test_a_refused_answer_names_line_and_column(project: pytest.Pytester) -> None:
    text = "The answer:\n<code>\ntwice:\n\tmovl\t%edi, %eax\n\taddl\t%eax, %eex\n\tretq\n</code>\n"
    result = run(project, replay(project, text), "-k", "twice", "--llmc-record=out.jsonl")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["assemble: *"])
    [made] = records(project.path / "out.jsonl")
    assert (made["detail"]["line"], made["detail"]["column"]) == (5, 13)
    assert re.search(r"\b5\b", text_of(result).partition("assemble: ")[2].splitlines()[0]), "the line goes unsaid"


# -- faults of the harness


def last_words(handler: BaseHTTPRequestHandler) -> None:
    """Answer, and close the server's door."""
    send(handler, completion(TWICE))
    handler.server.socket.close()
    threading.Thread(target=handler.server.shutdown).start()


def test_a_server_that_goes_down_is_an_error_and_no_failure(project: pytest.Pytester) -> None:
    with serve(MODELS, last_words) as (url, _):
        result = run(project, f"--llmc-model={url}", "--llmc-record=out.jsonl", "-v")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["cases/a.c::twice[[]asm-O0[]] PASSED*", "cases/a.c::low[[]asm-O0[]] ERROR*"])
    result.stdout.fnmatch_lines(["*no server listens at http://127.0.0.1:*"])
    assert [one["verdict"] for one in records(project.path / "out.jsonl")] == ["pass"]
    assert len(result.outlines) < 100, "the message drowns in pytest's own frames"


def test_a_model_with_a_fault_is_an_error(project: pytest.Pytester) -> None:
    project.makeconftest(PROMPT_MODEL.replace("yield Answer(prompt.reference())", "yield 1 // 0"))
    result = run(project, "-k", "twice")
    result.assert_outcomes(errors=1, deselected=1)
    result.stdout.fnmatch_lines(["*conftest.py:10: in answers", "E * ZeroDivisionError: *"])
    assert len(result.outlines) < 100, "the message drowns in pytest's own frames"


def test_a_judge_that_is_killed_loses_no_sample(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import os, signal
        from pytest_llmcompiler.plugin import EVALUATION

        killed = []

        def pytest_runtest_setup(item):
            judge = item.config.stash[EVALUATION].session.judge
            if judge.pid:
                killed.append(judge.pid)
                os.kill(judge.pid, signal.SIGKILL)

        def pytest_unconfigure():
            print("killed", len(killed))
        """
    )
    result = run(project, replay(project, ("twice", WRONG), ("low", LOW)), "--llmc-record=out.jsonl")
    result.assert_outcomes(passed=1, failed=1)
    assert "killed 1" in text_of(result)
    assert [one["verdict"] for one in records(project.path / "out.jsonl")] == ["mismatch", "pass"]


def test_a_killed_session_leaves_no_judge_and_whole_lines(project: pytest.Pytester) -> None:
    loop = "twice:\n1:\tjmp 1b\n"
    model = replay(project, *[loop] * 500)
    args = (sys.executable, "-m", "pytest", model, "-p", "no:xdist", "--llmc-samples=500", "--llmc-record=out.jsonl")
    record = project.path / "out.jsonl"
    process = subprocess.Popen(args, cwd=project.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: record.exists() and record.read_bytes().count(b"\n") >= 3)
        judges = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    finally:
        process.kill()
        process.wait(30)
    assert judges, "the judge has a process of its own"
    wait_until(lambda: not any(map(is_alive, judges)))
    lines = record.read_bytes().split(b"\n")
    assert {json.loads(line)["verdict"] for line in lines[:-1]} == {"hang"}


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_interrupt_keeps_what_is_recorded(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        def pytest_runtest_logreport(report):
            if report.when == "teardown":
                raise KeyboardInterrupt
        """
    )
    result = run(project, replay(project, ("twice", TWICE), ("low", LOW)), "--llmc-record=out.jsonl")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert [one["verdict"] for one in records(project.path / "out.jsonl")] == ["pass"]


def test_nothing_is_left_behind(project: pytest.Pytester) -> None:
    before = {path.name for path in project.path.iterdir()}
    run(project, "-p", "no:cacheprovider", "--llmc-model=reference").assert_outcomes(passed=2)
    after = {path.name for path in project.path.iterdir()}
    # pytester's own, and the caches of a home that is the same folder here.
    assert after - before <= {"runpytest-0", "runpytest-current", "stdout", "stderr", ".cache"}


def test_an_answer_that_comes_again_is_judged_once(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        from pytest_llmcompiler.judge import service

        real = service.Judge.judge

        def judge(self, *given, **more):
            print("judged")
            return real(self, *given, **more)

        service.Judge.judge = judge
        """
    )
    model = replay(project, TWICE, WRONG, TWICE, VEX, TWICE, VEX)
    result = run(project, model, "--llmc-samples=6", "--llmc-record=out.jsonl", "-k", "twice", "-s")
    kinds = [one["verdict"] for one in records(project.path / "out.jsonl")]
    assert kinds == ["pass", "mismatch", "pass", "inconclusive", "pass", "inconclusive"]
    assert text_of(result).count("judged\n") == 4, "what was inconclusive is looked at again"


def test_a_judge_that_fails_loses_no_answer(project: pytest.Pytester) -> None:
    """The sample is an error, its answer is kept, and the other samples are judged."""
    project.makeconftest(
        """
        from pytest_llmcompiler import JudgeError
        from pytest_llmcompiler.judge import service

        real = service.Judge.judge

        def judge(self, case, function, text, *more, **others):
            if "bad" in text:
                raise JudgeError("the harness is at fault")
            return real(self, case, function, text, *more, **others)

        service.Judge.judge = judge
        """
    )
    model = replay(project, TWICE, TWICE.replace("\n", " # bad\n", 1), TWICE)
    result = run(project, model, "--llmc-samples=3", "--llmc-record=out.jsonl", "-k", "twice")
    result.assert_outcomes(errors=1, deselected=1)
    assert "the harness is at fault" in text_of(result)
    assert [one["verdict"] for one in records(project.path / "out.jsonl")] == ["pass", None, "pass"]
