"""Functions of a case that follow another convention than C's: right code may expect their registers to last."""

from __future__ import annotations

import pytest
from faces import Compile

from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings

PRESERVING = """
__attribute__((noinline,preserve_most)) int callee(int x) { return x * 3 + 1; }
int f(int a, int b, int c) { return callee(a) + b * c + callee(b) * c; }
"""
WINDOWS = """
__attribute__((noinline,ms_abi)) double callee(double x) { return x * 3 + 1; }
double f(double a, double b, int c, int d) { return callee(a) + b * c + d; }
"""
NAKED = """
__attribute__((naked,noinline,used)) void callee(void) { __asm__("incl %eax\\n ret"); }
int f(int a, int b, int c) { __asm__("call callee" : "+a"(a) :: "cc"); return a + b * c; }
"""
VARIADIC = """
#include <stdarg.h>
__attribute__((noinline,ms_abi)) int callee(int n, ...)
{
    __builtin_ms_va_list l;
    __builtin_ms_va_start(l, n);
    int x = __builtin_va_arg(l, int);
    __builtin_ms_va_end(l);
    return x + n;
}
int f(int a, int b) { return callee(a, b) + b; }
"""
THREE_REGISTERS = """
target triple = "x86_64-unknown-linux-gnu"
define {i64,i64,i64} @callee(i64 %x) noinline {
  %a = insertvalue {i64,i64,i64} undef, i64 %x, 0
  %b = insertvalue {i64,i64,i64} %a, i64 7, 1
  %c = insertvalue {i64,i64,i64} %b, i64 9, 2
  ret {i64,i64,i64} %c
}
define i64 @f(i64 %x) {
  %r = call {i64,i64,i64} @callee(i64 %x)
  %a = extractvalue {i64,i64,i64} %r, 0
  %c = extractvalue {i64,i64,i64} %r, 2
  %s = xor i64 %a, %c
  ret i64 %s
}
"""
RESULTS = """
typedef float four __attribute__((vector_size(16)));
struct pair { double a; long b; }; struct big { long v[5]; };
__attribute__((noinline)) struct pair pair(int x) { struct pair p = {x, x + 1}; return p; }
__attribute__((noinline)) struct big big(int x) { struct big p = {{x, x + 1}}; return p; }
__attribute__((noinline)) _Complex float complex(int x) { return x; }
__attribute__((noinline)) long double wide(int x) { return x; }
__attribute__((noinline)) __int128 two(int x) { return (__int128)x << 40; }
__attribute__((noinline)) four vector(int x) { four v = {x, 2, 3, 4}; return v; }
long f(int x)
{
    struct pair p = pair(x);
    return p.b + p.a + big(x).v[1] + __real__ complex(x) + wide(x) + (two(x) >> 40) + vector(x)[0];
}
"""

SHARED = """
__attribute__((noinline)) int twice(int x) { return x * 2 + 1; }
__attribute__((noinline)) int three(int x) { return twice(x) * 3; }
int f(int x) { return twice(x) + x; }
"""
WHOLE_FILE = """
\t.globl\ttwice, three, f
twice:
\tleal\t1(%rdi,%rdi), %eax
\tretq
three:
\tpushq\t%rax
\tcall\ttwice
\tleal\t(%rax,%rax,2), %eax
\tpopq\t%rcx
\tretq
f:
\tmovl\t%edi, %esi
\tcall\ttwice
\taddl\t%esi, %eax
\tretq
"""


def test_code_relies_on_the_functions_that_it_names(compiled: Compile) -> None:
    harness = Harness(compiled(SHARED), "f", JudgeSettings(examples=10, effort=0))
    code = FunctionUnderTest(harness.reference, "f").assemble_candidate(WHOLE_FILE, "keystone")
    assert code.shared_functions == {"twice", "three"} and code.used_functions == {"twice"}
    assert harness.judge(WHOLE_FILE, explain=False).passed, "neither is the stack aligned, nor %rsi saved"


@pytest.mark.parametrize("level", ["O0", "O1", "O2"])
@pytest.mark.parametrize(
    ("source", "suffix"),
    [
        pytest.param(PRESERVING, ".c", id="preserve_most"),
        pytest.param(WINDOWS, ".c", id="ms_abi"),
        pytest.param(NAKED, ".c", id="naked"),
        pytest.param(VARIADIC, ".c", id="ms_abi-variadic"),
        pytest.param(THREE_REGISTERS, ".ll", id="three-registers"),
        pytest.param(RESULTS, ".c", id="results"),
    ],
)
def test_clang_s_own_code_passes(compiled: Compile, source: str, suffix: str, level: str) -> None:
    reference = compiled(source, suffix)
    harness = Harness(reference, "f", JudgeSettings(examples=10, effort=0))
    verdict = harness.judge(reference.texts.assembly("f", level), explain=False)
    assert verdict.passed, verdict.message
