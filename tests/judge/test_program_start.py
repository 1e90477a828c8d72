"""Code that runs before and after `main`, and functions that are named like the C library's."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmcompiler import check, check_file
from pytest_llmcompiler.errors import CaseError
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.clang import Toolchain
from pytest_llmcompiler.program.reference import Reference

OWN_LIBRARY = r"""
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static char pool[4096];
static size_t used;
void *malloc(size_t n)
{
    if (n > sizeof pool || used + n > sizeof pool)
        return NULL;
    void *p = pool + used;
    used += (n + 15) & ~15ul;
    return p;
}
void *memset(void *where, int byte, size_t n)
{
    unsigned char *p = where;
    while (n--)
        *p++ = (unsigned char)byte;
    return where;
}
size_t strlen(const char *text)
{
    const char *end = text;
    while (*end)
        end++;
    return (size_t)(end - text);
}
void abort(void)
{
    write(2, "own\n", 4);
    _exit(77);
}
int abs(int x) { return x < 0 ? -x : x; }
double floor(double x) { return (double)(long)x; }
int optind = 7;
int next_option(void) { return optind++ & 63; }
char *twin(const char *text)
{
    size_t n = strlen(text);
    char *copy = malloc(n + 1);
    if (!copy)
        abort();
    for (size_t i = 0; i <= n; i++)
        copy[i] = text[i];
    return copy;
}
int shown(int x)
{
    if (x == 3)
        abort();
    return printf("%d %.1f\n", abs(x & 255), floor((x & 255) / 2.0));
}
"""

CONSTRUCTOR = r"""
#include <stdio.h>
static int ready;
__attribute__((constructor)) void prepared(void)
{
    ready = 1;
    printf("Ready\n");
}
__attribute__((destructor)) void closed(void) { printf("Closed %d\n", ready); }
void told(int x) { printf("%d\n", x); }
int main(void)
{
    told(1);
    return 0;
}
"""

SAME_WORDS = r"""
#include <stdio.h>
__attribute__((constructor)) void opening(void) { printf("On the way\n"); }
__attribute__((destructor)) void closing(void) { printf("On the way\n"); }
int main(void) { return 0; }
"""

AT_EXIT = r"""
#include <stdio.h>
#include <stdlib.h>
static void last(void) { printf("last\n"); }
int start(int x)
{
    atexit(last);
    return x + 1;
}
int main(void)
{
    printf("begins\n");
    return start(1);
}
"""


def _compile(path: Path, source: str, level: str) -> Reference:
    path.write_text(source)
    return Reference(read_case(path), Toolchain())


@pytest.mark.parametrize("level", ["O0", "O2"])
def test_a_case_defines_functions_of_the_c_library(tmp_path: Path, level: str) -> None:
    """The case's calls go to its own functions; the C library, which calls `strlen` in `printf`, keeps its own."""
    path = tmp_path / "own.c"
    reference = _compile(path, OWN_LIBRARY, level)
    assert {"malloc", "memset", "strlen", "abort", "abs", "floor", "shown"} <= set(reference.functions)
    for function in reference.functions:
        text = reference.texts.assembly(function, level)
        assert check_file(path, function, text, examples=10).kind == "pass", function


@pytest.mark.parametrize(
    ("function", "assembly"),
    [
        ("strlen", "strlen:\n\tmovl $3, %eax\n\tret\n"),
        ("abs", "abs:\n\tmovl %edi, %eax\n\tret\n"),
        ("next_option", "next_option:\n\tmovl optind(%rip), %eax\n\tandl $63, %eax\n\tret\n"),
        ("abort", "abort:\n\tmovl $76, %edi\n\tpushq %rax\n\tcall _exit\n"),
    ],
)
def test_wrong_code_for_them_is_caught(function: str, assembly: str) -> None:
    assert check(OWN_LIBRARY, function, assembly, examples=20).kind == "mismatch"


@pytest.mark.parametrize(
    ("source", "function"),
    [
        (CONSTRUCTOR, "prepared"),
        (CONSTRUCTOR, "closed"),
        (CONSTRUCTOR, "told"),
        (SAME_WORDS, "opening"),
        (SAME_WORDS, "closing"),
        (AT_EXIT, "start"),
        (AT_EXIT, "last"),
    ],
)
def test_functions_that_run_before_and_after_main(tmp_path: Path, source: str, function: str) -> None:
    path = tmp_path / "start.c"
    text = _compile(path, source, "O2").texts.assembly(function, "O2")
    assert check_file(path, function, text, examples=5).kind == "pass"


def test_a_candidate_for_a_constructor_is_run() -> None:
    """The constructor ran before the candidate was loaded: its translated code must not run in the candidate's place."""
    silent = "prepared:\n\tmovl $1, ready(%rip)\n\tret\n"
    verdict = check(CONSTRUCTOR, "prepared", silent, examples=5)
    assert verdict.kind == "mismatch"
    assert "Ready" in verdict.message


def test_what_runs_at_exit_is_observed_in_the_whole_program() -> None:
    """`start` returns the right value and forgets `atexit`: the program's last line is missing."""
    forgetful = "start:\n\tleal 1(%rdi), %eax\n\tret\n"
    verdict = check(AT_EXIT, "start", forgetful, examples=5)
    assert verdict.kind == "mismatch"
    assert "last" in verdict.message


@pytest.mark.parametrize(
    ("body", "reason"),
    [("exit(3)", "exit code 3"), ("abort()", "abort"), ("for (;;) continue", "main is not reached within")],
)
def test_a_program_that_ends_before_main_is_an_error_of_the_case(tmp_path: Path, body: str, reason: str) -> None:
    path = tmp_path / "leaves.c"
    path.write_text(
        f"#include <stdlib.h>\n__attribute__((constructor)) static void leave(void) {{ {body}; }}\n"
        "int same(int x) { return x; }\n"
    )
    with pytest.raises(CaseError, match=f"leaves.c: a function that runs before main ends the program: {reason}"):
        check_file(path, "same", "same:\n\tmovl %edi, %eax\n\tret\n", examples=5)


def test_inline_assembly_names_functions_and_variables_of_the_case() -> None:
    source = r"""
    int counter;
    int twice(int x) { counter++; return 2 * x; }
    int called(int x) {
        int y;
        __asm__ volatile("subq $128, %%rsp; call twice; addl counter(%%rip), %%eax; addq $128, %%rsp"
                         : "=a"(y), "+D"(x) : : "memory", "cc", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11");
        return y;
    }
    """
    right = "called:\n\tpushq %rax\n\tcall twice\n\taddl counter(%rip), %eax\n\tpopq %rcx\n\tret\n"
    assert check(source, "called", right, examples=10).kind == "pass"
    assert check(source, "called", right.replace("addl", "subl"), examples=10).kind == "mismatch"
