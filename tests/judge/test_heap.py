"""Objects of the input and of the heap: freed, reallocated, allocated in another order, or not for lack of memory."""

from __future__ import annotations

from typing import Any

import pytest
from faces import Compile, Judged

from pytest_llmcompiler.emulator.observation import Observation
from pytest_llmcompiler.judge.differential import DifferentialRun
from pytest_llmcompiler.judge.explain import FailureExplainer
from pytest_llmcompiler.judge.function_under_test import FunctionUnderTest
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.judge.suite import Suite

SOURCE = r"""
#include <stdlib.h>
#include <string.h>
struct node { int value; struct node *next; };
void list_free(struct node *l) { while (l) { struct node *next = l->next; free(l); l = next; } }
void pop(struct node **l) { struct node *first = *l; if (first) { *l = first->next; free(first); } }
char *append(char *s, char c)
{
    size_t n = strlen(s);
    char *r = realloc(s, n + 2);
    if (r) { r[n] = c; r[n + 1] = 0; }
    return r;
}
int keeps(int *p) { return *p; }
struct pair { int *a, *b; };
struct pair *both(int x, int y)
{
    struct pair *p = malloc(sizeof *p);
    p->a = malloc(sizeof(int));
    p->b = malloc(sizeof(int));
    *p->a = x;
    *p->b = y;
    return p;
}
void set(int *p, int x) { *p = x; }
void leak(int x) { int *p = malloc(4), *q = malloc(4); set(p, x); set(q, 5); }
int leak_of_the_reference(int x) { int *p = malloc(4); *p = x; return x + 1; }
struct { int *p; int x; } context;
int dangling(int x) { int t = x; context.p = &t; context.x = x; return t + 1; }
struct node *chain(int n)
{
    struct node *head = 0, **end = &head;
    for (int i = 0; i < (n & 7); i++) {
        *end = malloc(sizeof **end);
        (*end)->value = i;
        (*end)->next = 0;
        end = &(*end)->next;
    }
    return head;
}
// LLMC: arg pop.l non-null
// LLMC: arg append.s non-null
// LLMC: arg keeps.p non-null
"""

FREE = """list_free:
 pushq %rbx
 movq %rdi, %rbx
1: testq %rbx, %rbx
 je 2f
 movq %rbx, %rdi
 movq 8(%rbx), %rbx
 call free
 jmp 1b
2: popq %rbx
 ret
"""
POP = "pop:\n movq %rdi, %rax\n movq (%rax), %rdi\n testq %rdi, %rdi\n je 1f\n movq 8(%rdi), %rcx\n movq %rcx, (%rax)\n jmp free\n1: ret\n"
APPEND = """append:
 pushq %rbx
 pushq %r12
 pushq %r13
 movq %rdi, %rbx
 movl %esi, %r12d
 call strlen
 movq %rax, %r13
 leaq 2(%rax), %rsi
 movq %rbx, %rdi
 call realloc
 testq %rax, %rax
 je 1f
 movb %r12b, (%rax,%r13)
 movb $0, 1(%rax,%r13)
1: popq %r13
 popq %r12
 popq %rbx
 ret
"""
COPY = APPEND.replace("2(%rax), %rsi", "2(%rax), %rdi").replace(" movq %rbx, %rdi\n call realloc\n", """ call malloc
 testq %rax, %rax
 je 1f
 movq %rax, %rdi
 movq %rbx, %rsi
 movq %r13, %rdx
 movq %rax, %r14
 call memcpy
 movq %rbx, %rdi
 call free
 movq %r14, %rax
""").replace(" pushq %r13\n", " pushq %r13\n pushq %r14\n subq $8, %rsp\n").replace(" popq %r13\n", " addq $8, %rsp\n popq %r14\n popq %r13\n")  # fmt: skip
BOTH = """both:
 pushq %rbx
 pushq %r12
 pushq %r13
 pushq %r14
 subq $8, %rsp
 movl %edi, %r12d
 movl %esi, %r13d
 movl $4, %edi
 call malloc
 movl %r13d, (%rax)
 movq %rax, %rbx
 movl $4, %edi
 call malloc
 movl %r12d, (%rax)
 movq %rax, %r14
 movl $16, %edi
 call malloc
 movq %r14, (%rax)
 movq %rbx, 8(%rax)
 addq $8, %rsp
 popq %r14
 popq %r13
 popq %r12
 popq %rbx
 ret
"""
LEAK = """leak:
 pushq %rbx
 movl %edi, %ebx
 movl $4, %edi
 call malloc
 movl $5, (%rax)
 movl $4, %edi
 call malloc
 movl %ebx, (%rax)
 popq %rbx
 ret
"""
CHAIN = """chain:
 pushq %rbx
 pushq %r12
 subq $8, %rsp
 movl %edi, %ebx
 andl $7, %ebx
 xorl %r12d, %r12d
1: decl %ebx
 js 2f
 movl $16, %edi
 call malloc
 movl %ebx, (%rax)
 movq %r12, 8(%rax)
 movq %rax, %r12
 jmp 1b
2: movq %r12, %rax
 addq $8, %rsp
 popq %r12
 popq %rbx
 ret
"""

DANGLING = """dangling:
 subq $9000, %rsp
 leaq 1000(%rsp), %rax
 movq %rax, context(%rip)
 movl %edi, context+8(%rip)
 leal 1(%rdi), %eax
 addq $9000, %rsp
 ret
"""

CORRECT = {
    "list_free": FREE,
    "pop": POP,
    "append": APPEND,
    "both": BOTH,
    "leak": LEAK,
    "chain": CHAIN,
    "leak_of_the_reference": "leak_of_the_reference:\n leal 1(%rdi), %eax\n ret\n",
    "dangling": DANGLING,
}
FAULTS = {
    "a list that is not freed": ("list_free", "list_free: ret\n", "mismatch", "freed objects: expected l"),
    "only the first is freed": ("list_free", "list_free: jmp free\n", "mismatch", "l->next"),
    "freed twice": ("pop", POP.replace(" jmp free", " pushq %rdi\n call free\n popq %rdi\n jmp free"), "crash", "free"),
    "used after free": ("pop", POP.replace(" jmp free", " pushq %rdi\n call free\n popq %rdi\n movq (%rdi), %rax\n ret"), "crash", "bad read"),
    "an inner pointer": ("pop", POP.replace(" jmp free", " addq $8, %rdi\n jmp free"), "crash", "free"),
    "freed for no reason": ("keeps", "keeps:\n pushq %rbx\n movl (%rdi), %ebx\n call free\n movl %ebx, %eax\n popq %rbx\n ret\n", "mismatch", "freed objects: expected none, observed p"),
    "the old text stays": ("append", COPY.replace(" movq %rbx, %rdi\n call free\n", ""), "mismatch", "freed objects"),
    "another letter": ("append", APPEND.replace("movb %r12b", "movb $1"), "mismatch", "result"),
    "one twice": ("both", BOTH.replace("movq %rbx, 8(%rax)", "movq %r14, 8(%rax)"), "mismatch", ""),
    "exchanged": ("both", BOTH.replace("movq %r14, (", "movq %rbx, (").replace("movq %rbx, 8", "movq %r14, 8"), "mismatch", "result->"),
    "null": ("both", BOTH.replace("movq %rbx, 8(%rax)", "movq $0, 8(%rax)"), "mismatch", ""),
    "another number in a leak": ("leak", LEAK.replace("$5", "$6"), "mismatch", "heap object"),
    "more than a leak": ("leak_of_the_reference", "leak_of_the_reference:\n leal 2(%rdi), %eax\n ret\n", "mismatch", "return value"),
    "beside what dangles": ("dangling", DANGLING.replace("movl %edi", "movl %eax"), "mismatch", "global context"),
    "reversed": ("chain", CHAIN.replace("movl %ebx, (%rax)", "movl %ebx, (%rax)\n notl (%rax)"), "mismatch", "result->value"),
    "deep": ("chain", CHAIN.replace("movl %ebx, (%rax)", "movl %ebx, (%rax)\n cmpl $2, %ebx\n jne 3f\n movl $7, (%rax)\n3:"), "mismatch", "result->next->next->value"),
}  # fmt: skip


@pytest.mark.parametrize("function", CORRECT)
def test_allocations_in_another_order_pass(judged: Judged, function: str) -> None:
    verdict = judged(SOURCE, function, CORRECT[function])
    assert verdict.kind == "pass", str(verdict)
    assert verdict.detail["inputs"] > (2 if function == "chain" else 10)


def test_realloc_is_malloc_copy_and_free(judged: Judged) -> None:
    verdict = judged(SOURCE, "append", COPY)
    assert verdict.kind == "pass", str(verdict)


@pytest.mark.parametrize("fault", FAULTS)
def test_heap_faults(judged: Judged, fault: str) -> None:
    function, assembly, kind, words = FAULTS[fault]
    verdict = judged(SOURCE, function, assembly)
    assert verdict.kind == kind, str(verdict)
    assert words in verdict.message


SCARCE = r"""
#include <errno.h>
#include <stdlib.h>
#include <string.h>
struct word { struct word *next; char *text; long n; };
struct word *add(struct word *next, const char *text)
{
    struct word *p = malloc(sizeof *p);
    if (!p) return 0;
    p->text = strdup(text);
    if (!p->text) { free(p); return 0; }
    p->next = next;
    p->n = 1;
    return p;
}
void *kept;
int why(int n) { kept = calloc(n & 7, 3); return kept ? 0 : errno; }
int squares(const int *q, int n)
{
    int count = n & 7, *p = malloc(count * sizeof *p), sum = 0;
    if (!p) return -1;
    for (int i = 0; i < count; i++) p[i] = i * *q & 15;
    for (int i = 0; i < count; i++) sum += p[i];
    free(p);
    return sum;
}
// LLMC: arg add.text cstring
// LLMC: arg add.text non-null
"""
ADD = """add:
 pushq %rbx
 pushq %r12
 pushq %r13
 movq %rdi, %r12
 movq %rsi, %r13
 movl $24, %edi
 call malloc
 movq %rax, %rbx
 testq %rax, %rax
 je 2f
 movq %r13, %rdi
 call strdup
 movq %rax, 8(%rbx)
 testq %rax, %rax
 je 1f
 movq %r12, (%rbx)
 movq $1, 16(%rbx)
2: movq %rbx, %rax
 popq %r13
 popq %r12
 popq %rbx
 ret
1: movq %rbx, %rdi
 call free
 xorl %ebx, %ebx
 jmp 2b
"""


def test_out_of_memory_is_an_input(judged: Judged) -> None:
    verdict = judged(SCARCE, "add", ADD)
    assert verdict.passed, str(verdict)
    leak = judged(SCARCE, "add", ADD.replace(" movq %rbx, %rdi\n call free\n", ""))
    assert leak.kind == "mismatch"
    assert any(line.startswith("  malloc    finds no memory") for line in leak.evidence)
    assert judged(SCARCE, "add", ADD.replace(" xorl %ebx, %ebx\n", "")).kind == "mismatch"
    assert judged(SCARCE, "add", ADD.replace(" je 2f\n", "")).kind == "crash"
    assert judged(SCARCE, "add", ADD.replace(" je 1f\n", "")).kind == "mismatch"


def test_errno_after_a_failed_allocation(judged: Judged, compiled: Compile) -> None:
    right = compiled(SCARCE).texts.assembly("why", "O2")
    assert judged(SCARCE, "why", right).passed
    wrong = right.replace("__errno_location@PLT", "__errno_location@PLT\n\tmovl $5, (%rax)")
    assert judged(SCARCE, "why", wrong).kind == "mismatch"


def test_code_without_the_allocation_passes(judged: Judged) -> None:
    text = """squares:
 xorl %eax, %eax
 movl %esi, %ecx
 andl $7, %ecx
1: decl %ecx
 js 2f
 movl %ecx, %edx
 imull (%rdi), %edx
 andl $15, %edx
 addl %edx, %eax
 jmp 1b
2: ret
"""
    assert judged(SCARCE, "squares", text).passed
    assert judged(SCARCE, "squares", text.replace("$15", "$14")).kind == "mismatch"


def test_a_loop_of_allocations_is_not_run_often(compiled: Compile) -> None:
    """unicorn takes seconds to map what such a loop allocates: few runs have to do for the explanation."""
    source = "#include <stdlib.h>\nint next(int n) { int *p = malloc(8); if (p) n++; free(p); return n; }"
    under_test = FunctionUnderTest(compiled(source), "next")
    suite = Suite(under_test, 20, 1)
    suite.prepare()
    text = "next: pushq %rbx\n1: movl $8, %edi\n call malloc\n jmp 1b"
    differential = DifferentialRun(suite, under_test.assemble_candidate(text, "llvm"), text)
    run, runs = differential.machine.run, []

    def count(*args: Any, **options: Any) -> Observation:
        runs.append(args)
        return run(*args, **options)

    differential.machine.run = count  # type: ignore[method-assign]
    assert FailureExplainer(differential, []).explain("input", 0)["kind"] == "hang"
    assert len(runs) <= 6


def test_what_is_allocated_counts_as_work(compiled: Compile) -> None:
    """Each page of an object is filled, so that a loop of large objects takes the host far longer than its few
    instructions say. What may be allocated is bounded as instructions are."""
    source = "#include <stdlib.h>\nint next(int n) { int *p = malloc(8); if (p) n++; free(p); return n; }"
    harness = Harness(compiled(source), "next", JudgeSettings(examples=20))
    text = """next: pushq %rbx
 pushq %r12
 pushq %r13
 movl %edi, %r12d
 movl ${}, %ebx
1: movl $4000000, %edi
 call malloc
 testq %rax, %rax
 setne %r13b
 movq %rax, %rdi
 call free
 decl %ebx
 jne 1b
 movzbl %r13b, %eax
 addl %r12d, %eax
 popq %r13
 popq %r12
 popq %rbx
 ret
"""
    assert harness.judge(text.format(20), explain=False).passed
    assert harness.judge(text.format(100), explain=False).kind == "hang"
