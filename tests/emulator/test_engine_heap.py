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
