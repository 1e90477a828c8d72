"""External calls, of callbacks and of functions that the case only declares: their arguments and their results."""

from __future__ import annotations

import pytest
from faces import CaseOf, Compile, Judged

from pytest_llmcompiler.emulator.generated_values import generate_value
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.judge.client import JudgeClient
from pytest_llmcompiler.program.ir_queries import keeps_inner_pointers
from pytest_llmcompiler.program.varargs import format_types
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.values.c_types import Array, Float, Int, Pointer
from pytest_llmcompiler.values.input import Input, Value
from pytest_llmcompiler.values.layout import lay_out

SOURCE = r"""
#include <stdlib.h>
#include <string.h>
struct padded { char a; int b; short c; };
struct pair { long a, b; };
struct big { long a, b, c; };
struct ctx;
int tell(int, ...);
void say(const char *format, ...);
int any(int, ...);
void done(void *), ints_done(int *), padded_done(struct padded *), text_done(const char *), ctx_done(struct ctx *);
struct pair *lookup(int);
char *name_of(int);
struct ctx *ctx_new(void);
char *skip(char *);
struct pair pair_of(int);
struct big big_of(int);
short narrow(int);
int table[8];

int telling(int x) { return tell(x, 5); }
void saying(int x, double d) { if (x > 3) say("%d of %s", x, "many"); else say("%.2f", d); }
int either(int x) { return x ? any(1, x) : any(1, 2.0); }
void filled(int *p, int n) { for (int i = 0; i < n; i++) p[i] = i * 3; ints_done(p); for (int i = 0; i < n; i++) p[i] = 0; }
void on_heap(int x) { int *p = malloc(8); p[0] = x; p[1] = 2; done(p); free(p); }
void some_of_heap(int x) { int *p = malloc(64); p[0] = x; done(p); free(p); }
void global_table(int x) { table[1] = x; done(table); table[1] = 0; }
void padding(struct padded *from) { struct padded *p = malloc(sizeof *p); *p = *from; padded_done(p); free(p); }
void text(int x) { text_done(x > 0 ? "yes" : "no"); }
void untyped(int x) { done(x > 0 ? "yes" : "no"); }
void nothing(int *p) { done(p ? p : 0); }
long looking(int x) { struct pair *p = lookup(x); return p ? p->a + p->b : -1; }
void renamed(int x) { char *s = name_of(x); if (s) s[0] = 'x'; }
size_t freed(int x) { char *s = name_of(x); size_t n = s ? strlen(s) : 99; free(s); return n; }
int opaque(void) { struct ctx *c = ctx_new(); if (!c) return 0; ctx_done(c); return 1; }
long distance(char *s) { char *e = skip(s); return e == s ? 1 : e ? 2 : 3; }
long paired(int x) { struct pair p = pair_of(x); return p.a ^ p.b; }
long biggest(int x) { struct big b = big_of(x); return b.a ^ b.c; }
long back(struct big (*f)(int), int x) { struct big b = f(x); return b.a ^ b.b; }
int narrowed(int x) { return narrow(x); }
int stored(void (*f)(int *), int x) { int t = x; f(&t); return t; }
int kept(void (*f)(const int *), int x) { int t = x; f(&t); return t; }
int both_orders(void (*f)(int *, int *), int x)
{
    int *a = malloc(4), *b = malloc(4);
    *a = x;
    *b = 7;
    f(a, b);
    return 0;
}
// LLMC: arg padding.from non-null
// LLMC: arg distance.s non-null
"""

SAY = """saying:
 cmpl $3, %edi
 jle 1f
 movl %edi, %esi
 leaq .Lone(%rip), %rdi
 leaq .Lmany(%rip), %rdx
 xorl %eax, %eax
 jmp say
1: leaq .Ltwo(%rip), %rdi
 movb $1, %al
 jmp say
 .section .rodata
.Lone: .string "%d of %s"
.Lmany: .string "many"
.Ltwo: .string "%.2f"
"""
FILLED = """filled:
 pushq %rbx
 pushq %rbp
 subq $8, %rsp
 movq %rdi, %rbx
 movl %esi, %ebp
 xorl %eax, %eax
 xorl %ecx, %ecx
1: cmpl %esi, %ecx
 jge 2f
 movl %eax, (%rdi,%rcx,4)
 addl $3, %eax
 incl %ecx
 jmp 1b
2: call ints_done
 xorl %ecx, %ecx
3: cmpl %ebp, %ecx
 jge 4f
 movl $0, (%rbx,%rcx,4)
 incl %ecx
 jmp 3b
4: addq $8, %rsp
 popq %rbp
 popq %rbx
 ret
"""
HEAP = """on_heap:
 pushq %rbx
 movl %edi, %ebx
 movl $8, %edi
 call malloc
 movl %ebx, (%rax)
 movl $2, 4(%rax)
 movq %rax, %rbx
 movq %rax, %rdi
 call done
 movq %rbx, %rdi
 popq %rbx
 jmp free
"""
SOME = HEAP.replace("on_heap", "some_of_heap").replace("$8,", "$64,").replace(" movl $2, 4(%rax)\n", "")
TABLE = "global_table:\n movl %edi, table+4(%rip)\n leaq table(%rip), %rdi\n pushq %rax\n call done\n movl $0, table+4(%rip)\n popq %rax\n ret\n"
PADDING = """padding:
 pushq %rbx
 movq %rdi, %rbx
 movl $12, %edi
 call malloc
 movb (%rbx), %cl
 movb %cl, (%rax)
 movl 4(%rbx), %ecx
 movl %ecx, 4(%rax)
 movw 8(%rbx), %cx
 movw %cx, 8(%rax)
 movq %rax, %rbx
 movq %rax, %rdi
 call padded_done
 movq %rbx, %rdi
 popq %rbx
 jmp free
"""
TEXT = """text:
 testl %edi, %edi
 leaq .Lyes(%rip), %rdi
 leaq .Lno(%rip), %rax
 cmovleq %rax, %rdi
 jmp text_done
 .section .rodata
.Lyes: .string "yes"
.Lno: .string "no"
"""
UNTYPED = TEXT.replace("text:", "untyped:").replace("text_done", "done")
LOOKING = "looking:\n pushq %rax\n call lookup\n testq %rax, %rax\n je 1f\n movq (%rax), %rcx\n addq 8(%rax), %rcx\n movq %rcx, %rax\n popq %rcx\n ret\n1: movq $-1, %rax\n popq %rcx\n ret\n"
RENAMED = "renamed:\n pushq %rax\n call name_of\n testq %rax, %rax\n je 1f\n movb $'x', (%rax)\n1: popq %rax\n ret\n"
DISTANCE = "distance:\n pushq %rbx\n movq %rdi, %rbx\n call skip\n movl $1, %ecx\n cmpq %rax, %rbx\n je 1f\n incl %ecx\n testq %rax, %rax\n jne 1f\n incl %ecx\n1: movl %ecx, %eax\n popq %rbx\n ret\n"
PAIRED = "paired:\n pushq %rax\n call pair_of\n xorq %rdx, %rax\n popq %rcx\n ret\n"
BIGGEST = "biggest:\n subq $40, %rsp\n movl %edi, %esi\n movq %rsp, %rdi\n call big_of\n movq (%rsp), %rax\n xorq 16(%rsp), %rax\n addq $40, %rsp\n ret\n"
BACK = "back:\n subq $40, %rsp\n movq %rdi, %rcx\n movq %rsp, %rdi\n call *%rcx\n movq (%rax), %rcx\n xorq 8(%rax), %rcx\n movq %rcx, %rax\n addq $40, %rsp\n ret\n"
STORED = "stored:\n pushq %rax\n movq %rdi, %rax\n movl %esi, (%rsp)\n movq %rsp, %rdi\n call *%rax\n movl (%rsp), %eax\n popq %rcx\n ret\n"
ORDERS = """both_orders:
 pushq %rbx
 pushq %r12
 pushq %r13
 movl %esi, %r12d
 movq %rdi, %r13
 movl $4, %edi
 call malloc
 movl $7, (%rax)
 movq %rax, %rbx
 movl $4, %edi
 call malloc
 movl %r12d, (%rax)
 movq %rax, %rdi
 movq %rbx, %rsi
 call *%r13
 xorl %eax, %eax
 popq %r13
 popq %r12
 popq %rbx
 ret
"""

CORRECT = {
    "telling": "telling:\n movl $5, %esi\n xorl %eax, %eax\n jmp tell\n",
    "saying": SAY,
    "either": "either:\n pushq %rbx\n movl %edi, %esi\n movl $1, %edi\n movl %esi, %eax\n testl %esi, %esi\n jne 1f\n"
    " movabsq $0x4000000000000000, %rax\n movq %rax, %xmm0\n movl $77, %esi\n movl $1, %eax\n jmp 2f\n1: xorl %eax, %eax\n"
    "2: call any\n popq %rbx\n ret\n",
    "filled": FILLED,
    "on_heap": HEAP,
    "some_of_heap": SOME,
    "global_table": TABLE,
    "padding": PADDING,
    "text": TEXT,
    "untyped": UNTYPED,
    "nothing": "nothing: jmp done\n",
    "looking": LOOKING,
    "renamed": RENAMED,
    "distance": DISTANCE,
    "paired": PAIRED,
    "biggest": BIGGEST,
    "back": BACK,
    "narrowed": "narrowed:\n pushq %rax\n call narrow\n movswl %ax, %eax\n popq %rcx\n ret\n",
    "stored": STORED,
    "both_orders": ORDERS,
}

WRONG = {
    "telling": (CORRECT["telling"].replace("$5", "$6"), "return value"),
    "saying": (SAY.replace('"many"', '"mane"'), "external call 1"),
    "saying: number": (SAY.replace("movl %edi, %esi", "movl $4, %esi"), "external call 1"),
    "saying: double": (SAY.replace("1: leaq", "1: addsd %xmm0, %xmm0\n leaq"), "external call 1"),
    "filled": (FILLED.replace(" addl $3, %eax\n", " addl $3, %eax\n cmpl $9, %eax\n cmovel %ecx, %eax\n"), "external call 1"),
    "on_heap": (HEAP.replace("movl $2", "movl $3"), "external call 1"),
    "some_of_heap": (SOME.replace(" movl %ebx, (%rax)\n", ""), "external call 1"),
    "global_table": (TABLE.replace("movl %edi, table+4", "movl $1, table+4"), "external call 1"),
    "padding": (PADDING.replace(" movw %cx, 8(%rax)\n", ""), "external call 1"),
    "text": (TEXT.replace('"no"', '"na"'), "external call 1"),
    "untyped": (UNTYPED.replace('"no"', '"na"'), "external call 1"),
    "nothing": ("nothing:\n leaq -8(%rsp), %rdi\n jmp done\n", "external call 1"),
    "looking": (LOOKING.replace(" addq 8(%rax), %rcx\n", ""), "return value"),
    "renamed": (RENAMED.replace("'x'", "'y'"), "heap object 0"),
    "distance": (DISTANCE.replace("cmpq %rax, %rbx", "cmpq $1, %rax"), "return value"),
    "paired": (PAIRED.replace(" xorq %rdx, %rax\n", ""), "return value"),
    "biggest": (BIGGEST.replace("16(%rsp), %rax", "8(%rsp), %rax"), "return value"),
    "back": (BACK.replace(" xorq 8(%rax), %rcx\n", ""), "return value"),
    "narrowed": ("narrowed:\n pushq %rax\n call narrow\n popq %rcx\n ret\n", "return value"),
    "both_orders": (ORDERS.replace("movl $7", "movl $8"), "external call 1"),
}  # fmt: skip


@pytest.mark.parametrize("function", CORRECT)
def test_correct_calls_pass(judged: Judged, function: str) -> None:
    verdict = judged(SOURCE, function, CORRECT[function])
    assert verdict.kind == "pass", str(verdict)
    assert "warning" not in verdict.detail


@pytest.mark.parametrize("fault", WRONG)
def test_wrong_calls_are_mismatches(judged: Judged, fault: str) -> None:
    assembly, words = WRONG[fault]
    verdict = judged(SOURCE, fault.split(":")[0], assembly)
    assert verdict.kind == "mismatch", str(verdict)
    assert verdict.message.startswith(words)


@pytest.mark.parametrize(
    ("function", "others"),
    [
        ("freed", " pushq %rbx\n call name_of\n movl $99, %ebx\n testq %rax, %rax\n je 1f\n pushq %rax\n pushq %rax\n"
                  " movq %rax, %rdi\n call strlen\n movq %rax, %rbx\n popq %rax\n popq %rdi\n FREE\n1: movq %rbx, %rax\n popq %rbx\n ret\n"),
        ("opaque", " pushq %rbx\n call ctx_new\n xorl %ebx, %ebx\n testq %rax, %rax\n je 1f\n incl %ebx\n"
                   " movq %rax, %rdi\n FREE\n1: movl %ebx, %eax\n popq %rbx\n ret\n"),
    ],
)  # fmt: skip
def test_returned_objects_belong_to_the_caller(judged: Judged, function: str, others: str) -> None:
    free = {"freed": "call free", "opaque": "call ctx_done"}[function]
    assert judged(SOURCE, function, f"{function}:\n{others.replace('FREE', free)}").kind == "pass"
    assert judged(SOURCE, function, f"{function}:\n{others.replace('FREE', 'nop')}").kind == "mismatch"


KEPT = """kept:
 pushq %rbx
 subq $16, %rsp
 movl %esi, %ebx
 movl %esi, 8(%rsp)
 movq %rdi, %rax
 leaq 8(%rsp), %rdi
 call *%rax
 movl %ebx, %eax
 addq $16, %rsp
 popq %rbx
 ret
"""


def test_const_pointees_are_not_written(judged: Judged) -> None:
    assert judged(SOURCE, "kept", KEPT).kind == "pass"
    assert judged(SOURCE, "stored", KEPT.replace("kept", "stored")).kind == "mismatch"


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        (b"%d %ld %zu %hhx%%", [4, 8, 8, 4]),
        (b"%-*.*f|%5s", [4, 4, 8, 8]),
        (b"%Lf", None),
        (b"%n", None),
        (b"100%", None),
        (b"", []),
    ],
)
def test_argument_types_of_formats(text: bytes, sizes: list[int] | None) -> None:
    types = format_types(text)
    assert (None if types is None else [type.size for type in types]) == sizes


def test_prototypes_of_declared_functions(compiled: Compile) -> None:
    externals = compiled(SOURCE).external_functions
    assert externals["lookup"].name == "struct pair * (int)"
    assert externals["ctx_new"].name == "void * (void)"
    assert externals["say"].format
    assert not externals["tell"].format
    assert [param.type.name for param in externals["tell"].params] == ["int", "i32"]
    assert len(externals["any"].params) == 1


def test_functions_that_may_get_an_end_pointer(compiled: Compile) -> None:
    source = """
    struct point { int x, y; };
    int table[4];
    void apart(int *, int *), members(int *, int *), arrays(int *, int *), range(int *, int *), globals(int *, int *);
    void points(struct point *, struct point *), steps(struct point *), first(struct point *, struct point *);
    void f(struct point *q, int n) {
        int a, b, c[4], d[4];
        struct point p, all[3];
        apart(&a, &b); apart(0, table); members(&p.x, &p.y); arrays(c, d); range(c, c + 4); globals(table, table + 4);
        points(all, all + 3); steps(q + n); first(all, &p);
    }
    """
    externals = compiled(source).external_functions
    assert {name for name, type in externals.items() if type.ends} == {"range", "globals", "points", "steps"}


@pytest.mark.parametrize(
    ("body", "keeps"),
    [
        ("struct point *end = p + 3;", True),
        ("int *at = &v[2];", True),
        ("int *at = v; at++;", True),
        ("out(&p[1].y);", True),
        ("int *at = x ? v + 6 : 0;", True),
        ("int *at = (int *)((__UINTPTR_TYPE__)v + 24);", True),
        ("int *at = v, *member = &p->y; out(at); v[x & 3] = p[1].y; out(member);", False),
        ("__builtin_memcpy(v + 2, p, 8); x = &v[1] == &p[1].x;", False),
    ],
)
def test_pointers_into_objects_that_are_kept(compiled: Compile, body: str, *, keeps: bool) -> None:
    source = "struct point { int x, y; }; void out(int *);\n"
    source += f"int f(int x) {{ struct point p[3] = {{0}}; int v[6] = {{0}}; {body} return x + v[0] + p[0].x; }}\n"
    assert compiled(source).keeps_inner_pointers == keeps


def test_pointers_that_are_computed_further_down() -> None:
    text = """define void @f(ptr %v) {
entry:
  br label %loop
loop:
  %p = phi ptr [ %v, %entry ], [ %next, %loop ]
  call void @out(ptr %p)
  %next = getelementptr i32, ptr %p, i64 1
  br label %loop
}
"""
    assert keeps_inner_pointers(text)
    assert not keeps_inner_pointers(text.replace("i32, ptr %p, i64 1", "[4 x i32], ptr %p, i64 0, i64 0"))


def test_generated_results_of_external_calls() -> None:
    assert generate_value(Int(1, False, "_Bool", boolean=True), 7) == b"\1"
    assert generate_value(Int(4, False, "enum e", enumerators=(("A", 5),)), 7) == b"\5\0\0\0"
    assert generate_value(Pointer(None), 7) == bytes(8)
    assert generate_value(Float(8, "double"), 20) == bytes.fromhex("000000000000f03f")
    text = generate_value(Array(Int(1, True, "char", character=True), 20), 99)
    assert len(text) == 20
    assert text.isascii()
    assert text.endswith(b"\0")


ENDS = r"""
struct named { int number; const char *name; };
void write_out(const char *data, int size), deliver(const char *data);
int total(int *begin, int *end);
void measure(int x, int *width, int *height);
int choose(const void *, int (*)(int), const struct named *);
static int a, b;
static int one(int x) { return x + 1; }
static int two(int x) { return x + 2; }
static const struct named names[2] = {{1, "one"}, {2, "two"}};
void put(int v) { char b[4]; b[0] = v | 1; b[1] = v >> 8 | 1; b[2] = v >> 16 | 1; b[3] = v >> 24 | 1; write_out(b, 4); }
void sent(int v) { char b[4]; b[0] = v | 1; b[1] = v >> 8 | 1; b[2] = v >> 16 | 1; b[3] = v >> 24 | 1; deliver(b); }
static const char other[] = "hello";
const char *get(void) { return other; }
void header(int x) { static const char magic[4] = {'R', 'I', 'F', 'F'}; write_out(magic, 4); }
int range(int x) { int a[4] = {x, x ^ 1, x ^ 2, x ^ 3}; return total(a, a + 4) ^ x; }
int area(int x) { int width, height; measure(x, &width, &height); return width * height + x; }
int chosen(int x) { return choose(x & 1 ? &a : &b, x & 2 ? one : two, &names[x >> 2 & 1]); }
int sum(void) { return a + b + one(1) + two(2); }
"""
PUT = """put:
 subq $24, %rsp
 movl %edi, %eax
 orl $0x01010101, %eax
 movl %eax, 12(%rsp)
 movl $0x44434241, 16(%rsp)
 leaq 12(%rsp), %rdi
 movl $4, %esi
 call write_out
 addq $24, %rsp
 ret
"""
SENT = PUT.replace("put:", "sent:").replace(" movl $4, %esi\n", "").replace("write_out", "deliver")
HEADER = """header:
 movl $4, %esi
 leaq magic.0(%rip), %rdi
 jmp write_out
 .section .rodata
magic.0: .ascii "RIFF"
other: .string "hullo"
"""
RANGE = """range:
 pushq %rbx
 subq $16, %rsp
 movl %edi, %ebx
 movl %edi, (%rsp)
 xorl $1, %edi
 movl %edi, 4(%rsp)
 xorl $3, %edi
 movl %edi, 8(%rsp)
 xorl $1, %edi
 movl %edi, 12(%rsp)
 movq %rsp, %rdi
 leaq 16(%rsp), %rsi
 call total
 xorl %ebx, %eax
 addq $16, %rsp
 popq %rbx
 ret
"""
AREA = """area:
 pushq %rbx
 subq $16, %rsp
 movl %edi, %ebx
 leaq 8(%rsp), %rsi
 leaq 12(%rsp), %rdx
 call measure
 movl 8(%rsp), %eax
 imull 12(%rsp), %eax
 addl %ebx, %eax
 addq $16, %rsp
 popq %rbx
 ret
"""


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        ("put", PUT, PUT.replace("0x01010101", "0x01010103")),
        ("sent", SENT, SENT.replace("0x01010101", "0x01010103")),
        ("header", HEADER, HEADER.replace("RIFF", "RIFX")),
        ("range", RANGE, RANGE.replace("movl %edi, (%rsp)", "movl $7, (%rsp)")),
        ("area", AREA, AREA.replace("imull 12", "imull 8")),
    ],
)
def test_memory_past_the_end_of_an_object_is_neither_compared_nor_written(
    judged: Judged, function: str, right: str, wrong: str
) -> None:
    verdict = judged(ENDS, function, right)
    assert verdict.kind == "pass", str(verdict)
    verdict = judged(ENDS, function, wrong)
    assert verdict.kind == "mismatch", str(verdict)


def test_results_of_external_calls_are_the_same_in_every_build(compiled: Compile) -> None:
    """They do not depend on the addresses of variables, functions and strings."""
    reference = compiled(ENDS)
    signature = reference.signatures["chosen"]
    golden, probe = (
        Machine(program, "chosen", signature, externals=reference.external_functions)
        for program in (reference.golden, reference.probe)
    )
    assert golden.program.symbols["b"] != probe.program.symbols["b"]
    results = set()
    for number in range(8):
        data = number.to_bytes(4, "little")
        placed = lay_out(Input((Value(signature.params[0].type, data),)), ["x"])
        call = get_target().convention.set_up_call([signature.params[0].type], placed.images)
        first, second = (machine.run(placed, call, 100_000).result for machine in (golden, probe))
        assert first == second, number
        results.add(first)
    assert len(results) > 1


def test_stack_arguments_in_unmapped_memory(judged: Judged) -> None:
    source = "void report(double, double, double, double, double, double, double, double, double);\n"
    source += "void g(double x) { report(x, x, x, x, x, x, x, x, x); }\n"
    verdict = judged(source, "g", "g:\n xorl %esp, %esp\n jmp report\n")
    assert verdict.kind == "crash", str(verdict)


NARROW = """
void report(short s, unsigned char b, _Bool on);
void both(int x, void (*tell)(signed char, unsigned short)) { tell(x, x); }
void out(int x) { report(x, x, x & 1); }
void last(int x) { void eight(int, int, int, int, int, int, short, _Bool); eight(1, 2, 3, 4, 5, 6, x, x & 1); }
"""
LAST = """last:
 pushq %rbx
 {}
 andl $1, %edi
 pushq %rdi
 pushq %rax
 movl $1, %edi
 movl $2, %esi
 movl $3, %edx
 movl $4, %ecx
 movl $5, %r8d
 movl $6, %r9d
 call eight
 addq $16, %rsp
 popq %rbx
 ret
"""


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        (
            "both",
            "both:\n movq %rsi, %rax\n movl %edi, %esi\n movsbl %sil, %edi\n movzwl %si, %esi\n jmp *%rax\n",
            ("movsbl %sil, %edi=>movzbl %sil, %edi", "movzwl %si, %esi=>movswl %si, %esi"),
        ),
        (
            "out",
            "out:\n movl %edi, %edx\n andl $1, %edx\n movzbl %dil, %esi\n movswl %di, %edi\n jmp report\n",
            (" movswl %di, %edi\n=>", "movzbl %dil, %esi=>movl %edi, %esi", "andl $1, %edx=>andb $1, %dl"),
        ),
        ("last", LAST.format("movswl %di, %eax"), ("movswl=>movzwl",)),
    ],
)
def test_narrow_arguments_are_extended(judged: Judged, function: str, right: str, wrong: tuple[str, ...]) -> None:
    """Code of clang relies on extended arguments, and gcc extends them too where the function has a prototype."""
    assert judged(NARROW, function, right).passed
    for change in wrong:
        verdict = judged(NARROW, function, right.replace(*change.split("=>")))
        assert verdict.kind == "mismatch", change
        assert verdict.message.startswith("external call 1"), change


def test_extension_is_not_compared_for_a_case_in_ir(judge: JudgeClient, case_of: CaseOf) -> None:
    case = case_of("declare void @tell(i8)\ndefine void @f(i8 %x) {\n call void @tell(i8 %x)\n ret void\n}\n", ".ll")
    assert judge.judge(case, "f", "f:\n movsbl %dil, %edi\n jmp tell\n").passed
    assert judge.judge(case, "f", "f:\n movzbl %dil, %edi\n jmp tell\n").passed


def test_a_program_whose_main_leads_to_a_call_out(judged: Judged) -> None:
    source = "int ask(int x);\nint f(int x) { return ask(x) + 1; }\nint main(void) { return f(3); }\n"
    right = "f:\n pushq %rax\n call ask\n incl %eax\n popq %rcx\n ret\n"
    assert judged(source, "f", right).kind == "pass"
    assert judged(source, "f", right.replace("incl", "decl")).kind == "mismatch"


STRUCTS = r"""
#include <stdlib.h>
struct note { const char *text; long count; };
struct row { const char *first, *second; long count; };
struct place { int *at; long count; };
struct two { int *a, *b; };
int noted(int (*f)(struct note), long n) { struct note one = {"many", n}; return f(one); }
int rowed(int (*f)(struct row), long n) { struct row one = {"one", "other", n}; return f(one); }
int placed(int (*f)(struct place), int x) { int t = x; struct place one = {&t, 1}; return f(one) + t; }
int both(int (*f)(struct two), int x)
{
    int *a = malloc(4), *b = malloc(4);
    if (!a || !b) abort();
    *a = x;
    *b = 7;
    return f((struct two){a, b});
}
"""
NOTED = (
    'noted: movq %rdi, %rax\n leaq .Lmine(%rip), %rdi\n {0}\n jmp *%rax\n .section .rodata\n .Lmine: .string "{1}"\n'
)
ROWED = """rowed: subq $24, %rsp
 leaq .Lone(%rip), %rax
 movq %rax, (%rsp)
 leaq .Lother(%rip), %rax
 movq %rax, 8(%rsp)
 movq %rsi, 16(%rsp)
 call *%rdi
 addq $24, %rsp
 ret
 .section .rodata
.Lother: .string "{0}"
.Lone: .string "one"
"""
PLACED = """placed: subq $40, %rsp
 movl %esi, 12(%rsp)
 movq %rdi, %rax
 leaq 12(%rsp), %rdi
 movl ${0}, %esi
 call *%rax
 addl 12(%rsp), %eax
 addq $40, %rsp
 ret
"""


PLACED_LATE = PLACED.replace("movl %esi, 12(%rsp)", "movl %esi, 8(%rsp)\n movl $5, 12(%rsp)").replace(
    "addl 12", "addl 8"
)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (NOTED.format("", "many"), "pass"),
        (NOTED.format("", "main"), "mismatch"),
        (NOTED.format("incq %rsi", "many"), "mismatch"),
        (NOTED.format("xorl %edi, %edi", "many"), "mismatch"),
        (ROWED.format("other"), "pass"),
        (ROWED.format("others"), "mismatch"),
        (PLACED.format(1), "pass"),
        (PLACED.format(2), "mismatch"),
        (PLACED_LATE.format(1), "mismatch"),
    ],
)
def test_structs_of_pointers_by_value(judged: Judged, text: str, kind: str) -> None:
    verdict = judged(STRUCTS, text.partition(":")[0], text)
    assert verdict.kind == kind, str(verdict)


SPANS = """
struct span { int *begin, *end; };
struct last { int *end; long count; };
void use(struct span), use_last(struct last);
int sum(int a, int b) { int v[6] = {a, b, a ^ b, 7, 8, 9}; struct span s = {v, v + 6}; use(s); return v[0] ^ v[3]; }
int late(int a, int b) { int v[6] = {a, b, a ^ b, 7, 8, 9}; struct last s = {v + 6, 6}; use_last(s); return v[0]; }
"""
OBJECTS = """
struct padded { char kind; int value; };
struct view { struct padded *at; long count; };
struct outer { struct view inner; int *own; };
struct buffer { char *data; long size; };
struct out { int *result; long tag; };
void show(struct view), nest(struct outer), fill(struct buffer), fetch(struct out);
int viewed(int a) { struct padded t; t.kind = a; t.value = a + 1; struct view s = {&t, 1}; show(s); return a; }
int nested(int a)
{
    struct padded t = {1, a};
    int own = a ^ 5;
    struct outer s = {{&t, 1}, &own};
    nest(s);
    return a;
}
int filled(int a) { char data[16]; struct buffer s = {data, 16}; fill(s); return a; }
int named(int a) { char data[2]; data[0] = a | 64; struct buffer s = {data, 1}; fill(s); return a; }
int fetched(int a) { int x; struct out o = {&x, a}; fetch(o); return a; }
int ended(int a) { struct out o = {0, a}; { int x = a; o.result = &x; } fetch(o); return a; }
"""


@pytest.mark.parametrize(
    ("source", "function", "wrong"),
    [
        (SPANS, "sum", None),
        (SPANS, "late", None),
        (OBJECTS, "viewed", ("t.value = a + 1;", "t.value = a + 2;")),
        (OBJECTS, "nested", ("own = a ^ 5", "own = a ^ 6")),
        (OBJECTS, "filled", None),
        (OBJECTS, "named", ("a | 64", "a | 65")),
        (OBJECTS, "fetched", None),
        (OBJECTS, "ended", None),
    ],
)
def test_what_structs_by_value_lead_to_on_the_stack(
    judged: Judged, compiled: Compile, source: str, function: str, wrong: tuple[str, str] | None
) -> None:
    """Compared is what certainly is an object with a value: not what follows an array, nor what nobody has set."""
    reference = compiled(source)
    assert reference.keeps_inner_pointers == (source is SPANS)
    for level in ("O0", "O1", "O2"):
        verdict = judged(source, function, reference.texts.assembly(function, level))
        assert verdict.kind == "pass", f"{level}: {verdict}"
    if wrong:
        text = compiled(source.replace(*wrong)).texts.assembly(function, "O1")
        verdict = judged(source, function, text)
        assert verdict.kind == "mismatch"
        assert verdict.message.startswith("external call 1"), "what the function returns is right"
        assert verdict.message.count(" -> [") == 2, "the message shows what differs"


@pytest.mark.parametrize(
    ("change", "kind"), [(("*a = malloc(4), *b", "*b = malloc(4), *a"), "pass"), (("{a, b}", "{b, a}"), "mismatch")]
)
def test_heap_objects_in_a_struct_by_value(
    judged: Judged, compiled: Compile, change: tuple[str, str], kind: str
) -> None:
    text = compiled(STRUCTS.replace(*change)).texts.assembly("both", "O1")
    verdict = judged(STRUCTS, "both", text)
    assert verdict.kind == kind, str(verdict)


SHOWN = """
typedef float floats __attribute__((vector_size(16)));
struct point { short x, y; };
void put(double d, int n, _Bool b, floats v, struct point by_value, struct point *at, int *values, const char *text);
void told(void)
{
    int values[1] = {7};
    struct point p = {3, -2};
    put(-1.5, -1, 1, (floats){1, 2, 3, 4}, p, &p, values, "abc");
}
"""


def test_arguments_are_shown_as_values_of_their_types(judged: Judged) -> None:
    point = "{.x = 3, .y = -2}"
    call = f'put(-1.5, -1, true, {{1.0, 2.0, 3.0, 4.0}}, {point}, &{point}, &{{7}}, "abc")'
    assert f"expected {call}, observed no call" in judged(SHOWN, "told", "told:\n\tret\n").message


def test_a_function_with_dots_behind_a_vector_is_variadic(judged: Judged) -> None:
    source = """typedef float floats __attribute__((vector_size(16)));
floats first(floats v, ...) { return v; }
floats ask(floats v) { return first(v, 1.0); }
"""
    call = "ask:\n\tpushq\t%rax\n{}\tcvtss2sd\t%xmm0, %xmm1\n\tcall\tfirst\n\tpopq\t%rcx\n\tret\n"
    assert judged(source, "ask", call.format("\tmovb\t$2, %al\n")).kind == "pass"
    verdict = judged(source, "ask", call.format("\tmovb\t$255, %al\n"))
    assert (verdict.kind, "al is 255 at the call of first" in verdict.message) == ("abi", True), verdict
