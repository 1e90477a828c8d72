"""Any compiler as the model: gcc, clang on IR, and what a wrong command says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sessions import put, run, run_here

from pytest_llmcompiler.errors import ModelError
from pytest_llmcompiler.model.answer import ModelSettings, Prompt, PromptSource
from pytest_llmcompiler.model.specs import check_spec, open_model

CASE = """\
#include "width.h"
static int helper(int x) { return x + WIDTH; }
int widened(int x) { return helper((int)(x & 255)); }
static __attribute__((noinline)) int mixed(int a, int b) { return a * 31 ^ b; }
int mixed_seven(int a) { return mixed(a & 255, 7); }
"""

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
CLANG = next(filter(shutil.which, ("clang-19", "clang-16", "clang")), None)


def _prompt(path: Path, passes: str = "O2", *cflags: str) -> Prompt:
    return Prompt(
        case=path.name,
        function="f",
        task="asm",
        passes=passes,
        template="meta",
        text="",
        reference=lambda: "",
        source=PromptSource(path, cflags, lambda: "define i32 @f() {\n ret i32 7\n}\n"),
    )


def _answers(spec: str, prompt: Prompt, samples: int = 1) -> list[str]:
    return [answer.text for answer in open_model(spec, ModelSettings()).answers(prompt, samples)]


@needs_gcc
def test_the_whole_file_is_compiled_with_its_flags_and_the_pass_list(tmp_path: Path) -> None:
    path = put_source(tmp_path, "int f(void) { return LIMIT; }\nint g(void) { return f(); }\n")
    texts = _answers("cc:gcc -{passes} -fno-pic", _prompt(path, "O0", "-DLIMIT=5"), samples=2)
    assert len(texts) == 2 and texts[0] == texts[1]
    assert "$5" in texts[0] and "g:" in texts[0]
    assert "%rbp" in texts[0], "O0 keeps a frame pointer"
    assert "%rbp" not in _answers("cc:gcc -{passes} -fno-pic", _prompt(path, "O2", "-DLIMIT=5"))[0]


def put_source(folder: Path, text: str) -> Path:
    path = folder / "case.c"
    path.write_text(text)
    return path


@needs_gcc
def test_the_model_says_which_compiler_it_is() -> None:
    facts = open_model("cc:gcc -O2 -fPIC", ModelSettings()).describe()
    assert (facts["backend"], facts["name"]) == ("cc", "gcc -O2 -fPIC")
    assert "gcc" in facts["version"].lower()


@pytest.mark.skipif(CLANG is None, reason="needs a clang")
def test_cc_ir_compiles_the_function_alone(tmp_path: Path) -> None:
    [text] = _answers(f"cc-ir:{CLANG} -O1", _prompt(tmp_path / "never-read.c"))
    assert "f:" in text and "$7" in text


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cc:", "cc: names no compiler; an example is cc:gcc -O2"),
        ("cc-ir: ", "cc-ir: names no compiler"),
        ("cc:no-such-compiler -O2", "no compiler at 'no-such-compiler'"),
        ("cc:gcc '-O2", "can't read the command"),
    ],
)
def test_a_command_that_can_not_be_run_is_an_error_at_once(spec: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check_spec(spec)


@needs_gcc
def test_the_compilers_own_words_are_the_error(tmp_path: Path) -> None:
    path = put_source(tmp_path, "int f(void) { return nothing; }\n")
    with pytest.raises(ModelError, match=r"(?s)gcc -O2 does not compile case.c:\n.*nothing"):
        _answers("cc:gcc -O2", _prompt(path))


@needs_gcc
def test_a_session_judges_gcc(project: pytest.Pytester) -> None:
    put(project, "cases/include/width.h", "#define WIDTH 8\n")
    put(project, "cases/wide.c", "// LLMC: cflags -Iinclude\n" + CASE)
    run(project, "cases/wide.c", "--llmc-model", "cc:gcc -{passes}", "--llmc-passes=O0,O2").assert_outcomes(passed=8)


@needs_gcc
def test_ir_is_skipped_where_the_compiler_reads_c_alone(project: pytest.Pytester) -> None:
    put(project, "cases/f.ll", "define i32 @f(i32 %x) {\n ret i32 %x\n}\n")
    result = run(project, "cases/f.ll", "--llmc-model", "cc:gcc -O2", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*f.ll is IR, which gcc does not compile*"])


@needs_gcc
def test_only_assembly_can_be_asked_for(project: pytest.Pytester) -> None:
    put(project, "case.c", "int f(void) { return 1; }\n")
    result = run(project, "case.c", "--llmc-model", "cc:gcc -O2", "--llmc-task=ir")
    result.stdout.fnmatch_lines(["*a compiler answers the task asm, not ir*"])


def test_a_session_with_a_missing_compiler_ends_at_once(project: pytest.Pytester) -> None:
    put(project, "case.c", "int f(void) { return 1; }\n")
    result = run_here(project, "case.c", "--llmc-model", "cc:no-such-compiler")
    result.stderr.fnmatch_lines(["*no compiler at 'no-such-compiler'*"])
