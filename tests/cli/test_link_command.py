"""`llmc link`: a program with assembly in the place of one of its functions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmcompiler.cli import main
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference

PROGRAM = r"""
#include <stdio.h>
#include <string.h>
static int times = 2;
static int scaled(int x) { return times * x; }
int answer(int x) { const char *text = "four"; return scaled(x) + (int)strlen(text); }
int main(void) { printf("%d\n", answer(19)); return answer(0) == 4 ? 0 : 1; }
"""
RIGHT = """\
answer:
	pushq	%rbx
	callq	scaled
	movl	%eax, %ebx
	leaq	.L.str(%rip), %rdi
	callq	strlen@PLT
	addl	%ebx, %eax
	popq	%rbx
	retq
"""


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("link") / "program.c"
    path.write_text(PROGRAM)
    return path


def link(case: Path, text: str, function: str = "answer") -> Path:
    """Link a program with a text in the place of a function; returns the program."""
    case.with_name("answer.s").write_text(text)
    output = case.with_name("program")
    output.unlink(missing_ok=True)
    main(["link", str(case), "--function", function, "--assembly", str(case.with_name("answer.s")), "-o", str(output)])
    return output


def refusal_of(case: Path, text: str, function: str = "answer") -> str:
    """The message of a refusal to link."""
    with pytest.raises(SystemExit) as stopped:
        link(case, text, function)
    assert not case.with_name("program").exists()
    assert "\n" not in str(stopped.value)
    return str(stopped.value)


def run(program: Path) -> tuple[int, str]:
    """The exit status and the output of a program."""
    done = subprocess.run([program], capture_output=True, text=True, timeout=10)
    return done.returncode, done.stdout


def test_a_static_function_and_a_private_string_can_be_named(case: Path) -> None:
    assert run(link(case, RIGHT)) == (0, "42\n")


def test_thread_local_variables(tmp_path: Path) -> None:
    path = tmp_path / "threads.c"
    path.write_text(
        "static _Thread_local int n = 40;\nint next(void) { return ++n; }\nint main(void) { next(); return next(); }\n"
    )
    text = 'next:\n incl %fs:n@tpoff\n movl %fs:n@tpoff, %eax\n ret\n.section .tdata,"awT"\nn: .long 40\n'
    assert run(link(path, text, "next")) == (42, "")


def test_the_text_is_what_runs(case: Path) -> None:
    assert run(link(case, RIGHT.replace("addl\t%ebx", "subl\t%ebx"))) == (0, "-34\n")


def test_a_name_of_the_program_wins_over_the_text_s_own(case: Path) -> None:
    """As in the judge: a global one. The function itself and local functions are the text's."""
    own = 'scaled:\n\tmovl\t$1000, %eax\n\tret\n.L.str:\n\t.asciz\t"seven"\n'
    assert run(link(case, RIGHT + ".globl scaled\n" + own)) == (1, "43\n")
    assert run(link(case, RIGHT + own)) != (1, "43\n")


def test_a_text_that_names_functions_of_glibc(case: Path) -> None:
    text = """\
answer:
	pushq	%rbx
	movl	%edi, %ebx
	leaq	digits(%rip), %rdi
	xorl	%esi, %esi
	movl	$10, %edx
	callq	__isoc23_strtol@PLT
	leal	(%rax,%rbx,2), %ebx
	movl	$1, %edi
	leaq	digits(%rip), %rsi
	xorl	%eax, %eax
	callq	__printf_chk@PLT
	movl	%ebx, %eax
	popq	%rbx
	retq
	.section .rodata
digits:	.string "4 "
"""
    done = subprocess.run([link(case, text)], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("4 42\n4 ", 0)


def test_what_is_not_reached_need_not_link(case: Path) -> None:
    other = "other:\n\tcallq\tnowhere\n\tleaq\t.Lnothing(%rip), %rax\n\tret\n\t.data\n\t.quad\tnowhere_else\n"
    assert run(link(case, RIGHT + other)) == (0, "42\n")
    refusal = refusal_of(case, RIGHT.replace("popq", "callq\tother\n\tpopq") + other)
    assert "nowhere" in refusal or ".Lnothing" in refusal


def test_main_itself(case: Path) -> None:
    text = "main:\n\tpushq\t%rax\n\tmovl\t$7, %edi\n\tcallq\tanswer\n\tpopq\t%rcx\n\tret\n"
    assert run(link(case, text, "main")) == (18, "")


def test_the_example_of_the_readme(case: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    source = root / "cases" / "git_lfs.c"
    assembly = Reference(read_case(source), Toolchain()).texts.assembly("validate", "O2")
    (tmp_path / "validate.s").write_text(assembly)
    command = ["link", str(source), "--function", "validate", "--assembly", "validate.s", "-o", "git_lfs"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest_llmcompiler", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert run(tmp_path / "git_lfs") == (0, "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("answer:\n\tmovll\t$1, %eax\n\tret\n", "answer.s:2:2: invalid instruction mnemonic 'movll'"),
        (
            'answer:\n\t.incbin "/etc/passwd"\n\tret\n',
            "answer.s:2:2: directive .incbin is not supported: it reads a file",
        ),
        ("other:\n\tret\n", "answer.s: symbol 'answer' is not defined: it defines other"),
        ("answer:\n\tcallq\tnowhere\n\tret\n", "answer.s: undefined symbol: 'nowhere' (line 2)"),
        ("answer:\n\tleaq\t.L.str.77(%rip), %rax\n\tret\n", "answer.s: undefined symbol: '.L.str.77' (line 2)"),
        ("I am sorry, but I can't.\n", "answer.s: no assembly: "),
    ],
)
def test_a_text_that_can_t_be_linked(case: Path, text: str, words: str) -> None:
    assert words in refusal_of(case, text)


def test_a_function_that_the_case_does_not_define(case: Path) -> None:
    message = refusal_of(case, RIGHT, "nothing")
    assert "program.c: no function 'nothing' is defined here; there are: answer, main, scaled" in message


def test_a_file_without_a_program(tmp_path: Path) -> None:
    (tmp_path / "part.c").write_text("int answer(int x) { return x; }\n")
    message = refusal_of(tmp_path / "part.c", "answer:\n\tret\n")
    assert "part.c defines no main, so there is no program to link: add one that calls answer" in message


def test_a_case_that_only_declares_a_function(tmp_path: Path) -> None:
    (tmp_path / "part.c").write_text(
        "int far(int); int answer(int x) { return x; } int main(void) { return far(1); }\n"
    )
    message = refusal_of(tmp_path / "part.c", "answer:\n\tret\n")
    assert "part.c only declares 'far': a program needs a definition" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--function", "a", "--function", "b"], "one function at a time can be replaced, and these are 2: a, b"),
        (["--function", "answer", "--assembly", "missing.s"], "missing.s: can't be read"),
        (["--function", "answer", "-o", "missing/program"], "missing/program: can't be written: No such file"),
    ],
)
def test_wrong_arguments(case: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(case.parent)
    Path("answer.s").write_text(RIGHT)
    options = ["--assembly", "answer.s", "-o", "program", *arguments]
    with pytest.raises(SystemExit, match=words):
        main(["link", "program.c", *options])


def test_a_folder_in_the_place_of_the_program(case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "answer.s").write_text(RIGHT)
    (tmp_path / "out").mkdir()
    command = ["--function", "answer", "--assembly", str(tmp_path / "answer.s"), "-o", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="can't be written"):
        main(["link", str(case), *command])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answer.s", "out"]


def test_a_file_that_is_no_case(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    assert "a case is a .c or .ll file" in refusal_of(tmp_path / "a.txt", RIGHT)
