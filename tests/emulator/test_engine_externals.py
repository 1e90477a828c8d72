"""The engine's replies to callbacks and to functions that are only declared: those of the reference, call by call."""

from __future__ import annotations

import pytest
from engine_runner import EngineRunner
from faces import Compile

SOURCE = """
#include <stddef.h>
struct pair { char tag; int value; };
struct big { long words[5]; };
int oracle(int number, const char *text);
void fill(int *number, double *ratio);
char *lookup(const char *key, size_t size);
struct big measure(int index);
int report(const char *format, ...) __attribute__((format(printf, 1, 2)));
int take(struct pair pair, struct big big);
int visit_pair(const struct pair *pair);
void *choose(void *first, void *second);
int run_with(int (*f)(int));

int apply(int (*f)(int, void *), const int *values, unsigned char count, void *state) {
    int sum = 0;
    for (int i = 0; i < count; i++) sum += f(values[i], state);
    return sum;
}
int two(int (*f)(int), void (*g)(int *), int x) { int y = f(x); g(&y); return y + f(y + 1); }
int ask(int number, const char *name) { return oracle(number + 1, "what") + oracle(number, name); }
double mixture(int seed) { int n = seed; double r = 1.5; fill(&n, &r); return n + r; }
int first(const char *key) { char *found = lookup(key, 7); return found ? found[0] : -1; }
long total(int index) { struct big big = measure(index); return big.words[0] + big.words[4]; }
int tell(int number, const char *name) { return report("%d is %s\\n", number, name) + report("done"); }
int pass(char tag, int value) { struct pair p = {tag, value}; struct big b = {{1, 2, 3, value, 5}}; return take(p, b); }
int look(char tag, int value) { struct pair p; p.tag = tag; p.value = value; return visit_pair(&p); }
void *pick(void *a, void *b) { return choose(a, b); }
static int twice(int x) { return 2 * x; }
int give(int x) { return run_with(twice) + x; }
"""
CALLBACKS = ("apply", "two")
EXTERNALS = ("ask", "mixture", "first", "total", "tell", "pass", "look", "pick", "give")

TWO = """two:
        pushq %rbx
        pushq %rbp
        subq $24, %rsp
        movq %rdi, %rbx
        movq %rsi, %rbp
        movl %edx, %edi
        callq *%rbx
        movl %eax, 12(%rsp)
        leaq 12(%rsp), %rdi
        callq *%rbp
        movl 12(%rsp), %edi
        incl %edi
        callq *%rbx
        addl 12(%rsp), %eax
        addq $24, %rsp
        popq %rbp
        popq %rbx
        retq
"""


@pytest.mark.parametrize("function", (*CALLBACKS, *EXTERNALS))
def test_the_reference_gets_its_own_replies(compiled: Compile, function: str) -> None:
    runner = EngineRunner(compiled(SOURCE), function)
    assert any(entry.expected.calls for entry in runner.suite.corpus.entries.values())
    assert set(runner.run()) == {"not left"}


@pytest.mark.parametrize("function", (*CALLBACKS, *EXTERNALS))
def test_a_right_candidate_gets_them_too(compiled: Compile, function: str) -> None:
    reference = compiled(SOURCE)
    assert set(EngineRunner(reference, function).run(reference.texts.assembly(function, "O2"))) == {"not left"}


def test_calls_that_differ_are_left(compiled: Compile) -> None:
    runner = EngineRunner(compiled(SOURCE), "two")

    def left(*change: str) -> set[str]:
        reasons = runner.run(TWO.replace(*change, 1))
        return {reason for reason in reasons if reason != "not left"}

    assert not left("retq", "retq")
    assert left("incl %edi", "addl $2, %edi") == {"call"}
    assert left("movq %rdi, %rbx\n        movq %rsi, %rbp", "movq %rdi, %rbp\n        movq %rsi, %rbx") >= {"call"}
    assert left("        callq *%rbp\n", "") == {"call"}  # one is left out
    assert left("movl %eax, 12(%rsp)\n", "movl %eax, 12(%rsp)\n movl %eax, %edi\n callq *%rbx\n") == {"call"}
    assert left("        addl 12(%rsp), %eax", "        movl $1, %edi\n callq *%rbx\n") == {"call"}  # one too many
    assert left("movl %eax, 12(%rsp)", "incl %eax\n movl %eax, 12(%rsp)") == {"call"}  # another pointee
    assert left("leaq 12(%rsp), %rdi", "leaq 8(%rsp), %rdi") >= {"call"}
    assert left("addl 12(%rsp), %eax", "movl 12(%rsp), %eax") == {"result"}  # the result is ignored
    assert left("callq *%rbp", "movl 12(%rsp), %r12d\n callq *%rbp\n movl %r12d, 12(%rsp)") >= {"call"}
    assert left("callq *%rbp", "movl 12(%rsp), %ecx\n callq *%rbp\n movl %ecx, 12(%rsp)") == {"call"}
    assert left("incl %edi\n", "incl %edi\n pushq %rdi\n") == {"alignment"}
