"""AArch64 Linux: verdicts on correct and wrong code, its assembly, and its relocations."""

from __future__ import annotations

import re
from collections.abc import Iterator

import capstone
import pytest
from faces import CaseOf, Compile

from pytest_llmcompiler import check
from pytest_llmcompiler.assembler import gas
from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.errors import AssemblyError, CaseError, LinkError, UnsupportedError
from pytest_llmcompiler.judge.client import JudgeClient
from pytest_llmcompiler.judge.harness import Harness, JudgeSettings
from pytest_llmcompiler.model.answer import Answer
from pytest_llmcompiler.model.extract.assembly import extract_assembly
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.aarch64_linux import find_homogeneous_members
from pytest_llmcompiler.targets.code import AssembledCode

TARGET = get_target("aarch64-linux")
SOURCE = r"""
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
struct triple { double x, y, z; };
struct big { long a[3]; };
extern int helper(int, const char *);
static int counter;
static const int table[8] = {3, 1, 4, 1, 5, 9, 2, 6};
struct triple scaled(struct triple v, double k) { v.x *= k; v.y *= k; v.z *= k; return v; }
struct big bumped(struct big b, unsigned n) { b.a[1] ^= n; return b; }
int total(int n, ...)
{
    va_list list;
    int sum = 0;
    va_start(list, n);
    for (int i = 0; i < (n & 3); i++)
        sum ^= va_arg(list, int);
    va_end(list);
    return sum;
}
int applied(int (*f)(int, short), int x) { return f(x, -3) ^ f(x & 0xff, 7); }
int asked(int x) { return helper(x, "abc") ^ helper(x & 7, "de"); }
int counted(int i) { counter ^= table[i & 7]; return counter; }
double exact(double a, double b) { return (double)((long double)a * b + 1.0L); }
unsigned added(unsigned *p, unsigned v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
char *copied(const char *s) { char *p = malloc(strlen(s) + 1); return p ? strcpy(p, s) : p; }
long sum(const int *values, unsigned count)
{
    long all = 0;
    for (unsigned i = 0; i < count; i++)
        all += values[i];
    return all;
}
int larger(int a, int b) { return a < b ? b : a; }
long far(unsigned x) { return x; }
int main(void) { printf("%d %.2f\n", larger(3, 4), exact(1.5, 2)); return 3; }
"""
FUNCTIONS = ["scaled", "bumped", "total", "applied", "asked", "counted", "exact", "added", "copied", "sum", "larger"]


@pytest.fixture(scope="module")
def arm() -> Iterator[JudgeClient]:
    judge = JudgeClient(JudgeSettings(examples=20, target=TARGET.name))
    yield judge
    judge.close()


ANCHORED = """
counted:
	adrp	x1, .LANCHOR1
	add	x1, x1, :lo12:.LANCHOR1
	and	x0, x0, 7
	ldr	w2, [x1, x0, lsl 2]
	adrp	x1, .LANCHOR0
	ldr	w0, [x1, #:lo12:.LANCHOR0]
	eor	w0, w0, w2
	str	w0, [x1, #:lo12:.LANCHOR0]
	ret
	.section	.rodata
	.align	3
	.set	.LANCHOR1,. + 0
	.size	table, 32
table:
	.word	3, 1, 4, 1, 5, 9, 2, 6
	.bss
	.align	2
	.set	.LANCHOR0,. + 0
	.size	counter, 4
counter:
	.zero	4
"""


def test_variables_behind_an_anchor_of_gcc(arm: JudgeClient, case_of: CaseOf) -> None:
    """Their distances from the anchor are those of the text, not of the program. Those of constants are the text's."""
    verdict = arm.judge(case_of(SOURCE), "counted", ANCHORED)
    assert verdict.kind == "inconclusive" and "-fno-section-anchors" in verdict.message, verdict
    named = ANCHORED.replace("x1, .LANCHOR0", "x1, counter").replace(":lo12:.LANCHOR0", ":lo12:counter")
    verdict = arm.judge(case_of(SOURCE), "counted", named)
    assert verdict.passed, verdict


MERGED = """counted:
	adrp	x8, .L_MergedGlobals
	ldr	w9, [x8, :lo12:.L_MergedGlobals]
	add	w9, w9, #1
	str	w9, [x8, :lo12:.L_MergedGlobals]
	mov	w0, w9
	ret
	.type	.L_MergedGlobals,@object
	.local	.L_MergedGlobals
	.comm	.L_MergedGlobals,8,4
.set counter, .L_MergedGlobals
	.size	counter, 4
"""


def test_variables_that_clang_merges(arm: JudgeClient, case_of: CaseOf) -> None:
    """Their places in the merged object are those of the text, not of the program."""
    verdict = arm.judge(case_of(SOURCE), "counted", MERGED)
    assert verdict.kind == "inconclusive" and "-mno-global-merge" in verdict.message, verdict


@pytest.mark.parametrize("function", FUNCTIONS)
def test_clangs_own_code_passes(arm: JudgeClient, compiled: Compile, function: str) -> None:
    reference = compiled(SOURCE, target=TARGET.name)
    for level in ("O0", "O2"):
        verdict = arm.judge(reference.case, function, reference.texts.assembly(function, level))
        assert verdict.passed, f"{level}: {verdict}"
        assert verdict.detail["inputs"] > 10
        assert verdict.detail["assembler"] == "llvm"


LARGER = "larger:\n cmp w0, w1\n csel w0, w0, w1, gt\n"
LOST = """asked:
 str x30, [sp, #-16]!
 adrp x1, .Ls
 add x1, x1, :lo12:.Ls
 bl helper
 ldr x30, [sp], #16
 ret
 .section .rodata
.Ls: .asciz "abd"
"""
WRONG = {
    "condition": ("larger", "larger:\n cmp w0, w1\n csel w0, w0, w1, lt\n ret\n", "mismatch", "return value"),
    "unsigned": ("larger", "larger:\n cmp w0, w1\n csel w0, w0, w1, hi\n ret\n", "mismatch", "return value"),
    "branch": ("larger", "larger:\n cmp w0, w1\n b.lt .Lx\n ret\n.Lx:\n ret\n", "mismatch", "return value"),
    "x19": ("larger", f"{LARGER} mov x19, #1\n ret\n", "abi", "callee-saved register x19 is not restored"),
    "x29": ("larger", f"{LARGER} mov x29, sp\n ret\n", "abi", "callee-saved register x29 is not restored"),
    "d8": ("larger", f"{LARGER} fmov d8, #1.0\n ret\n", "abi", "callee-saved register d8 is not restored"),
    "fpcr": (
        *("larger", f"{LARGER} mov x9, #0x400000\n msr fpcr, x9\n ret\n", "abi"),
        "the floating-point control register is changed",
    ),
    "stack pointer": ("larger", f"{LARGER} sub sp, sp, #16\n ret\n", "abi", "the stack pointer returns -16 bytes off"),
    "misaligned": (
        *("larger", f"larger:\n sub sp, sp, #8\n str w0, [sp]\n{LARGER[8:]} add sp, sp, #8\n ret\n", "crash"),
        "misaligned access",
    ),
    "below": ("larger", f"larger:\n str w0, [sp, #-8]\n{LARGER[8:]} ret\n", "abi", "below the stack pointer"),
    "caller's frame": ("larger", f"{LARGER} str wzr, [sp, #24]\n ret\n", "abi", "the caller's stack frame is written"),
    "null": ("larger", f"{LARGER} mov x9, #0\n ldr w1, [x9]\n ret\n", "crash", "bad read of 4 bytes"),
    "trap": ("larger", f"{LARGER} brk #1\n", "crash", "breakpoint in line 4"),
    "kernel": ("larger", f"{LARGER} svc #0\n ret\n", "crash", "`svc` in user code"),
    "hang": ("larger", "larger:\n b larger\n", "hang", "still running"),
    "upper half": ("far", "far:\n ret\n", "mismatch", "return value"),
    "lost link": ("asked", "asked:\n bl helper\n ret\n", "hang", "still running"),
    "lost argument": ("asked", LOST, "mismatch", "external call 1"),
    "result in memory": ("bumped", "bumped:\n ret\n", "mismatch", "result"),
    "link": ("larger", "larger:\n b elsewhere\n", "link", "undefined symbol: 'elsewhere' (line 2)"),
    "no function": ("larger", "smaller:\n ret\n", "link", "symbol 'larger' is not defined: it defines smaller"),
    "text": ("larger", "larger:\n nop\n mov w0, [x1]\n ret\n", "assemble", "line 3, column"),
    "x86": ("larger", "larger:\n movl %edi, %eax\n retq\n", "assemble", "line 2"),
    "file": ("larger", 'larger:\n .incbin "/etc/passwd"\n', "assemble", "it reads a file"),
    "extension": ("larger", "larger:\n ldadd w0, w1, [x2]\n ret\n", "inconclusive", "instruction requires: lse"),
    "clock": ("larger", "larger:\n mrs x0, cntvct_el0\n ret\n", "inconclusive", "differs from run to run"),
    "bytes": ("larger", "larger:\n .inst 0xd65f03c0\n", "inconclusive", "raw bytes are executed as code"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_code_gets_its_verdict(arm: JudgeClient, case_of: CaseOf, name: str) -> None:
    function, text, kind, words = WRONG[name]
    verdict = arm.judge(case_of(SOURCE), function, text)
    assert verdict.kind == kind, verdict
    assert words in str(verdict)


def test_a_load_may_move_the_stack_pointer_first(arm: JudgeClient, case_of: CaseOf) -> None:
    """It reads at the new stack pointer, not below it."""
    text = f"larger:\n sub sp, sp, #16\n ldr x9, [sp, #-16]!\n{LARGER[8:]} add sp, sp, #32\n ret\n"
    assert arm.judge(case_of(SOURCE), "larger", text).passed
    below = text.replace("ldr x9, [sp, #-16]!", "ldr x9, [sp, #-16]\n sub sp, sp, #16")
    assert arm.judge(case_of(SOURCE), "larger", below).kind == "abi"


def test_assembly_of_gcc_passes(arm: JudgeClient, case_of: CaseOf) -> None:
    """`.arch`, comments, `.align` in powers of two, `.word` of four bytes, x18 and the red-zone-free frame."""
    text = """
	.arch armv8-a	// no directive that matters
	.file	"sum.c"
	.text
	.align	2
	.p2align 4,,11
	.global	sum
	.type	sum, %function
sum:
.LFB0:
	.cfi_startproc
	stp	x29, x30, [sp, -32]!
	mov	x29, sp
	str	x19, [sp, 16]
	mov	x18, 0	/* a register like others */
	mov	w19, w1
	mov	x2, #0
	cbz	w19, .L4
1:	ldrsw	x3, [x0, x2, lsl 2]
	add	x18, x18, x3
	add	x2, x2, 1
	cmp	w19, w2
	bne	1b
.L4:
	adrp	x4, .LC0
	ldr	w4, [x4, #:lo12:.LC0]
	add	x0, x18, w4, sxtw
	ldr	x19, [sp, 16]
	ldp	x29, x30, [sp], 32
	ret
	.cfi_endproc
.LFE0:
	.size	sum, .-sum
	.section	.rodata
	.align	3
	.byte	1
	.align	2
.LC0:
	.word	0
"""
    assert arm.judge(case_of(SOURCE), "sum", text).passed


def test_listings_have_blocks_and_names(arm: JudgeClient, case_of: CaseOf) -> None:
    text = "larger:\n cmp w0, w1\n b.ge .Lx\n mov w0, w1\n bl helper\n.Lx:\n adrp x9, table\n ret\n"
    blocks = arm.listing(case_of(SOURCE), "larger", text)
    assert blocks is not None
    assert [[line.text for line in block] for block in blocks] == [
        ["cmp w0, w1", "b.ge .3"],
        ["mov w0, w1", "bl helper"],
        ["adrp x9, page", "ret"],
    ]
    assert [line.number for line in blocks[2]] == [7, 8]


def test_check_with_a_target() -> None:
    text = "twice:\n add w0, w0, w0\n ret\n"
    verdict = check("unsigned twice(unsigned x) { return 2 * x; }", "twice", text, examples=10, target="aarch64-linux")
    assert verdict.passed, verdict
    with pytest.raises(ValueError, match="no target 'vax': expected x86_64-linux or aarch64-linux or x86_64-windows"):
        check("int f(void) { return 0; }", "f", "f: ret", target="vax")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("fmadd d0, d0, d1, d2", "pass"),
        ("fmul d0, d0, d1\n fadd d0, d0, d2", "pass"),
        ("fmsub d0, d0, d1, d2", "mismatch"),
        ("fmul d0, d0, d1\n fsub d0, d0, d2", "mismatch"),
    ],
)
def test_products_may_be_rounded_or_fused(arm: JudgeClient, case_of: CaseOf, text: str, kind: str) -> None:
    source = "double f(double a, double b, double c) { return a * b + c; }\n"
    assert arm.judge(case_of(source), "f", f"f:\n {text}\n ret\n").kind == kind


# -- assembly text and relocations

SYMBOLS = {
    "near": TARGET.load_address - 0x1230,
    "data": TARGET.load_address + 0x5678,
    "odd": TARGET.load_address + 0x5679,
    "wide": 0x123456789ABCDEF0,
}


def assemble_f(text: str, symbols: dict[str, int] = SYMBOLS) -> AssembledCode:
    return assemble(text, "f", TARGET.load_address, symbols, target=TARGET)


def assemble_and_decode(text: str) -> list[str]:
    code = assemble_f(text).segments[0]
    engine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    return [f"{i.mnemonic} {i.op_str}".strip() for i in engine.disasm(code.data, code.address)]


def test_relocations_in_instructions() -> None:
    data, near, page = SYMBOLS["data"], SYMBOLS["near"], SYMBOLS["data"] // 4096 * 4096
    text = """f:
        bl near
        b near+4
        b.eq data
        cbz x0, data
        tbz x0, #3, near
        adrp x1, data
        add x1, x1, :lo12:data
        ldrb w2, [x1, :lo12:odd]
        ldrh w2, [x1, :lo12:data]
        ldr w2, [x1, :lo12:data]
        ldr x2, [x1, :lo12:data]
        adr x3, odd
        ldr x4, data
        movz x5, #:abs_g3:wide
        movk x5, #:abs_g2_nc:wide
        movk x5, #:abs_g1_nc:wide
        movk x5, #:abs_g0_nc:wide
    """
    assert assemble_and_decode(text) == [
        f"bl #{near:#x}",
        f"b #{near + 4:#x}",
        f"b.eq #{data:#x}",
        f"cbz x0, #{data:#x}",
        f"tbz w0, #3, #{near:#x}",
        f"adrp x1, #{page:#x}",
        f"add x1, x1, #{data % 4096:#x}",
        f"ldrb w2, [x1, #{data % 4096 + 1:#x}]",
        f"ldrh w2, [x1, #{data % 4096:#x}]",
        f"ldr w2, [x1, #{data % 4096:#x}]",
        f"ldr x2, [x1, #{data % 4096:#x}]",
        f"adr x3, #{data + 1:#x}",
        f"ldr x4, #{data:#x}",
        "mov x5, #0x1234000000000000",
        "movk x5, #0x5678, lsl #32",
        "movk x5, #0x9abc, lsl #16",
        "movk x5, #0xdef0",
    ]


def test_data_and_the_global_offset_table() -> None:
    text = """f: adrp x0, :got:data
        ldr x0, [x0, :got_lo12:data]
        ret
        .data
        .xword data, f
        .word data-., 7
        .hword 5
        .word 0x12345678
    """
    assembled = assemble_f(text)
    segments = {segment.name: segment for segment in assembled.segments}
    table, code, got = segments[".data"], assembled.segments[0], segments[".got"]
    words = [int.from_bytes(table.data[at : at + 8], "little") for at in (0, 8)]
    assert words == [SYMBOLS["data"], assembled.symbols["f"]]
    distance = int.from_bytes(table.data[16:20], "little", signed=True)
    assert table.address + 16 + distance == SYMBOLS["data"]
    assert table.data[24:30] == b"\5\0\x78\x56\x34\x12"
    assert got.data == SYMBOLS["data"].to_bytes(8, "little")
    assert int.from_bytes(code.data[4:8], "little") >> 10 & 0xFFF == got.address % 4096 // 8


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("b far", LinkError, r"R_AARCH64_JUMP26 against 'far' is out of range"),
        ("b.eq mid", LinkError, r"R_AARCH64_CONDBR19 against 'mid' is out of range"),
        ("ldr x0, [x1, :lo12:odd]", LinkError, r"R_AARCH64_LDST64_ABS_LO12_NC against 'odd': .* no multiple of 8"),
        ("movz x0, #:abs_g0:far", LinkError, r"R_AARCH64_MOVW_UABS_G0 against 'far' is out of range"),
        ("add x0, x0, :tprel_hi12:data", UnsupportedError, r"relocation R_AARCH64_TLSLE_ADD_TPREL_HI12"),
        ("adrp x0, :tlsgd:data", UnsupportedError, r"line 1: a thread-local variable"),
        ("mov w0, #1, #2", AssemblyError, r"only 'lsl #"),
        (".att_syntax", AssemblyError, r"directive .att_syntax is not supported"),
    ],
)
def test_text_that_can_not_be_linked(text: str, error: type[Exception], words: str) -> None:
    symbols = {**SYMBOLS, "far": 0x7F0000000000, "mid": TARGET.load_address + (8 << 20)}
    with pytest.raises(error, match=words):
        assemble_f(f"f: {text}\n ret\n", symbols)


def test_comments() -> None:
    parsed = gas.parse_assembly(
        "# a comment\n\tmov w0, #1 // another\n  # one more\n\tcmp w0, #2; nop /* # */\n", TARGET.dialect
    )
    assert [statement.text for statement in parsed.statements] == ["mov w0, #1", "cmp w0, #2", "nop"]


def test_code_in_answers_without_tags_is_recognised() -> None:
    code = "larger:\n\tcmp\tw0, w1\n\tcsel\tw0, w0, w1, gt\n\tret\n"
    answer = Answer(f"Sure, this is the code:\n\n{code}\nThe branch is taken where b is larger.\n")
    assert extract_assembly(answer, "larger").text == code


def test_accesses_by_the_stack_pointer_are_guarded() -> None:
    """All of them where the stack pointer may be misaligned, and none where it is certainly aligned."""
    sure = "f: stp x29, x30, [sp, #-32]!\n mov x29, sp\n str x0, [sp, #16]\n ldp x29, x30, [sp], #32\n ret\n"
    assert list(TARGET.processor.find_guards(assemble_f(sure))) == []
    for step in ("sub sp, sp, #8", "mov sp, x9", "sub sp, sp, x9", "str x0, [sp, #-8]!", "ldr x0, [sp], #8"):
        watched = list(TARGET.processor.find_guards(assemble_f(f"f: {step}\n str x1, [sp, #8]\n ret\n")))
        assert len(watched) == 1 + ("[sp" in step), step


@pytest.mark.parametrize(
    ("members", "homogeneous"),
    [
        ("float a, b, c, d;", (4, 4)),
        ("double a[3];", (8, 3)),
        ("struct { float a; } s[2];", (4, 2)),
        ("float a, b, c, d, e;", None),
        ("float a; double b;", None),
        ("float a; int b;", None),
        ("float a; float pad[0];", (4, 1)),
    ],
)
def test_structs_that_are_passed_in_vector_registers(
    compiled: Compile, members: str, homogeneous: tuple[int, int] | None
) -> None:
    reference = compiled(f"struct s {{ {members} }};\nvoid f(struct s s) {{}}\n", target=TARGET.name)
    assert find_homogeneous_members(reference.signatures["f"].params[0].type) == homogeneous


# -- the plugin


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makefile(".c", one="int one(int x) { return x ^ 1; }\n")
    return pytester


def test_a_session_for_aarch64(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nllmc_cases = .\nllmc_target = aarch64-linux\nllmc_examples = 10\n")
    result = project.runpytest("-v", "--llmc-model=reference", "--llmc-record=r.jsonl")
    result.stdout.fnmatch_lines(["*llmc: target aarch64-linux", "one.c::one[[]asm@aarch64-linux-O0] PASSED*"])
    assert '"target": "aarch64-linux"' in (project.path / "r.jsonl").read_text()
    replay = ("--llmc-model=replay:r.jsonl", "-p", "no:cacheprovider")
    project.runpytest(*replay).assert_outcomes(passed=1)
    result = project.runpytest(*replay, "--llmc-target=x86_64-linux", "-rs")
    result.assert_outcomes(skipped=1)
    assert "holds no answer for one[asm-O0]" in result.stdout.str()


def test_a_reproducer_folder_has_no_program_for_a_foreign_processor(project: pytest.Pytester) -> None:
    wrong = r'"one:\n mov w0, #1\n ret\n"'
    record = f'{{"case": "one.c", "function": "one", "task": "asm@aarch64-linux", "passes": "O0", "sample": 0, "answer": {wrong}}}'
    (project.path / "r.jsonl").write_text(record + "\n")
    flags = ("--llmc-target=aarch64-linux", "--llmc-examples=10", "--llmc-artifacts=kept")
    project.runpytest("one.c", "--llmc-model=replay:r.jsonl", *flags).assert_outcomes(failed=1)
    [readme] = project.path.glob("kept/**/README.txt")
    assert "There is no `run`: the code is for aarch64-linux, which this machine does not run" in readme.read_text()


def test_an_unknown_target_is_a_usage_error(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--llmc-target=vax")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--llmc-target: can't use 'vax': expected x86_64-linux*aarch64-linux*x86_64-windows"])


def test_prompts_contain_ir_for_the_target(compiled: Compile) -> None:
    text = compiled(SOURCE, target=TARGET.name).texts.ir("larger")
    assert 'target triple = "aarch64-unknown-linux-gnu"' in text
    assert '"target-features"="+fp-armv8,+neon,+outline-atomics,+v8a,-fmv"' in text


IR = """
target datalayout = "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64-S128"
target triple = "x86_64-unknown-linux-gnu"
define i32 @f(i32 %x) {{
  {}
  ret i32 %x
}}
{}
"""


def test_ir_for_another_target_is_retargeted(compiled: Compile) -> None:
    extended = IR.format("call signext i8 @g(i8 zeroext 1)", "declare signext i8 @g(i8 zeroext)")
    text = compiled(extended, ".ll", target=TARGET.name).ir
    assert 'triple = "aarch64-unknown-linux-gnu"' in text
    assert "call i8 @g(i8 1)" in text  # By this convention the callee extends integers.
    bound = IR.format("call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()")
    with pytest.raises(CaseError, match=re.escape("@llvm.x86.sse2.pause means something else on aarch64-linux")):
        compiled(bound, ".ll", target=TARGET.name).ir  # noqa: B018


def test_pushes_are_no_accesses_below_the_stack(compiled: Compile) -> None:
    harness = Harness(
        compiled(SOURCE, target="aarch64-linux"), "larger", JudgeSettings(examples=20, target="aarch64-linux")
    )
    body = "{}\n cmp w0, w1\n csel w0, w1, w0, lt\n ldp x19, x20, [sp], #32\n ret\n"
    for pushes in (
        "stp x19, x20, [sp, #-32]!",
        "str x19, [sp, #-32]!\n str x20, [sp, #8]",
        "str q8, [sp, #-16]!\n ldr q8, [sp], #16\n stp x19, x20, [sp, #-32]!",
    ):
        settled = harness.engine.statistics.settled
        assert harness.judge("larger:\n" + body.format(pushes)).passed
        assert harness.engine.statistics.settled == settled + 1, pushes
    for below in ("stur x19, [sp, #-8]", "stp x19, x20, [sp, #-32]", "mov x9, sp\n str x19, [x9, #-8]!"):
        assert harness.judge("larger:\n" + below + "\n" + body.format("stp x19, x20, [sp, #-32]!")).kind == "abi"
