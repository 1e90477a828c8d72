"""Runs that take long: whole programs, loops without an end, every uninitialised bit."""

from __future__ import annotations

import pytest
from faces import Judged


def test_each_uninitialised_bit_has_both_values(judged: Judged) -> None:
    source = "struct node { struct node *next; int n; };\n"
    source += "struct node *seek(struct node *l, int n) { while (l && l->n != n) l = l->next; return l; }\n"
    source += "long wide(int x) { return x; }\n"
    right = "seek:\n\t{} %eax, %eax\n1:\ttestq %rdi, %rdi\n\tje 3f\n"
    right += "\tcmpl %esi, 8(%rdi)\n\tje 2f\n\tmovq (%rdi), %rdi\n\tjmp 1b\n2:\tmovq %rdi, %rax\n3:\tret\n"
    assert judged(source, "seek", right.replace("{}", "xorl")).passed
    for bit in (0, 10, 19, 31):
        wrong = right.replace("{} %eax, %eax", f"andl ${1 << bit}, %eax")
        assert judged(source, "seek", wrong).kind == "mismatch", bit
    for bit in (32, 63):
        test = f"wide:\n\tmovslq %edi, %rax\n\tbtq ${bit}, %rdi\n\tjnc 1f\n\tincl %eax\n1:\tret\n"
        for wrong in (test, test.replace("jnc", "jc")):
            assert judged(source, "wide", wrong).kind == "mismatch", bit


@pytest.mark.parametrize(
    "main",
    [
        "int main(void) { return 0; }",
        "int main(void) { int y; f(2147483647 * (int)sizeof y); return f(1); }",
        "int main(void) { volatile int i = 0; while (i < 2000000000) i = i + f(i & 1); return 0; }",
        "int main(void) { int y; return f(1) + (y & 1); }",
    ],
    ids=["not reached", "undefined", "too long", "not the same for all builds"],
)
def test_whole_programs_that_are_not_used(judged: Judged, main: str) -> None:
    source = f"int f(int x) {{ return (x & 1) + 1; }}\n{main}\n"
    assert judged(source, "f", "f:\n movl %edi, %eax\n andl $1, %eax\n incl %eax\n ret\n").passed
    assert judged(source, "f", "f:\n movl %edi, %eax\n andl $1, %eax\n ret\n").kind == "mismatch"


def test_hangs_of_long_loops_are_hangs(judged: Judged) -> None:
    source = "unsigned f(void) { unsigned r = 0; for (unsigned i = 0; i < 30000; i++) r = r * 31 + i; return r; }\n"
    assert judged(source, "f", "f:\n movl %eax, -4(%rsp)\n jmp f\n").kind == "hang"
