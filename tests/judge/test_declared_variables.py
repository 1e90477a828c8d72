"""Variables that a case only declares: part of the world outside like functions, with storage, values and comparison."""

from __future__ import annotations

import pytest
from faces import CaseOf, Compile, Judged

from pytest_llmcompiler.judge.client import JudgeClient
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings

SOURCE = r"""
#include <errno.h>
#include <stdio.h>
struct point { char tag; int x, y; };
struct config;
extern int verbose;
extern const int limit;
extern int table[];
extern const char *const names[];
extern struct point origin, corners[3];
extern struct config config;
extern int (*rank)(int, int);
extern double scale;
extern _Thread_local int per_thread;
extern int debug __attribute__((weak));
extern void hook(int) __attribute__((weak));
void use(struct config *);

int counted(int x) { verbose++; return x + limit; }
int looked_up(unsigned i) { return table[i & 15]; }
int known(void) { int n = 0; while (names[n]) n++; return n; }
const char *name_of(unsigned i) { return names[i & 7]; }
int moved(int dx) { origin.x += dx; return corners[1].y; }
void used(void) { use(&config); }
int ranked(int a, int b) { return rank ? rank(a, b) : -1; }
double scaled(double x) { return x * scale; }
int inside(int x) { extern unsigned short level; return x + level; }
int weakly(int x) { if (&debug) x += debug; if (hook) hook(x); return x; }
int threaded(void) { return per_thread; }
void told(int x) { fprintf(stdout, "%d", x); errno = 5; }
"""
COUNTED = "counted:\n incl verbose(%rip)\n leal (%rdi), %eax\n addl limit(%rip), %eax\n ret\n"
GOT = """counted:
 movq verbose@GOTPCREL(%rip), %rcx
 incl (%rcx)
 movq limit@GOTPCREL(%rip), %rcx
 movl (%rcx), %eax
 addl %edi, %eax
 ret
"""
WEAKLY = """weakly:
 pushq %rbx
 movl %edi, %ebx
 cmpq $0, debug@GOTPCREL(%rip)
 je 1f
 movq debug@GOTPCREL(%rip), %rax
 addl (%rax), %ebx
1: cmpq $0, hook@GOTPCREL(%rip)
 je 2f
 movl %ebx, %edi
 call hook@PLT
2: movl %ebx, %eax
 popq %rbx
 ret
"""
KNOWN = """known:
 xorl %eax, %eax
1: cmpq $0, names(,%rax,8)
 je 2f
 incl %eax
 jmp 1b
2: ret
"""


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        ("counted", COUNTED, {"incl verbose": "decl verbose", "addl limit": "subl limit", "incl": "incb"}),
        ("counted", GOT, {"incl (%rcx)": "nop", "addl %edi": "subl %edi"}),
        (
            "looked_up",
            "looked_up:\n andl $15, %edi\n movl table(,%rdi,4), %eax\n ret\n",
            {"$15": "$7", "movl table": "movzwl table"},
        ),
        ("known", KNOWN, {"cmpq $0": "cmpq $1", "incl": "addl $2,"}),
        (
            "name_of",
            "name_of:\n andl $7, %edi\n movq names(,%rdi,8), %rax\n ret\n",
            {"$7": "$3", "movq": "leaq"},
        ),
        (
            "moved",
            "moved:\n addl %edi, origin+4(%rip)\n movl corners+20(%rip), %eax\n ret\n",
            {"addl %edi, origin+4": "addl %edi, origin+8", "corners+20": "corners+8", "addl": "movl"},
        ),
        ("used", "used:\n movl $config, %edi\n jmp use\n", {"$config": "$origin"}),
        (
            "ranked",
            "ranked:\n movq rank(%rip), %rax\n testq %rax, %rax\n je 1f\n jmp *%rax\n1: movl $-1, %eax\n ret\n",
            {"jmp *%rax": "movl $1, %eax; ret", "$-1": "$0"},
        ),
        ("scaled", "scaled:\n mulsd scale(%rip), %xmm0\n ret\n", {"mulsd": "addsd"}),
        ("inside", "inside:\n movzwl level(%rip), %eax\n addl %edi, %eax\n ret\n", {"movzwl": "movzbl"}),
        ("weakly", WEAKLY, {"movl %ebx, %eax": "leal 1(%rbx), %eax"}),
        ("weakly", "weakly:\n movl %edi, %eax\n ret\n", {}),
    ],
)  # fmt: skip
def test_a_declared_variable_is_an_input_and_is_compared(
    judged: Judged, function: str, right: str, wrong: dict[str, str]
) -> None:
    verdict = judged(SOURCE, function, right)
    assert verdict.passed, f"{function}: {verdict}"
    for before, after in wrong.items():
        assert before in right
        verdict = judged(SOURCE, function, right.replace(before, after))
        assert verdict.kind in ("mismatch", "crash", "hang"), f"{function}: {after}: {verdict}"


def test_a_constant_is_read_only_and_named(judged: Judged, compiled: Compile) -> None:
    text = COUNTED.replace(" addl limit", " andl $-1, limit(%rip)\n addl limit")
    verdict = judged(SOURCE, "counted", text)
    assert (verdict.kind, verdict.message) == ("crash", "bad write of 4 bytes at limit + 0 (of 4 bytes) in line 4")
    harness = Harness(compiled(SOURCE), "counted", JudgeSettings(examples=10))
    reproducer = harness.judge_with_reproducer(text).reproducer
    assert reproducer and any("declared as const" in note for note in reproducer["notes"])
    verdict = judged(SOURCE, "counted", COUNTED.replace("incl verbose", "decl verbose"))
    assert verdict.message.startswith("global verbose: ")


def test_inputs_are_those_that_the_function_reaches(compiled: Compile) -> None:
    reference = compiled(SOURCE)
    assert set(reference.input_globals("counted")) == {"verbose", "limit"}
    assert set(reference.input_globals("inside")) == {"level"}
    assert not reference.input_globals("used"), "nothing is known of an incomplete struct"
    assert not reference.input_globals("told"), "stdout and errno are the C library's"
    sizes = {variable.name: variable.size for variable in reference.golden.declared_variables}
    assert (sizes["verbose"], sizes["corners"], sizes["table"]) == (4, 36, 4096)
    assert reference.input_globals("looked_up")["table"].size < 4096, "what follows is zero: a last element"
    assert "stdout" not in sizes
    assert reference.golden.absent == {"debug", "hook"}


def test_a_declared_variable_may_be_thread_local(judged: Judged) -> None:
    text = "threaded:\n movq per_thread@GOTTPOFF(%rip), %rax\n movl %fs:(%rax), %eax\n ret\n"
    assert judged(SOURCE, "threaded", text).passed
    assert judged(SOURCE, "threaded", text.replace("movl %fs", "movzwl %fs")).kind == "mismatch"


def test_common_symbols_are_variables_of_the_case(judge: JudgeClient, case_of: CaseOf) -> None:
    """`-fcommon` makes a tentative definition `common`."""
    case = case_of("@n = common global i32 0\ndefine i32 @f() {\n %x = load i32, ptr @n\n ret i32 %x\n}\n", ".ll")
    assert judge.judge(case, "f", "f:\n movl n(%rip), %eax\n ret\n").passed


def test_ir_that_only_declares_a_variable(judge: JudgeClient, case_of: CaseOf) -> None:
    text = "@n = external global i32\ndefine i32 @f() {\n %x = load i32, ptr @n\n ret i32 %x\n}\n"
    case = case_of(text, ".ll")
    assert judge.judge(case, "f", "f:\n movl n(%rip), %eax\n ret\n").passed
    assert judge.judge(case, "f", "f:\n movzwl n(%rip), %eax\n ret\n").kind == "mismatch"


def test_declarations_with_hidden_visibility(case_of: CaseOf, judged: Judged) -> None:
    """Projects that are compiled to one library declare all their symbols so."""
    source = """#pragma GCC visibility push(hidden)
extern int level;
extern void give_up(const char *) __attribute__((noreturn));
int raise_level(int x) { if (level > 100) give_up("level"); return level += x & 15; }
"""
    right = """raise_level:
 cmpl $100, level(%rip)
 jg 1f
 movl %edi, %eax
 andl $15, %eax
 addl level(%rip), %eax
 movl %eax, level(%rip)
 ret
1: leaq text(%rip), %rdi
 pushq %rax
 call give_up
 .section .rodata
text: .asciz "level"
"""
    assert judged(source, "raise_level", right).passed
    assert judged(source, "raise_level", right.replace("$15", "$14")).kind == "mismatch"
