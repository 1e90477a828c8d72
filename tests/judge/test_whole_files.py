"""Answers that are whole files: local functions and variables of their own, under names that compilers choose."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_llmcompiler.judge.client import JudgeClient
from pytest_llmcompiler.judge.harness import JudgeSettings
from pytest_llmcompiler.judge.verdict import Verdict
from pytest_llmcompiler.program.case import read_case

COMPILERS = ("gcc", "clang-16", "clang-19")
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")

HELPERS = r"""
static __attribute__((noinline)) int blend(int a, int b, int c) { return (a ^ b) * 31 + c; }
int blended(int a, int b) { return blend(a, b, 7) + blend(b, a, 7); }
static __attribute__((noinline)) int deep(const int *values, int n, int bias)
{
    int sum = bias;
    for (int i = 0; i < n; i++)
        sum += values[i] / (i + 1);
    return sum;
}
int deeply(const int values[4]) { return deep(values, 4, 1) * deep(values + 1, 3, 1); }
"""
LOCALS = r"""
int count_calls(void)
{
    static int calls;
    return ++calls;
}
char *shouted(const char *word)
{
    static char text[32];
    int n = 0;
    for (; word[n] && n < 31; n++)
        text[n] = word[n] >= 'a' && word[n] <= 'z' ? word[n] - 32 : word[n];
    text[n] = 0;
    return text;
}
"""
CONVENTIONS = r"""
extern int probe(int);
__attribute__((noinline)) int twice(int x) { return x * 2 + 1; }
int plus(int x) { return twice(x) + x; }
__attribute__((noinline)) int three(int x, int y) { return twice(x) * y; }
int many(int x, int y) { return three(x, y) + x - y + three(y, x); }
__attribute__((noinline)) double mix(double a, double b) { return a + 3 * b; }
double mixed(double a, double b) { return mix(a, b) + a + b; }
__attribute__((noinline)) int asked(int x) { return probe(x); }
int asks(int x) { return asked(x) + 1; }
"""
KINDS = r"""
#include <stdlib.h>
#include <string.h>
extern int probe(int);
typedef int op(int, int);
static int add(int a, int b) { return (int)((unsigned)a + b); }
static int sub(int a, int b) { return (int)((unsigned)a - b); }
static op *const ops[] = {add, sub};
int apply(unsigned which, int a, int b) { return which < 2 ? ops[which](a, b) : 0; }
op *choose(int which) { return which ? add : sub; }
op *chosen;
void keep(int which) { chosen = which ? add : sub; }
static int compare(const void *a, const void *b) { int x = *(const int *)a, y = *(const int *)b; return x < y ? -1 : x > y; }
void sort(int values[8]) { qsort(values, 8, sizeof *values, compare); }
static __attribute__((noinline)) int asked(int x) { return probe(x) * 3; }
int asks(int x) { return asked(x) + asked(x / 2); }
static int descend(int n);
int climb(int n) { return n <= 0 || n > 40 ? 0 : 1 + descend(n - 1); }
static __attribute__((noinline)) int descend(int n) { return n <= 0 ? 0 : climb(n - 2) + 1; }
static int mode;
static int counts[4];
static __attribute__((noinline)) void note(int i) { counts[i & 3]++; }
int noted(int i) { note(i); note(i + 1); return counts[0] + counts[1]; }
int set_mode(int m) { int old = mode; mode = m & 7; return old; }
int next_f(void) { static unsigned n; n = n * 5 + 3; return n >> 3; }
int next_g(void) { static unsigned n; n = n * 7 + 2; return n >> 2; }
int scopes(int which) { if (which) { static int n; return ++n; } else { static int n; return n += 2; } }
static struct { int a; char b; long c; } parts;
int use_parts(int x) { parts.a = (int)((unsigned)parts.a + x); parts.c ^= x; return parts.a > (int)parts.c; }
static int ready;
int once(int x) { if (!ready) { ready = 1; return probe(x); } return x; }
const char *day(unsigned n) { static const char *const names[] = {"sun", "mon", "tue"}; return n < 3 ? names[n] : "?"; }
const char *const *row(unsigned n) { static const char *const names[] = {"a", "bb", "ccc", "d"}; return &names[n & 3]; }
struct entry { const char *name; int value; };
const struct entry *find(unsigned n) { static const struct entry table[] = {{"x", 1}, {"y", 2}, {"z", 3}}; return &table[n % 3]; }
int *slots(unsigned i) { static int table[4] = {1, 2, 3, 4}; table[i & 3]++; return &table[i & 3]; }
static int *literal = (int[]){4, 5, 6};
int bump(unsigned i) { return ++literal[i % 3]; }
static int phase = 3;
int tick(void) { int old = phase; phase = 7; return old; }
const char *name_of(void) { return __func__; }
"""

WholeFile = Callable[..., Verdict]


@pytest.fixture(scope="module")
def few() -> Iterator[JudgeClient]:
    """A judge with few inputs."""
    judge = JudgeClient(JudgeSettings(examples=20))
    yield judge
    judge.close()


@pytest.fixture
def verdict_on(few: JudgeClient, tmp_path: Path) -> WholeFile:
    """The verdict on a text for a function of a C source."""

    def judge(source: str, function: str, text: str) -> Verdict:
        path = tmp_path / "case.c"
        path.write_text(source)
        return few.judge(read_case(path), function, text)

    return judge


def compile_file(source: str, *command: str) -> str:
    """A compiler's assembly of a C file."""
    done = subprocess.run(
        [*command, "-S", "-w", "-x", "c", "-", "-o", "-"], input=source, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    return done.stdout


def function_of(text: str, function: str) -> str:
    """The part of a compiler's text with one function."""
    match = re.search(rf"^{function}:.*?^\t\.size\t{function}, .*?$", text, re.MULTILINE | re.DOTALL)
    assert match
    return match[0]


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize(
    "flags", [("-O0", "-fPIC"), ("-O1", "-masm=intel"), ("-O2", "-fno-pie"), ("-O3", "-fPIC"), ("-Os",)]
)
def test_helpers_and_static_locals_of_whole_files(compiler: str, flags: tuple[str, ...], verdict_on: WholeFile) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    for source, functions in ((HELPERS, ("blended", "deeply")), (LOCALS, ("count_calls", "shouted"))):
        text = compile_file(source, compiler, *flags)
        verdicts = {function: str(verdict_on(source, function, text)) for function in functions}
        assert {function: verdict for function, verdict in verdicts.items() if verdict[:4] != "pass"} == {}


@needs_gcc
def test_wrong_helpers_and_static_locals_are_caught(verdict_on: WholeFile) -> None:
    text = compile_file(HELPERS, "gcc", "-O2")
    assert verdict_on(HELPERS, "blended", text.replace("addl\t$7, %eax", "addl\t$6, %eax")).kind == "mismatch"
    text = compile_file(LOCALS, "gcc", "-O1")
    assert verdict_on(LOCALS, "count_calls", re.sub(r"movl\t%eax, calls\.\d+\(%rip\)", "nop", text)).kind == "mismatch"
    assert verdict_on(LOCALS, "shouted", re.sub(r"movb\t\$0, .*", "nop", text)).kind == "mismatch"


@needs_gcc
@pytest.mark.parametrize("syntax", ["att", "intel"])
def test_single_functions_that_use_static_locals(syntax: str, verdict_on: WholeFile) -> None:
    """The variables are not defined in the text."""
    text = compile_file(LOCALS, "gcc", "-O2", f"-masm={syntax}")
    start = ".intel_syntax noprefix\n" if syntax == "intel" else ""
    for function in ("count_calls", "shouted"):
        assert verdict_on(LOCALS, function, start + function_of(text, function)).kind == "pass"


@needs_gcc
def test_gcc_relies_on_what_its_own_functions_do(verdict_on: WholeFile) -> None:
    """No aligned stack for a function that calls nothing, and registers that it does not write. Code that relies on
    more is wrong."""
    for level in ("-O0", "-O2"):
        text = compile_file(CONVENTIONS, "gcc", level, "-fno-pie")
        for function in ("plus", "many", "mixed", "asks"):
            assert str(verdict_on(CONVENTIONS, function, text))[:4] == "pass"
    answer = """
        .globl twice, plus, asked, asks
twice:  leal 1(%rdi,%rdi), %eax
        ret
plus:   movl %edi, %esi
        call twice
        addl %esi, %eax
        ret
asked:  subq $8, %rsp
        call probe
        addq $8, %rsp
        ret
asks:   call asked
        incl %eax
        ret
    """
    assert verdict_on(CONVENTIONS, "plus", answer).kind == "pass"
    assert "not aligned" in verdict_on(CONVENTIONS, "asks", answer).message
    kept = answer.replace(
        "call asked\n        incl %eax", "movl $1, %esi; subq $8, %rsp; call asked\n addl %esi, %eax; addq $8, %rsp"
    )
    assert verdict_on(CONVENTIONS, "asks", kept).kind == "mismatch"
    assert verdict_on(CONVENTIONS, "asks", kept.replace("%esi", "%ebx")).kind == "abi"


@needs_gcc
def test_functions_whose_addresses_are_used(verdict_on: WholeFile) -> None:
    """The addresses are the program's, the code is the answer's own."""
    text = compile_file(KINDS, "gcc", "-O1")
    for function in ("apply", "choose", "keep", "sort"):
        assert str(verdict_on(KINDS, function, text))[:4] == "pass"
    compare = function_of(text, "compare")
    assert "$-1" in compare
    assert verdict_on(KINDS, "sort", text.replace(compare, compare.replace("$-1", "$1"))).kind == "mismatch"
    careless = text.replace(compare, compare.replace("$-1, %eax", "$-1, %eax\n\tmovl\t$0, %ebx"))
    assert verdict_on(KINDS, "sort", careless).kind != "pass"
    swapped = re.sub(r"\b(add|sub)\(%rip\)", lambda match: f"{'sub' if match[1] == 'add' else 'add'}(%rip)", text)
    assert verdict_on(KINDS, "choose", swapped).kind == "mismatch"


OWN_ADDRESS = r"""
typedef int (*operation)(int);
int twice(int x) { return 2 * (x & 255); }
operation table[2] = {twice, 0};
void *own(void) { return (void *)own; }
int is_first(void) { return table[0] == twice; }
int nested(int n, void **place)
{
    *place = (void *)nested;
    return n > 0 ? (n & 7) + nested((n & 7) - 1, place) : 0;
}
"""


@needs_gcc
@pytest.mark.parametrize("flags", [("-O0", "-fPIC"), ("-O2",), ("-O1", "-masm=intel", "-fno-pie")])
def test_the_address_of_the_function_under_test(flags: tuple[str, ...], verdict_on: WholeFile) -> None:
    text = compile_file(OWN_ADDRESS, "gcc", *flags)
    for function in ("own", "is_first", "nested"):
        assert str(verdict_on(OWN_ADDRESS, function, text))[:4] == "pass"


def test_another_address_than_that_of_the_function_under_test(verdict_on: WholeFile) -> None:
    for place in ("twice(%rip)", "own+1(%rip)"):
        assert verdict_on(OWN_ADDRESS, "own", f"own:\n\tleaq {place}, %rax\n\tret\n").kind == "mismatch"


@needs_gcc
def test_static_variables_of_one_name(verdict_on: WholeFile) -> None:
    """Two functions have an `n`, and two blocks of one function: whichever is which, one choice must be right."""
    text = compile_file(KINDS, "gcc", "-O2")
    for function in ("next_f", "next_g", "scopes", "slots", "bump", "row", "find"):
        assert str(verdict_on(KINDS, function, text))[:4] == "pass"
    numbers = re.findall(r"n\.\d+", function_of(text, "scopes"))
    one = re.sub(r"n\.\d+", numbers[0], function_of(text, "scopes"))
    assert verdict_on(KINDS, "scopes", one).kind == "mismatch"


@pytest.mark.skipif(shutil.which("clang-19") is None, reason="no clang-19 here")
def test_variables_that_llvm_splits_and_shrinks(verdict_on: WholeFile) -> None:
    text = compile_file(KINDS, "clang-19", "-O2")
    assert ".comm\tready,1," in text
    assert "parts.0" in text
    for function in ("once", "use_parts", "asks", "climb", "noted"):
        assert str(verdict_on(KINDS, function, text))[:4] == "pass"
    older = re.sub(r"\bready\b", "ready.b", text)
    assert verdict_on(KINDS, "once", older).kind == "pass"
    assert verdict_on(KINDS, "once", older.replace("movb\t$1, ready.b", "movb\t$0, ready.b")).kind == "mismatch"
    assert verdict_on(KINDS, "tick", text).kind == "pass"
    unclear = verdict_on(KINDS, "set_mode", re.sub(r"\bmode\b", "mode.b", text))
    assert (unclear.kind, "mode.b" in unclear.message) == ("inconclusive", True)
    assert verdict_on(KINDS, "use_parts", text.replace("parts.1(%rip), %rcx", "parts.0(%rip), %rcx")).kind == "mismatch"


def test_what_is_not_reached_need_not_link(verdict_on: WholeFile) -> None:
    source = "int f(int x) { return x + 1; }\nint g(int x) { return x; }\n"
    answer = """
f:      leal 1(%rdi), %eax
        ret
g:      call nowhere
        movl %fs:hidden@tpoff, %eax
        addl other@tpoff(%rax), %eax
        ret
        .section .tbss,"awT",@nobits
hidden: .zero 4
        .data
table:  .quad nowhere
    """
    assert verdict_on(source, "f", answer).kind == "pass"
    assert verdict_on(source, "f", answer.replace("ret", "jmp g", 1)).kind in ("link", "inconclusive")
    assert verdict_on(source, "f", answer.replace("ret", "nop", 1)).kind in ("link", "inconclusive")
    reached = verdict_on(source, "f", answer.replace("ret", "movq table(%rip), %rcx; ret", 1))
    assert (reached.kind, "nowhere" in reached.message) == ("link", True)


def test_a_copy_of_a_global_variable_is_the_program_s(verdict_on: WholeFile) -> None:
    source = "int counter;\nint f(int x) { counter += x; return counter; }\n"
    answer = """
f:      addl counter(%rip), %edi
        movl %edi, counter(%rip)
        movl %edi, %eax
        ret
        .data
counter: .long 5
    """
    assert verdict_on(source, "f", answer).kind == "pass"
    assert verdict_on(source, "f", answer.replace("counter", "counter_")).kind == "mismatch"


def test_names_that_no_compiler_gives_do_not_hide_writes(verdict_on: WholeFile) -> None:
    """`counter.1` is a part of `counter` only where that is a struct or an array that the text does not use."""
    source = "static int counter;\nint next(void) { return ++counter; }\nvoid set(int to) { counter = to; }\n"
    answer = """
next:   movl counter(%rip), %eax
        incl %eax
        movl %eax, counter(%rip)
        ret
        .bss
counter.1: .zero 4
    """
    assert verdict_on(source, "next", answer).kind == "pass"
    assert verdict_on(source, "next", answer.replace("%eax, counter", "%eax, counter.1")).kind == "mismatch"
    assert verdict_on(source, "next", re.sub(r"counter\(", "counter.1(", answer)).kind == "mismatch"
    source = source.replace("int counter", "struct { int value, spare; } counter").replace(
        "counter;\n", "counter;\n", 1
    )
    source = source.replace("++counter", "++counter.value").replace(
        "counter = to", "counter.value = counter.spare = to"
    )
    assert verdict_on(
        source, "next", re.sub(r"counter\(", "counter.0(", answer.replace("counter.1", "counter.0"))
    ).passed
    assert verdict_on(source, "next", answer.replace("%eax, counter", "%eax, counter.1")).kind == "mismatch"
