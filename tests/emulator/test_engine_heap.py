"""The engine's heap and kernel: runs that allocate, print, read or end the process."""

from __future__ import annotations

import pytest
from engine_runner import EngineRunner
from faces import Compile

SOURCE = """
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
struct node { struct node *next; int value; };
struct node *push(struct node *list, int value) {
    struct node *node = malloc(sizeof *node);
    if (!node) return list;
    node->next = list, node->value = value;
    return node;
}
int backwards(const int *values, unsigned char count) {
    int *copy = calloc(count + 1, sizeof *copy), sum = 0;
    if (!copy) return -1;
    memcpy(copy, values, count * sizeof *copy);
    for (int i = 0; i < count; i++) sum = sum * 31 + copy[count - 1 - i];
    free(copy);
    return sum;
}
char *grow(char *text, unsigned char count) {
    char *longer = realloc(text, count + 1);
    if (!longer) return 0;
    memset(longer, 'x', count), longer[count] = 0;
    return longer;
}
void release(struct node *list) {
    for (struct node *next; list; list = next) next = list->next, free(list);
}
int greet(const char *name, int number) {
    if (number < 0) { errno = EINVAL; return -1; }
    printf("hello %.8s %d\\n", name, number);
    return 0;
}
int check(int number) {
    puts("checking");
    if (number & 1) { fprintf(stderr, "odd %d\\n", number); exit(number & 7); }
    return number;
}
char *forget(void) { char *text = malloc(8); free(text); return text; }
int next_character(void) { return getchar(); }
int first_number(void) { int number; return scanf("%d", &number) == 1 ? number : -1; }
long whoami(char *out) { return getpid() * 1000 + time(0) % 1000 + (read(0, out, 1) < 0) + (write(7, out, 1) < 0); }
"""


@pytest.mark.parametrize(
    "function", ["push", "backwards", "grow", "release", "greet", "check", "first_number", "whoami"]
)
def test_the_reference_shows_the_same(compiled: Compile, function: str) -> None:
    assert set(EngineRunner(compiled(SOURCE), function).run()) == {"not left"}


PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
static int counter = 3;
int scale(int number) { return number * counter + 1; }
int main(int argc, char **argv) {
    int *squares = malloc(4 * sizeof *squares);
    for (int i = 0; i < 4; i++) squares[i] = scale(i) * argc;
    printf("%s %d %d\\n", argv[0], squares[1], squares[3]);
    fprintf(stderr, "%d\\n", scale(-2));
    free(squares);
    return scale(5);
}
"""
SCALE = """scale:
        movl %edi, %eax
        imull counter(%rip), %eax
        incl %eax
        ret
"""


def test_the_whole_program(compiled: Compile) -> None:
    runner = EngineRunner(compiled(PROGRAM), "scale")
    assert runner.run_program() == "not left"
    assert runner.run_program(SCALE) == "not left"
    assert runner.run_program(SCALE.replace("incl", "decl")) == "output"
    wrong_at_the_end = SCALE.replace("ret", "cmpl $5, %edi\n jne 1f\n incl %eax\n1: ret")
    assert runner.run_program(wrong_at_the_end) == "end"
    assert runner.run_program("scale: jmp scale") == "limit"
    assert runner.run_program(SCALE.replace("counter(%rip)", "8")) == "fault"
    assert EngineRunner(compiled(SOURCE), "push").run_program("push: ud2") == "not left"  # there is no main


CLOCK = """
#include <stdio.h>
#include <time.h>
#include <unistd.h>
int scale(int number) { return number * 3 + 1; }
int main(void) {
    printf("%ld %d\\n", (long)time(0), (int)getpid());
    return scale(5);
}
"""


def test_the_whole_program_finds_clock_and_process_number_of_its_environment(compiled: Compile) -> None:
    runner = EngineRunner(compiled(CLOCK), "scale")
    assert runner.run_program() == "not left"
    right_in_1970 = """scale:
        pushq %rbx
        movl %edi, %ebx
        xorl %edi, %edi
        call time
        cmpq $1000000, %rax
        leal 1(%rbx,%rbx,2), %eax
        jb 1f
        incl %eax
1:      popq %rbx
        ret
    """
    assert runner.run_program(right_in_1970) == "end"


PUSH = """push:
        pushq %rbx
        pushq %r12
        pushq %r13
        movq %rdi, %rbx
        movl %esi, %r12d
        movl $16, %edi
        call malloc
        testq %rax, %rax
        je 1f
        movq %rbx, (%rax)
        movl %r12d, 8(%rax)
        jmp 2f
1:      movq %rbx, %rax
2:      popq %r13
        popq %r12
        popq %rbx
        ret
"""


def test_a_list_that_grows(compiled: Compile) -> None:
    runner = EngineRunner(compiled(SOURCE), "push")
    assert set(runner.run(PUSH)) == {"not left"}
    assert "fault" in runner.run(PUSH.replace("8(%rax)", "20(%rax)"))  # behind the object
    assert "heap" in runner.run(PUSH.replace("movl %r12d", "movl $7, 12(%rax)\n movl %r12d"))  # its padding
    assert "heap" in runner.run(PUSH.replace("8(%rax)\n", "8(%rax)\n movl $7, -4000(%rax)\n"))  # before it
    assert "result" in runner.run(PUSH.replace("$16, %edi", "$24, %edi"))  # objects of each size have their own place
    leaked = PUSH.replace("movl $16", "movl $24, %edi\n call malloc\n movl $16")
    assert "heap" in runner.run(leaked)
    freed_before = PUSH.replace("jmp 2f", "movq %rax, %r13\n movq %rax, %rdi\n call free\n movl (%r13), %eax\n jmp 2f")
    assert "fault" in runner.run(freed_before)
    freed_twice = PUSH.replace("jmp 2f", "movq %rax, %r13\n" + 2 * "movq %r13, %rdi\n call free\n" + "jmp 2f")
    assert "fault" in runner.run(freed_twice)
    assert "fault" in runner.run(PUSH.replace("movq %rbx, (%rax)", "movq %rbx, (%rax)\n movq %rbx, 8192(%rax)"))
    for forbidden in ("movb $1, push(%rip)", "movb $0xc3, (%rax)\n call *%rax", "movb $0xc3, (%rsp)\n call *%rsp"):
        assert "fault" in runner.run(PUSH.replace("movq %rbx, (%rax)", f"{forbidden}\n movq %rbx, (%rax)")), forbidden
    assert set(runner.run(PUSH)) == {"not left"}


RELEASE = """release:
        pushq %rbx
        testq %rdi, %rdi
        je 2f
1:      movq (%rdi), %rbx
        call free
        movq %rbx, %rdi
        testq %rbx, %rbx
        jne 1b
2:      popq %rbx
        ret
"""


def test_a_list_that_is_freed(compiled: Compile) -> None:
    runner = EngineRunner(compiled(SOURCE), "release")
    assert set(runner.run(RELEASE)) == {"not left"}
    freed_first = RELEASE.replace("1:      movq (%rdi), %rbx\n", "1:      movq %rdi, %rbx\n").replace(
        "movq %rbx, %rdi\n", "movq (%rbx), %rbx\n movq %rbx, %rdi\n"
    )
    assert "fault" in runner.run(freed_first)
    assert "heap" in runner.run(RELEASE.replace("jne 1b", "nop"))  # the rest is leaked
    assert "fault" in runner.run(RELEASE.replace("call free\n", "movq %rdi, %rax\n addq $4, %rdi\n call free\n"))
    assert set(runner.run(RELEASE)) == {"not left"}


BACKWARDS = """backwards:
        xorl %eax, %eax
        movzbl %sil, %esi
1:      decl %esi
        js 2f
        imull $31, %eax
        addl (%rdi,%rsi,4), %eax
        jmp 1b
2:      ret
"""


def test_allocations_that_a_candidate_does_without(compiled: Compile) -> None:
    """Objects that are freed before the return are not compared, unless a pointer to them is left."""
    reference = compiled(SOURCE)
    # Where the reference finds no memory, it reads nothing: the candidate may fault, which is left to Python.
    assert set(EngineRunner(reference, "backwards").run(BACKWARDS)) <= {"not left", "fault"}
    forget = EngineRunner(reference, "forget")
    assert "not left" in forget.run(
        "forget: pushq %rbx\n movl $8, %edi\n call malloc\n movq %rax, %rbx\n"
        "movq %rax, %rdi\n call free\n movq %rbx, %rax\n popq %rbx\n ret"
    )
    assert "heap" in forget.run("forget: movabsq $0x5581A1001FF0, %rax\n ret")


def test_other_builds_show_the_same(compiled: Compile) -> None:
    reference = compiled(SOURCE)
    for function in ("backwards", "grow", "greet", "check", "first_number", "whoami"):
        text = reference.texts.assembly(function, "O2")
        assert set(EngineRunner(reference, function).run(text)) == {"not left"}, function


def test_output_input_and_errno(compiled: Compile) -> None:
    """Wrong candidates for functions that print, read, set errno and end the process."""
    reference = compiled(SOURCE)
    texts = {name: reference.texts.assembly(name, "O2") for name in ("greet", "check", "first_number")}
    greet, check, number = (EngineRunner(reference, name) for name in texts)
    assert "errno" in greet.run(texts["greet"].replace("$22", "$23"))
    assert "output" in greet.run(texts["greet"].replace("movl\t%esi, %edx", "movl\t%esi, %edx\n negl %edx"))
    assert "output" in greet.run(texts["greet"].replace("callq\tprintf", "callq\tputs"))
    assert "output" in check.run(texts["check"].replace("callq\tputs@PLT", ""))
    assert "output" in check.run(texts["check"].replace("stderr@GOT", "stdout@GOT"))
    assert "end" in check.run(texts["check"].replace("andl\t$7", "andl\t$3"))
    reads_more = texts["first_number"].replace("movl\t-4(%rbp)", "callq getchar\n movl\t-4(%rbp)")
    assert "output" in number.run(reads_more)
