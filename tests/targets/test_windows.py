"""x86-64 Windows: verdicts on correct and wrong code, the assembly of its compilers, and the library wrapper."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from faces import CaseOf, Compile

from pytest_llmcompiler.assembler import gas, masm
from pytest_llmcompiler.assembler.assemble import assemble
from pytest_llmcompiler.emulator.machine import Machine
from pytest_llmcompiler.errors import AssemblyError, CaseError, UnsupportedError
from pytest_llmcompiler.judge.api import judge_answer
from pytest_llmcompiler.judge.client import JudgeClient
from pytest_llmcompiler.judge.harness import JudgeSettings
from pytest_llmcompiler.model.answer import Answer
from pytest_llmcompiler.model.extract.assembly import extract_assembly
from pytest_llmcompiler.program.case import read_case
from pytest_llmcompiler.program.ir import emit_object, parse
from pytest_llmcompiler.targets import get_target
from pytest_llmcompiler.targets.code import AssembledCode
from pytest_llmcompiler.values.c_types import Function

TARGET = get_target("x86_64-windows")
TESTS = Path(__file__).parents[1]
SOURCE = Path(__file__).with_name("windows.c").read_text(encoding="utf-8")
FUNCTIONS = (
    *("packed", "scaled", "shifted", "swapped", "placed", "total", "wide", "applied", "asked", "told", "counted"),
    *("copied", "median", "shown", "parsed", "filled", "larger", "said"),
)


@pytest.fixture(scope="module")
def windows() -> Iterator[JudgeClient]:
    judge = JudgeClient(JudgeSettings(examples=15, target=TARGET.name))
    yield judge
    judge.close()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_clangs_own_code_passes(windows: JudgeClient, compiled: Compile, function: str) -> None:
    """Structs of all sizes, results in memory, floats by position, variadic functions both ways, calls out, callbacks
    both ways, globals, large frames, and the C library with its `long` of another size."""
    reference = compiled(SOURCE, target=TARGET.name)
    for level in ("O0", "O2"):
        verdict = windows.judge(reference.case, function, reference.texts.assembly(function, level))
        assert verdict.passed, f"{level}: {verdict}"
        assert verdict.detail["inputs"] > 10


LARGER = "larger:\n movl %ecx, %eax\n cmpl %edx, %ecx\n cmovl %edx, %eax\n"
CALLER = "lone:\n subq ${frame}, %rsp\n movl %ecx, {at}(%rsp)\n call helper1\n xorl {at}(%rsp), %eax\n addq ${frame}, %rsp\n ret\n"
SAID = "said:\n subq $40, %rsp\n movq %rdx, %r8\n leaq .Lf(%rip), %rcx\n movapd %xmm0, %xmm1\n"
PRINTED = ' call printf\n addq $40, %rsp\n ret\n .section .rdata,"dr"\n.Lf: .asciz "%.2f %ld\\n"\n'
CANDIDATES = {
    "right": ("larger", f"{LARGER} ret\n", "pass", ""),
    "its own shadow space": ("larger", f"larger:\n movl %edx, 32(%rsp)\n{LARGER[8:]} ret\n", "pass", ""),
    "System V": ("larger", "larger:\n cmpl %esi, %edi\n cmovl %esi, %edi\n movl %edi, %eax\n ret\n", "mismatch", "return"),
    "rdi": ("larger", f"{LARGER} movl %eax, %edi\n ret\n", "abi", "callee-saved register %rdi is not restored"),
    "xmm6": ("larger", f"{LARGER} pxor %xmm6, %xmm6\n ret\n", "abi", "callee-saved register %xmm6 is not restored"),
    "half of xmm15": (
        *("larger", f"{LARGER} movsd %xmm15, 8(%rsp)\n pxor %xmm15, %xmm15\n movsd 8(%rsp), %xmm15\n ret\n", "abi"),
        "callee-saved register %xmm15 is not restored",
    ),
    "direction": ("larger", f"{LARGER} std\n ret\n", "abi", "the direction flag is left set"),
    "below": ("larger", f"larger:\n movl %ecx, -8(%rsp)\n{LARGER[8:]} ret\n", "abi", "store below the stack pointer"),
    "a push": ("larger", f"larger:\n pushq %rsi\n{LARGER[8:]} popq %rsi\n ret\n", "pass", ""),
    "caller's frame": ("larger", f"{LARGER} movl %eax, 40(%rsp)\n ret\n", "abi", "the caller's stack frame is written"),
    "upper half": ("far", "far:\n movq %rcx, %rax\n ret\n", "mismatch", "return value"),
    "narrow": ("near", "near:\n movl %ecx, %eax\n ret\n", "mismatch", "return value"),
    "reserved": ("lone", CALLER.format(frame=40, at=32), "pass", ""),
    "kept in the shadow space": ("lone", CALLER.format(frame=40, at=8), "mismatch", "return value"),
    "no shadow space": ("lone", CALLER.format(frame=8, at=0), "crash", ""),
    "misaligned": ("lone", CALLER.format(frame=48, at=40), "abi", "not aligned to 16 bytes at the call of helper1"),
    "address of the result": ("shifted", "shifted:\n ret\n", "mismatch", "result"),
    "a float by its number": ("grown", "grown:\n movsd %xmm0, %xmm0\n mulsd %xmm0, %xmm0\n ret\n", "mismatch", "return"),
    "a float twice": ("said", SAID, " movq %xmm0, %rdx\n", PRINTED, "pass", ""),
    "a float once": ("said", SAID, " xorl %edx, %edx\n", PRINTED, "mismatch", "stdout: expected"),
    "imported": (
        *("lone", "lone:\n pushq %rbx\n subq $32, %rsp\n movl %ecx, %ebx\n call *__imp_helper1(%rip)\n xorl %ebx, %eax\n"),
        *(" addq $32, %rsp\n popq %rbx\n ret\n", "pass", ""),
    ),
    "unknown": ("larger", "larger:\n jmp elsewhere\n", "link", "undefined symbol: 'elsewhere' (line 2)"),
    "the host's own": ("larger", "larger:\n jmp __libc_start_main\n", "link", "undefined symbol"),
    "text": ("larger", "larger:\n movl (%rcx, %eax\n ret\n", "assemble", "line 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", CANDIDATES)
def test_code_gets_its_verdict(windows: JudgeClient, case_of: CaseOf, name: str) -> None:
    function, *parts, kind, words = CANDIDATES[name]
    verdict = windows.judge(case_of(SOURCE), function, "".join(parts))
    assert verdict.kind == kind, verdict
    assert words in str(verdict)


FAULTS = [json.loads(line) for line in (TESTS / "faults" / "windows.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("record", FAULTS, ids=lambda record: f"{record['sample']}-{record['expect']}")
def test_recorded_faults(windows: JudgeClient, record: dict[str, str]) -> None:
    case = read_case(TESTS.parent / "cases" / record["case"])
    verdict = judge_answer(windows, case, record["function"], Answer(record["answer"]))
    assert verdict.kind == record["expect"], f"{record['fault']}\n{verdict}"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("#include <setjmp.h>\njmp_buf b;\nint f(void) { return setjmp(b); }\n", "f calls setjmp, which is another"),
        ("long double f(long double x) { return x; }\n", "type long double"),
        ("int x; __attribute__((constructor)) void g(void) { x = 1; }\nint f(void) { return x; }\n", "constructors"),
        ('#include <stdio.h>\nint f(void) { return printf("%ls", L"a"); }\n', "no input found on which f is defined"),
    ],
    ids=["another layout", "long double", "constructors", "wide characters"],
)
def test_code_that_can_not_be_judged_is_inconclusive(
    windows: JudgeClient, case_of: CaseOf, source: str, words: str
) -> None:
    verdict = windows.judge(case_of(source), "f", "f:\n ret\n")
    assert verdict.kind == "inconclusive"
    assert words in verdict.message


# -- the C library


LIBRARY = r"""
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
_Static_assert(sizeof(long) == 4 && sizeof(size_t) == 8 && sizeof(wchar_t) == 2 && LONG_MAX == 0x7fffffff, "LLP64");
char *strchr(const char *s, int c) { return (char *)"own"; }
static void shown(const char *s) { long n = strtol(s, NULL, 0); printf("%ld %d ", n, errno); }
int main(void)
{
    int a, b;
    long c;
    long long d;
    double e;
    char word[8];
    struct timespec t;
    shown("2147483647");
    shown("2147483648");
    shown("-99999999999");
    printf("%lu %lu\n", strtoul("-1", NULL, 0), strtoul("4294967296", NULL, 0));
    printf("%d %ld %lld %" PRId64 " %zu %5.1f|%-4s|%c|%%|%hhd|%lx\n", 1, -2L, -3LL, INT64_C(1) << 40, sizeof t, 2.5, "ab",
           'c', 300, -1L);
    b = sscanf("7 -8 9000000000 2.5 abc", "%d %ld %lld %lf %3s", &a, &c, &d, &e, word);
    printf("%d %d %ld %lld %.1f %s %s\n", b, a, c, d, e, word, strchr("x", 'x'));
    printf("%d %ld %ld\n", ldiv(-7, 2).quot, labs(-5L), (long)lldiv(9, 4).rem);
    clock_gettime(0, &t);
    return t.tv_nsec < 0;
}
"""


def test_the_library_wrapper(compiled: Compile) -> None:
    """`long` has 32 bits in the code and 64 in the library. A case may define a function that the library has too."""
    reference = compiled(LIBRARY, target=TARGET.name)
    run = Machine(reference.golden, "main", Function(None, ())).run_program(1_000_000)
    assert run.output[1].decode().splitlines() == [
        "2147483647 0 2147483647 34 -2147483648 34 4294967295 4294967295",
        "1 -2 -3 1099511627776 16   2.5|ab  |c|%|44|ffffffff",
        "5 7 -8 9000000000 2.5 abc own",
        "-3 5 1",
    ]
    assert (run.outcome, run.exit_code) == ("exit", 0)


# -- assembly text


def assemble_f(text: str, symbols: dict[str, int]) -> AssembledCode:
    return assemble(text, "f", TARGET.load_address, symbols, target=TARGET)


def test_assembly_of_gcc_passes(windows: JudgeClient, case_of: CaseOf) -> None:
    text = """
	.file	"windows.c"
	.text
	.section .rdata,"dr"
.LC0:
	.ascii "%.2f %ld\\12\\0"
	.text
	.p2align 4
	.globl	said
	.def	said;	.scl	2;	.type	32;	.endef
	.seh_proc	said
said:
	subq	$40, %rsp
	.seh_stackalloc	40
	.seh_endprologue
	movl	%edx, %r8d
	leaq	.LC0(%rip), %rcx
	movapd	%xmm0, %xmm1
	movq	%xmm0, %rdx
	call	printf
	nop
	addq	$40, %rsp
	ret
	.seh_endproc
	.ident	"GCC: (GNU) 13"
	.section .rdata$zzz,"dr"
	.def	printf;	.scl	2;	.type	32;	.endef
"""
    verdict = windows.judge(case_of(SOURCE), "said", text)
    assert verdict.passed, verdict


LISTING = r"""
; Listing generated by Microsoft (R) Optimizing Compiler Version 19.38
include listing.inc

INCLUDELIB LIBCMT

PUBLIC	said
EXTRN	printf:PROC
COMM	zeros:DWORD:06H
CONST	SEGMENT
$SG7 DB	'%.2f %ld', 0aH, 00H
	ORG $+2
__real@3ff0000000000000 DQ 03ff0000000000000r
table	DD	03H, 01H
	DD	2 DUP (04H)
	DQ	FLAT:$SG7
CONST	ENDS
pdata	SEGMENT
$pdata$said DD	imagerel $LN3
pdata	ENDS
_TEXT	SEGMENT
x$ = 48
n$ = 56
tv66 = 32
said	PROC
$LN3:
; Line 3
	mov	DWORD PTR [rsp+16], edx
	movsd	QWORD PTR [rsp+8], xmm0
	sub	rsp, 40					; 00000028H
	mov	r8d, DWORD PTR n$[rsp]
	movsd	xmm1, QWORD PTR x$[rsp]
	movq	rdx, xmm1
	lea	rcx, OFFSET FLAT:$SG7
	cmp	DWORD PTR n$[rsp], 0ffH
	jge	SHORT $LN2@said
	mov	eax, DWORD PTR table
$LN2@said:
	call	printf
	npad	1
	add	rsp, 40					; 00000028H
	ret	0
said	ENDP
_TEXT	ENDS
END
"""


def test_listings_of_microsofts_compiler(windows: JudgeClient, case_of: CaseOf) -> None:
    verdict = windows.judge(case_of(SOURCE), "said", LISTING)
    assert verdict.passed, verdict
    wrong = windows.judge(case_of(SOURCE), "said", LISTING.replace("rdx, xmm1", "rdx, xmm2"))
    assert wrong.kind == "mismatch"
    untagged = f"Here it is:\n\n{LISTING}"
    assert judge_answer(windows, case_of(SOURCE), "said", Answer(untagged)).passed
    bad = windows.judge(case_of(SOURCE), "said", LISTING.replace("ret\t0", "ret 0 0"))
    assert bad.detail["line"] == 1 + LISTING[: LISTING.index("ret\t0")].count("\n")


SWITCH = """
int choose(int a, int b)
{
    switch (a) {
    case 0: return b + 1;
    case 1: case 5: return b ^ 21;
    case 2: return b & 99;
    case 3: return b | 64;
    }
    return 7;
}
"""
SWITCH_LISTING = r"""
_TEXT	SEGMENT
a$ = 8
b$ = 16
choose	PROC
	cmp	ecx, 5
	ja	SHORT $LN8@choose
	movsxd	rax, ecx
	lea	r8, OFFSET FLAT:__ImageBase
	movzx	eax, BYTE PTR $LN13@choose[r8+rax]
	mov	ecx, DWORD PTR $LN14@choose[r8+rax*4]
	add	rcx, r8
	jmp	rcx
$LN4@choose:
	lea	eax, DWORD PTR [rdx+1]
	ret	0
$LN5@choose:
	xor	edx, 21
	mov	eax, edx
	ret	0
$LN6@choose:
	and	edx, 99
	mov	eax, edx
	ret	0
$LN7@choose:
	or	edx, 64
	mov	eax, edx
	ret	0
$LN8@choose:
	mov	eax, 7
	ret	0
	npad	3
$LN14@choose:
	DD	$LN4@choose
	DD	$LN5@choose
	DD	imagerel $LN6@choose
	DD	$LN7@choose
	DD	$LN8@choose
$LN13@choose:
	DB	0
	DB	1
	DB	2
	DB	3
	DB	4
	DB	1
choose	ENDP
_TEXT	ENDS
END
"""
"""A switch as Microsoft's compiler writes it: a table of distances from `__ImageBase`, and one of its indices."""


def test_tables_of_switches_in_listings(windows: JudgeClient, case_of: CaseOf) -> None:
    case = case_of(SWITCH)
    verdict = windows.judge(case, "choose", SWITCH_LISTING)
    assert verdict.passed, verdict
    wrong = SWITCH_LISTING.replace("imagerel $LN6@choose", "$LN7@choose")
    assert windows.judge(case, "choose", wrong).kind == "mismatch"


@pytest.mark.parametrize(
    ("line", "converted"),
    [
        ("x DB 'a;b', 0ffH ; and", 'x: .ascii "a;b"; .byte 0x0ff'),
        ("x DB 'don''t', 00H", 'x: .ascii "don\'t"; .byte 0x00'),
        ("\tDW 2 DUP (?)", ".fill 2, 2, 0"),
        ("$SG1\tDQ\tFLAT:$SG2", ".LSG1: .8byte .LSG2"),
        ("\tjmp\tSHORT $LN3@f", "jmp\t.LLN3.f"),
        ("\tpush\tQWORD PTR [rsp+0aH]", "push\tQWORD PTR [rsp+0x0a]"),
        ("\tnpad\t1000000000", "npad\t1000000000"),
        ("COMM x:DWORD:many", "COMM x:DWORD:many"),
    ],
)
def test_lines_of_listings(line: str, converted: str) -> None:
    assert masm.convert_to_gnu(f"f PROC\n{line}").splitlines() == ["f:", converted]


def test_text_that_is_no_listing_is_unchanged() -> None:
    assert masm.convert_to_gnu("f:\n\tmovl $1, %eax # PROC\n") == "f:\n\tmovl $1, %eax # PROC\n"


def test_coff_sections() -> None:
    text = """
        .section .rdata$.refptr.there,"dr",discard,.refptr.there
        .globl .refptr.there
.refptr.there: .quad there
        .section .text$f,"xr",one_only,f
        .linkonce discard
f:      movq .refptr.there(%rip), %rax
        jmp *__imp_puts(%rip)
        .section .xdata,"dr"
        .long 1
        .section .debug$S,"dr"
        .long 4
        .section .drectve,"yni"
        .ascii " /EXPORT:f"
        .section .own,"dw"
        .long 7
        .comm zeros, 24, 4
        .lcomm more, 4
"""
    code = assemble_f(text, {"there": 0x12345678, "puts": 0x10200})
    segments = {segment.name: segment for segment in code.segments}
    assert set(segments) == {".rdata$.refptr.there", ".text$f", ".own", ".bss", ".got"}
    assert segments[".rdata$.refptr.there"].data == (0x12345678).to_bytes(8, "little")
    assert segments[".got"].data == (0x10200).to_bytes(8, "little")
    permissions = {name: (s.is_writable, s.is_executable) for name, s in segments.items()}
    assert permissions[".text$f"] == (False, True)
    assert permissions[".own"] == permissions[".bss"] == (True, False)
    assert code.symbols["zeros"] % 16 == 0
    assert code.external_symbols == {"there", "puts"}


def test_thread_local_variables_are_not_supported() -> None:
    with pytest.raises(UnsupportedError, match="thread-local storage"):
        assemble_f('f: leaq x(%rip), %rax\n ret\n .section .tls$,"dw"\nx: .long 0\n', {})
    own = " movl _tls_index(%rip), %eax\n movq %gs:88, %rcx\n movq (%rcx,%rax,8), %rax\n movl x@SECREL32(%rax), %eax\n ret\n"
    assemble_f(f"f: ret\ng:{own}", {"x": 0x1000000})
    with pytest.raises(UnsupportedError, match="it is for thread-local storage"):
        assemble_f(f"f:{own}", {"x": 0x1000000, "_tls_index": 0x1000000})
    assemble_f('f: ret\n .section .debug_info,"dr"\n .secrel32 x\n .secidx x\n', {})
    with pytest.raises(AssemblyError, match=r"directive .secrel32 is not supported"):
        assemble_f("f: ret\n .secrel32 x\n", {})


def test_code_in_answers_without_tags_is_recognised(compiled: Compile) -> None:
    code = compiled(SOURCE, target=TARGET.name).texts.assembly("larger", "O2")
    answer = Answer(f"Sure, this is the code:\n\n{code}\nThe larger one is moved.\n")
    assert gas.parse_assembly(extract_assembly(answer, "larger").text, TARGET.dialect).labels.keys() == {"larger"}


# -- prompts and the plugin


def test_prompts_contain_ir_for_the_target(compiled: Compile) -> None:
    text = compiled(SOURCE, target=TARGET.name).texts.ir("scaled")
    assert 'target triple = "x86_64-w64-windows-gnu"' in text
    assert "sret(%struct.sixteen)" in text


def test_the_size_of_a_coff_object(compiled: Compile) -> None:
    """Code, data and unwind tables, as llvm-size counts them."""
    reference = compiled(SOURCE, target=TARGET.name)
    coff = emit_object(parse(reference.texts.ir("counted")), TARGET)
    assert coff[:2] == b"\x64\x86"
    sections = [coff[20 + 40 * number :][:40] for number in range(int.from_bytes(coff[2:4], "little"))]
    sizes = {header[:8].rstrip(b"\0"): int.from_bytes(header[16:20], "little") for header in sections}
    assert sizes.keys() >= {b".text", b".data", b".bss", b".pdata", b".xdata"}
    assert sizes[b".text"] > 10
    assert reference.texts.sizes("counted")[1] == sum(sizes.values()) - sizes[b".bss"]


IR = """
target triple = "x86_64-unknown-linux-gnu"
define i128 @f(i128 %x) {{
  {}
  ret i128 %x
}}
{}
"""


def test_ir_with_imported_symbols(windows: JudgeClient, case_of: CaseOf) -> None:
    """clang writes such IR and code for Microsoft's tools."""
    text = """
target triple = "x86_64-pc-windows-msvc"
@scale = external dllimport global i32
declare dllimport i32 @abs(i32)
define dso_local i32 @f(i32 %x) {
  %r = call i32 @abs(i32 %x)
  %s = load i32, ptr @scale
  %t = mul i32 %r, %s
  ret i32 %t
}
"""
    code = """f:
\tsubq $40, %rsp
\tcallq *__imp_abs(%rip)
\tmovq __imp_scale(%rip), %rcx
\timull (%rcx), %eax
\taddq $40, %rsp
\tretq
"""
    verdict = windows.judge(case_of(text, ".ll"), "f", code)
    assert verdict.passed, verdict
    assert windows.judge(case_of(text, ".ll"), "f", code.replace("imull (%rcx)", "imull %ecx")).kind == "mismatch"


def test_ir_for_linux_is_retargeted(compiled: Compile) -> None:
    assert 'triple = "x86_64-w64-windows-gnu"' in compiled(IR.format("", ""), ".ll", target=TARGET.name).ir
    bound = IR.format("", "declare x86_fp80 @g(x86_fp80)")
    with pytest.raises(CaseError, match="x86_fp80 means something else on x86_64-windows"):
        compiled(bound, ".ll", target=TARGET.name).ir  # noqa: B018


def test_a_session_for_windows(pytester: pytest.Pytester) -> None:
    pytester.makefile(".c", one="int one(int x) { return x ^ 1; }\n")
    pytester.makeini("[pytest]\nllmc_cases = .\nllmc_target = x86_64-windows\nllmc_examples = 10\n")
    result = pytester.runpytest("-v", "--llmc-model=reference", "--llmc-record=r.jsonl")
    result.stdout.fnmatch_lines(["*llmc: target x86_64-windows", "one.c::one[[]asm@x86_64-windows-O0] PASSED*"])
    assert '"target": "x86_64-windows"' in (pytester.path / "r.jsonl").read_text()
