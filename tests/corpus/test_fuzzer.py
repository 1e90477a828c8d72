"""The coverage of a corpus and the fit of its buffers, without directives."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from faces import Compile

from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.program.reference import Reference
from pytest_llmcompiler.values.input import Alias, Object, list_objects

SOURCE = r"""
#include <stddef.h>
#include <stdint.h>
#include <string.h>
static unsigned mixed(int n) { unsigned key = 1; for (int i = 0; i < n; i++) key = key * 1103515245u + 12345u; return key; }
int affine(int x) { return x > -100000 && x < 100000 && x * 3 + 7 == 1000; }
int above(unsigned x) { return x > mixed(3); }
int sum_is(unsigned x, unsigned y) { return x + y == mixed(4); }
int keyword(const char *s) {
    char word[9];
    for (int i = 0; i < 8; i++) word[i] = (char)('a' + i * 11 % 26);
    word[8] = 0;
    return strcmp(s, word) == 0;
}
int parse(const char *s) {
    switch (s[0]) {
    case 'Q': break;
    case 'R': return 1;
    default: return 0;
    }
    switch (s[1]) {
    case '~': break;
    case '^': return 2;
    default: return 3;
    }
    return s[2] == '$' ? s[3] == '`' ? 4 : 5 : 6;
}
int near(double x) { return x == -77.125 ? 2 : x > 123456.789 && x < 123456.7891; }

int pair(int *a, int *b) { *a = 5; *b = 7; return *a; }
int apart(int *restrict a, int *restrict b) { *a = 5; *b = 7; return *a; }

int commas(const char *p, const char *end) { int n = 0; for (; p != end; p++) n += *p == ','; return n; }
int xored(const int *a, int m) { int r = 0; for (int i = 0; i < m; i++) r ^= a[i]; return r; }
int seventh(const int *p) { return p[6]; }
int terminated(const uint8_t *s) { int n = 0; while (s[n]) n++; return n; }
void mask(uint8_t x[21]) { for (int i = 0; i < 21; i++) x[i] ^= 0x5a; }
long word(const void *p) { return *(const long *)p; }

struct stack { int items[8]; int used; };
int push(struct stack *s, int value) {
    if (s->used < 8) { s->items[s->used++] = value; return 1; }
    return 0;
}
struct dnode { struct dnode *prev, *next; int value; };
int linked(const struct dnode *n) { return !n || !n->next || !n->next->prev ? 0 : n->next->prev == n ? 1 : 2; }
void take_out(struct dnode *n) { n->prev->next = n->next; n->next->prev = n->prev; n->prev = n->next = n; }
struct node { struct node *next; int value; };
int ring(const struct node *head) {
    int count = 1;
    for (const struct node *n = head->next; n != head; n = n->next) count++;
    return count;
}
static const int *cursor;
int peek(void) { return cursor ? *cursor & 0xffff : -1; }
void point(const int *to) { cursor = to; }
unsigned spin(unsigned n) { unsigned r = 0; for (unsigned i = 0; i < n; i++) r = r * 31 + i; return r; }
int twice(int x) { return (int)(2u * (unsigned)x); }
size_t quoted(const char *s, size_t n) {
    size_t i = 1;
    if (n < 2 || s[0] != '"') return 0;
    while (i < n) {
        char c = s[i++];
        if (c == '"') return i;
        if (c == '\\' && (i == n || !s[i] || !strchr("nt\"", s[i++]))) return 0;
    }
    return 0;
}
int sum(int count, ...) {
    __builtin_va_list list;
    int r = 0;
    __builtin_va_start(list, count);
    for (int i = 0; i < count && i < 4; i++) r += __builtin_va_arg(list, int);
    __builtin_va_end(list);
    return r;
}
int main(void) { return sum(1, 2) + sum(3, 1, 2, 3) + sum(0); }
struct cursor { const char *at, *end; };
int opened(struct cursor *c, int kind, int depth) {
    if (kind != 77 || depth < 5) return 0;
    if (c->end - c->at < 3) return 1;
    return c->at[0] == '{' && c->at[1] == '}' ? 2 : 3;
}
int has(const int *p) { return p != NULL; }
unsigned total(const uint8_t *data, size_t n) { unsigned r = 0; for (size_t i = 0; i < n; i++) r += data[i]; return r; }
size_t length(const char *s) { size_t n = 0; while (s[n]) n++; return n; }
"""

Make = Callable[[str], Harness]


@pytest.fixture(scope="module")
def program(compiled: Compile) -> Reference:
    return compiled(SOURCE)


@pytest.fixture(scope="module")
def harness_of(program: Reference) -> Make:
    harnesses: dict[str, Harness] = {}
    return lambda name: harnesses.setdefault(name, Harness(program, name, JudgeSettings()))


def returned_values(harness: Harness) -> set[int]:
    """The values that the reference returns on the inputs of a corpus, as `int`."""
    return {struct.unpack_from("<i", entry.expected.result)[0] for entry in harness.corpus.entries.values()}


def compile_reference(harness: Harness) -> str:
    """The assembly of the function, as clang compiles it."""
    return harness.reference.texts.assembly(harness.function, "O1")


def prepend_load(harness: Harness, load: str) -> str:
    """The assembly of the function with one more load at its start."""
    return compile_reference(harness).replace(f"{harness.function}:", f"{harness.function}:\n {load}", 1)


# -- comparisons


@pytest.mark.parametrize(
    ("function", "reached"),
    [
        ("affine", {0, 1}),
        ("above", {0, 1}),
        ("sum_is", {0, 1}),
        ("keyword", {0, 1}),
        ("parse", {0, 1, 2, 3, 4, 5, 6}),
        ("near", {0, 1, 2}),
    ],
)
def test_every_branch_is_taken(harness_of: Make, function: str, reached: set[int]) -> None:
    assert returned_values(harness_of(function)) == reached


def test_a_comparison_is_tried_on_both_sides_of_its_limit(harness_of: Make) -> None:
    key = 1
    for _ in range(3):
        key = (key * 1103515245 + 12345) % (1 << 32)
    tried = {int.from_bytes(input.args[0].data, "little") for input in harness_of("above").corpus.entries}
    assert {key - 1, key, key + 1} <= tried
    assert harness_of("above").judge(compile_reference(harness_of("above"))).passed


def test_texts_that_get_through_a_parser(harness_of: Make) -> None:
    entries = harness_of("quoted").corpus.entries
    accepted = [list_objects(input)[0].data for input, entry in entries.items() if any(entry.expected.result)]
    assert sum(any(escaped in text for text in accepted) for escaped in (b"\\n", b"\\t", b'\\"')) >= 2


def test_calls_of_a_variadic_function_differ_in_their_number_of_arguments(harness_of: Make) -> None:
    assert len({len(input.args) for input in harness_of("sum").corpus.entries}) > 1
    assert harness_of("sum").judge(compile_reference(harness_of("sum"))).passed


def test_conditions_on_several_arguments_at_once(harness_of: Make) -> None:
    assert returned_values(harness_of("opened")) == {0, 1, 2, 3}


@pytest.mark.parametrize("test", ["testb %dil, %dil", "testw %di, %di", "testl %edi, %edi"])
def test_code_that_tests_only_the_low_bits_of_a_pointer_fails(harness_of: Make, test: str) -> None:
    text = "has:\n xorl %eax, %eax\n {}\n setne %al\n ret\n"
    assert harness_of("has").judge(text.format("testq %rdi, %rdi")).passed
    verdict = harness_of("has").judge(text.format(test))
    assert verdict.kind == "mismatch"
    if test != "testb %dil, %dil":  # an object that ends at such a place can begin at a multiple of 256 as well
        assert "  layout    objects begin at multiples of 4 GiB" in verdict.evidence


@pytest.mark.parametrize("part", ["w", "l"])
def test_code_that_counts_in_16_bits_fails(harness_of: Make, part: str) -> None:
    i, n = {"w": ("%cx", "%si"), "l": ("%ecx", "%esi")}[part]
    text = f"""total:
 xorl %eax, %eax
 xorl %ecx, %ecx
1: cmp{part} {n}, {i}
 je 2f
 movzbl (%rdi,%rcx), %edx
 addl %edx, %eax
 inc{part} {i}
 jmp 1b
2: ret
"""
    assert harness_of("total").judge(text).kind == ("mismatch" if part == "w" else "pass")


def test_texts_longer_than_16_bits_can_count(harness_of: Make) -> None:
    text = "length:\n xorl %eax, %eax\n1: cmpb $0, (%rdi,%rax)\n je 2f\n incq %rax\n jmp 1b\n2: {}\n ret\n"
    assert harness_of("length").judge(text.format("nop")).passed
    verdict = harness_of("length").judge(text.format("movzwl %ax, %eax"))
    assert verdict.kind == "mismatch"
    assert verdict.message == "return value: expected 65600, observed 64"


# -- aliases


FIVE = ":\n movl $5, (%rdi)\n movl $7, (%rsi)\n movl $5, %eax\n ret\n"


def test_code_that_is_wrong_only_for_equal_pointers_fails(harness_of: Make) -> None:
    verdict = harness_of("pair").judge("pair" + FIVE)
    assert verdict.kind == "mismatch"
    assert "return value: expected 7, observed 5" in str(verdict)
    assert harness_of("pair").judge(compile_reference(harness_of("pair"))).passed


def test_restrict_pointers_are_never_aliased(harness_of: Make) -> None:
    assert harness_of("apart").judge("apart" + FIVE).passed
    assert not any(isinstance(to, Alias) for input in harness_of("apart").corpus.entries for to in links(input.args))


def links(values: object) -> list[object]:
    return [to for value in values for _, to in value.links]  # type: ignore[attr-defined]


def test_a_pointer_to_the_end_of_another_parameters_buffer(harness_of: Make) -> None:
    harness = harness_of("commas")
    sizes = {
        len(first.data)
        for first, second in (links(input.args) for input in harness.corpus.entries if len(links(input.args)) == 2)
        if isinstance(first, Object) and isinstance(second, Alias) and second.offset == len(first.data)
    }
    assert len(sizes) > 10
    assert {0, 1} <= returned_values(harness)
    assert harness.judge(compile_reference(harness)).passed
    assert harness.judge(prepend_load(harness, "cmpq %rdi, %rsi\n je 9f\n movb (%rsi), %al\n9:")).kind == "crash"


# -- buffers as long as the function needs


@pytest.mark.parametrize(
    ("function", "past"),
    [
        ("xored", "movslq %esi, %rcx\n movl (%rdi,%rcx,4), %eax"),
        ("seventh", "movl 28(%rdi), %eax"),
        ("mask", "movb 21(%rdi), %al"),
        ("word", "movb 8(%rdi), %al"),
        ("terminated", "movq %rdi, %rcx\n8: incq %rcx\n cmpb $0, -1(%rcx)\n jne 8b\n movb (%rcx), %al"),
    ],
)
def test_a_read_past_the_end_is_a_crash(harness_of: Make, function: str, past: str) -> None:
    harness = harness_of(function)
    assert harness.judge(compile_reference(harness)).passed
    verdict = harness.judge(prepend_load(harness, past))
    assert verdict.kind == "crash", str(verdict)
    assert "past its end" in verdict.message


def test_a_length_is_learned_from_repairs(harness_of: Make) -> None:
    """Nothing in `int xored(const int *a, int m)` says that m counts a."""
    fitting = [
        buffer.count == int.from_bytes(input.args[1].data, "little")
        for input in harness_of("xored").corpus.entries
        for buffer in list_objects(input)
    ]
    assert sum(fitting) > 20
    assert (
        max(list_objects(input)[0].count for input in harness_of("xored").corpus.entries if list_objects(input)) > 100
    )


def test_texts_of_bytes_are_terminated(harness_of: Make) -> None:
    assert len(returned_values(harness_of("terminated"))) > 5


def test_numbers_beside_an_array_count_its_elements(harness_of: Make) -> None:
    harness = harness_of("push")
    used = [
        int.from_bytes(target.data[32:36], "little")
        for input in harness.corpus.entries
        for target in list_objects(input)
    ]
    assert sum(count <= 8 for count in used) > len(used) / 2
    assert len(set(range(9)) & set(used)) > 6
    assert harness.judge(prepend_load(harness, "cmpl $8, 32(%rdi)\n jne 9f\n movl 36(%rdi), %eax\n9:")).kind == "crash"


# -- linked structures


def test_doubly_linked_lists(harness_of: Make) -> None:
    assert {0, 1} <= returned_values(harness_of("linked"))
    harness = harness_of("take_out")
    assert len(harness.corpus.entries) > 20
    assert any(len(list_objects(input)) > 1 for input in harness.corpus.entries)
    assert harness.judge(compile_reference(harness)).passed
    half = "take_out:\n movq (%rdi), %rax\n movq 8(%rdi), %rcx\n movq %rcx, 8(%rax)\n"
    ends = " movq %rdi, (%rdi)\n movq %rdi, 8(%rdi)\n ret\n"
    assert harness.judge(f"{half} movq %rax, (%rcx)\n{ends}").passed
    assert harness.judge(half + ends).kind == "mismatch"


def test_circular_lists(harness_of: Make) -> None:
    harness = harness_of("ring")
    assert {1, 2, 3} <= returned_values(harness)
    assert harness.judge("ring:\n movl $1, %eax\n ret\n").kind == "mismatch"


def test_pointers_in_globals_are_part_of_the_input(harness_of: Make) -> None:
    harness = harness_of("peek")
    assert -1 in returned_values(harness)
    assert len(returned_values(harness)) > 5
    assert harness.judge(compile_reference(harness)).passed
    assert harness.judge("peek:\n movl $-1, %eax\n ret\n").kind == "mismatch"


# -- the harness


def test_expensive_inputs_are_few(harness_of: Make) -> None:
    harness = harness_of("spin")
    assert harness.corpus.dropped["runs too long"] > 0
    assert sum(entry.probe_result.steps > 10_000 for entry in harness.corpus.entries.values()) <= 8
    assert harness.judge(compile_reference(harness)).passed


def test_without_an_explanation_the_verdict_is_the_same(harness_of: Make) -> None:
    harness = harness_of("xored")
    wrong = compile_reference(harness).replace("xorl\t(", "subl\t(")
    full, short = harness.judge(wrong), harness.judge(wrong, explain=False)
    assert full.kind == short.kind
    assert [full.detail[key] for key in ("inputs", "dropped")] == [short.detail[key] for key in ("inputs", "dropped")]
    assert full.kind == "mismatch"
    assert any(line.startswith("  diverges ") for line in full.evidence)
    assert not any(line.startswith("  diverges ") for line in short.evidence)
    assert harness.judge(compile_reference(harness), explain=False).passed


def test_a_harness_limited_to_some_inputs(harness_of: Make) -> None:
    key = next(input for input in harness_of("twice").corpus.entries if input.args[0].data[3])
    wrong = "twice:\n movzwl %di, %eax\n addl %eax, %eax\n ret\n"
    few = harness_of("twice").restrict(
        [input for input in harness_of("twice").corpus.entries if not any(input.args[0].data[2:])]
    )
    assert few.judge(wrong).passed
    assert few.judge("twice:\n leal 2(%rdi,%rdi), %eax\n ret\n").kind == "mismatch"
    only = harness_of("twice").restrict([key])
    assert only.judge(wrong).kind == "mismatch"
    assert only.judge(wrong).detail["inputs"] == 1
    assert only.judge("twice:\n leal 2(%rdi,%rdi), %eax\n ret\n").kind == "mismatch"
    assert only.judge(compile_reference(only)).passed
    assert harness_of("twice").judge(wrong).kind == "mismatch"


@pytest.mark.parametrize("examples", [1, 2, 3])
def test_few_examples(program: Reference, examples: int) -> None:
    harness = Harness(program, "twice", JudgeSettings(examples=examples))
    assert harness.judge(compile_reference(harness)).passed
    assert harness.judge("twice:\n leal 2(%rdi,%rdi), %eax\n ret\n").kind == "mismatch"
