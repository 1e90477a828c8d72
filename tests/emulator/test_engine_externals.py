"""The engine's replies to callbacks and to functions that are only declared: those of the reference, call by call."""

from __future__ import annotations

import pytest
from engine_runner import EngineRunner
from faces import Compile

from pytest_llmcompiler.emulator.engine_candidate import write_candidate

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
struct holder { const char *name; int count; };
int partly(int (*f)(const struct holder *), int n) { struct holder h; h.count = n; return f(&h); }
int measured(int (*f)(const char *name, char *out, size_t size), const char *name) {
    char out[24];
    int size = f(name, out, sizeof out);
    return size > 0 && size < 24 ? size : 0;
}
double reals(double (*f)(double, float, int), double a, float b) { return f(a, b, 7) + f(b, (float)a, -1); }
struct node { struct node *next; int value; };
struct node *grow(struct node *(*make)(int), int n) {
    struct node *list = make(n), *second = list ? make(n + 1) : 0;
    if (list) list->next = second;
    return list;
}
int between(int (*f)(const int *first, const int *last), const int *values, unsigned char count) {
    int own[3] = {count, 2, 3};
    return f(values, values + count) + f(own, own + 3);
}
static int twice(int x) { return 2 * x; }
int give(int x) { return run_with(twice) + x; }
"""
CALLBACKS = ("apply", "two", "partly", "measured", "reals", "grow", "between")
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
ASK = """ask:
        pushq %rbx
        pushq %rbp
        subq $8, %rsp
        movl %edi, %ebx
        movq %rsi, %rbp
        leaq text(%rip), %rsi
        incl %edi
        callq oracle
        xchgl %eax, %ebx
        movl %eax, %edi
        movq %rbp, %rsi
        callq oracle
        addl %ebx, %eax
        addq $8, %rsp
        popq %rbp
        popq %rbx
        retq
        .section .rodata
text:   .asciz "what"
"""


def left(runner: EngineRunner, text: str) -> set[str]:
    return {reason for reason in runner.run(text) if reason != "not left"}


@pytest.mark.parametrize("function", (*CALLBACKS, *EXTERNALS))
def test_right_code_gets_the_replies(compiled: Compile, function: str) -> None:
    reference = compiled(SOURCE)
    runner = EngineRunner(reference, function, 12)
    assert any(entry.expected.calls for entry in runner.suite.corpus.entries.values())
    assert set(runner.run()) == {"not left"}
    assert set(runner.run(reference.texts.assembly(function, "O2"))) == {"not left"}


def test_calls_that_differ_are_left(compiled: Compile) -> None:
    runner = EngineRunner(compiled(SOURCE), "two")

    def change(old: str, new: str) -> set[str]:
        return left(runner, TWO.replace(old, new, 1))

    assert not change("retq", "retq")
    assert change("incl %edi", "addl $2, %edi") == {"call"}
    assert change("movq %rdi, %rbx\n        movq %rsi, %rbp", "movq %rdi, %rbp\n        movq %rsi, %rbx") >= {"call"}
    assert change("        callq *%rbp\n", "") == {"call"}  # one is left out
    assert change("movl %eax, 12(%rsp)\n", "movl %eax, 12(%rsp)\n movl %eax, %edi\n callq *%rbx\n") == {"call"}
    assert change("        addl 12(%rsp), %eax", "        movl $1, %edi\n callq *%rbx\n") == {"call"}  # one too many
    assert change("movl %eax, 12(%rsp)", "incl %eax\n movl %eax, 12(%rsp)") == {"call"}  # another pointee
    assert change("leaq 12(%rsp), %rdi", "leaq 8(%rsp), %rdi") >= {"call"}
    assert change("addl 12(%rsp), %eax", "movl 12(%rsp), %eax") == {"result"}  # the result is ignored
    assert change("callq *%rbp", "movl 12(%rsp), %r12d\n callq *%rbp\n movl %r12d, 12(%rsp)") >= {"call"}
    assert change("callq *%rbp", "movl 12(%rsp), %ecx\n callq *%rbp\n movl %ecx, 12(%rsp)") == {"call"}
    assert change("incl %edi\n", "incl %edi\n pushq %rdi\n") == {"alignment"}


def test_constants_of_the_candidate(compiled: Compile) -> None:
    runner = EngineRunner(compiled(SOURCE), "ask")
    assert not left(runner, ASK)
    for old, new in (
        ("what", "whet"),
        ('.asciz "what"', '.ascii "wh"\nrest: .asciz "at"'),  # an object of two letters
        (".section .rodata", ".data"),  # the callee could write there
        ("incl %edi", ""),
        ("movq %rbp, %rsi", "leaq text(%rip), %rsi"),
        ("callq oracle\n        addl", "callq first\n        addl"),
    ):
        assert left(runner, ASK.replace(old, new, 1)) >= {"call"}


def test_an_answer_without_code_is_left_to_python(compiled: Compile) -> None:
    reference = compiled(SOURCE)
    candidate = EngineRunner(reference, "two", 1).under_test.assemble_candidate("two:\n", "llvm")
    assert write_candidate(reference.golden, candidate, "two") is None


@pytest.mark.parametrize("target", ("x86_64-windows", "aarch64-linux"))
@pytest.mark.parametrize("function", ("total", "pass"))
def test_other_conventions(compiled: Compile, target: str, function: str) -> None:
    reference = compiled(SOURCE, target=target)
    runner = EngineRunner(reference, function, 12)
    assert set(runner.run()) == {"not left"}
    assert set(runner.run(reference.texts.assembly(function, "O2"))) == {"not left"}
