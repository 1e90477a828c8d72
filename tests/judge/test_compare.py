"""Which values count as equal, how values are formatted, and both through the whole judge."""

from __future__ import annotations

import struct

import pytest
from faces import Compile, Judged

from pytest_llmcompiler.judge.format_c import format_bytes, format_value
from pytest_llmcompiler.judge.value_equality import same_value
from pytest_llmcompiler.values.c_types import Array, Field, Float, Int, Pointer, Struct, build_value_mask
from pytest_llmcompiler.values.input import Object

CHAR, SHORT, INT = Int(1, True, "char", character=True), Int(2, True, "short"), Int(4, True, "int")
BOOL = Int(1, False, "_Bool", boolean=True)
DOUBLE, FLOAT = Float(8, "double"), Float(4, "float")
PADDED = Struct("struct padded", 12, 4, fields=[Field("a", 0, CHAR), Field("b", 4, INT), Field("c", 8, SHORT)])
BITS = Struct("struct bits", 4, 4, fields=[Field("x", 0, INT, (0, 3)), Field("y", 0, INT, (5, 6))])
REALS = Struct("struct reals", 16, 8, fields=[Field("f", 0, FLOAT), Field("d", 8, DOUBLE)])


def test_value_masks() -> None:
    assert build_value_mask(INT) == b"\xff" * 4
    assert build_value_mask(PADDED) == bytes.fromhex("ff000000ffffffffffff0000")
    assert build_value_mask(BITS) == bytes.fromhex("e7070000")
    assert build_value_mask(Array(PADDED, 2)) == build_value_mask(PADDED) * 2
    assert build_value_mask(Struct("struct empty", 0)) == b""


def test_padding_is_not_compared() -> None:
    one = bytes.fromhex("01ffffff0200000003000000")
    two = bytes.fromhex("010000000200000003001234")
    assert same_value(PADDED, one, two)
    assert same_value(Array(PADDED, 2), one + two, two + one)
    for at in (0, 4, 7, 8, 9):
        changed = bytes(byte ^ (index == at) for index, byte in enumerate(two))
        assert not same_value(PADDED, one, changed), at


def test_bits_between_bit_fields_are_not_compared() -> None:
    assert same_value(BITS, bytes.fromhex("18f8ffff"), bytes(4))
    for bit in (0, 2, 5, 10):
        assert not same_value(BITS, (1 << bit).to_bytes(4, "little"), bytes(4)), bit


def test_floats_are_compared_bit_for_bit_and_nans_are_equal() -> None:
    zero, minus, one = (struct.pack("<d", number) for number in (0.0, -0.0, 1.0))
    quiet, negative, odd = (number.to_bytes(8, "little") for number in (0x7FF8 << 48, 0xFFF8 << 48, (0x7FF8 << 48) | 5))
    assert not same_value(DOUBLE, zero, minus)
    assert not same_value(DOUBLE, one, quiet)
    assert same_value(DOUBLE, quiet, negative)
    assert same_value(DOUBLE, odd, negative)
    assert same_value(FLOAT, bytes.fromhex("0000c07f"), bytes.fromhex("0100c0ff"))
    assert same_value(REALS, bytes.fromhex("0000c07f11111111") + quiet, bytes.fromhex("0000c0ff22222222") + odd)
    assert not same_value(REALS, bytes.fromhex("0000c07f11111111") + quiet, bytes.fromhex("0000c07f11111111") + one)
    infinity = struct.pack("<d", float("inf"))
    assert not same_value(DOUBLE, infinity, quiet)
    assert same_value(Array(DOUBLE, 2), one + quiet, one + negative)


def test_values_are_formatted_as_c() -> None:
    assert format_value(INT, b"\xff\xff\xff\xff") == "-1"
    assert format_value(BOOL, b"\1") == "true"
    assert format_value(BOOL, b"\2") == "2"
    assert format_value(CHAR, b"q") == "'q'"
    assert format_value(DOUBLE, struct.pack("<d", -0.5)) == "-0.5"
    assert format_value(FLOAT, struct.pack("<f", float("nan"))) == "NAN"
    assert format_value(Pointer(INT), bytes(8)) == "NULL"
    assert format_value(PADDED, bytes.fromhex("61ffffff0200000003000000")) == "{.a = 'a', .b = 2, .c = 3}"
    assert format_value(BITS, bytes.fromhex("e6000000")) == "{.x = -2, .y = 7}"
    assert format_value(Array(INT, 2), bytes.fromhex("0100000002000000")) == "{1, 2}"
    assert format_value(Array(CHAR, 4), b'a"\n\0') == r'"a\"\n"'
    assert format_value(Int(4, False, "enum e", enumerators=(("RED", 7),)), b"\7\0\0\0") == "RED"
    assert format_bytes(b"\0\1\xff") == "00 01 ff"


def test_values_are_valid_c() -> None:
    """Escapes end where they should, quotes are escaped, and a comment says how much is left out."""
    assert format_value(CHAR, b"'") == r"'\''"
    assert format_value(CHAR, b"\\") == r"'\\'"
    assert format_value(Array(CHAR, 4), b"\x80ag\0") == r'"\x80""ag"'
    assert format_value(Array(CHAR, 4), b"\x80g1\0") == r'"\x80g1"'
    assert format_value(Array(CHAR, 5), b"\x001\x009\0") == r'"\0""1\09"'
    assert format_value(DOUBLE, struct.pack("<d", float("-inf"))) == "-INFINITY"
    assert format_value(Pointer(INT), b"\1" + bytes(7)) == "(void *)0x1"
    assert format_value(Array(INT, 40), bytes(160)).endswith("0, 0} /* 40 elements, the rest zero */")
    assert format_value(Array(INT, 400), b"\1\0\0\0" * 400).endswith("1, 1} /* the first of 400 elements */")
    assert format_value(Array(CHAR, 900), b"x" * 900).endswith('xx" /* the first of 900 bytes */')
    string = Object(CHAR, 3, b"ab\0")
    assert format_value(Pointer(CHAR), bytes(8), ((0, string),)) == '"ab"'
    assert format_value(Pointer(INT), bytes(8), ((0, Object(INT, 2, bytes(8))),)) == "(int[]){0, 0}"
    bits = Object(BITS, 1, bytes(4))
    assert format_value(Pointer(BITS), bytes(8), ((0, bits),)) == "&(struct bits){.x = 0, .y = 0}"


# -- through the whole judge


SOURCE = r"""
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
struct padded { char a; int b; short c; } global, table[2];
struct three { char a, b, c; };
struct bits { unsigned a : 3; int b : 5; };
struct named { const char *name; int value; };
void copy(struct padded *to, const struct padded *from) { *to = *from; }
void keep(const struct padded *from) { global = *from; }
struct padded *fresh(const struct padded *from) { struct padded *p = malloc(sizeof *p); if (p) *p = *from; return p; }
struct padded by_value(int b) { struct padded p = {'x', b, 2}; return p; }
struct three small(char a) { struct three t = {a, 1, 2}; return t; }
struct bits field(unsigned a) { struct bits b = {0}; b.a = a; b.b = -1; return b; }
bool positive(int x) { return x > 0; }
double nan_or(double x) { return x - x; }
double reals[2];
void store_nan(double x) { reals[1] = x - x; }
const char *word(int x) { return x ? "yes" : "no"; }
void name(const char **out) { *out = "abc"; }
struct named make(int v) { struct named n = {v ? "yes" : "no", v}; return n; }
char room[16];
char *where(void) { return room; }
int numbers[4];
int *slot(unsigned i) { return &numbers[i & 3]; }
typedef int (*op)(int, int);
static int add(int a, int b) { return a + b; }
static int sub(int a, int b) { return a - b; }
op pick(int c) { return c == '+' ? add : sub; }
int *temporary(int n) { int *t = malloc(4); *t = n; int r = *t; free(t); int *q = malloc(8); q[0] = r; q[1] = 1; return q; }
int by_pointer(int (*f)(int *), int x) { int t = x; return f(&t); }
double *uneven(int v) { double *d = malloc(13); memset(d, v, 13); return d; }
void notify(int *p, void (*f)(int *)) { *p = 1; f(p); *p = 2; }
// LLMC: arg copy.to non-null
// LLMC: arg copy.from non-null
// LLMC: arg keep.from non-null
// LLMC: arg fresh.from non-null
// LLMC: arg name.out non-null
// LLMC: arg notify.p non-null
"""

TEXT = '\n .section .rodata\n.Lyes: .string "yes"\n.Lno: .string "no"\n.Labc: .string "abc"\n.Labd: .string "abd"\n'
CHOOSE = " leaq .Lyes(%rip), %rax\n leaq .Lno(%rip), %rcx\n testl %edi, %edi\n cmoveq %rcx, %rax\n"

EQUIVALENT = {
    "copy": " movb (%rsi), %al\n movb %al, (%rdi)\n movl 4(%rsi), %eax\n movl %eax, 4(%rdi)\n"
    " movw 8(%rsi), %ax\n movw %ax, 8(%rdi)\n ret",
    "keep": " movb (%rdi), %al\n movb %al, global(%rip)\n movl 4(%rdi), %eax\n movl %eax, global+4(%rip)\n"
    " movw 8(%rdi), %ax\n movw %ax, global+8(%rip)\n ret",
    "fresh": " pushq %rbx\n movq %rdi, %rbx\n movl $12, %edi\n call malloc\n testq %rax, %rax\n je 1f\n movb (%rbx), %cl\n movb %cl, (%rax)\n"
    " movl 4(%rbx), %ecx\n movl %ecx, 4(%rax)\n movw 8(%rbx), %cx\n movw %cx, 8(%rax)\n1: popq %rbx\n ret",
    "by_value": " movl %edi, %eax\n shlq $32, %rax\n movl $0xffffff78, %ecx\n orq %rcx, %rax\n movl $0xabcd0002, %edx\n ret",
    "small": " movzbl %dil, %eax\n orl $0xff020100, %eax\n ret",
    "field": " movl %edi, %eax\n andl $7, %eax\n orl $0xfffffff8, %eax\n ret",
    "positive": " testl %edi, %edi\n setg %al\n ret",
    "nan_or": " xorps %xmm1, %xmm1\n subsd %xmm0, %xmm0\n ucomisd %xmm0, %xmm0\n jnp 1f\n"
    " movabsq $0x7ff8000000000123, %rax\n movq %rax, %xmm0\n1: ret",
    "store_nan": " subsd %xmm0, %xmm0\n ucomisd %xmm0, %xmm0\n jnp 1f\n"
    " movabsq $0x7ff8000000000123, %rax\n movq %rax, %xmm0\n1: movsd %xmm0, reals+8(%rip)\n ret",
    "word": CHOOSE + " ret" + TEXT,
    "name": " leaq .Labc(%rip), %rax\n movq %rax, (%rdi)\n ret" + TEXT,
    "make": CHOOSE + " movl %edi, %edx\n ret" + TEXT,
    "where": " leaq room(%rip), %rax\n ret",
    "slot": " movl %edi, %eax\n andl $3, %eax\n leaq numbers(%rip), %rcx\n leaq (%rcx,%rax,4), %rax\n ret",
    "pick": " leaq add(%rip), %rax\n leaq sub(%rip), %rcx\n cmpl $43, %edi\n cmovneq %rcx, %rax\n ret",
    "temporary": " pushq %rbx\n movl %edi, %ebx\n movl $8, %edi\n call malloc\n movl %ebx, (%rax)\n movl $1, 4(%rax)\n popq %rbx\n ret",
    "uneven": " pushq %rbx\n movl %edi, %ebx\n movl $13, %edi\n call malloc\n movq %rax, %rdi\n movl %ebx, %esi\n"
    " movl $13, %edx\n popq %rbx\n jmp memset",
    "by_pointer": " subq $24, %rsp\n movl %esi, 4(%rsp)\n movq %rdi, %rax\n leaq 4(%rsp), %rdi\n call *%rax\n addq $24, %rsp\n ret",
    "notify": " pushq %rbx\n movq %rdi, %rbx\n movl $1, (%rdi)\n call *%rsi\n movl $2, (%rbx)\n popq %rbx\n ret",
}  # fmt: skip

WRONG = {
    "copy": (" movq (%rsi), %rax\n movq %rax, (%rdi)\n ret", "to->c"),
    "keep": (" movq (%rdi), %rax\n movq %rax, global(%rip)\n ret", "global"),
    "fresh": (EQUIVALENT["fresh"].replace(" movw %cx, 8(%rax)\n", ""), "result->c"),
    "by_value": (" movl %edi, %eax\n shlq $32, %rax\n movb $'x', %al\n movl $3, %edx\n ret", "return value"),
    "small": (" movzbl %dil, %eax\n orl $0x030100, %eax\n ret", "return value"),
    "field": (" movl %edi, %eax\n andl $3, %eax\n orl $0xf8, %eax\n ret", "return value"),
    "positive": (" testl %edi, %edi\n setg %al\n addb %al, %al\n ret", "return value"),
    "nan_or": (" subsd %xmm0, %xmm0\n ucomisd %xmm0, %xmm0\n jnp 1f\n xorps %xmm0, %xmm0\n1: ret", "return value"),
    "word": (CHOOSE.replace("cmove", "cmovne") + " ret" + TEXT, "return value"),
    "name": (" leaq .Labd(%rip), %rax\n movq %rax, (%rdi)\n ret" + TEXT, "*out"),
    "make": (CHOOSE.replace("cmove", "cmovne") + " movl %edi, %edx\n ret" + TEXT, "return value"),
    "where": (" leaq zero(%rip), %rax\n ret\n .data\nzero: .byte 0\n", "return value"),
    "slot": (" leaq numbers(%rip), %rax\n ret", "return value"),
    "pick": (" leaq add(%rip), %rax\n ret", "return value"),
    "by_pointer": (" pushq %rbx\n movq %rdi, %rax\n leaq zero(%rip), %rdi\n call *%rax\n popq %rbx\n ret\n .data\nzero: .long 0", ""),
    "uneven": (EQUIVALENT["uneven"].replace(" popq %rbx\n jmp memset", " call memset\n movb $7, 12(%rax)\n popq %rbx\n ret"), "result[1]"),
    "notify": (" pushq %rbx\n movq %rdi, %rbx\n call *%rsi\n movl $2, (%rbx)\n popq %rbx\n ret", "external call 1"),
}  # fmt: skip


@pytest.mark.parametrize("function", EQUIVALENT)
def test_equivalent_code_passes(judged: Judged, function: str) -> None:
    verdict = judged(SOURCE, function, f"{function}:\n{EQUIVALENT[function]}\n")
    assert verdict.kind == "pass", str(verdict)


@pytest.mark.parametrize("function", WRONG)
def test_wrong_values_are_mismatches(judged: Judged, function: str) -> None:
    assembly, where = WRONG[function]
    verdict = judged(SOURCE, function, f"{function}:\n{assembly}\n")
    assert verdict.kind == "mismatch", str(verdict)
    assert verdict.message.startswith(where)


def test_every_function_of_the_source_is_tested(compiled: Compile) -> None:
    assert set(WRONG) | {"store_nan", "temporary"} == set(EQUIVALENT) <= set(compiled(SOURCE).functions)
