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
